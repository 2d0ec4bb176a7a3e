"""QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import (
    Refusal,
    int_attribute,
    normalized_axis,
    optional_input,
    required_input,
)
from edgekit.targets.coreml.lowering.emitter import (
    Emitter,
    Origin,
    dtype_name,
    dtype_of,
    kind_of,
    rank_of,
    static_sizes,
)
from edgekit.targets.coreml.lowering.registry import Var, lowers
from edgekit.targets.coreml.toolchain import mb

_RANGES = {
    "int4": (-8, 7), "uint4": (0, 15), "int8": (-128, 127), "uint8": (0, 255),
    "int16": (-32768, 32767), "uint16": (0, 65535),
}  # fmt: skip
_TO_UINT8 = 128


@lowers("QuantizeLinear", accepts="8 bits on iOS17; other widths as arithmetic on floats")
def lower_quantize(e: Emitter, node: ir.Node) -> Var:
    """MIL's quantize where it has the type, else rounding and clipping in float."""
    x = e.input(node, 0)
    scale = e.array(required_input(node, 1))
    zero = e.array(optional_input(node, 2))
    output = dtype_name(node.outputs[0])
    if output not in _RANGES:
        raise Refusal(f"quantization to {output}, which Core ML does not have", ", ".join(_RANGES))
    if kind_of(x) != "float":
        x = e("cast", x=x, dtype="fp32")
    known = scale is not None and (optional_input(node, 2) is None or zero is not None)
    native = known and output in {"int8", "uint8"} and e.options.at_least("iOS17")
    axis, blocked = _granularity(e, node, x, scale)
    if native and not blocked and (np.asarray(scale) > 0).all():
        return _quantize(e, node, x, (np.asarray(scale, np.float32), zero), axis)
    return _rounded(e, node, x, axis, output)


def _granularity(e: Emitter, node: ir.Node, x: Var, scale: Any) -> tuple[int | None, bool]:
    """Axis of a vector of scales, None for one scale; and whether scales are those of blocks."""
    shape = scale.shape if scale is not None else tuple(e.input(node, 1).shape)
    if int_attribute(node, "block_size", 0):
        return normalized_axis(int_attribute(node, "axis", 1), rank_of(x)), True
    if len(shape) == 0 or (len(shape) == 1 and shape[0] == 1 and rank_of(x) != 1):
        return None, False
    if len(shape) == 1:
        return normalized_axis(int_attribute(node, "axis", 1), rank_of(x)), False
    return normalized_axis(int_attribute(node, "axis", 1), rank_of(x)), True


def _quantize(e: Emitter, node: ir.Node, x: Var, parameters: Any, axis: int | None) -> Var:
    scale, zero = parameters
    scale = scale.reshape(()) if axis is None else scale
    more: dict[str, Any] = {}
    if zero is not None:
        more["zero_point"] = zero.reshape(scale.shape)
    if axis is not None:
        more["axis"] = np.int32(axis)
    made = e("quantize", input=x, scale=scale, output_dtype=dtype_name(node.outputs[0]), **more)
    e.origins.append(Origin(made, str(node.outputs[0].name), "quantize"))
    return made


def _spread(e: Emitter, node: ir.Node, index: int, x: Var, axis: int | None) -> Var | None:
    """Scale or zero point as floats that broadcast over ``x``."""
    value = optional_input(node, index)
    if value is None:
        return None
    found = e.var(value)
    if kind_of(found) != "float":
        found = e("cast", x=found, dtype="fp32")
    if rank_of(found) == 1 and axis is not None:
        shape = [1] * rank_of(x)
        shape[axis] = -1
        return e("reshape", x=found, shape=shape)
    block = int_attribute(node, "block_size", 0)
    if axis is not None and block and rank_of(found) == rank_of(x):
        return _blocks(e, found, x, axis, block)
    return e("reshape", x=found, shape=[1] * max(rank_of(x), 1)) if rank_of(found) == 1 else found


