"""Signature of a graph, and the element types ONNX and NumPy share."""

from __future__ import annotations

from typing import get_args

import onnx_ir as ir

from edgekit.core.signature import Dim, DType, ModelSignature, TensorSpec
from edgekit.errors import UnsupportedError

BATCH = "batch"
"""Name of the symbolic batch dim in a canonical graph."""

_NUMPY_NAMES: dict[ir.DataType, DType] = {
    ir.DataType.FLOAT: "float32",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.DOUBLE: "float64",
    ir.DataType.BFLOAT16: "bfloat16",
    ir.DataType.INT8: "int8",
    ir.DataType.UINT8: "uint8",
    ir.DataType.INT16: "int16",
    ir.DataType.UINT16: "uint16",
    ir.DataType.INT32: "int32",
    ir.DataType.UINT32: "uint32",
    ir.DataType.INT64: "int64",
    ir.DataType.UINT64: "uint64",
    ir.DataType.BOOL: "bool",
    ir.DataType.STRING: "string",
}
_ONNX_TYPES = {name: onnx_type for onnx_type, name in _NUMPY_NAMES.items()}


def numpy_name(dtype: ir.DataType) -> DType:
    """NumPy name of an ONNX element type.

    Raises:
        UnsupportedError: If edgekit has no name for it, for example a 4-bit type.
    """
    if dtype not in _NUMPY_NAMES:
        raise UnsupportedError(
            f"Element type {dtype} cannot be an input or output of a model; "
            f"accepted: {', '.join(get_args(DType))}"
        )
    return _NUMPY_NAMES[dtype]


def onnx_type(name: DType) -> ir.DataType:
    """ONNX element type of a NumPy name."""
    return _ONNX_TYPES[name]


def dims_of(value: ir.Value) -> tuple[Dim, ...] | None:
    """Sizes of a value; a symbolic dim as its name, an unknown dim as ``"?"``.

    Returns:
        None when not even the rank is known.
    """
    if value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else (dim.value or "?") for dim in value.shape)


def static_shape(value: ir.Value) -> tuple[int, ...] | None:
    """Sizes of a value, or None when any is unknown or symbolic."""
    if value.shape is None:
        return None
    sizes = tuple(dim for dim in value.shape if isinstance(dim, int))
    return sizes if len(sizes) == len(value.shape) else None


def _spec(value: ir.Value, role: str) -> TensorSpec:
    if value.dtype is None or not isinstance(value.type, ir.TensorType | None):
        raise UnsupportedError(
            f"{role} {value.name!r} is no tensor (type {value.type}); "
            "edgekit handles models whose inputs and outputs are tensors"
        )
    dims = dims_of(value)
    if dims is None:
        raise UnsupportedError(
            f"The rank of {role} {value.name!r} is unknown and cannot be inferred; "
            f"export the model with a shape for it"
        )
    return TensorSpec(name=value.name or "", shape=dims, dtype=numpy_name(value.dtype))


def input_specs(model: ir.Model) -> tuple[TensorSpec, ...]:
    """Inputs of a graph in order; initializers are not inputs.

    Raises:
        UnsupportedError: If one is no tensor, or its rank is unknown.
    """
    weights = model.graph.initializers.keys()
    return tuple(
        _spec(value, "input") for value in model.graph.inputs if value.name not in weights
    )


def signature_of(model: ir.Model) -> ModelSignature:
    """Inputs and outputs of a graph, in graph order; initializers are not inputs.

    Raises:
        UnsupportedError: If one is no tensor, or its rank is unknown.
    """
    return ModelSignature(
        inputs=input_specs(model),
        outputs=tuple(_spec(value, "output") for value in model.graph.outputs),
    )
