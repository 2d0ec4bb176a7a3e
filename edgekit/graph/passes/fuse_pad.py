"""Zero padding, moved into the convolution or pooling after it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.matching import producer
from edgekit.graph.values import (
    constant_array,
    constant_ints,
    input_at,
    int_attribute,
    ints_attribute,
    is_op,
    only_consumer,
    remove_unread,
    string_attribute,
)


class FusePad(GraphPass):
    """Adds the sizes of a Pad to the ``pads`` of the layer that alone reads it.

    1. A constant Pad of zeros over spatial axes before Conv is added to its pads; also when
       each side has another size.
    2. The same before AveragePool that counts its padding.
    3. A Pad that fills with another value, reflects, crops, pads batch or channels, or stands
       before a layer with automatic padding stays, with a reason.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if is_op(node, "Conv", "AveragePool"):
                pad = producer(node.inputs[0], "Pad")
                if pad is not None and only_consumer(pad.outputs[0]) is node:
                    modified |= self._fuse(model.graph, pad, node)
        return modified

    def _fuse(self, graph: ir.Graph, pad: ir.Node, layer: ir.Node) -> bool:
        value = pad.inputs[0]
        rank = 0 if value is None or value.shape is None else len(value.shape)
        sizes = _sizes(pad, rank)
        if value is None or sizes is None:
            self.keep(pad, "Pad stays before the layer: it is no constant padding with zeros")
            return False
        begins, ends = sizes
        if any((*begins[:2], *ends[:2])) or min((*begins, *ends)) < 0:
            self.keep(pad, "Pad stays before the layer: it crops, or pads batch or channels")
            return False
        if string_attribute(layer, "auto_pad", "NOTSET") != "NOTSET" or (
            layer.op_type == "AveragePool"
            and (
                not int_attribute(layer, "count_include_pad", 0)
                or int_attribute(layer, "ceil_mode", 0)
            )
        ):
            self.keep(pad, "Pad stays before the layer: the layer does not count such padding")
            return False
        old = ints_attribute(layer, "pads", (0,) * 2 * (rank - 2))
        new = [size + more for size, more in zip(old, (*begins[2:], *ends[2:]), strict=True)]
        layer.attributes["pads"] = ir.AttrInt64s("pads", new)
        layer.replace_input_with(0, value)
        remove_unread(graph, pad.outputs)
        return True


def _sizes(pad: ir.Node, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Padding before and after each axis; None unless it is constant and of zeros."""
    pads, fill = constant_ints(input_at(pad, 1)), input_at(pad, 2)
    filled = constant_array(fill)
    if string_attribute(pad, "mode", "constant") != "constant" or pads is None or rank < 3:
        return None
    if fill is not None and (filled is None or np.any(filled)):
        return None
    axes = tuple(range(rank))
    if input_at(pad, 3) is not None:
        given = constant_ints(input_at(pad, 3))
        if given is None:
            return None
        axes = tuple(axis % rank for axis in given)
    begins, ends = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        begins[axis], ends[axis] = pads[position], pads[len(axes) + position]
    return tuple(begins), tuple(ends)
