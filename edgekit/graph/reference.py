"""ONNX Runtime on the CPU: the reference that every rewrite and lowering is compared with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import onnx
import onnx_ir as ir
import onnxruntime

from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.errors import InputError, UnsupportedError
from edgekit.graph.signature import input_specs, signature_of
from edgekit.graph.values import Array

Optimization = Literal["disabled", "basic", "extended", "all"]

_LEVELS = {
    "disabled": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_ONLY_FATAL = 4
"""ONNX Runtime's log severity that prints nothing short of a crash; errors are raised."""


class ReferenceSession:
    """A graph loaded into ONNX Runtime's CPU provider.

    Not thread-safe; use one session a thread.
    """

    def __init__(
        self,
        source: Path | ir.Model | onnx.ModelProto,
        threads: int = 1,
        optimization: Optimization = "all",
    ) -> None:
        """Loads a file or a graph in memory; neither is modified.

        Args:
            source: File, or graph; with a file its external data is found beside it.
            threads: Threads for one operator; operators run one after the other.
            optimization: Which graph optimizations the runtime makes before running;
                ``"disabled"`` executes the graph node by node as it is written.

        Raises:
            InputError: If the file is missing.
            UnsupportedError: If the runtime refuses the graph.
        """
        model = _model_of(source)
        # Outputs may have no shape before inference, and running needs none.
        self._model = model
        self._inputs = input_specs(model)
        self._session = start_session(source, threads, optimization)

    @property
    def signature(self) -> ModelSignature:
        """Inputs and outputs.

        Raises:
            UnsupportedError: If the rank of an output is unknown.
        """
        return signature_of(self._model)

    @property
    def runtime(self) -> str:
        """Name and version, for example ``"ONNX Runtime 1.26.0 (CPU)"``."""
        return f"ONNX Runtime {onnxruntime.__version__} (CPU)"

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs once.

        Args:
            feeds: By input name; arrays are not modified.

        Returns:
            By output name; arrays owned by the caller.

        Raises:
            InputError: If a feed is missing, unknown, or of the wrong shape or dtype.
            UnsupportedError: If the runtime fails while executing.
        """
        check_feeds(self._inputs, feeds)
        names = [value.name or "" for value in self._model.graph.outputs]
        return dict(zip(names, run_session(self._session, feeds), strict=True))

    def close(self) -> None:
        """Frees the runtime; the session cannot be used afterwards."""
        del self._session

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @staticmethod
    def run_once(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs a graph once without optimizations and without checking the feeds.

        Raises:
            UnsupportedError: If the runtime refuses or fails.
        """
        session = start_session(proto, 1, "disabled")
        return dict(
            zip(
                [item.name for item in proto.graph.output],
                run_session(session, feeds),
                strict=True,
            )
        )


def check_feeds(
    signature: ModelSignature | Sequence[TensorSpec], feeds: Mapping[str, Array]
) -> None:
    """Compares feeds with the inputs that a model has.

    Args:
        signature: The model's signature, or its inputs alone.
        feeds: By input name.

    Raises:
        InputError: Naming what was expected and what was given.
    """
    inputs = signature.inputs if isinstance(signature, ModelSignature) else signature
    expected = "; ".join(map(str, inputs))
    missing = [spec.name for spec in inputs if spec.name not in feeds]
    if missing:
        raise InputError(
            f"No value for input {', '.join(map(repr, missing))}; "
            f"got {sorted(feeds)}, the model expects {expected}"
        )
    unknown = sorted(feeds.keys() - {spec.name for spec in inputs})
    if unknown:
        raise InputError(
            f"The model has no input {', '.join(map(repr, unknown))}; it expects {expected}"
        )
    symbols: dict[str, int] = {}
    for spec in inputs:
        array = feeds[spec.name]
        if not _matches(spec, array, symbols):
            got = f"{array.dtype.name}[{', '.join(map(str, array.shape))}]"
            bound = ", ".join(f"{name}={size}" for name, size in symbols.items())
            raise InputError(
                f"Input {spec.name!r} expects {spec}, got {got}"
                + (f" (with {bound} from the inputs before it)" if bound else "")
            )


def _matches(spec: TensorSpec, array: Array, symbols: dict[str, int]) -> bool:
    if spec.dtype != "string" and array.dtype.name != spec.dtype:
        return False
    if len(array.shape) != len(spec.shape):
        return False
    for dim, size in zip(spec.shape, array.shape, strict=True):
        expected = dim if isinstance(dim, int) else symbols.get(dim, size)
        if expected != size:
            return False
    pairs = zip(spec.shape, array.shape, strict=True)
    symbols.update({dim: size for dim, size in pairs if isinstance(dim, str) and dim != "?"})
    return True


def _model_of(source: Path | ir.Model | onnx.ModelProto) -> ir.Model:
    if isinstance(source, ir.Model):
        return source
    if isinstance(source, Path):
        if not source.is_file():
            raise InputError(f"No ONNX file at {source}")
        return ir.from_proto(onnx.load(str(source), load_external_data=False))
    return ir.from_proto(source)


def start_session(
    source: Path | ir.Model | onnx.ModelProto, threads: int, optimization: Optimization
) -> Any:
    """ONNX Runtime's own session, which ships no types; run it with `run_session`.

    Args:
        source: As for `ReferenceSession`; the ranks of values need not be known.
        threads: Threads for one operator.
        optimization: As for `ReferenceSession`.

    Raises:
        UnsupportedError: If the runtime refuses the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = _LEVELS[optimization]
    options.log_severity_level = _ONLY_FATAL
    if isinstance(source, Path):
        content: str | bytes = str(source)
    elif isinstance(source, ir.Model):
        content = ir.to_proto(source).SerializeToString()
    else:
        content = source.SerializeToString()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # Its exceptions have no common base but Exception.
        raise UnsupportedError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the graph: {_reason(error)}"
        ) from error


def run_session(session: Any, feeds: Mapping[str, Array]) -> list[Array]:
    """Outputs of one run in graph order; feeds are not checked.

    Raises:
        UnsupportedError: If the runtime fails while executing.
    """
    run_options = onnxruntime.RunOptions()
    run_options.log_severity_level = _ONLY_FATAL
    try:
        results: list[Array] = session.run(None, dict(feeds), run_options)
    except Exception as error:
        raise UnsupportedError(
            f"ONNX Runtime {onnxruntime.__version__} cannot run the graph: {_reason(error)}"
        ) from error
    return results


def _reason(error: Exception) -> str:
    """The runtime's message on one line, without its error code prefix."""
    text = " ".join(str(error).split())
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
