"""Twins of ONNX graphs state or compute sizes in reshapes, which need not be so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.graph.torch_twin.ops.shape import flatten, reshape


def free_reshapes(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[str, ...]:
    """Turns reshapes into such that follow the channels, or whose sizes can be changed.

    1. ``[N, C, H, W] -> [N, C * H * W]`` flattens whatever is there.
    2. Sizes that are joined from numbers and one computed size, as of the batch, become
       numbers, with -1 for the computed one.

    Only the fx graphs of a twin are concerned; what is computed stays the same for every input
    of the graph.

    Args:
        module: Changed in place.
        inputs: Arguments of its forward, with which sizes are looked up.

    Returns:
        Names of the fx nodes that were changed.
    """
    changed = []
    for _, graph_module in graph_modules(module):
        nodes = [node for node in graph_module.graph.nodes if node.target is reshape]
        if not nodes:
            continue
        shapes = value_shapes(module, graph_module, inputs)
        for node in nodes:
            sizes = _stated(node, graph_module, shapes)
            if sizes is not None:
                node.update_arg(1, sizes)
                changed.append(node.name)
            elif _flattens(node, shapes):
                node.target = flatten
                node.args = (node.args[0], 1)
                changed.append(node.name)
        graph_module.recompile()
    return tuple(changed)


def _stated(
    node: fx.Node, module: fx.GraphModule, shapes: dict[str, tuple[int, ...]]
) -> tuple[int, ...] | None:
    """Computed sizes as numbers; None where they are numbers, or cannot be."""
    joined = node.args[1]
    if not isinstance(joined, fx.Node) or joined.target is not torch.cat:
        return None
    parts = joined.args[0]
    if not isinstance(parts, (list, tuple)):
        return None
    sizes: list[int] = []
    for part in parts:
        if not isinstance(part, fx.Node):
            return None
        if part.op == "get_attr":
            sizes += [int(size) for size in getattr(module, str(part.target)).tolist()]
        elif shapes.get(part.name) == (1,):
            sizes.append(-1)
        else:
            return None
    return tuple(sizes) if sizes.count(-1) == 1 and 0 not in sizes else None


def graph_modules(module: nn.Module) -> tuple[tuple[str, fx.GraphModule], ...]:
    """The fx graphs within a module by dotted name; the module's own is empty."""
    return tuple(
        (name, item) for name, item in module.named_modules() if isinstance(item, fx.GraphModule)
    )


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


def value_shapes(
    module: nn.Module, graph_module: fx.GraphModule, inputs: Sequence[Tensor]
) -> dict[str, tuple[int, ...]]:
    """Sizes of all values of a graph module while the module runs, by name of the fx node.

    Args:
        module: Not modified.
        graph_module: Part of it.
        inputs: Arguments of the module's forward.

    Returns:
        Nothing where the module does not run that part.
    """
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
