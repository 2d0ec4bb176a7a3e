"""Gelu, re-fused from what exporters decompose it into.

Exact form (Hendrycks and Gimpel, arXiv:1606.08415): ``0.5 * x * (1 + erf(x / sqrt(2)))``.
Approximation: ``0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.matching import operands, producer, with_constant
from edgekit.graph.values import constant_scalar, is_op, replace_node


class FuseGelu(GraphPass):
    """Rewrites both forms of Gelu as one node; the products may stand in any order.

    1. With Erf: ``Gelu(x)``.
    2. With Tanh: ``Gelu(x, approximate="tanh")``.
    3. An Erf or Tanh that is part of no such product stays; Erf leaves a reason, since it
       rarely stands for anything else.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        graph, modified = model.graph, False
        for node in graph:
            if not is_op(node, "Mul"):
                continue
            match = _match(node)
            if match is not None:
                value, approximate = match
                replace_node(graph, node, "Gelu", [value], {"approximate": approximate})
                modified = True
        for node in graph:
            if is_op(node, "Erf") and node.outputs[0].uses() and not _is_dead(node):
                self.keep(node, "Erf is no part of a Gelu: the factors around it do not match")
        return modified


def _is_dead(node: ir.Node) -> bool:
    """True when no output of the graph depends on the node."""
    pending, seen = [node], {node}
    while pending:
        for value in pending.pop().outputs:
            if value.is_graph_output():
                return False
            for reader, _ in value.uses():
                if reader not in seen:
                    seen.add(reader)
                    pending.append(reader)
    return True


def _match(node: ir.Node) -> tuple[ir.Value, str] | None:
    """``x`` and the form, where ``node`` is the last product of a Gelu."""
    for first, second in operands(node):
        # 0.5 * (x * (1 + f(x)))
        if constant_scalar(first) == 0.5:
            product = producer(second, "Mul")
            for left, right in operands(product) if product is not None else ():
                form = _form(right, left)
                if left is not None and form is not None:
                    return left, form
        # (0.5 * x) * (1 + f(x))
        value = with_constant(first, "Mul", 0.5)
        if value is not None:
            form = _form(second, value)
            if form is not None:
                return value, form
        # x * (0.5 * (1 + f(x)))
        half = with_constant(second, "Mul", 0.5)
        if half is not None and first is not None:
            form = _form(half, first)
            if form is not None:
                return first, form
    return None


def _form(value: ir.Value | None, x: ir.Value | None) -> str | None:
    """``"none"`` or ``"tanh"`` where ``value`` is ``1 + f(x)`` of that form."""
    inner = with_constant(value, "Add", 1.0)
    erf = producer(inner, "Erf")
    if erf is not None:
        scaled = with_constant(erf.inputs[0], "Mul", 1 / math.sqrt(2))
        return "none" if scaled is not None and scaled is x else None
    tanh = producer(inner, "Tanh")
    if tanh is None:
        return None
    total = with_constant(tanh.inputs[0], "Mul", math.sqrt(2 / math.pi))
    add = producer(total, "Add")
    for left, right in operands(add) if add is not None else ():
        cube = with_constant(right, "Mul", 0.044715)
        if left is x and cube is not None and _is_cube(cube, x):
            return "tanh"
    # x * (1 + 0.044715 * x**2)
    product = producer(total, "Mul")
    for left, right in operands(product) if product is not None else ():
        square = with_constant(with_constant(right, "Add", 1.0), "Mul", 0.044715)
        if left is x and square is not None and _is_square(square, x):
            return "tanh"
    return None


def _is_cube(value: ir.Value, x: ir.Value | None) -> bool:
    power = producer(value, "Pow")
    if power is not None:
        return power.inputs[0] is x and constant_scalar(power.inputs[1]) == 3
    product = producer(value, "Mul")
    for left, right in operands(product) if product is not None else ():
        if left is x and right is not None and _is_square(right, x):
            return True
    return False


def _is_square(value: ir.Value, x: ir.Value | None) -> bool:
    power = producer(value, "Pow")
    if power is not None:
        return power.inputs[0] is x and constant_scalar(power.inputs[1]) == 2
    product = producer(value, "Mul")
    return product is not None and product.inputs[0] is x and product.inputs[1] is x
