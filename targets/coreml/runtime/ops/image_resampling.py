"""Images in another resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's spelling

from edgekit.errors import UnsupportedError
from edgekit.targets.coreml.runtime.ops.grids import along, grid
from edgekit.targets.coreml.runtime.registry import Ints, Tensor, operator


def _sizes(x: Tensor, height: float, width: float) -> tuple[int, int]:
    return int(x.shape[-2] * height), int(x.shape[-1] * width)


@operator("upsample_nearest_neighbor")
def upsample_nearest_neighbor(
    *, x: Tensor, scale_factor_height: float = 1.0, scale_factor_width: float = 1.0
) -> Tensor:
    """Each sample is the element at or before its place."""
    sizes = _sizes(x, scale_factor_height, scale_factor_width)
    return _nearest(_nearest(x, x.ndim - 2, sizes[0]), x.ndim - 1, sizes[1])


@operator("resize_nearest_neighbor")
def resize_nearest_neighbor(
    *, x: Tensor, target_size_height: int, target_size_width: int
) -> Tensor:
    """Each sample is the element at or before its place."""
    x = _nearest(x, x.ndim - 2, target_size_height)
    return _nearest(x, x.ndim - 1, target_size_width)


def _nearest(x: Tensor, axis: int, size: int) -> Tensor:
    length = x.shape[axis]
    if size == length:
        return x
    places = torch.floor(torch.arange(size, dtype=torch.float64) * (length / size))
    return x.index_select(axis, places.to(torch.int64).clamp(max=length - 1))


@operator("upsample_bilinear")
def upsample_bilinear(
    *,
    x: Tensor,
    scale_factor_height: float = 1.0,
    scale_factor_width: float = 1.0,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """Bilinear; the scale is computed anew from the sizes."""
    centred = not align_corners if half_pixel_centers is None else half_pixel_centers
    sizes = _sizes(x, scale_factor_height, scale_factor_width)
    if align_corners and centred:
        raise UnsupportedError("upsample_bilinear with aligned corners and half pixel centers")
    if x.ndim == 4 and (align_corners or centred):
        return F.interpolate(x, size=sizes, mode="bilinear", align_corners=align_corners)
    for axis, size in zip((x.ndim - 2, x.ndim - 1), sizes, strict=True):
        if align_corners or centred:
            mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS"
            places = grid(size, x.shape[axis], mode)
        else:
            places = torch.arange(size, dtype=torch.float64) * (x.shape[axis] / size)
            places = places.clamp(0, x.shape[axis] - 1)
        x = along(x, axis, places)
    return x


@operator("resize_bilinear")
def resize_bilinear(
    *,
    x: Tensor,
    target_size_height: int = 1,
    target_size_width: int = 1,
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """Bilinear to a given size."""
    for axis, size in zip(
        (x.ndim - 2, x.ndim - 1), (target_size_height, target_size_width), strict=True
    ):
        x = along(x, axis, grid(size, x.shape[axis], sampling_mode))
    return x


@operator("resize")
def resize(
    *,
    x: Tensor,
    shape: Ints,
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """The last axes to given sizes; 0 leaves one as it is."""
    for at in range(resized_dims):
        axis = x.ndim - resized_dims + at
        size = shape[len(shape) - resized_dims + at]
        if size in (0, x.shape[axis]):
            continue
        if interpolation_mode == "LINEAR":
            x = along(x, axis, grid(size, x.shape[axis], sampling_mode))
        elif interpolation_mode == "NEAREST_NEIGHBOR":
            places = grid(size, x.shape[axis], sampling_mode)
            if sampling_mode == "DEFAULT":
                x = _nearest(x, axis, size)
            else:
                x = x.index_select(axis, torch.floor(places + 0.5).to(torch.int64))
        else:
            raise UnsupportedError(f"resize in mode {interpolation_mode!r} is not known")
    return x
