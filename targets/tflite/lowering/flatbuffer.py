"""Writes a TFLite model as a flatbuffer.

The schema is TensorFlow Lite's ``schema.fbs`` version 3, in the generated form that
``ai_edge_litert`` ships.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.block_scales import add_block_scales
from edgekit.targets.tflite.lowering.operator_versions import operator_version, typed_options
from edgekit.targets.tflite.lowering.quantization import Quantization, TensorType
from edgekit.targets.tflite.lowering.sparse_storage import compressed_rows
from edgekit.targets.tflite.nibbles import pack_nibbles
from edgekit.targets.tflite.packing import pack_model

type Array = npt.NDArray[Any]
type Dim = int | str

_PLACEHOLDER_CODE_LIMIT = 127
"""Builtin codes above this do not fit the schema's first, one-byte field."""

_BUILTIN_NAMES = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")
}

TENSOR_TYPES: Mapping[str, int] = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "float64": schema.TensorType.FLOAT64,
    "int4": schema.TensorType.INT4,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
}


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator to write.

    Attributes:
        name: Builtin name, for example ``"CONV_2D"``.
        options: Options object of the generated schema; None where the op has none.
        version: What it needs whatever the types are; those may raise it.
    """

    name: str
    options: Any = None
    version: int = 1


QUANTIZERS = frozenset({"QUANTIZE", "DEQUANTIZE"})
"""Operators that convert between floats and integers."""


@dataclass(frozen=True, slots=True)
class WrittenOperator:
    """An operator that was written.

    Attributes:
        name: Builtin name.
        record: Its record, whose inputs and outputs may be changed.
    """

    name: str
    record: Any

    @property
    def inputs(self) -> list[int]:
        """Tensors it reads."""
        return list(self.record.inputs)

    @property
    def outputs(self) -> list[int]:
        """Tensors it writes."""
        return list(self.record.outputs)


@dataclass(slots=True)
class FlatbufferModel:
    """A TFLite model with one subgraph, under construction.

    Attributes:
        description: Text in the file's description field.
    """

    description: str
    _tensors: list[Any] = field(default_factory=list)
    _types: list[TensorType] = field(default_factory=list)
    _shapes: list[tuple[Dim, ...]] = field(default_factory=list)
    _operators: list[Any] = field(default_factory=list)
    _codes: dict[tuple[int, int], int] = field(default_factory=dict)
    _buffers: list[bytes] = field(default_factory=lambda: [b""])
    _buffer_of: dict[bytes, int] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)

    def add_tensor(
        self,
        name: str,
        shape: Sequence[Dim],
        tensor_type: TensorType,
        data: Array | None = None,
    ) -> int:
        """Adds a tensor and returns its index.

        Args:
            name: Wanted name; a number is appended if it is taken.
            shape: Stored shape; a string is a symbolic dim, written as 1 with signature -1.
            tensor_type: Element type with its quantization.
            data: Constant content with that shape, or None for an activation; 4-bit integers
                an element each.
        """
        tensor = schema.TensorT()
        tensor.name = self._unique(name)
        tensor.shape = [1 if isinstance(dim, str) else int(dim) for dim in shape]
        if any(isinstance(dim, str) for dim in shape):
            tensor.shapeSignature = [-1 if isinstance(dim, str) else int(dim) for dim in shape]
        tensor.type = TENSOR_TYPES[tensor_type.dtype]
        if tensor_type.quantization is not None and not tensor_type.quantization.block_size:
            tensor.quantization = _quantization(tensor_type.quantization)
        tensor.hasRank = True
        if data is not None and tensor_type.dtype == "int4":
            data = pack_nibbles(data)
        if data is not None and tensor_type.sparse:
            tensor.sparsity, data = compressed_rows(data)
        tensor.buffer = 0 if data is None else self._add_buffer(data)
        self._tensors.append(tensor)
        self._types.append(tensor_type)
        self._shapes.append(tuple(shape))
        return len(self._tensors) - 1

    def rename(self, tensor: int, name: str) -> None:
        """Gives a tensor the exact name; a tensor that has it already is renamed."""
        current = self._tensors[tensor].name
        if current == name:
            return
        for other in self._tensors:
            if other.name == name:
                other.name = self._unique(f"{name}/stored")
        self._names.discard(current)
        self._names.add(name)
        self._tensors[tensor].name = name

    def type_of(self, tensor: int) -> TensorType:
        """Element type of a tensor."""
        return self._types[tensor]

    def shape_of(self, tensor: int) -> tuple[Dim, ...]:
        """Stored shape of a tensor, symbolic dims as strings."""
        return self._shapes[tensor]

    def name_of(self, tensor: int) -> str:
        """The name of a tensor."""
        return str(self._tensors[tensor].name)

    def add_operator(
        self, operator: Operator, inputs: Sequence[int], outputs: Sequence[int]
    ) -> None:
        """Appends an operator; an input index of -1 stands for an omitted optional input."""
        code = getattr(schema.BuiltinOperator, operator.name)
        read = [self._types[index] if index >= 0 else None for index in inputs]
        written = [self._types[index] for index in outputs]
        options = typed_options(operator.name, operator.options, read)
        key = (code, operator_version(operator.name, operator.version, read, written))
        record = schema.OperatorT()
        record.opcodeIndex = self._codes.setdefault(key, len(self._codes))
        record.inputs = list(inputs)
        record.outputs = list(outputs)
        if options is not None:
            union = type(options).__name__.removesuffix("T")
            record.builtinOptionsType = getattr(schema.BuiltinOptions, union, 0)
            if record.builtinOptionsType:
                record.builtinOptions = options
            else:
                record.builtinOptions2Type = getattr(schema.BuiltinOptions2, union)
                record.builtinOptions2 = options
        self._operators.append(record)

    @property
    def operator_count(self) -> int:
        """Number of operators written so far."""
        return len(self._operators)

    def float_tensors_since(self, count: int) -> list[int]:
        """First outputs of the operators written after the first ``count`` that touch floats.

        Those that only convert between floats and integers are left out.
        """
        return [
            operator.outputs[0]
            for operator in self._written()[count:]
            if operator.name not in QUANTIZERS
            and any(
                self._types[tensor].dtype == "float32" and not self._tensors[tensor].buffer
                for tensor in (*operator.inputs, *operator.outputs)
                if tensor >= 0
            )
        ]

    def retype(self, tensor: int, tensor_type: TensorType) -> None:
        """Gives an activation another element type."""
        record = self._tensors[tensor]
        record.type = TENSOR_TYPES[tensor_type.dtype]
        record.quantization = None
        if tensor_type.quantization is not None:
            record.quantization = _quantization(tensor_type.quantization)
        self._types[tensor] = tensor_type

    def readers(self, tensor: int) -> list[WrittenOperator]:
        """Operators that read a tensor, in order."""
        return [op for op in self._written() if tensor in op.inputs]

    def writer(self, tensor: int) -> WrittenOperator | None:
        """The operator that writes a tensor; None for inputs and constants."""
        return next((op for op in self._written() if tensor in op.outputs), None)

    def remove_operator(self, operator: WrittenOperator) -> None:
        """Takes an operator out; others must not read its outputs any more."""
        self._operators.remove(operator.record)

    def _written(self) -> list[WrittenOperator]:
        names = {place: code for (code, _), place in self._codes.items()}
        return [
            WrittenOperator(_BUILTIN_NAMES[names[op.opcodeIndex]], op) for op in self._operators
        ]

    def needed(self, outputs: Collection[int]) -> tuple[list[Any], set[int]]:
        """Operators that the outputs depend on, in order, and the tensors that they touch.

        Args:
            outputs: Tensors that the model gives.
        """
        read = set(outputs)
        kept = []
        for record in reversed(self._operators):
            if not read.isdisjoint(record.outputs):
                kept.append(record)
                read.update(index for index in record.inputs if index >= 0)
        touched = read.union(*(record.outputs for record in kept))
        return kept[::-1], touched

    def build(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
        """Serialises the model; what no output depends on is left out.

        Args:
            inputs: Tensor index by signature name, in order.
            outputs: Tensor index by signature name, in order.

        Returns:
            The file's bytes; equal calls give equal bytes.
        """
        operators, touched = self.needed(outputs.values())
        tensors = sorted(touched.union(inputs.values()))
        buffers = sorted({0, *(self._tensors[tensor].buffer for tensor in tensors)})
        place = {tensor: position for position, tensor in enumerate(tensors)}
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version = 3
        model.description = self.description
        model.buffers = [_buffer(self._buffers[index]) for index in buffers]
        graph.name = "main"
        graph.tensors = [copy(self._tensors[tensor]) for tensor in tensors]
        buffer_place = {buffer: position for position, buffer in enumerate(buffers)}
        for record in graph.tensors:
            record.buffer = buffer_place[record.buffer]
        codes = list(self._codes)
        used = sorted({record.opcodeIndex for record in operators})
        model.operatorCodes = [_operator_code(*codes[index]) for index in used]
        graph.operators = [_moved(record, place, used) for record in operators]
        stored_inputs = {name: place[tensor] for name, tensor in inputs.items()}
        stored_outputs = {name: place[tensor] for name, tensor in outputs.items()}
        graph.inputs, graph.outputs = list(stored_inputs.values()), list(stored_outputs.values())
        model.subgraphs = [graph]
        model.signatureDefs = [_signature(stored_inputs, stored_outputs)]
        add_block_scales(model, [self._types[tensor] for tensor in tensors])
        return pack_model(model)

    def _unique(self, name: str) -> str:
        candidate, number = name, 1
        while candidate in self._names:
            candidate = f"{name}_{number}"
            number += 1
        self._names.add(candidate)
        return candidate

    def _add_buffer(self, data: Array) -> int:
        raw = np.ascontiguousarray(data).tobytes()
        if not raw:
            return 0
        known = self._buffer_of.get(raw)
        if known is None:
            known = self._buffer_of[raw] = len(self._buffers)
            self._buffers.append(raw)
        return known


def _buffer(data: bytes) -> Any:
    record = schema.BufferT()
    record.data = data or None
    return record


def _moved(record: Any, place: Mapping[int, int], codes: Sequence[int]) -> Any:
    """An operator's record for tensors and operator codes at other places."""
    moved = copy(record)
    moved.inputs = [place[index] if index >= 0 else index for index in record.inputs]
    moved.outputs = [place[index] for index in record.outputs]
    moved.opcodeIndex = codes.index(record.opcodeIndex)
    return moved


def _operator_code(code: int, version: int) -> Any:
    record = schema.OperatorCodeT()
    record.builtinCode = code
    record.deprecatedBuiltinCode = min(code, _PLACEHOLDER_CODE_LIMIT)
    record.version = version
    return record


def _quantization(quantization: Quantization) -> Any:
    record = schema.QuantizationParametersT()
    record.scale = np.array(quantization.scales, np.float32)
    record.zeroPoint = np.array(quantization.zero_points, np.int64)
    record.quantizedDimension = quantization.axis or 0
    return record


def _signature(inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Any:
    def entries(tensors: Mapping[str, int]) -> list[Any]:
        result = []
        for name, index in tensors.items():
            entry = schema.TensorMapT()
            entry.name = name
            entry.tensorIndex = index
            result.append(entry)
        return result

    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.inputs = entries(inputs)
    signature.outputs = entries(outputs)
    signature.subgraphIndex = 0
    return signature
