"""Applies the declared preprocessing to decoded images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from edgekit.core.log_mel import LogMel
from edgekit.core.metadata import AnyPreprocessing, Preprocessing
from edgekit.core.signature import TensorSpec
from edgekit.data.contract import Image
from edgekit.errors import InputError

type AxisOrder = Literal["NCHW", "NHWC", "NHW", "flat"]

_FILTERS = {
    "nearest": PillowImage.Resampling.NEAREST,
    "bilinear": PillowImage.Resampling.BILINEAR,
    "bicubic": PillowImage.Resampling.BICUBIC,
}


class ImagePreprocessor:
    """Turns 8-bit images into what one input of a model is fed.

    The order is resize, crop, channel conversion, then ``(pixel * scale - mean) / std``.
    A resized image is rounded to 8 bits before it is scaled, as Pillow and torchvision do.

    Attributes:
        spec: The input that is fed.
        preprocessing: What is applied; raw 0..255 values if it was None.
        axis_order: Axis order of the batch, read from the shape of ``spec``.
    """

    def __init__(self, preprocessing: AnyPreprocessing | None, spec: TensorSpec) -> None:
        """Settles the axis order.

        Raises:
            InputError: If ``spec`` cannot take an image batch of these channels, or the
                preprocessing is for recordings.
        """
        if isinstance(preprocessing, LogMel):
            raise InputError(
                f"Input {spec} takes log-mel features of recordings, as its preprocessing "
                "declares, but the data set holds images; name one of recordings, such as "
                "spoken-digits."
            )
        self.spec = spec
        self._raw = preprocessing is None
        self.preprocessing = preprocessing or Preprocessing(channels=_raw_channels(spec), scale=1)
        self.axis_order = axis_order(spec, self._channel_count)
        self._table = _value_table(self.preprocessing, self._channel_count)

    @property
    def _channel_count(self) -> int:
        return 1 if self.preprocessing.channels == "gray" else 3

    def __call__(self, images: Sequence[Image]) -> npt.NDArray[Any]:
        """Preprocesses ``images`` to one batch.

        Args:
            images: At least one image, ``uint8[h, w]`` or ``uint8[h, w, 3]`` (RGB).

        Returns:
            ``[n, ...]`` in the axis order and dtype of the input.

        Raises:
            InputError: If the result does not have the shape that the input expects.
        """
        stacked = [self._apply_one(image) for image in images]
        got = {values.shape for values in stacked}
        if len(got) > 1:
            sizes = ", ".join(sorted(f"{shape[1]}x{shape[2]}" for shape in got))
            raise InputError(
                f"Images of different sizes ({sizes}) cannot form one batch for input "
                f"{self.spec}; declare preprocessing.size, which resizes them."
            )
        batch = self._to_axis_order(np.stack(stacked))
        self._check_shape(batch.shape)
        return self._to_dtype(batch)

    def _apply_one(self, image: Image) -> npt.NDArray[np.float32]:
        """One image to ``float32[channels, h, w]``."""
        if (
            image.dtype != np.uint8
            or image.ndim not in (2, 3)
            or image.shape[2:] not in ((), (3,))
        ):
            raise InputError(
                f"An image must be uint8 [h, w] or [h, w, 3], got {image.dtype} "
                f"{list(image.shape)}"
            )
        pixels = to_channels(resize(image, self.preprocessing), self.preprocessing.channels)
        planes = pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return np.stack([row[plane] for row, plane in zip(self._table, planes, strict=True)])

    def _to_axis_order(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self.axis_order == "NHWC":
            return np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
        if self.axis_order == "NHW":
            return batch[:, 0]
        if self.axis_order == "flat":
            return batch.reshape(len(batch), -1)
        return batch

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        wanted = self.spec.shape
        sizes = zip(wanted[1:], shape[1:], strict=True)
        if all(isinstance(want, str) or want == has for want, has in sizes):
            return
        has = ", ".join(map(str, shape[1:]))
        expected = ", ".join(map(str, wanted[1:]))
        remedy = (
            "The model declares no preprocessing; declare one with size and channels."
            if self._raw
            else "Set preprocessing.size (and channels) to what the model expects."
        )
        raise InputError(
            f"Input {self.spec} expects samples of [{expected}], but the preprocessed image is "
            f"[{has}]. {remedy}"
        )

    def _to_dtype(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        dtype = np.dtype(self.spec.dtype)
        if dtype.kind == "f":
            return batch.astype(dtype, copy=False)
        limits = np.iinfo(dtype)
        whole = np.rint(batch)
        if (
            not np.array_equal(whole, batch)
            or whole.min() < limits.min
            or whole.max() > limits.max
        ):
            raise InputError(
                f"Input {self.spec} takes whole numbers {limits.min}..{limits.max}, but the "
                f"declared preprocessing gives values from {batch.min():g} to {batch.max():g}; "
                "use scale 1, mean 0 and std 1 to feed pixels as they are."
            )
        return whole.astype(dtype)


def axis_order(spec: TensorSpec, channels: int) -> AxisOrder:
    """Reads from an input's shape how an image batch is laid out.

    Rank 4 is NCHW where axis 1 can be the channels, else NHWC; rank 3 is ``[N, H, W]`` and
    takes grey images only; rank 2 is ``[N, features]``, flattened in C, H, W order.

    Raises:
        InputError: If the input cannot take an image batch of so many channels.
    """
    shape = spec.shape
    if spec.dtype in ("bool", "string", "bfloat16"):
        raise InputError(f"Input {spec} takes no images: numpy has no pixel values of its dtype.")
    if len(shape) == 4:
        if shape[1] == channels:
            return "NCHW"
        if shape[3] == channels:
            return "NHWC"
        if isinstance(shape[1], str):
            return "NCHW"
    elif len(shape) == 3 and channels == 1:
        return "NHW"
    elif len(shape) == 2:
        return "flat"
    colour = "1 channel (gray)" if channels == 1 else "3 channels (rgb or bgr)"
    raise InputError(
        f"Input {spec} takes no image of {colour}: expected [N, C, H, W], [N, H, W, C], "
        "[N, H, W] for grey images, or [N, features]. Declare preprocessing.channels to match "
        "the model, or feed this input from an .npz file."
    )


def resize(image: Image, preprocessing: Preprocessing) -> Image:
    """Brings an image to the declared size.

    ``"stretch"`` resizes both sides. ``"crop"`` enlarges or shrinks the image until it just
    covers ``size / crop_fraction`` (rounded down) and cuts the centre; for a square size this
    is torchvision's ``Resize(shorter side)`` and ``CenterCrop``, with their rounding.

    Args:
        image: ``uint8[h, w]`` or ``uint8[h, w, 3]``.
        preprocessing: Declares size, way and filter.
    """
    if preprocessing.size is None:
        return image
    height, width = preprocessing.size
    if preprocessing.resize == "stretch":
        return _resample(image, height, width, preprocessing)
    cover_height = math.floor(height / preprocessing.crop_fraction)
    cover_width = math.floor(width / preprocessing.crop_fraction)
    has_height, has_width = image.shape[:2]
    if cover_height * has_width >= cover_width * has_height:
        new = (cover_height, max(cover_width, int(cover_height * has_width / has_height)))
    else:
        new = (max(cover_height, int(cover_width * has_height / has_width)), cover_width)
    image = _resample(image, *new, preprocessing)
    top, left = round((new[0] - height) / 2), round((new[1] - width) / 2)
    return image[top : top + height, left : left + width]


def to_channels(image: Image, channels: Literal["gray", "rgb", "bgr"]) -> Image:
    """Converts the channels: grey is replicated, RGB becomes grey by ITU-R 601 (Pillow's "L")."""
    if channels == "gray":
        return image if image.ndim == 2 else np.asarray(PillowImage.fromarray(image).convert("L"))
    if image.ndim == 2:
        return np.repeat(image[:, :, np.newaxis], 3, axis=2)
    return image if channels == "rgb" else image[:, :, ::-1]


def _resample(image: Image, height: int, width: int, preprocessing: Preprocessing) -> Image:
    if image.shape[:2] == (height, width):
        return image
    contiguous = np.ascontiguousarray(image)
    resized = PillowImage.fromarray(contiguous).resize(
        (width, height), _FILTERS[preprocessing.interpolation]
    )
    return np.asarray(resized)


def _raw_channels(spec: TensorSpec) -> Literal["gray", "rgb"]:
    """Channels of an input without declared preprocessing, from its shape alone."""
    if len(spec.shape) == 4 and 3 in (spec.shape[1], spec.shape[3]):
        return "gray" if spec.shape[1] == 1 else "rgb"
    return "gray"


def _value_table(preprocessing: Preprocessing, channels: int) -> npt.NDArray[np.float32]:
    """Value fed for each pixel value of each channel, ``float32[channels, 256]``.

    An 8-bit pixel has 256 values, so the formula is computed once, in float64, and rounded
    once.
    """
    mean = np.broadcast_to(np.asarray(preprocessing.mean, np.float64), (channels,))[:, np.newaxis]
    std = np.broadcast_to(np.asarray(preprocessing.std, np.float64), (channels,))[:, np.newaxis]
    pixels = np.arange(256, dtype=np.float64)
    table: npt.NDArray[np.float32] = ((pixels * preprocessing.scale - mean) / std).astype("f4")
    return table
