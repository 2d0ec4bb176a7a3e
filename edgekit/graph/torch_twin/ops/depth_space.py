"""DepthToSpace and SpaceToDepth."""

from __future__ import annotations

import onnx_ir as ir
from torch import Tensor

from edgekit.graph.torch_twin.context import TwinContext
from edgekit.graph.torch_twin.registry import Built, twin_op
from edgekit.graph.values import int_attribute, string_attribute


@twin_op("DepthToSpace")
def build_depth_to_space(context: TwinContext, node: ir.Node) -> Built:
    """Channels to blocks of pixels, block first (DCR) or channel first (CRD)."""
    return context.call(
        depth_to_space, context.tensor(node, 0), int_attribute(node, "blocksize", 1),
        string_attribute(node, "mode", "DCR"),
    )  # fmt: skip


def depth_to_space(x: Tensor, block: int, mode: str) -> Tensor:
    """Maps [N, C * b * b, H, W] to [N, C, H * b, W * b]."""
    n, c, h, w = x.shape
    depth = c // (block * block)
    if mode == "DCR":
        parts = x.reshape(n, block, block, depth, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, depth, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, depth, h * block, w * block)


@twin_op("SpaceToDepth")
def build_space_to_depth(context: TwinContext, node: ir.Node) -> Built:
    """Blocks of pixels to channels, block first."""
    return context.call(
        space_to_depth, context.tensor(node, 0), int_attribute(node, "blocksize", 1)
    )


def space_to_depth(x: Tensor, block: int) -> Tensor:
    """Maps [N, C, H * b, W * b] to [N, C * b * b, H, W]."""
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, c * block * block, h // block, w // block)
