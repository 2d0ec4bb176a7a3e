"""DepthToSpace and SpaceToDepth."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import (
    int_attribute,
    required_input,
    text_attribute,
)
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.image import image_shape
from edgekit.targets.tflite.lowering.layout import NHWC, Dim, stored_shape
from edgekit.targets.tflite.lowering.registry import lowers

_SIX_AXES_VERSION = 6


@lowers("DepthToSpace", accepts="modes DCR and CRD", integer=True, int16=True)
def lower_depth_to_space(context: LoweringContext, node: ir.Node) -> None:
    """DepthToSpace -> DEPTH_TO_SPACE, whose channels are ordered block first (ONNX's DCR).

    CRD has the channel first; a GATHER puts its channels in DCR order.
    """
    value = required_input(node, 0)
    batch, channels, height, width = image_shape(context, value)
    block = int_attribute(node, "blocksize", 1)
    tensor = context.tensor(value, NHWC)
    channel_first = text_attribute(node, "mode", "DCR") == "CRD"
    if context.type_of(value).dtype == "int16":
        depth = channels // block**2
        parts = (depth, block, block) if channel_first else (block, block, depth)
        order = (0, 1, 4, 2, 5, 3) if channel_first else (0, 1, 3, 2, 4, 5)
        _rearrange(context, node, (batch, height, width, *parts), order)
        return
    if channel_first:
        blocks_first = np.arange(channels).reshape(-1, block * block).T.reshape(-1)
        gather = schema.GatherOptionsT()
        gather.axis = 3
        table = blocks_first.astype(np.int32)
        indices = context.index_tensor(table, f"{node.name}/channel_order")
        tensor = context.step(
            Operator("GATHER", gather),
            [tensor, indices],
            (batch, height, width, channels),
            context.type_of(value),
            f"{node.name}/block_first",
        )
    options = schema.DepthToSpaceOptionsT()
    options.blockSize = block
    operator = Operator("DEPTH_TO_SPACE", options)
    context.result(node.outputs[0], operator, [tensor], NHWC, context.type_of(value))


@lowers("SpaceToDepth", accepts="any block size", integer=True, int16=True)
def lower_space_to_depth(context: LoweringContext, node: ir.Node) -> None:
    """SpaceToDepth -> SPACE_TO_DEPTH; both order the channels block first."""
    value = required_input(node, 0)
    batch, channels, height, width = image_shape(context, value)
    block = int_attribute(node, "blocksize", 1)
    if context.type_of(value).dtype == "int16":
        parts = (batch, height // block, block, width // block, block, channels)
        _rearrange(context, node, parts, (0, 1, 3, 2, 4, 5))
        return
    options = schema.SpaceToDepthOptionsT()
    options.blockSize = block
    operator = Operator("SPACE_TO_DEPTH", options)
    tensor = context.tensor(value, NHWC)
    context.result(node.outputs[0], operator, [tensor], NHWC, context.type_of(value))


def _rearrange(
    context: LoweringContext, node: ir.Node, parts: tuple[Dim, ...], order: tuple[int, ...]
) -> None:
    """RESHAPE to ``parts``, TRANSPOSE and RESHAPE, where there is no 16-bit kernel."""
    value, result = required_input(node, 0), node.outputs[0]
    kind, name = context.type_of(value), str(result.name)
    split = context.reshape(context.tensor(value, NHWC), parts, kind, f"{name}/split")
    permutation = context.index_tensor(np.array(order, np.int32), f"{name}/order")
    operator = Operator("TRANSPOSE", schema.TransposeOptionsT(), _SIX_AXES_VERSION)
    turned = tuple(parts[axis] for axis in order)
    moved = context.step(operator, [split, permutation], turned, kind, f"{name}/turned")
    shape = stored_shape(context.shape(result), NHWC)
    context.bind(result, context.reshape(moved, shape, kind, name), NHWC)
