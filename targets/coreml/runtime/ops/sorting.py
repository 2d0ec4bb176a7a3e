"""Order."""

from __future__ import annotations

import torch

from edgekit.targets.coreml.runtime.registry import Tensor, operator


@operator("argsort")
def argsort(*, x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    """Indices in order; equal elements keep theirs."""
    return torch.argsort(x, dim=axis, descending=not ascending, stable=True)


@operator("topk")
def topk(
    *,
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> tuple[Tensor, ...]:
    """The largest or smallest elements with their indices, the first of equal ones first."""
    count = x.shape[axis] if k == -1 else k
    order = torch.argsort(x, dim=axis, descending=not ascending, stable=True)
    indices = order.narrow(axis, 0, count)
    values = torch.gather(x, axis, indices)
    return (values, indices) if return_indices else (values,)
