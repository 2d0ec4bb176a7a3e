"""Runs ONNX files with ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime

from edgekit.core.metadata import METADATA_KEY, ModelMetadata
from edgekit.core.signature import DType, ModelSignature, TensorSpec
from edgekit.core.target import RuntimeConfig
from edgekit.errors import InputError, UnsupportedError, UsageError
from edgekit.graph.reference import check_feeds

if TYPE_CHECKING:
    from edgekit.core.target import Array

_ONLY_FATAL = 4
"""Log severity that prints nothing short of a crash; errors are raised instead."""

_DTYPES: Mapping[str, DType] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bfloat16)": "bfloat16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(uint32)": "uint32",
    "tensor(int64)": "int64",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "string",
}


class OrtSession:
    """An ONNX file in ONNX Runtime's CPU provider; implements `edgekit.core.target.Session`.

    The signature is read from the runtime, so that no second copy of the weights is parsed
    and the peak memory is the runtime's own. Not thread-safe.
    """

    def __init__(self, path: Path, config: RuntimeConfig) -> None:
        """Loads the file.

        Raises:
            InputError: If the file is missing, damaged or of another format.
            UnsupportedError: If ONNX Runtime refuses a sound file.
        """
        self._path = path
        self._session: Any = _start(path, config.threads)
        self._signature = ModelSignature(
            inputs=tuple(_spec(item) for item in self._session.get_inputs()),
            outputs=tuple(_spec(item) for item in self._session.get_outputs()),
        )
        self._names = [spec.name for spec in self._signature.outputs]
        self._run_options = onnxruntime.RunOptions()
        self._run_options.log_severity_level = _ONLY_FATAL

    @property
    def signature(self) -> ModelSignature:
        """Inputs and outputs."""
        return self._signature

    @property
    def runtime(self) -> str:
        """For example ``"ONNX Runtime 1.26.0 (CPU)"``."""
        return f"ONNX Runtime {onnxruntime.__version__} (CPU)"

    @property
    def metadata(self) -> ModelMetadata:
        """What edgekit wrote into the file; defaults where it wrote nothing."""
        text = self._open().get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        return ModelMetadata.model_validate_json(text) if text else ModelMetadata()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs once; see `edgekit.core.target.Session.run`.

        Raises:
            InputError: If a feed is missing or has the wrong shape or dtype.
            UnsupportedError: If ONNX Runtime fails at these shapes.
        """
        return dict(zip(self._names, self.prepare(feeds)(), strict=True))

    def prepare(self, feeds: Mapping[str, Array]) -> Callable[[], list[Array]]:
        """Checks feeds once, for runs to be timed.

        Returns:
            A call that runs and gives the outputs in graph order.

        Raises:
            InputError: If a feed is missing or has the wrong shape or dtype.
        """
        session = self._open()
        check_feeds(self._signature.inputs, feeds)
        given = dict(feeds)

        def invoke() -> list[Array]:
            try:
                outputs: list[Array] = session.run(self._names, given, self._run_options)
            except Exception as error:
                # ONNX Runtime's exceptions have no common base but Exception.
                raise UnsupportedError(
                    f"ONNX Runtime {onnxruntime.__version__} cannot run {self._path.name}: "
                    f"{one_line(error)}"
                ) from error
            return outputs

        return invoke

    def close(self) -> None:
        """Frees the runtime; the session cannot be used afterwards."""
        self._session = None

    def _open(self) -> Any:
        if self._session is None:
            raise UsageError(f"The session of {self._path.name} is closed; load it again.")
        return self._session


def start_quietly(
    model: str | bytes,
    threads: int,
    *,
    optimize: bool = True,
    adjust: Callable[[Any], None] = lambda options: None,
) -> Any:
    """A session without log output; raises what ONNX Runtime raises.

    Args:
        model: File or its content.
        threads: Threads within an operator.
        optimize: Whether the runtime may rewrite the graph.
        adjust: Changes the session's options before it starts.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ONLY_FATAL
    # Without it, uint8 x int8 kernels add in 16 bits on x86 processors that lack VNNI, and
    # saturate: ResNet-20 then differs from its own QDQ graph on 3 % of CIFAR-10.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    adjust(options)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def one_line(error: Exception) -> str:
    """The runtime's message on one line, without its error code."""
    text = " ".join(str(error).split())
    code, separator, rest = text.partition("] : ")
    return rest if separator and code.startswith("[ONNXRuntimeError") else text


def _start(path: Path, threads: int) -> Any:
    if not path.is_file():
        raise InputError(f"No ONNX file at {path}")
    try:
        return start_quietly(str(path), threads)
    except Exception as error:
        # The graph reader says better what is wrong with a damaged file.
        from edgekit.graph.io import load_onnx

        load_onnx(path)
        raise UnsupportedError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {one_line(error)}"
        ) from error


def _spec(item: Any) -> TensorSpec:
    if item.type not in _DTYPES:
        raise UnsupportedError(
            f"Input or output {item.name!r} is {item.type}; edgekit runs models whose inputs "
            "and outputs are tensors."
        )
    shape = tuple(dim if isinstance(dim, int | str) else "?" for dim in item.shape)
    return TensorSpec(name=item.name, shape=shape, dtype=_DTYPES[item.type])
