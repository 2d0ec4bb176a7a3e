"""Pad: PAD, PADV2, MIRROR_PAD, and GATHER."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import (
    Refusal,
    normalized_axis,
    optional_input,
    required_input,
    text_attribute,
)
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.quantization import FLOAT32, Parameter
from edgekit.targets.tflite.lowering.registry import lowers
from edgekit.targets.tflite.lowering.requantize import quantized_constant


@lowers(
    "Pad",
    accepts="constant non-negative pads; mode constant, reflect or edge",
    integer=True,
    int16=True,
)
def lower_pad(context: LoweringContext, node: ir.Node) -> None:
    """Pad -> PAD with zeros, PADV2 with another constant, MIRROR_PAD, or GATHER for edges."""
    value, result = required_input(node, 0), node.outputs[0]
    axes, value_type = context.axes(value), context.type_of(value)
    amounts = _amounts(context, node, context.rank(value))
    if (amounts < 0).any():
        raise Refusal("negative pads", "pads of at least 0")
    mode = text_attribute(node, "mode", "constant")
    if mode == "edge":
        _pad_with_edges(context, node, amounts)
        return
    table = context.index_tensor(amounts[list(axes)], f"{node.name}/amounts")
    inputs = [context.tensor(value), table]
    if mode == "reflect":
        options = schema.MirrorPadOptionsT()
        options.mode = schema.MirrorPadMode.REFLECT
        context.result(result, Operator("MIRROR_PAD", options), inputs, axes, value_type)
        return
    if mode != "constant":
        raise Refusal(f"mode {mode!r}", "constant, reflect or edge")
    _pad_with_constant(context, node, inputs)


def _pad_with_constant(context: LoweringContext, node: ir.Node, inputs: list[int]) -> None:
    value, result = required_input(node, 0), node.outputs[0]
    axes, value_type = context.axes(value), context.type_of(value)
    fill_value = optional_input(node, 2)
    fill = np.zeros((), np.float32)
    if fill_value is not None:
        fill = np.asarray(context.required_constant(fill_value, "fill"), np.float32).reshape(())
    if fill >= 0 and value in context.non_negative:
        context.non_negative.add(result)
    if fill == 0:
        context.result(result, Operator("PAD", schema.PadOptionsT()), inputs, axes, value_type)
        return
    content = Parameter(fill, FLOAT32)
    if context.integer:
        content = quantized_constant(fill, value_type)
    inputs.append(context.operand(content, f"{node.name}/fill"))
    context.result(result, Operator("PADV2", schema.PadV2OptionsT()), inputs, axes, value_type)


def _pad_with_edges(
    context: LoweringContext,
    node: ir.Node,
    amounts: np.ndarray[tuple[int, ...], np.dtype[np.int32]],
) -> None:
    """One GATHER for each padded axis, whose indices repeat both ends."""
    value, result = required_input(node, 0), node.outputs[0]
    axes, kind = context.axes(value), context.type_of(value)
    if value in context.non_negative:
        context.non_negative.add(result)
    tensor = context.tensor(value)
    shape = list(context.model.shape_of(tensor))
    for position, axis in enumerate(axes):
        size, (before, after) = shape[position], amounts[axis]
        if before == after == 0:
            continue
        if isinstance(size, str):
            raise Refusal("padding of a dynamic axis", "static axes")
        indices = np.clip(np.arange(-before, size + after), 0, size - 1).astype(np.int32)
        shape[position] = len(indices)
        options = schema.GatherOptionsT()
        options.axis = position
        inputs = [tensor, context.index_tensor(indices, f"{node.name}/edge_{axis}")]
        name = f"{result.name}/padded_{axis}"
        tensor = context.step(Operator("GATHER", options), inputs, shape, kind, name)
    context.bind(result, tensor, axes)


def _amounts(
    context: LoweringContext, node: ir.Node, rank: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """Padding before and after each logical axis, ``[rank, 2]``."""
    pads = context.required_constant(required_input(node, 1), "pads").reshape(2, -1)
    listed = optional_input(node, 3)
    axes = range(rank)
    if listed is not None:
        axes_array = context.required_constant(listed, "axes").reshape(-1)
        chosen = [normalized_axis(int(axis), rank) for axis in axes_array]
    else:
        chosen = list(axes)
    table = np.zeros((rank, 2), np.int32)
    table[chosen] = pads.T
    return table
