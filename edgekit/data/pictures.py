"""Samples of a data set as small pictures for a reader."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from edgekit.core.run_evidence import Picture
from edgekit.data.contract import DataSpec
from edgekit.data.datasets import open_dataset
from edgekit.data.image_set import ImageSet
from edgekit.data.npz import NpzSet

MAX_SIDE = 72
"""Longest side of a picture, in pixels; larger images are made smaller."""


def sample_pictures(data: DataSpec, samples: Sequence[int]) -> tuple[tuple[Picture, ...], str]:
    """Pictures of some samples.

    Images are shown as they are stored, before any preprocessing. Arrays of one or three
    channels are shown from their lowest to their highest value.

    Args:
        data: The data set.
        samples: Positions in it.

    Returns:
        One picture a sample, and what a reader must know of them: why there are none, or how
        arrays became pictures; empty for images.

    Raises:
        InputError: If the set is missing, or a sample of it is damaged.
    """
    if not samples:
        return (), ""
    dataset = open_dataset(data)
    if isinstance(dataset, ImageSet):
        with dataset.source.reader() as read:
            return tuple(
                _picture(sample, read(int(dataset.chosen[sample]))) for sample in samples
            ), ""
    if isinstance(dataset, NpzSet) and len(dataset.arrays) == 1:
        (array,) = dataset.arrays.values()
        found = ((sample, _as_image(array[int(dataset.chosen[sample])])) for sample in samples)
        images = [(sample, image) for sample, image in found if image is not None]
        if len(images) == len(samples):
            pictures = tuple(_picture(sample, image) for sample, image in images)
            return pictures, "Arrays, each from its lowest value (black) to its highest (white)."
    return (), f"Samples of {dataset.name} are no images, so that they are not shown."


def _picture(sample: int, pixels: npt.NDArray[Any]) -> Picture:
    image = PillowImage.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return Picture(
        sample=sample,
        width=image.width,
        height=image.height,
        png=base64.b64encode(stream.getvalue()).decode("ascii"),
    )


def _as_image(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8] | None:
    """``[h, w]``, ``[1 or 3, h, w]`` or ``[h, w, 1 or 3]`` as 8-bit pixels; None for the rest."""
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] != 3):
        return None
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        return None
    low, high = values.min(), values.max()
    scaled = np.zeros_like(values) if low == high else (values - low) / (high - low)
    return np.asarray(np.rint(255 * scaled), dtype=np.uint8)
