"""Gemm, MatMul and Einsum: `nn.Linear` where one factor is a constant matrix."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor, nn

from edgekit.graph.torch_twin.bindings import SAME, TRANSPOSED, Layout, Weight, flattened
from edgekit.graph.torch_twin.context import LayerRequest, TwinContext
from edgekit.graph.torch_twin.registry import Built, twin_op
from edgekit.graph.values import (
    float_attribute,
    int_attribute,
    is_op,
    only_consumer,
    string_attribute,
)


@twin_op("Gemm", parameters=(1, 2))
def build_gemm(context: TwinContext, node: ir.Node) -> Built:
    """``alpha * A' * B' + beta * C``, a layer for constant B and C of one number a column."""
    alpha, beta = float_attribute(node, "alpha", 1.0), float_attribute(node, "beta", 1.0)
    trans_a, trans_b = int_attribute(node, "transA", 0), int_attribute(node, "transB", 0)
    weight, bias = context.weight(node, 1), context.weight(node, 2)
    x = context.tensor(node, 0)
    plain = alpha == 1.0 and (beta == 1.0 or len(node.inputs) < 3) and not trans_a
    if plain and weight is not None and not context.is_computed(node, 2):
        layout = SAME if trans_b else TRANSPOSED
        outputs = weight.array.shape[0 if trans_b else 1]
        if bias is None or _is_row(bias, outputs):
            layer = context.layer(node, _request(weight, layout, bias), x)
            if layer is not None:
                return layer
    return context.call(
        gemm, x, context.tensor(node, 1), context.optional(node, 2), alpha, beta,
        bool(trans_a), bool(trans_b),
    )  # fmt: skip


@twin_op("MatMul", parameters=(0, 1))
def build_matmul(context: TwinContext, node: ir.Node) -> Built:
    """A layer for a constant matrix on the right; an Add of a constant row is its bias."""
    weight = context.weight(node, 1)
    if weight is None or weight.array.ndim != 2 or context.rank(node) < 2:
        return context.call(torch.matmul, context.tensor(node, 0), context.tensor(node, 1))
    x = context.tensor(node, 0)
    found = _bias_behind(context, node, weight.array.shape[1])
    bias = None if found is None else found[1]
    layer = context.layer(node, _request(weight, TRANSPOSED, bias), x)
    if layer is None:
        return context.call(torch.matmul, x, context.tensor(node, 1))
    if found is not None:
        context.absorbed[found[0]] = node.outputs[0]
    return layer


@twin_op("Einsum", parameters=())
def build_einsum(context: TwinContext, node: ir.Node) -> Built:
    """Torch reads the same equations."""
    equation = string_attribute(node, "equation", "").replace(" ", "")
    return context.call(torch.einsum, equation, *context.tensors(node))


def gemm(
    a: Tensor, b: Tensor, c: Tensor | None, alpha: float, beta: float, trans_a: bool, trans_b: bool
) -> Tensor:
    """Gemm of two computed matrices."""
    product = (a.t() if trans_a else a) @ (b.t() if trans_b else b)
    if alpha != 1.0:
        product = product * alpha
    if c is None:
        return product
    return product + (c if beta == 1.0 else c * beta)


def _request(weight: Weight, layout: Layout, bias: Weight | None) -> LayerRequest:
    outputs, inputs = layout.to_torch(weight.array)[0].shape
    bias_layout = SAME
    if bias is not None and bias.array.shape != (outputs,):
        bias_layout = flattened(bias.array.shape)
    options = {"in_features": inputs, "out_features": outputs}
    return LayerRequest(nn.Linear, options, weight, layout, bias, bias_layout)


def _is_row(bias: Weight, outputs: int) -> bool:
    shape = bias.array.shape
    return shape[-1:] == (outputs,) and bias.array.size == outputs


def _bias_behind(
    context: TwinContext, node: ir.Node, outputs: int
) -> tuple[ir.Node, Weight] | None:
    """The Add of a constant row that alone reads a MatMul, with the row."""
    follower = only_consumer(node.outputs[0])
    if follower is None or not is_op(follower, "Add"):
        return None
    index = 1 if follower.inputs[0] is node.outputs[0] else 0
    row = context.weight(follower, index)
    if row is None or not _is_row(row, outputs) or row.array.ndim > context.rank(node):
        return None
    return follower, row
