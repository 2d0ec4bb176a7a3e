"""A .tflite file with its quantization parameters, and cuts of it that run alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.model_file import read_model_file
from edgekit.targets.tflite.packing import pack_model
from edgekit.targets.tflite.repacking import unpack_model

type Array = npt.NDArray[Any]

_DTYPES = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.FLOAT16: "float16",
    schema.TensorType.INT8: "int8",
    schema.TensorType.UINT8: "uint8",
    schema.TensorType.INT16: "int16",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT64: "int64",
    schema.TensorType.BOOL: "bool",
}
_INTEGERS = frozenset({"int8", "uint8", "int16"})


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of the file.

    Attributes:
        index: Its place.
        name: Its name.
        shape: Stored shape, 1 for a dynamic dim.
        dtype: NumPy name of the element type.
        scales: float32; empty where it is not quantized.
        zero_points: int64, as many.
        data: Content of a constant; None for an activation.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: npt.NDArray[np.float32]
    zero_points: npt.NDArray[np.int64]
    data: Array | None


@dataclass(frozen=True, slots=True)
class StoredModel:
    """The main graph of a .tflite file.

    Attributes:
        tensors: In the file's order.
        operators: Builtin name, input and output tensors of each operator.
    """

    raw: Any
    tensors: tuple[StoredTensor, ...]
    operators: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    def constants_named(self, name: str) -> list[StoredTensor]:
        """Constants of that name, with the copies in other storage orders (``name_1`` ...)."""
        return [
            tensor
            for tensor in self.tensors
            if tensor.data is not None and _is_copy(tensor.name, name)
        ]

    def integer_activations(self) -> list[StoredTensor]:
        """Quantized activations."""
        return [t for t in self.tensors if t.data is None and t.dtype in _INTEGERS]

    def writer_of(self, tensor: int) -> int | None:
        """The operator that writes a tensor."""
        for index, (_, _, outputs) in enumerate(self.operators):
            if tensor in outputs:
                return index
        return None

    def cut(self, operators: Sequence[int], inputs: Sequence[int], output: int) -> bytes:
        """A model of these operators alone.

        Args:
            operators: Indices, in order.
            inputs: Activation tensors that become the model's inputs.
            output: Tensor that becomes its output.
        """
        source = self.raw.subgraphs[0]
        used = {output, *inputs}
        for index in operators:
            _, read, written = self.operators[index]
            used.update(tensor for tensor in (*read, *written) if tensor >= 0)
        order = sorted(used)
        place = {tensor: position for position, tensor in enumerate(order)}
        place[-1] = -1
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version = self.raw.version
        model.operatorCodes = self.raw.operatorCodes
        model.buffers = [schema.BufferT()]
        graph.tensors = []
        for tensor in order:
            copy = _shallow(source.tensors[tensor])
            if self.tensors[tensor].data is not None:
                model.buffers.append(self.raw.buffers[copy.buffer])
                copy.buffer = len(model.buffers) - 1
            else:
                copy.buffer = 0
            graph.tensors.append(copy)
        graph.operators = []
        for index in operators:
            copy = _shallow(source.operators[index])
            copy.inputs = [place[int(tensor)] for tensor in copy.inputs]
            copy.outputs = [place[int(tensor)] for tensor in copy.outputs]
            graph.operators.append(copy)
        graph.inputs = [place[tensor] for tensor in inputs]
        graph.outputs = [place[output]]
        model.subgraphs = [graph]
        return pack_model(model)


def read_stored_model(path: Path) -> StoredModel:
    """Reads a .tflite file.

    Raises:
        InputError: If it is missing or damaged.
        MissingToolError: If LiteRT is not installed.
    """
    file = read_model_file(path)
    raw = unpack_model(path.read_bytes())
    graph = raw.subgraphs[0]
    tensors = tuple(_tensor(raw, index, item) for index, item in enumerate(graph.tensors))
    operators = tuple((op.name, op.inputs, op.outputs) for op in file.main.operators)
    return StoredModel(raw, tensors, operators)


def _tensor(model: Any, index: int, tensor: Any) -> StoredTensor:
    dtype = _DTYPES.get(tensor.type, "other")
    content = model.buffers[tensor.buffer].data if tensor.buffer else None
    shape = tuple(int(dim) for dim in (tensor.shape if tensor.shape is not None else ()))
    data = None
    if content is not None and len(content) and dtype != "other":
        data = np.frombuffer(bytes(content), dtype).reshape(shape)
    quantization = tensor.quantization
    scales = None if quantization is None else quantization.scale
    points = None if quantization is None else quantization.zeroPoint
    return StoredTensor(
        index=index,
        name=tensor.name.decode() if tensor.name else "",
        shape=shape,
        dtype=dtype,
        scales=np.array(() if scales is None else scales, np.float32),
        zero_points=np.array(() if points is None else points, np.int64),
        data=data,
    )


def _is_copy(stored: str, name: str) -> bool:
    if stored == name:
        return True
    head, _, number = stored.rpartition("_")
    return head == name and number.isdigit()


def _shallow(record: Any) -> Any:
    """A record of the generated classes with the same fields."""
    copy = type(record)()
    copy.__dict__.update(record.__dict__)
    return copy
