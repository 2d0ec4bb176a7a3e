"""Twins of ONNX graphs state sizes in reshapes; those that only flatten need not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.graph.torch_twin.ops.shape import flatten, reshape


def free_reshapes(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[str, ...]:
    """Turns a reshape ``[N, C, H, W] -> [N, C * H * W]`` into one that follows the channels.

    Only literal sizes in the fx graphs of a twin are concerned; what is computed stays the
    same for every input of the graph.

    Args:
        module: Changed in place.
        inputs: Arguments of its forward, with which sizes are looked up.

    Returns:
        Names of the fx nodes that were changed.
    """
    changed = []
    for graph_module in [item for item in module.modules() if isinstance(item, fx.GraphModule)]:
        nodes = [node for node in graph_module.graph.nodes if node.target is reshape]
        if not nodes:
            continue
        shapes = _input_shapes(module, graph_module, inputs)
        for node in nodes:
            if _flattens(node, shapes):
                node.target = flatten
                node.args = (node.args[0], 1)
                changed.append(node.name)
        graph_module.recompile()
    return tuple(changed)


def _flattens(node: fx.Node, shapes: dict[str, tuple[int, ...]]) -> bool:
    source, sizes = node.args[0], node.args[1]
    if not isinstance(source, fx.Node) or not isinstance(sizes, (list, tuple)):
        return False
    shape = shapes.get(source.name)
    if shape is None or len(sizes) != 2 or len(shape) < 2:
        return False
    if not all(isinstance(size, int) for size in sizes):
        return False
    rows, columns = sizes
    return columns in (-1, math.prod(shape[1:])) and rows in (-1, 0, shape[0])


class _Shapes(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.found[n.name] = tuple(result.shape)
        return result


def _input_shapes(
    module: nn.Module, graph_module: fx.GraphModule, inputs: Sequence[Tensor]
) -> dict[str, tuple[int, ...]]:
    """Sizes of all values of the graph module while the module runs."""
    arguments: list[tuple[Any, ...]] = []
    hook = graph_module.register_forward_pre_hook(lambda _, given: arguments.append(given))
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        hook.remove()
    if not arguments:
        return {}
    interpreter = _Shapes(graph_module)
    with torch.no_grad():
        interpreter.run(*arguments[0])
    return interpreter.found
