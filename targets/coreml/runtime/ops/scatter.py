"""Scatter and its kin."""

from __future__ import annotations

import torch

from edgekit.errors import UnsupportedError
from edgekit.targets.coreml.runtime.ops.gather import within
from edgekit.targets.coreml.runtime.registry import Tensor, operator

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _written(flat: Tensor, places: Tensor, updates: Tensor, mode: str) -> Tensor:
    """Writes ``updates`` to ``places`` of a flat copy, later ones over earlier ones."""
    if mode == "update":
        made = flat.clone()
        for place, update in _last_of_equal(places, updates):
            made[place] = update
        return made
    if mode == "sub":
        return flat.scatter_reduce(0, places, -updates, "sum")
    if mode in _REDUCTIONS:
        return flat.scatter_reduce(0, places, updates, _REDUCTIONS[mode])
    if mode == "div":
        made = flat.clone()
        for place, update in zip(places.tolist(), updates, strict=True):
            made[place] = made[place] / update
        return made
    raise UnsupportedError(f"scatter in mode {mode!r} is not known")


def _last_of_equal(places: Tensor, updates: Tensor) -> list[tuple[Tensor, Tensor]]:
    if len(set(places.tolist())) == places.numel():
        return [(places, updates)]
    last = {place: at for at, place in enumerate(places.tolist())}
    kept = torch.tensor(sorted(last.values()), dtype=torch.int64)
    return [(places[kept], updates[kept])]


def _flat_places(shape: torch.Size, axis: int, indices: Tensor) -> Tensor:
    """Where each element of ``indices`` along ``axis`` lies in the flat tensor."""
    grids = torch.meshgrid([torch.arange(size) for size in indices.shape], indexing="ij")
    total = torch.zeros(indices.shape, dtype=torch.int64)
    for at, size in enumerate(shape):
        total = total * size + (indices if at == axis else grids[at])
    return total.reshape(-1)


@operator("scatter_along_axis")
def scatter_along_axis(
    *,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    """One element for each index, at its own place on the other axes."""
    axis = axis % data.ndim
    places = _flat_places(data.shape, axis, within(indices, data.shape[axis]))
    return _written(data.reshape(-1), places, updates.reshape(-1), mode).reshape(data.shape)


@operator("scatter")
def scatter(
    *,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    """Whole entries along one axis."""
    axis = axis % data.ndim
    picks = within(indices, data.shape[axis]).reshape(-1)
    flat = updates.reshape(*data.shape[:axis], picks.numel(), *data.shape[axis + 1 :])
    shape = [1] * data.ndim
    shape[axis] = -1
    spread = picks.reshape(shape).expand(flat.shape)
    places = _flat_places(data.shape, axis, spread)
    return _written(data.reshape(-1), places, flat.reshape(-1), mode).reshape(data.shape)


@operator("scatter_nd")
def scatter_nd(
    *,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    """Entries at index tuples."""
    depth = indices.shape[-1]
    total = torch.zeros(indices.shape[:-1], dtype=torch.int64)
    for at in range(depth):
        total = total * data.shape[at] + within(indices[..., at], data.shape[at])
    inner = data[(0,) * depth].numel() if depth else data.numel()
    places = total.reshape(-1, 1) * inner + torch.arange(inner)
    made = _written(data.reshape(-1), places.reshape(-1), updates.reshape(-1), mode)
    return made.reshape(data.shape)
