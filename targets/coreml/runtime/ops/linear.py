"""Matrix products."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the field's spelling

from edgekit.targets.coreml.runtime.registry import Tensor, Tensors, operator


@operator("linear")
def linear(*, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x W^T + b``."""
    return F.linear(x, weight, bias)


@operator("matmul")
def matmul(
    *, x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False
) -> Tensor:
    """Product of matrices in the last two axes, the others broadcast; integers stay exact."""
    if transpose_x and x.ndim > 1:
        x = x.transpose(-1, -2)
    if transpose_y and y.ndim > 1:
        y = y.transpose(-1, -2)
    return torch.matmul(x, y)


@operator("einsum")
def einsum(*, values: Tensors, equation: str) -> Tensor:
    """Einstein's summation."""
    return torch.einsum(equation, *values)


@operator("scaled_dot_product_attention")
def scaled_dot_product_attention(
    *, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    """``softmax(Q K^T / sqrt(d) + mask) V``; a mask of booleans keeps where it is true."""
    scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.shape[-1])
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return torch.matmul(torch.softmax(scores, -1), value)
