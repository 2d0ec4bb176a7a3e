"""Gather and its kin; negative indices count from the end."""

from __future__ import annotations

import torch

from edgekit.errors import InternalError
from edgekit.targets.coreml.runtime.registry import Tensor, operator


def within(indices: Tensor, size: int) -> Tensor:
    """Indices from the front, as torch wants them.

    Raises:
        InternalError: If one is out of range, for which Core ML defines no result.
    """
    found = indices.to(torch.int64)
    found = torch.where(found < 0, found + size, found)
    if found.numel() and (int(found.max()) >= size or int(found.min()) < 0):
        raise InternalError(f"an index lies outside of an axis of {size}")
    return found


@operator("gather")
def gather(
    *,
    x: Tensor,
    indices: Tensor,
    axis: int = 0,
    batch_dims: int = 0,
    validate_indices: bool = False,
) -> Tensor:
    """Entries along one axis."""
    axis = axis % x.ndim
    batch_dims = batch_dims + indices.ndim if batch_dims < 0 else batch_dims
    found = within(indices, x.shape[axis])
    if not batch_dims:
        flat = x.index_select(axis, found.reshape(-1))
        return flat.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    lead = x.shape[:batch_dims]
    rows = x.reshape(-1, *x.shape[batch_dims:])
    picks = found.reshape(-1, *indices.shape[batch_dims:])
    made = [
        gather(x=row, indices=pick, axis=axis - batch_dims)
        for row, pick in zip(rows, picks, strict=True)
    ]
    return torch.stack(made).reshape(*lead, *made[0].shape)


@operator("gather_along_axis")
def gather_along_axis(
    *, x: Tensor, indices: Tensor, axis: int = 0, validate_indices: bool = False
) -> Tensor:
    """One entry for each index, at its own place on the other axes."""
    return torch.gather(x, axis, within(indices, x.shape[axis]))


@operator("gather_nd")
def gather_nd(
    *, x: Tensor, indices: Tensor, batch_dims: int = 0, validate_indices: bool = False
) -> Tensor:
    """Entries at index tuples."""
    if batch_dims:
        lead = x.shape[:batch_dims]
        rows = x.reshape(-1, *x.shape[batch_dims:])
        picks = indices.reshape(-1, *indices.shape[batch_dims:])
        made = [gather_nd(x=row, indices=pick) for row, pick in zip(rows, picks, strict=True)]
        return torch.stack(made).reshape(*lead, *made[0].shape)
    parts = [within(indices[..., at], x.shape[at]) for at in range(indices.shape[-1])]
    return x[tuple(parts)]
