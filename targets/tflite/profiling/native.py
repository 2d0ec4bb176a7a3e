"""LiteRT's own profiler, which its Python interface does not reach.

``libLiteRt.so`` of the wheel exports it as C functions (litert/c/litert_compiled_model.h,
litert_profiler.h, options/litert_runtime_options.h and litert_profiler_event.h of
google-ai-edge/LiteRT); they are declared here by hand. A wrong declaration ends the process, so
this runs in one of its own, see `edgekit.targets.tflite.profiling.worker`.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import UnsupportedError

type Array = npt.NDArray[Any]

VERIFIED = "2.1"
"""Versions of LiteRT whose declarations these are."""

# tag, type, start and length in microseconds, memory before and after, two numbers, source
_EVENT = struct.Struct("<Qi4xQQ6q2Qi4x")
_EVENT_TYPES = frozenset(1 << bit for bit in range(9))
_RANKED_TYPE_WORDS = 256
_RANK_WORD, _RANK_BITS = 1, 0x7F
_CPU = 1
_READ, _WRITE = 0, 1

KERNEL_EVENT = 1 << 1
"""An operator of the graph by a kernel of LiteRT."""

DELEGATE_EVENTS = frozenset({1 << 2, 1 << 3})
"""An operator inside a delegate."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of LiteRT's profiler.

    Attributes:
        tag: What it calls the operator.
        type: A bit, see `KERNEL_EVENT` and `DELEGATE_EVENTS`.
        elapsed_us: Its length.
        index: Of the operator, in the graph or within the delegate's part.
        subgraph: The graph that it belongs to.
    """

    tag: str
    type: int
    elapsed_us: int
    index: int
    subgraph: int


class NativeModel:
    """A .tflite file in LiteRT's compiled model, with its profiler."""

    def __init__(self, path: Path, threads: int) -> None:
        """Loads the file for the CPU.

        Raises:
            UnsupportedError: If LiteRT refuses it or has no such profiler.
        """
        import ai_edge_litert

        library = Path(str(ai_edge_litert.__file__)).with_name("libLiteRt.so")
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise UnsupportedError(
                f"LiteRT's profiler cannot be reached: {library} cannot be loaded ({error})."
            ) from error
        self._environment = self._made("LiteRtCreateEnvironment", ctypes.c_int(0), None)
        self._model = self._made("LiteRtCreateModelFromFile", str(path).encode())
        self._compiled = self._made(
            "LiteRtCreateCompiledModel", self._environment, self._model, self._options(threads)
        )
        self._profiler = self._made("LiteRtCompiledModelGetProfiler", self._compiled)
        signature = self._made("LiteRtGetModelSignature", self._model, ctypes.c_size_t(0))
        self._inputs = self._buffers(signature, "Input")
        self._outputs = self._buffers(signature, "Output")

    def set_inputs(self, arrays: Mapping[str, Array], in_order: Sequence[Array]) -> None:
        """Fills the inputs.

        Args:
            arrays: By the name of the input in the file's signature.
            in_order: The same in the order of the graph, for names that the signature lacks.
        """
        for place, (name, buffer) in enumerate(self._inputs):
            array = np.ascontiguousarray(arrays.get(name, in_order[place]))
            address = self._made("LiteRtLockTensorBuffer", buffer, after=(ctypes.c_int(_WRITE),))
            ctypes.memmove(address.value or 0, array.ctypes.data, array.nbytes)
            self._call("LiteRtUnlockTensorBuffer", buffer)

    def output_bytes(self) -> dict[str, bytes]:
        """Content of the outputs after a run, by their names in the signature."""
        found = {}
        for name, buffer in self._outputs:
            size = ctypes.c_size_t()
            self._call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(size))
            address = self._made("LiteRtLockTensorBuffer", buffer, after=(ctypes.c_int(_READ),))
            found[name] = ctypes.string_at(address.value or 0, size.value)
            self._call("LiteRtUnlockTensorBuffer", buffer)
        return found

    def run(self) -> None:
        """Runs once."""
        count = ctypes.c_size_t
        self._call(
            "LiteRtRunCompiledModel",
            self._compiled,
            count(0),
            count(len(self._inputs)),
            _handles(self._inputs),
            count(len(self._outputs)),
            _handles(self._outputs),
        )

    def start(self) -> None:
        """Begins to record events, without those from before."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)

    def stop(self) -> tuple[Event, ...]:
        """Ends the record and gives its events in order.

        Raises:
            UnsupportedError: If they are not of the form that this module knows.
        """
        self._call("LiteRtStopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        # Twice the room, should events of another version be larger; `_event` then refuses them.
        held = ctypes.create_string_buffer(2 * _EVENT.size * max(1, count.value))
        self._call("LiteRtGetProfilerEvents", self._profiler, count, held)
        content = held.raw[: _EVENT.size * count.value]
        return tuple(_event(fields) for fields in _EVENT.iter_unpack(content))

    def _options(self, threads: int) -> Any:
        options = self._made("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, ctypes.c_int(_CPU))
        for kind, name, value in (
            ("Runtime", "LiteRtSetRuntimeOptionsEnableProfiling", ctypes.c_bool(True)),
            ("Cpu", "LiteRtSetCpuOptionsNumThread", ctypes.c_int(threads)),
        ):
            opaque = self._made(f"LiteRtCreate{kind}Options")
            found = self._made(f"LiteRtFind{kind}Options", opaque)
            self._call(name, found, value)
            self._call("LiteRtAddOpaqueOptions", options, opaque)
        return options

    def _buffers(self, signature: Any, side: str) -> list[tuple[str, Any]]:
        count = ctypes.c_size_t()
        self._call(f"LiteRtGetNumSignature{side}s", signature, ctypes.byref(count))
        found = []
        for place in map(ctypes.c_size_t, range(count.value)):
            name = self._made(f"LiteRtGetSignature{side}Name", signature, place)
            tensor = self._made(f"LiteRtGetSignature{side}TensorByIndex", signature, place)
            kind = (ctypes.c_int32 * _RANKED_TYPE_WORDS)()
            self._call("LiteRtGetRankedTensorType", tensor, kind)
            _close_sizes(kind)
            needs = self._made(
                f"LiteRtGetCompiledModel{side}BufferRequirements",
                self._compiled,
                ctypes.c_size_t(0),
                place,
            )
            buffer = self._made(
                "LiteRtCreateManagedTensorBufferFromRequirements", self._environment, kind, needs
            )
            found.append((ctypes.string_at(name.value or 0).decode(), buffer))
        return found

    def _made(self, function: str, *arguments: Any, after: tuple[Any, ...] = ()) -> Any:
        """Calls a function that gives its result through a pointer."""
        result = ctypes.c_void_p()
        self._call(function, *arguments, ctypes.byref(result), *after)
        return result

    def _call(self, function: str, *arguments: Any) -> None:
        try:
            called = getattr(self._library, function)
        except AttributeError:
            raise UnsupportedError(
                f"This version of LiteRT has no function {function}; edgekit knows the profiler "
                f"of LiteRT {VERIFIED}."
            ) from None
        called.restype = ctypes.c_int
        status = called(*arguments)
        if status != 0:
            raise UnsupportedError(f"LiteRT's {function} failed with status {status}.")


def _handles(buffers: Sequence[tuple[str, Any]]) -> Any:
    return (ctypes.c_void_p * len(buffers))(*(buffer for _, buffer in buffers))


def _close_sizes(kind: Any) -> None:
    """Puts 1 for open sizes: element type, a word with the rank, then the sizes."""
    rank = kind[_RANK_WORD] & _RANK_BITS
    for place in range(_RANK_WORD + 1, _RANK_WORD + 1 + rank):
        kind[place] = max(1, kind[place])


def _event(fields: tuple[Any, ...]) -> Event:
    tag, kind, _, elapsed_us, *_, index, subgraph, source = fields
    if kind not in _EVENT_TYPES or source not in (0, 1, 2) or not tag:
        raise UnsupportedError(
            "The events of LiteRT's profiler are not of the form that edgekit knows, that of "
            f"LiteRT {VERIFIED}."
        )
    text = ctypes.string_at(tag).decode(errors="replace")
    return Event(text, kind, elapsed_us, index, subgraph)
