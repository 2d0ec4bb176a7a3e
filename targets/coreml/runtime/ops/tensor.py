"""Operators that make, join or repeat tensors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's spelling

from edgekit.errors import UnsupportedError
from edgekit.targets.coreml.runtime.registry import Call, Ints, Tensor, Tensors, operator


@operator("concat")
def concat(*, values: Tensors, axis: int, interleave: bool = False) -> Tensor:
    """Side by side; interleaved, one entry of each in turn."""
    if not interleave:
        return torch.cat(values, axis)
    return torch.stack(values, axis % values[0].ndim + 1).flatten(
        axis % values[0].ndim, axis % values[0].ndim + 1
    )


@operator("stack")
def stack(*, values: Tensors, axis: int) -> Tensor:
    """On a new axis."""
    return torch.stack(values, axis)


@operator("split")
def split(
    *, x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Ints | None = None
) -> tuple[Tensor, ...]:
    """Parts of equal or given sizes."""
    if split_sizes is not None:
        return tuple(torch.split(x, split_sizes, axis))
    if num_splits is None:
        raise UnsupportedError("split without sizes or a number of parts")
    return tuple(torch.split(x, x.shape[axis] // num_splits, axis))


@operator("tile")
def tile(*, x: Tensor, reps: Ints) -> Tensor:
    """Repeats along each axis."""
    return torch.tile(x, reps)


@operator("fill")
def fill(*, shape: Ints, value: Tensor | None = None) -> Tensor:
    """One number everywhere; 0 by default."""
    if value is None:
        return torch.zeros(shape)
    return torch.full(shape, value.item(), dtype=value.dtype)


@operator("fill_like")
def fill_like(*, ref_tensor: Tensor, value: Tensor | None = None) -> Tensor:
    """One number in the shape of another tensor."""
    made: Tensor = fill(shape=list(ref_tensor.shape), value=value)
    return made


@operator("range_1d")
def range_1d(*, end: Tensor, start: Tensor, step: Tensor) -> Tensor:
    """Numbers at equal distances, the end excluded."""
    first, last, distance = start.item(), end.item(), step.item()
    return torch.arange(first, last, distance, dtype=start.dtype)


@operator("shape")
def shape(*, x: Tensor) -> Tensor:
    """Sizes."""
    return torch.tensor(list(x.shape), dtype=torch.int32)


@operator("pad")
def pad(
    *, x: Tensor, pad: Ints, mode: str = "constant", constant_val: Tensor | None = None
) -> Tensor:
    """Elements added at both ends of the last axes, in the order of the axes."""
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    if mode == "constant":
        value = 0 if constant_val is None else constant_val.item()
        return F.pad(x, [amount for pair in reversed(pairs) for amount in pair], value=value)
    if mode not in {"reflect", "replicate"}:
        raise UnsupportedError(f"pad in mode {mode!r} is not known")
    for axis, (before, after) in zip(range(x.ndim - len(pairs), x.ndim), pairs, strict=True):
        size = x.shape[axis]
        places = torch.arange(-before, size + after)
        if mode == "replicate":
            places = places.clamp(0, size - 1)
        else:
            places = places.abs()
            places = torch.where(places >= size, 2 * (size - 1) - places, places)
        x = x.index_select(axis, places)
    return x


@operator("one_hot")
def one_hot(
    *,
    indices: Tensor,
    one_hot_vector_size: int,
    axis: int = -1,
    on_value: Tensor | None = None,
    off_value: Tensor | None = None,
) -> Tensor:
    """One value at each index, another elsewhere."""
    on = torch.tensor(1, dtype=torch.int32) if on_value is None else on_value
    off = torch.tensor(0, dtype=torch.int32) if off_value is None else off_value
    place = axis % (indices.ndim + 1)
    shape_ = [1] * (indices.ndim + 1)
    shape_[place] = one_hot_vector_size
    hit = indices.unsqueeze(place) == torch.arange(one_hot_vector_size).reshape(shape_)
    return torch.where(hit, on, off)


@operator("cumsum")
def cumsum(*, x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Running sums."""
    turned = x.flip(axis) if reverse else x
    total = torch.cumsum(turned, axis)
    if exclusive:
        total = total - turned
    return total.flip(axis) if reverse else total


@operator("band_part")
def band_part(*, x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    """The diagonals from ``lower`` below to ``upper`` above the main one; negative for all."""
    rows = torch.arange(x.shape[-2])[:, None]
    columns = torch.arange(x.shape[-1])[None]
    kept = torch.ones(x.shape[-2:], dtype=torch.bool)
    if lower >= 0:
        kept = kept & (rows - columns <= lower)
    if upper >= 0:
        kept = kept & (columns - rows <= upper)
    return torch.where(kept, x, torch.zeros((), dtype=x.dtype))


@operator("non_zero")
def non_zero(*, x: Tensor) -> Tensor:
    """Indices of elements other than 0, one row each."""
    return torch.nonzero(x)


@operator("classify")
def classify(*, probabilities: Tensor, classes: Any, call: Call) -> tuple[Any, Any]:
    """The best class, and a dictionary of probabilities by class."""
    labels = [item if isinstance(item, str) else int(item) for item in classes]
    chances = probabilities.reshape(-1).tolist()
    best = max(range(len(chances)), key=chances.__getitem__)
    return labels[best], dict(zip(labels, chances, strict=True))
