"""Images as the arrays that a program reads."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.errors import InputError
from edgekit.targets.coreml.package.description import Feature

_MODES = {"grayscale": "L", "grayscale_float16": "F", "rgb": "RGB", "bgr": "RGB"}


def image_array(value: Any, feature: Feature) -> Any:
    """Pixels of an image input: float32 ``[1, channels, height, width]``, 0 to 255.

    Args:
        value: A PIL image, or an array of that shape in the layout of the feature.
        feature: The image input.

    Raises:
        InputError: If the size is another one.
    """
    image = feature.image
    assert image is not None
    if hasattr(value, "convert") and hasattr(value, "size"):
        if value.size != (image.width, image.height):
            raise InputError(
                f"Image {feature.name!r} is to have {image.width} x {image.height} pixels, got "
                f"{value.size[0]} x {value.size[1]}. Resize it first."
            )
        pixels = np.asarray(value.convert(_MODES[image.layout]), np.float32)
        planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return (planes[::-1] if image.layout == "bgr" else planes)[None].copy()
    return np.asarray(value, np.float32)
