"""A .tflite file with its quantization parameters, and cuts of it that run alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.sparse_storage import whole_tensor
from edgekit.targets.tflite.model_file import read_model_file
from edgekit.targets.tflite.nibbles import unpack_nibbles
from edgekit.targets.tflite.packing import pack_model
from edgekit.targets.tflite.repacking import unpack_model

type Array = npt.NDArray[Any]

_DTYPES = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.FLOAT16: "float16",
    schema.TensorType.INT4: "int4",
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
        scales: float32; empty where it is not quantized; those of blocks in the order of the
            blocks.
        zero_points: int64, as many.
        data: Content of a constant, 4-bit integers as int8; None for an activation.
        block_size: Elements of its last axis that share a scale; 0 unless there are blocks.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: npt.NDArray[np.float32]
    zero_points: npt.NDArray[np.int64]
    data: Array | None
    block_size: int = 0


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

    def watched(self, tensors: Sequence[int]) -> bytes:
        """The whole model with these tensors as its outputs, in this order."""
        model, graph = _shallow(self.raw), _shallow(self.raw.subgraphs[0])
        graph.outputs = [*tensors]
        model.subgraphs = [graph, *self.raw.subgraphs[1:]]
        model.signatureDefs = []
        return pack_model(model)

    def _blocks(self, tensor: int) -> Any:
        return _block_details(self.raw.subgraphs[0].tensors[tensor])

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
        used.update(details.scales for t in tuple(used) if (details := self._blocks(t)))
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
            if self._blocks(tensor) is not None:
                copy.quantization = _shallow(copy.quantization)
                copy.quantization.details = _shallow(copy.quantization.details)
                copy.quantization.details.scales = place[copy.quantization.details.scales]
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
    if content is not None and len(content) and dtype == "int4":
        data = unpack_nibbles(bytes(content), int(np.prod(shape))).reshape(shape)
    elif content is not None and len(content) and dtype != "other":
        stored = np.frombuffer(bytes(content), dtype)
        sparsity = tensor.sparsity
        data = stored.reshape(shape) if sparsity is None else whole_tensor(sparsity, stored, shape)
    scales, points = _parameters(model, tensor)
    details = _block_details(tensor)
    return StoredTensor(
        index=index,
        name=tensor.name.decode() if tensor.name else "",
        shape=shape,
        dtype=dtype,
        scales=scales,
        zero_points=points,
        data=data,
        block_size=0 if details is None else int(details.blockSize),
    )


def _parameters(model: Any, tensor: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Scales and zero points; those of blocks lie in a tensor of their own."""
    details = _block_details(tensor)
    if details is not None:
        stored = model.subgraphs[0].tensors[details.scales]
        halves = np.frombuffer(bytes(model.buffers[stored.buffer].data), np.float16)
        return halves.astype(np.float32), np.zeros(halves.size, np.int64)
    quantization = tensor.quantization
    scales = None if quantization is None else quantization.scale
    points = None if quantization is None else quantization.zeroPoint
    return (
        np.array(() if scales is None else scales, np.float32),
        np.array(() if points is None else points, np.int64),
    )


def _block_details(tensor: Any) -> Any:
    """What the file says of a tensor's blocks; None where it has none."""
    quantization = tensor.quantization
    blockwise = schema.QuantizationDetails.BlockwiseQuantization
    if quantization is None or quantization.detailsType != blockwise:
        return None
    return quantization.details


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
