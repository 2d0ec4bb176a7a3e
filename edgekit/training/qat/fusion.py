"""Clamping activations and the quantizer behind them in one step."""

from __future__ import annotations

import math

import torch
from torch import fx

from edgekit.training.qat.fake_quantize import TrainableFakeQuantize


def fused_graph(module: fx.GraphModule) -> fx.GraphModule:
    """A graph module that shares all layers and lets quantizers do the clamping.

    A Relu, or a Clip with constant bounds, whose only reader is a quantizer becomes bounds of
    that quantizer: the same numbers and gradients with one pass over memory less.

    Args:
        module: Its activation quantizers are `TrainableFakeQuantize`; not modified.
    """
    graph = fx.Graph()
    output = graph.graph_copy(module.graph, {})
    graph.output(output)
    for node in tuple(graph.nodes):
        if node.op != "call_module" or len(node.args) != 1:
            continue
        clamp = node.args[0]
        if not isinstance(clamp, fx.Node) or len(clamp.users) != 1:
            continue
        bounds = _bounds(clamp)
        if bounds is None or not isinstance(
            module.get_submodule(str(node.target)), TrainableFakeQuantize
        ):
            continue
        node.args = (clamp.args[0], bounds)
        graph.erase_node(clamp)
    return fx.GraphModule(module, graph, "FusedTwinGraph")


def _bounds(node: fx.Node) -> tuple[float, float] | None:
    if node.op != "call_function":
        return None
    if node.target is torch.relu:
        return 0.0, math.inf
    if node.target is torch.clamp and len(node.args) == 3:
        low, high = node.args[1:]
        if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low <= high:
            return float(low), float(high)
    return None
