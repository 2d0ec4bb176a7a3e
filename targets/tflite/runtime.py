"""Runs .tflite files with LiteRT's interpreter.

The file is checked by edgekit's own reader first: the interpreter reads without looking at
the file's end, and a truncated file kills the process (LiteRT 2.1.2).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.core.signature import ModelSignature
from edgekit.core.target import RuntimeConfig
from edgekit.errors import InputError, MissingToolError, UnsupportedError, UsageError
from edgekit.targets.tflite.delegation import Delegation, delegation_of
from edgekit.targets.tflite.feeds import check_feeds, from_stored, to_stored
from edgekit.targets.tflite.metadata import canonical_signature
from edgekit.targets.tflite.model_file import read_model_file
from edgekit.targets.tflite.native_output import quiet_native_stderr

if TYPE_CHECKING:
    import numpy.typing as npt

    type Array = npt.NDArray[Any]

RUNTIME_PACKAGE = "ai_edge_litert"
Kernels = Literal["default", "builtin", "reference"]
"""``default``: XNNPACK where it can, else builtin kernels; ``builtin``: no delegate;
``reference``: the plain, slow kernels that define what an operator means."""


def runtime_missing() -> str:
    """Why LiteRT cannot be used; empty when it can. Does not import it."""
    if importlib.util.find_spec(RUNTIME_PACKAGE) is None:
        return str(_missing())
    return ""


def _missing() -> MissingToolError:
    return MissingToolError.for_extra(RUNTIME_PACKAGE, "tflite", "run a .tflite file")


class LiteRTSession:
    """A .tflite file in LiteRT's interpreter; implements `edgekit.core.target.Session`.

    Arrays go in and out in the axis order of the canonical graph where the file bears
    edgekit's metadata, else in the order of the file. Not thread-safe.

    Attributes:
        delegation: What XNNPACK took over at the shapes that the file states.
    """

    def __init__(self, path: Path, config: RuntimeConfig, kernels: Kernels = "default") -> None:
        """Loads the file.

        Args:
            path: The .tflite file.
            config: Threads.
            kernels: Which implementation runs the operators. ``"reference"`` is known to
                end the process at times; use `reference_session.ReferenceSession` for it.

        Raises:
            InputError: If the file is missing, damaged or of another format.
            UnsupportedError: If LiteRT refuses the file, for example a custom operator.
            MissingToolError: If LiteRT is not installed.
        """
        file = read_model_file(path)
        self._path = path
        self._config = config
        self._kernels = kernels
        self._signature = canonical_signature(file)
        # Tensors are addressed by index: names are not unique in files of other tools.
        self._inputs = [index for _, index in file.named_inputs()]
        self._outputs = [index for _, index in file.named_outputs()]
        try:
            self._interpreter: Any = self._open()
            self._shapes = self._stored_shapes()
            self.delegation: Delegation = delegation_of(self._interpreter._get_ops_details())
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path.name} is damaged: the name of a tensor or operator in it is no UTF-8 "
                "text. It was altered; get it again."
            ) from error

    @property
    def signature(self) -> ModelSignature:
        """Inputs and outputs in the canonical graph's axis order."""
        return self._signature

    @property
    def runtime(self) -> str:
        """For example ``"LiteRT 2.1.2 (XNNPACK)"``; partial delegation is spelt out."""
        import ai_edge_litert

        return f"LiteRT {ai_edge_litert.__version__} ({self._kernel_text()})"

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs once; see `edgekit.core.target.Session.run`.

        Raises:
            InputError: If a feed is missing or has the wrong shape or dtype.
            UnsupportedError: If LiteRT fails at these shapes.
        """
        outputs = self.prepare(feeds)()
        return {
            spec.name: from_stored(spec, array)
            for spec, array in zip(self._signature.outputs, outputs, strict=True)
        }

    def prepare(self, feeds: Mapping[str, Array]) -> Callable[[], list[Array]]:
        """Converts feeds once, for runs to be timed.

        Returns:
            A call that copies the inputs in, invokes the interpreter and copies the outputs
            out, all in the file's own axis order, as an application does that holds its
            data that way.

        Raises:
            InputError: If a feed is missing or has the wrong shape or dtype.
            UnsupportedError: If LiteRT fails at these shapes.
        """
        if self._interpreter is None:
            raise UsageError(f"The session of {self._path.name} is closed; load it again.")
        arrays = self.stored_feeds(feeds)
        self._resize([array.shape for array in arrays])
        stored = list(zip(self._inputs, arrays, strict=True))
        interpreter = self._interpreter

        def invoke() -> list[Array]:
            for index, array in stored:
                interpreter.set_tensor(index, array)
            try:
                interpreter.invoke()
            except RuntimeError as error:
                self._reopen()
                raise self._refusal("run", error) from error
            return [interpreter.get_tensor(index) for index in self._outputs]

        return invoke

    def stored_feeds(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Feeds as the file's inputs hold them, in its order.

        Raises:
            InputError: If a feed is missing or has the wrong shape or dtype.
        """
        check_feeds(self._signature, feeds)
        details = {item["index"]: item for item in self._interpreter.get_input_details()}
        return [
            to_stored(spec, feeds[spec.name], details[index]["dtype"]().dtype)
            for spec, index in zip(self._signature.inputs, self._inputs, strict=True)
        ]

    def close(self) -> None:
        """Frees the interpreter; the session cannot be used afterwards."""
        self._interpreter = None

    def _open(self) -> Any:
        try:
            from ai_edge_litert import interpreter as litert
        except ImportError as error:
            raise _missing() from error
        resolver = {
            "default": litert.OpResolverType.AUTO,
            "builtin": litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            "reference": litert.OpResolverType.BUILTIN_REF,
        }[self._kernels]
        with quiet_native_stderr():
            try:
                interpreter = litert.Interpreter(
                    model_path=str(self._path),
                    num_threads=self._config.threads,
                    experimental_op_resolver_type=resolver,
                )
                interpreter.allocate_tensors()
            except UnicodeDecodeError:  # a ValueError, but not LiteRT's verdict on the file
                raise
            except (ValueError, RuntimeError) as error:
                raise self._refusal("load", error) from error
        return interpreter

    def _reopen(self) -> None:
        """Starts afresh: after a failure the interpreter is not usable."""
        self._interpreter = self._open()
        self._shapes = self._stored_shapes()

    def _stored_shapes(self) -> list[tuple[int, ...]]:
        details = {item["index"]: item for item in self._interpreter.get_input_details()}
        return [tuple(int(size) for size in details[index]["shape"]) for index in self._inputs]

    def _resize(self, shapes: list[tuple[int, ...]]) -> None:
        """Gives the inputs new sizes; costs an allocation, so only where they differ."""
        if shapes == self._shapes:
            return
        try:
            with quiet_native_stderr():
                for index, shape in zip(self._inputs, shapes, strict=True):
                    # Strict: a size that the file fixes stays; operators may rely on it.
                    self._interpreter.resize_tensor_input(index, list(shape), strict=True)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            self._reopen()
            raise self._refusal(f"take the input shapes {shapes} in", error) from error
        self._shapes = shapes

    def _refusal(self, action: str, error: Exception) -> UnsupportedError:
        reason = " ".join(str(error).split()).rstrip(".")
        return UnsupportedError(
            f"LiteRT cannot {action} {self._path.name}: {reason}. Check with `edgekit inspect` "
            "which operators it holds; custom operators and operators newer than the runtime "
            "cannot run."
        )

    def _kernel_text(self) -> str:
        if self._kernels == "reference":
            return "reference kernels"
        if self.delegation.partitions == 0:
            return "builtin kernels"
        if self.delegation.complete:
            return "XNNPACK"
        return f"XNNPACK for {self.delegation}"
