"""Samples at given places of images: resample, affine, crop_resize."""

from __future__ import annotations

import torch

from edgekit.errors import UnsupportedError
from edgekit.targets.coreml.runtime.ops.grids import grid
from edgekit.targets.coreml.runtime.registry import Tensor, operator


def _unnormalized(places: Tensor, length: int, mode: str, aligned: bool) -> Tensor:
    """Places in pixels, 0 at the first one's centre."""
    if mode == "unnormalized":
        return places
    if mode == "normalized_minus_one_to_one":
        places = (places + 1) / 2
    elif mode != "normalized_zero_to_one":
        raise UnsupportedError(f"coordinates_mode {mode!r} is not known")
    return places * (length - 1) if aligned else places * length - 0.5


def _within(places: Tensor, length: int, mode: str, aligned: bool) -> Tensor:
    """Places outside of the image brought into it."""
    if mode == "border":
        return places.clamp(0, length - 1)
    if mode not in {"reflection", "symmetric"}:
        return places
    # As in torch: reflected at pixel centres where corners are aligned, at edges otherwise.
    low, high = (0.0, length - 1.0) if mode == "reflection" and aligned else (-0.5, length - 0.5)
    span = high - low
    if span == 0:
        return torch.zeros_like(places)
    moved = (places - low).abs()
    rest = torch.remainder(moved, span)
    flips = torch.floor(moved / span)
    turned = torch.where(torch.remainder(flips, 2) == 0, rest + low, span - rest + low)
    return turned.clamp(0, length - 1)


def _taken(x: Tensor, rows: Tensor, columns: Tensor, outside: float) -> Tensor:
    """Pixels ``[B, C, h, w]`` at integer places ``[B, h, w]``."""
    height, width = x.shape[2:]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    flat = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    picks = flat.to(torch.int64).reshape(x.shape[0], 1, -1).expand(-1, x.shape[1], -1)
    found = torch.gather(x.reshape(*x.shape[:2], -1), 2, picks)
    found = found.reshape(*x.shape[:2], *rows.shape[1:])
    return torch.where(inside[:, None], found, torch.tensor(outside, dtype=x.dtype))


def _bilinear(x: Tensor, rows: Tensor, columns: Tensor, outside: float) -> Tensor:
    top, left = torch.floor(rows), torch.floor(columns)
    down, right = (rows - top)[:, None], (columns - left)[:, None]
    corners = [_taken(x, top + a, left + b, outside) for a in (0, 1) for b in (0, 1)]
    upper = corners[0] * (1 - right) + corners[1] * right
    lower = corners[2] * (1 - right) + corners[3] * right
    return upper * (1 - down) + lower * down


@operator("resample")
def resample(
    *,
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """Pixels at places ``[B, h, w, (x, y)]``."""
    places = coordinates.to(torch.float32)
    columns = _unnormalized(places[..., 0], x.shape[3], coordinates_mode, align_corners)
    rows = _unnormalized(places[..., 1], x.shape[2], coordinates_mode, align_corners)
    if padding_mode not in {"constant", "border", "reflection", "symmetric"}:
        raise UnsupportedError(f"padding_mode {padding_mode!r} is not known")
    rows = _within(rows, x.shape[2], padding_mode, align_corners)
    columns = _within(columns, x.shape[3], padding_mode, align_corners)
    if sampling_mode == "nearest":
        return _taken(x, torch.round(rows), torch.round(columns), padding_value)
    if sampling_mode != "bilinear":
        raise UnsupportedError(f"sampling_mode {sampling_mode!r} is not known")
    return _bilinear(x, rows, columns, padding_value)


@operator("affine")
def affine(
    *,
    x: Tensor,
    transform_matrix: Tensor,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """Pixels at affinely transformed places of -1 to 1."""
    ends = [torch.linspace(-1, 1, size) for size in (output_height, output_width)]
    y, x_ = torch.meshgrid(ends[0], ends[1], indexing="ij")
    matrix = transform_matrix.expand(x.shape[0], 6)
    base = torch.stack([x_, y, torch.ones_like(x_)], dim=-1)
    places = torch.einsum("hwk,bck->bhwc", base, matrix.reshape(-1, 2, 3))
    made: Tensor = resample(
        x=x, coordinates=places, sampling_mode=sampling_mode, padding_mode=padding_mode,
        padding_value=padding_value, coordinates_mode=coordinates_mode,
        align_corners=align_corners,
    )  # fmt: skip
    return made


_CORNERS = {"CORNERS_HEIGHT_FIRST": (0, 1, 2, 3), "CORNERS_WIDTH_FIRST": (1, 0, 3, 2)}
_CENTRES = {"CENTER_SIZE_HEIGHT_FIRST": (0, 1, 2, 3), "CENTER_SIZE_WIDTH_FIRST": (1, 0, 3, 2)}


@operator("crop_resize")
def crop_resize(
    *,
    x: Tensor,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    box_indices: Tensor | None = None,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    """Boxes of images in one size: ``roi`` before iOS17, ``boxes`` from then on."""
    size = (target_height, target_width)
    options = (
        normalized_coordinates,
        spatial_scale,
        box_coordinate_mode,
        sampling_mode,
        pad_value,
    )
    if boxes is not None:
        picks = range(len(boxes)) if box_indices is None else box_indices.tolist()
        return torch.cat(
            [
                _crop(x[int(at) : int(at) + 1], box, size, options)
                for at, box in zip(picks, boxes, strict=True)
            ]
        )
    if roi is None:
        raise UnsupportedError("crop_resize without roi or boxes")
    rows = roi.reshape(roi.shape[0], -1)
    if rows.shape[1] == 4:
        return torch.stack([_crop(x, row, size, options) for row in rows])
    return torch.stack(
        [_crop(x[int(row[0]) : int(row[0]) + 1], row[1:], size, options) for row in rows]
    )


def _crop(
    x: Tensor, box: Tensor, size: tuple[int, int], options: tuple[bool, float, str, str, float]
) -> Tensor:
    normalized, scale, mode, sampling, outside = options
    order = _CORNERS.get(mode) or _CENTRES.get(mode)
    if order is None:
        raise UnsupportedError(f"box_coordinate_mode {mode!r} is not known")
    a, b, c, d = (float(box[at]) * scale for at in order)
    if mode in _CENTRES:
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    height, width = x.shape[2:]
    if normalized:
        a, c = a * (height - 1), c * (height - 1)
        b, d = b * (width - 1), d * (width - 1)
    rows = _samples(a, c, size[0], sampling)
    columns = _samples(b, d, size[1], sampling)
    grids = torch.meshgrid(rows, columns, indexing="ij")
    places = [item.to(torch.float32).expand(x.shape[0], *size) for item in grids]
    return _bilinear(x, places[0], places[1], outside)


def _samples(first: float, last: float, size: int, mode: str) -> Tensor:
    """Places between two ends, as `grid` spreads them over the elements from one to the other."""
    span = last - first + 1
    whole = 1 << 20
    shares = grid(size, whole, mode) / (whole - 1)
    if mode in {"STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"}:
        return first + shares * (last - first)
    places = torch.arange(size, dtype=torch.float64)
    if mode == "DEFAULT":
        step = (span - span / size) / (size - 1) if size > 1 else 0.0
        return first + places * step
    if mode == "OFFSET_CORNERS":
        delta = max(1.0, span - 1) / size
        return first + 0.5 * delta + places * delta
    step = span / size
    return first + places * step + 0.5 * step - 0.5
