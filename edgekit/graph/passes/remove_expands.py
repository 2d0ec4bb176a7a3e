"""Removal of Expand where its readers broadcast by themselves."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.signature import dims_of
from edgekit.graph.values import is_op, remove_unread

_BROADCASTING = ("Add", "Div", "Max", "Mean", "Min", "Mul", "Pow", "Sub", "Sum", "Where")

type _Dims = tuple[int | str, ...]


class RemoveExpands(GraphPass):
    """Lets elementwise nodes read what an Expand reads.

    1. A reader of the Expand takes its input instead where their broadcast with the reader's
       other operands gives the same shape.
    2. Other readers go on reading the Expand; it is removed when none is left.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            source = node.inputs[0] if is_op(node, "Expand") else None
            if source is None:
                continue
            output = node.outputs[0]
            for reader, index in tuple(output.uses()):
                if is_op(reader, *_BROADCASTING) and _needs_no_expand(reader, index, source):
                    reader.replace_input_with(index, source)
                    modified = True
            remove_unread(model.graph, [output])
        return modified


def _needs_no_expand(reader: ir.Node, index: int, source: ir.Value) -> bool:
    """Whether ``reader`` gives the same shape with ``source`` as input ``index``."""
    wanted = dims_of(reader.outputs[0])
    shapes: list[_Dims] = []
    for place, value in enumerate(reader.inputs):
        operand = source if place == index else value
        dims = None if operand is None else dims_of(operand)
        if dims is None or "?" in dims:
            return False
        shapes.append(dims)
    return wanted is not None and _broadcast(shapes) == wanted


def _broadcast(shapes: list[_Dims]) -> _Dims | None:
    """The shape that these broadcast to; None where that is not certain."""
    rank = max(len(shape) for shape in shapes)
    aligned = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    result: list[int | str] = []
    for sizes in zip(*aligned, strict=True):
        long = {size for size in sizes if size != 1}
        if len(long) > 1:
            return None
        result.append(long.pop() if long else 1)
    return tuple(result)
