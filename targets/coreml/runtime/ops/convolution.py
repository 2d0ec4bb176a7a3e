"""Convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's spelling

from edgekit.errors import InputError, UnsupportedError
from edgekit.targets.coreml.runtime.ops.packed_convolution import (
    PACKING,
    convolve_packed,
    pack,
)
from edgekit.targets.coreml.runtime.ops.padding import spatial_pads
from edgekit.targets.coreml.runtime.registry import Call, Ints, Tensor, operator

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@operator("conv")
def conv(
    *,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
    call: Call,
) -> Tensor:
    """Cross-correlation over 1 to 3 spatial axes, channels on axis 1."""
    count = x.ndim - 2
    strides, dilations = strides or [1] * count, dilations or [1] * count
    reach = [d * (k - 1) + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    pads = spatial_pads(pad_type, pad, x.shape[2:], reach, strides)
    if all(before == after for before, after in pads):
        padding = [before for before, _ in pads]
    else:
        x = F.pad(x, [amount for pair in reversed(pads) for amount in pair])
        padding = [0] * count
    if count == 2 and "weight" in call.constants and PACKING:
        x = x.contiguous(memory_format=torch.channels_last)
        key = ("packed", tuple(x.shape))
        if key not in call.cache:
            _check_window(x, weight, (strides, dilations, groups))
            call.cache[key] = pack(weight, (padding, strides, dilations, groups), x.shape)
        return convolve_packed(x, call.cache[key], bias, (padding, strides, dilations, groups))
    return _CONV[count](x, weight, bias, strides, padding, dilations, groups)


def _check_window(x: Tensor, weight: Tensor, window: tuple[Ints, Ints, int]) -> None:
    """What oneDNN takes for granted: without it, it ends the process.

    Raises:
        InputError: If sizes do not fit each other, which no converter writes.
    """
    strides, dilations, groups = window
    count = x.ndim - 2
    fits = (
        weight.ndim == x.ndim
        and len(strides) == len(dilations) == count
        and min([groups, *strides, *dilations, *weight.shape, *x.shape]) >= 1
        and weight.shape[1] * groups == x.shape[1]
        and weight.shape[0] % groups == 0
    )
    if not fits:
        raise InputError(
            f"A convolution of {list(x.shape)} by weights {list(weight.shape)}, strides "
            f"{strides}, dilations {dilations} and {groups} groups is impossible: the package "
            "is damaged. Convert the model again."
        )


@operator("conv_transpose")
def conv_transpose(
    *,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: Ints | None = None,
    output_shape: Ints | None = None,
    pad_type: str = "valid",
    strides: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """Transposed convolution: the full result, cropped by the padding.

    With a declared output shape the crop at the end is what is left over.
    """
    count = x.ndim - 2
    strides, dilations = strides or [1] * count, dilations or [1] * count
    full = _TRANSPOSED[count](x, weight, bias, strides, 0, 0, groups, dilations)
    spatial = full.shape[2:]
    wanted = list(output_shape[-count:]) if output_shape else None
    if pad_type in {"same", "same_lower"}:
        target = wanted or [size * step for size, step in zip(x.shape[2:], strides, strict=True)]
        totals = [whole - size for whole, size in zip(spatial, target, strict=True)]
        upper = pad_type == "same"
        crops = [(t // 2, t - t // 2) if upper else (t - t // 2, t // 2) for t in totals]
    elif pad_type == "custom":
        flat = pad or [0] * (2 * count)
        crops = list(zip(flat[::2], flat[1::2], strict=True))
    elif pad_type == "valid":
        crops = [(0, 0)] * count
    else:
        raise UnsupportedError(f"conv_transpose with pad_type {pad_type!r} is not known")
    if wanted is not None:
        crops = [
            (before, whole - before - size)
            for (before, _), whole, size in zip(crops, spatial, wanted, strict=True)
        ]
    # A negative crop adds elements, which no input reaches: the bias alone.
    grown = [max(0, -after) for _, after in crops]
    if any(grown):
        value = torch.zeros(full.shape[1]) if bias is None else bias
        full = _grown(full, grown, value)
    index = tuple(
        slice(before, whole + more - max(0, after))
        for (before, after), whole, more in zip(crops, spatial, grown, strict=True)
    )
    return full[(slice(None), slice(None), *index)]


def _grown(full: Tensor, amounts: Ints, value: Tensor) -> Tensor:
    shape = [size + more for size, more in zip(full.shape[2:], amounts, strict=True)]
    made = value.reshape([1, -1, *[1] * len(shape)]).expand(*full.shape[:2], *shape).clone()
    made[(slice(None), slice(None), *(slice(0, size) for size in full.shape[2:]))] = full
    return made


@operator("conv_quantized")
def conv_quantized(
    *,
    x: Tensor,
    weight: Tensor,
    quantization_type: str,
    quant_scale: Tensor,
    quant_bias: Tensor,
    nbits: int = 8,
    bias: Tensor | None = None,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """A convolution whose weights are ``scale * integers + bias`` by output channel."""
    if quantization_type != "linear" or not 1 <= nbits <= 8:
        raise UnsupportedError(f"conv_quantized of type {quantization_type!r} is not known")
    shape = [-1, *[1] * (weight.ndim - 1)]
    whole = weight.to(torch.float32) * quant_scale.reshape(shape) + quant_bias.reshape(shape)
    made: Tensor = conv(
        call=Call((), ""),
        x=x, weight=whole, bias=bias, strides=strides, pad_type=pad_type, pad=pad,
        dilations=dilations, groups=groups,
    )  # fmt: skip
    return made
