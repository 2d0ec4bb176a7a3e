"""Compressed constants: the operators that begin with ``constexpr_``."""

from __future__ import annotations

import math

import numpy as np
import torch

from edgekit.errors import UnsupportedError
from edgekit.targets.coreml.runtime.registry import Ints, Tensor, operator


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.int32) if not tensor.is_floating_point() else tensor


def _vector(parameter: Tensor, data: Tensor, axis: int) -> Tensor:
    if parameter.ndim == 0:
        return parameter
    shape = [1] * data.ndim
    shape[axis] = -1
    return parameter.reshape(shape)


@operator("constexpr_affine_dequantize")
def affine_dequantize(
    *, quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: int
) -> Tensor:
    """``scale * (data - zero_point)``, both by entry of an axis or for all."""
    moved = _wide(quantized_data) - _vector(_wide(zero_point), quantized_data, axis)
    return moved.to(torch.float32) * _vector(scale, quantized_data, axis)


def _blocks(parameter: Tensor, shape: torch.Size) -> Tensor:
    """Repeats each entry over its block."""
    for axis, size in enumerate(shape):
        own = parameter.shape[axis]
        if own not in (1, size):
            parameter = parameter.repeat_interleave(size // own, dim=axis)
    return parameter


@operator("constexpr_blockwise_shift_scale")
def blockwise_shift_scale(*, data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """``scale * (data - offset)``, both by block."""
    moved = _wide(data)
    if offset is not None:
        moved = moved - _blocks(_wide(offset), data.shape)
    return moved.to(torch.float32) * _blocks(scale, data.shape)


@operator("constexpr_cast")
def constexpr_cast(*, source_val: Tensor, output_dtype: str) -> Tensor:
    """Another float type."""
    if output_dtype not in {"fp16", "fp32"}:
        raise UnsupportedError(f"constexpr_cast to {output_dtype!r} is not known")
    return source_val


def _packed(data: Tensor, bits: int, count: int) -> Tensor:
    """Unpacks ``count`` numbers of ``bits`` bits, the lowest bits of each byte first."""
    flat = np.unpackbits(data.numpy().astype(np.uint8).reshape(-1), bitorder="little")
    rows = flat[: count * bits].reshape(count, bits).astype(np.int64)
    return torch.from_numpy((rows << np.arange(bits)).sum(axis=1))


@operator("constexpr_lut_to_dense")
def lut_to_dense(
    *,
    indices: Tensor,
    lut: Tensor,
    shape: Ints | None = None,
    vector_axis: int | None = None,
) -> Tensor:
    """Looks each index up: iOS16 in one table of packed indices, iOS18 in one table a group."""
    if shape is not None:
        bits = int(math.log2(lut.numel()))
        return lut[_packed(indices, bits, math.prod(shape))].reshape(shape)
    return _grouped_lookup(indices, lut, vector_axis)


def _grouped_lookup(indices: Tensor, lut: Tensor, vector_axis: int | None) -> Tensor:
    """Table of each element: ``lut[group..., index, :]``."""
    picks = []
    for axis, size in enumerate(indices.shape):
        block = size // lut.shape[axis]
        row = torch.arange(size) // block
        picks.append(row.reshape([-1 if at == axis else 1 for at in range(indices.ndim)]))
    found = lut[(*picks, indices.to(torch.int64))]
    if lut.shape[-1] == 1:
        return found.squeeze(-1)
    if vector_axis is None:
        raise UnsupportedError("a table of vectors without vector_axis")
    axis = vector_axis % indices.ndim
    return found.movedim(-1, axis + 1).flatten(axis, axis + 1)


@operator("constexpr_sparse_to_dense")
def sparse_to_dense(*, nonzero_data: Tensor, mask: Tensor, shape: Ints | None = None) -> Tensor:
    """Puts the stored elements where the mask is set, 0 elsewhere."""
    if shape is not None:
        mask = _packed(mask, 1, math.prod(shape)).reshape(shape)
    made = torch.zeros(mask.shape, dtype=nonzero_data.dtype)
    made[mask != 0] = nonzero_data
    return made


@operator("constexpr_lut_to_sparse")
def lut_to_sparse(
    *,
    indices_mask: Tensor,
    indices_nonzero_data: Tensor,
    lut: Tensor,
    vector_axis: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Looks up the stored indices: the mask, repeated for vectors, and the stored elements."""
    dense = sparse_to_dense(nonzero_data=indices_nonzero_data, mask=indices_mask)
    values = _grouped_lookup(dense, lut, vector_axis)
    mask = indices_mask
    if lut.shape[-1] > 1 and vector_axis is not None:
        mask = indices_mask.repeat_interleave(lut.shape[-1], dim=vector_axis)
    return mask, values[mask != 0]


@operator("constexpr_sparse_blockwise_shift_scale")
def sparse_blockwise_shift_scale(
    *, data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """``scale * (data - offset)`` of the stored elements alone: the mask and the elements."""
    dense = sparse_to_dense(nonzero_data=nonzero_data, mask=data_mask)
    values = blockwise_shift_scale(data=dense, scale=scale, offset=offset)
    return data_mask, values[data_mask != 0]
