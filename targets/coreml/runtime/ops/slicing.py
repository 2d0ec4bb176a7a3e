"""Parts of tensors."""

from __future__ import annotations

import torch

from edgekit.targets.coreml.runtime.registry import Bools, Ints, Tensor, operator


def slices(
    sizes: Ints,
    begin: Ints,
    end: Ints,
    stride: Ints | None,
    begin_mask: Bools | None,
    end_mask: Bools | None,
) -> list[slice]:
    """NumPy's slices of the masked bounds; a step can be negative."""
    rank = len(sizes)
    steps = stride or [1] * rank
    from_first = begin_mask or [False] * rank
    to_last = end_mask or [False] * rank
    return [
        slice(
            None if from_first[axis] else begin[axis],
            None if to_last[axis] else end[axis],
            steps[axis],
        )
        for axis in range(rank)
    ]


def sliced(x: Tensor, cuts: list[slice]) -> Tensor:
    """Torch has no negative steps, so those axes are reversed first."""
    for axis, cut in enumerate(cuts):
        places = range(*cut.indices(x.shape[axis]))
        if places.step == 1 and len(places) == x.shape[axis]:
            continue
        if places.step > 0:
            x = x[(slice(None),) * axis + (slice(places.start, places.stop, places.step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(places), dtype=torch.int64))
    return x


@operator("slice_by_index")
def slice_by_index(
    *,
    x: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    """NumPy's slicing; squeezed axes keep the one entry at their begin."""
    squeezed = squeeze_mask or [False] * x.ndim
    cuts = slices(list(x.shape), begin, end, stride, begin_mask, end_mask)
    for axis, alone in enumerate(squeezed):
        if alone:
            at = begin[axis] % x.shape[axis]
            cuts[axis] = slice(at, at + 1, 1)
    made = sliced(x, cuts)
    axes = tuple(axis for axis, alone in enumerate(squeezed) if alone)
    return made.squeeze(axes) if axes else made


@operator("slice_by_size")
def slice_by_size(*, x: Tensor, begin: Ints, size: Ints) -> Tensor:
    """Parts by begin and size; a size of -1 goes to the end."""
    cuts = [
        slice(first, whole if count == -1 else first + count)
        for first, count, whole in zip(begin, size, x.shape, strict=True)
    ]
    return x[tuple(cuts)]


@operator("slice_update")
def slice_update(
    *,
    x: Tensor,
    update: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    """A copy of ``x`` whose slice is replaced."""
    squeezed = squeeze_mask or [False] * x.ndim
    cuts = slices(list(x.shape), begin, end, stride, begin_mask, end_mask)
    for axis, alone in enumerate(squeezed):
        if alone:
            at = begin[axis] % x.shape[axis]
            cuts[axis] = slice(at, at + 1, 1)
            update = update.unsqueeze(axis)
    grids = torch.meshgrid(
        [
            torch.tensor(list(range(*cut.indices(size))), dtype=torch.int64)
            for cut, size in zip(cuts, x.shape, strict=True)
        ],
        indexing="ij",
    )
    made = x.clone()
    made[tuple(grids)] = update
    return made


@operator("crop")
def crop(*, x: Tensor, crop_height: Ints, crop_width: Ints) -> Tensor:
    """Rows and columns cut off at both ends of the last two axes."""
    top, bottom = crop_height
    left, right = crop_width
    height, width = x.shape[-2:]
    return x[..., top : height - bottom, left : width - right]
