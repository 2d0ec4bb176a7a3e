"""DepthToSpace and SpaceToDepth."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.image import image_shape
from edgekit.targets.tflite.lowering.layout import NHWC
from edgekit.targets.tflite.lowering.node_view import (
    int_attribute,
    required_input,
    text_attribute,
)
from edgekit.targets.tflite.lowering.registry import lowers


@lowers("DepthToSpace", accepts="modes DCR and CRD", integer=True)
def lower_depth_to_space(context: LoweringContext, node: ir.Node) -> None:
    """DepthToSpace -> DEPTH_TO_SPACE, whose channels are ordered block first (ONNX's DCR).

    CRD has the channel first; a GATHER puts its channels in DCR order.
    """
    value = required_input(node, 0)
    batch, channels, height, width = image_shape(context, value)
    block = int_attribute(node, "blocksize", 1)
    tensor = context.tensor(value, NHWC)
    if text_attribute(node, "mode", "DCR") == "CRD":
        order = np.arange(channels).reshape(-1, block * block).T.reshape(-1).astype(np.int32)
        gather = schema.GatherOptionsT()
        gather.axis = 3
        indices = context.index_tensor(order, f"{node.name}/channel_order")
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


@lowers("SpaceToDepth", accepts="any block size", integer=True)
def lower_space_to_depth(context: LoweringContext, node: ir.Node) -> None:
    """SpaceToDepth -> SPACE_TO_DEPTH; both order the channels block first."""
    value = required_input(node, 0)
    image_shape(context, value)
    options = schema.SpaceToDepthOptionsT()
    options.blockSize = int_attribute(node, "blocksize", 1)
    operator = Operator("SPACE_TO_DEPTH", options)
    tensor = context.tensor(value, NHWC)
    context.result(node.outputs[0], operator, [tensor], NHWC, context.type_of(value))
