"""Changes of shape and of the order of elements."""

from __future__ import annotations

import math

import torch.nn.functional as F  # noqa: N812 - the field's spelling

from edgekit.targets.coreml.runtime.registry import Bools, Call, Ints, Tensor, Tensors, operator


@operator("reshape")
def reshape(*, x: Tensor, shape: Ints, call: Call) -> Tensor:
    """A new shape; 0 keeps a size, -1 takes what is left.

    Places are counted from the first axis until iOS16. From iOS17 on they are counted from the
    last one, and a 0 before the first axis is a size of 1.
    """
    if 0 in shape and x.numel():
        shift = 0 if call.opset in {"CoreML5", "CoreML6"} else x.ndim - len(shape)
        shape = [
            size or (x.shape[at + shift] if at + shift >= 0 else 1)
            for at, size in enumerate(shape)
        ]
    return x.reshape(shape)


@operator("reshape_like")
def reshape_like(
    *, x: Tensor, ref_tensors: Tensors, begins: Ints, ends: Ints, end_masks: Bools
) -> Tensor:
    """The shape is put together from parts of other tensors' shapes."""
    shape: Ints = []
    for other, begin, end, rest in zip(ref_tensors, begins, ends, end_masks, strict=True):
        shape += other.shape[begin:] if rest else other.shape[begin:end]
    return x.reshape(shape)


@operator("flatten2d")
def flatten2d(*, x: Tensor, axis: int = 1) -> Tensor:
    """Two axes: those before the given one, and the rest."""
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


@operator("expand_dims")
def expand_dims(*, x: Tensor, axes: Ints) -> Tensor:
    """Axes of size 1 put in."""
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operator("squeeze")
def squeeze(*, x: Tensor, axes: Ints | None = None) -> Tensor:
    """Axes of size 1 taken off; all of them by default."""
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@operator("transpose")
def transpose(*, x: Tensor, perm: Ints) -> Tensor:
    """Axes in another order."""
    return x.permute(perm)


@operator("reverse")
def reverse(*, x: Tensor, axes: Ints | None = None) -> Tensor:
    """Backwards along some or all axes."""
    return x.flip(list(range(x.ndim)) if axes is None else axes)


@operator("reverse_sequence")
def reverse_sequence(
    *, x: Tensor, lengths: Ints, seq_axis: int = 0, batch_axis: int = 0
) -> Tensor:
    """Reverses the first elements of each sequence."""
    made = x.clone()
    rows, sources = made.movedim(batch_axis, 0), x.movedim(batch_axis, 0)
    axis = seq_axis % x.ndim
    axis = axis if axis < batch_axis % x.ndim else axis - 1
    for row, source, length in zip(rows, sources, lengths, strict=True):
        row.narrow(axis, 0, length).copy_(source.narrow(axis, 0, length).flip(axis))
    return made


@operator("depth_to_space")
def depth_to_space(*, x: Tensor, block_size: int) -> Tensor:
    """Channels to blocks of pixels, the block's place being the slower channel index."""
    n, c, h, w = x.shape
    b = block_size
    parts = x.reshape(n, b, b, c // (b * b), h, w)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(n, c // (b * b), h * b, w * b)


@operator("space_to_depth")
def space_to_depth(*, x: Tensor, block_size: int) -> Tensor:
    """Blocks of pixels to channels, the block's place being the slower channel index."""
    n, c, h, w = x.shape
    b = block_size
    parts = x.reshape(n, c, h // b, b, w // b, b)
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)


@operator("pixel_shuffle")
def pixel_shuffle(*, x: Tensor, upscale_factor: int) -> Tensor:
    """Channels to blocks of pixels, the block's place being the faster channel index."""
    return F.pixel_shuffle(x, upscale_factor)


@operator("pixel_unshuffle")
def pixel_unshuffle(*, x: Tensor, downscale_factor: int) -> Tensor:
    """Blocks of pixels to channels, the block's place being the faster channel index."""
    return F.pixel_unshuffle(x, downscale_factor)


@operator("space_to_batch")
def space_to_batch(*, x: Tensor, block_shape: Ints, paddings: Ints) -> Tensor:
    """Places within blocks of pixels to the batch, the place being the slower index."""
    pairs = list(zip(paddings[::2], paddings[1::2], strict=True))
    x = F.pad(x, [amount for pair in reversed(pairs) for amount in pair])
    n, c, h, w = x.shape
    a, b = block_shape
    parts = x.reshape(n, c, h // a, a, w // b, b)
    return parts.permute(3, 5, 0, 1, 2, 4).reshape(n * a * b, c, h // a, w // b)


@operator("batch_to_space")
def batch_to_space(*, x: Tensor, block_shape: Ints, crops: Ints) -> Tensor:
    """The inverse of `space_to_batch`, cropped."""
    n, c, h, w = x.shape
    a, b = block_shape
    parts = x.reshape(a, b, n // (a * b), c, h, w).permute(2, 3, 4, 0, 5, 1)
    whole = parts.reshape(n // (a * b), c, h * a, w * b)
    top, bottom, left, right = crops
    return whole[:, :, top : h * a - bottom, left : w * b - right]


@operator("sliding_windows")
def sliding_windows(*, x: Tensor, axis: int, size: int, stride: int = 1) -> Tensor:
    """All windows along an axis, each on a new axis behind it."""
    place = axis % x.ndim
    return x.unfold(place, size, stride).movedim(-1, place + 1)
