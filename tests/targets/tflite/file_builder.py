"""Small .tflite files written with LiteRT's own schema classes, independent of edgekit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

type Array = npt.NDArray[Any]

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int4": schema.TensorType.INT4,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "complex64": schema.TensorType.COMPLEX64,
}


@dataclass
class FileBuilder:
    """Collects tensors and operators of one graph, then gives the file's bytes."""

    model: Any = field(default_factory=schema.ModelT)
    graph: Any = field(default_factory=schema.SubGraphT)

    def __post_init__(self) -> None:
        self.model.version = 3
        self.model.description = "made for a test"
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.model.metadata = []
        self.model.signatureDefs = []
        self.graph.tensors = []
        self.graph.operators = []

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str = "float32",
        *,
        data: Array | None = None,
        scale: float | None = None,
    ) -> int:
        """Adds a tensor; -1 in ``shape`` makes the axis dynamic. Gives its index."""
        tensor = schema.TensorT()
        tensor.name = name
        tensor.shape = [1 if size < 0 else size for size in shape]
        tensor.hasRank = True
        if any(size < 0 for size in shape):
            tensor.shapeSignature = list(shape)
        tensor.type = TYPES[dtype]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = [scale]
            tensor.quantization.zeroPoint = [0]
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, array: Array, *, scale: float | None = None) -> int:
        """Adds a tensor with content."""
        return self.tensor(name, array.shape, array.dtype.name, data=array, scale=scale)

    def op(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Mapping[str, int] | None = None,
        *,
        options_type: str = "",
        custom: bool = False,
    ) -> None:
        """Adds an operator by builtin name, or a custom one."""
        code = schema.OperatorCodeT()
        if custom:
            code.builtinCode = schema.BuiltinOperator.CUSTOM
            code.customCode = name
        else:
            code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes)
        operator.inputs = list(inputs)
        operator.outputs = list(outputs)
        if options_type:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options_type)
            operator.builtinOptions = getattr(schema, f"{options_type}T")()
            for key, value in (options or {}).items():
                assert hasattr(operator.builtinOptions, key)
                setattr(operator.builtinOptions, key, value)
        self.model.operatorCodes.append(code)
        self.graph.operators.append(operator)

    def signature(
        self, inputs: Mapping[str, int], outputs: Mapping[str, int], key: str = "serving_default"
    ) -> None:
        """Adds a signature def of the graph."""
        item = schema.SignatureDefT()
        item.signatureKey = key
        item.inputs = [_tensor_map(name, index) for name, index in inputs.items()]
        item.outputs = [_tensor_map(name, index) for name, index in outputs.items()]
        item.subgraphIndex = 0
        self.model.signatureDefs.append(item)

    def metadata(self, name: str, content: bytes) -> None:
        """Adds a metadata entry."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        entry = schema.MetadataT()
        entry.name = name
        entry.buffer = len(self.model.buffers)
        self.model.buffers.append(buffer)
        self.model.metadata.append(entry)

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The bytes of the file."""
        self.graph.inputs = list(inputs)
        self.graph.outputs = list(outputs)
        self.model.subgraphs = [self.graph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def _tensor_map(name: str, index: int) -> Any:
    item = schema.TensorMapT()
    item.name = name
    item.tensorIndex = index
    return item


def weights(*shape: int, seed: int = 0) -> Array:
    """Fixed normal float32 values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def classifier(*, batch: int = -1, size: int = 8, channels: int = 3, classes: int = 4) -> bytes:
    """CONV_2D 3x3 (6 filters), MEAN over the image, FULLY_CONNECTED.

    Input ``image`` float32[batch, size, size, channels], output ``scores``
    float32[batch, classes]; signature def with these names.
    """
    file = FileBuilder()
    image = file.tensor("image", (batch, size, size, channels))
    kernel = file.constant("kernel", weights(6, 3, 3, channels, seed=1))
    bias = file.constant("bias", weights(6, seed=2))
    features = file.tensor("features", (batch, size, size, 6))
    file.op(
        "CONV_2D",
        (image, kernel, bias),
        (features,),
        {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1},
        options_type="Conv2DOptions",
    )
    axes = file.constant("axes", np.array([1, 2], np.int32))
    pooled = file.tensor("pooled", (batch, 6))
    file.op("MEAN", (features, axes), (pooled,), {"keepDims": 0}, options_type="ReducerOptions")
    matrix = file.constant("matrix", weights(classes, 6, seed=3))
    offset = file.constant("offset", weights(classes, seed=4))
    scores = file.tensor("scores", (batch, classes))
    file.op(
        "FULLY_CONNECTED",
        (pooled, matrix, offset),
        (scores,),
        options_type="FullyConnectedOptions",
    )
    file.signature({"image": image}, {"scores": scores})
    return file.finish((image,), (scores,))


def classifier_reference(images: Array, classes: int = 4) -> Array:
    """What `classifier` computes, in NumPy; images float32[N, H, W, C]."""
    count, height, width, channels = images.shape
    kernel, bias = weights(6, 3, 3, channels, seed=1), weights(6, seed=2)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    features = np.zeros((count, height, width, 6), np.float64)
    for row in range(3):
        for column in range(3):
            window = padded[:, row : row + height, column : column + width]
            features += np.einsum("nhwc,oc->nhwo", window, kernel[:, row, column])
    pooled = (features + bias).mean(axis=(1, 2))
    result: Array = pooled @ weights(classes, 6, seed=3).T + weights(classes, seed=4)
    return result