def _blocks(e: Emitter, found: Var, x: Var, axis: int, block: int) -> Var:
    size = static_sizes(x, "a blockwise quantized tensor")[axis]
    places = (np.arange(size) // block).astype(np.int32)
    return e("gather", x=found, indices=places, axis=axis)


def _rounded(e: Emitter, node: ir.Node, x: Var, axis: int | None, output: str) -> Var:
    scale = _spread(e, node, 1, x, axis)
    zero = _spread(e, node, 2, x, axis)
    steps = e("round", x=e("real_div", x=x, y=scale))
    if zero is not None:
        steps = e("add", x=steps, y=zero)
    low, high = _RANGES[output]
    clipped = e("clip", x=steps, alpha=np.float32(low), beta=np.float32(high))
    return e("cast", x=clipped, dtype="int32")


@lowers("DequantizeLinear", accepts="integers of up to 32 bits")
def lower_dequantize(e: Emitter, node: ir.Node) -> Var:
    """Compressed constants as constexpr, activations by MIL's dequantize, others in float."""
    integers = e.array(required_input(node, 0))
    scale, zero = e.array(required_input(node, 1)), e.array(optional_input(node, 2))
    known = scale is not None and (optional_input(node, 2) is None or zero is not None)
    name = dtype_name(required_input(node, 0))
    if name not in {*_RANGES, "int32"}:
        raise Refusal(f"dequantization of {name}", f"{', '.join(_RANGES)}, int32")
    if integers is not None and known and dtype_name(required_input(node, 0)):
        return _constant(e, node, integers, np.asarray(scale, np.float32), zero)
    x = e.raw(required_input(node, 0))
    axis, blocked = _granularity(e, node, x, scale)
    native = known and not blocked and dtype_of(x) in {"int8", "uint8"}
    if native and (np.asarray(scale) > 0).all():
        return _dequantize(e, node, x, (np.asarray(scale, np.float32), zero), axis)
    wide = e.input(node, 0)
    floats = e("cast", x=wide, dtype="fp32") if kind_of(wide) != "float" else wide
    shift = _spread(e, node, 2, x, axis)
    if shift is not None:
        floats = e("sub", x=floats, y=shift)
    return e("mul", x=floats, y=_spread(e, node, 1, x, axis))


def _dequantize(e: Emitter, node: ir.Node, x: Var, parameters: Any, axis: int | None) -> Var:
    scale, zero = parameters
    scale = scale.reshape(()) if axis is None else scale
    more: dict[str, Any] = {}
    if zero is not None:
        more["zero_point"] = zero.reshape(scale.shape)
    if axis is not None:
        more["axis"] = np.int32(axis)
    made = e("dequantize", input=x, scale=scale, **more)
    e.origins.append(Origin(made, str(node.outputs[0].name), "dequantize"))
    return made


def _constant(e: Emitter, node: ir.Node, integers: Any, scale: Any, zero: Any) -> Var:
    """Integers that are known now: compressed where they are weights of 8 or 4 bits."""
    name = dtype_name(required_input(node, 0))
    wide = np.asarray(integers).astype(np.int32)
    axis = int_attribute(node, "axis", 1)
    block = int_attribute(node, "block_size", 0)
    values = dequantized(wide, scale, zero, axis, block)
    small = name in {"int8", "uint8", "int4", "uint4"} and wide.ndim >= 2
    if not small or not e.options.at_least("iOS16"):
        return e.constant(values, name=node.outputs[0].name or "constant")
    zeros = np.zeros(scale.shape, np.int32) if zero is None else np.asarray(zero).astype(np.int32)
    if e.options.at_least("iOS18"):
        made = _blockwise(e, (wide, scale, zeros), (name, axis, block))
    elif block or name in {"int4", "uint4"} or (zeros != (0 if name == "int8" else zeros)).any():
        return e.constant(values, name=node.outputs[0].name or "constant")
    else:
        made = _affine(e, (wide, scale, zeros), name, axis)
    e.origins.append(Origin(made, str(node.outputs[0].name), "weight"))
    return made


def _affine(e: Emitter, parameters: Any, name: str, axis: int) -> Var:
    """uint8 with zero point 128: signed ones were reported wrong on GPU and Neural Engine."""
    wide, scale, zeros = parameters
    moved = _TO_UINT8 if name == "int8" else 0
    axis = normalized_axis(axis, wide.ndim) if scale.size > 1 else 0
    return mb.constexpr_affine_dequantize(
        quantized_data=(wide + moved).astype(np.uint8),
        zero_point=(zeros + moved).astype(np.uint8).reshape(-1)
        if scale.size > 1
        else np.uint8(int(zeros.reshape(-1)[0]) + moved),
        scale=scale.reshape(-1) if scale.size > 1 else np.float32(scale.reshape(-1)[0]),
        axis=np.int32(axis),
        name=e.names.unique(f"{e.prefix}__weight"),
    )


def _blockwise(e: Emitter, parameters: Any, form: tuple[str, int, int]) -> Var:
    wide, scale, zeros = parameters
    name, axis, block = form
    shape = [1] * wide.ndim
    if block:
        shape = list(scale.shape)
    elif scale.size > 1:
        shape[normalized_axis(axis, wide.ndim)] = scale.size
    from coremltools.converters.mil.mil import types

    dtype = types.nptype_from_builtin(types.string_to_builtin(name))
    more = {"offset": zeros.reshape(shape).astype(dtype)} if zeros.any() else {}
    return mb.constexpr_blockwise_shift_scale(
        data=wide.astype(dtype),
        scale=scale.reshape(shape),
        name=e.names.unique(f"{e.prefix}__weight"),
        **more,
    )


def dequantized(integers: Any, scale: Any, zero: Any, axis: int, block: int = 0) -> Any:
    """``(integers - zero) * scale`` in float32, as ONNX Runtime computes it.

    Args:
        integers: int32 of any shape.
        scale: float32: one number, one an entry of ``axis``, or one a block along it.
        zero: Of the same shape; None stands for 0.
        axis: Axis of a vector of scales, or the one in blocks.
        block: Entries of a block; 0 where there are none.
    """
    zeros = np.zeros(scale.shape, np.int32) if zero is None else np.asarray(zero).astype(np.int32)
    scales: Any
    shifts: Any
    if scale.size == 1:
        scales, shifts = scale.reshape(()), zeros.reshape(())
    elif block:
        place = normalized_axis(axis, integers.ndim)
        places = np.arange(integers.shape[place]) // block
        scales, shifts = (np.take(item, places, axis=place) for item in (scale, zeros))
    else:
        shape = [1] * integers.ndim
        shape[normalized_axis(axis, integers.ndim)] = -1
        scales, shifts = scale.reshape(shape), zeros.reshape(shape)
    return ((integers - shifts).astype(np.float32) * scales).astype(np.float32)
