"""Decodes image files to 8-bit arrays."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from edgekit.data.contract import Image
from edgekit.errors import InputError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})

_GREY_MODES = frozenset({"1", "L", "LA"})
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})


def decode_image(source: Path | bytes, name: str) -> Image:
    """Decodes a PNG or JPEG.

    Grey images stay grey; all others become RGB, and an alpha channel is dropped, as
    torchvision's loader does. An EXIF orientation is not applied, for the same reason.

    Args:
        source: The file, or its content.
        name: What the message calls it.

    Returns:
        ``uint8[h, w]`` or ``uint8[h, w, 3]``.

    Raises:
        InputError: If it is damaged, no PNG or JPEG, or has more than 8 bits a channel.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with PillowImage.open(stream, formats=("PNG", "JPEG")) as opened:
            mode = opened.mode
            if mode in _DEEP_MODES:
                raise InputError(
                    f"Image {name} has more than 8 bits a channel (mode {mode}); convert it to "
                    "8 bits first, the scaling is yours to choose."
                )
            return np.asarray(opened.convert("L" if mode in _GREY_MODES else "RGB"))
    # Pillow's decoders raise any of these on damaged data.
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        PillowImage.DecompressionBombError,
    ) as error:
        raise InputError(
            f"Image {name} cannot be decoded ({error}); it is damaged or no PNG or JPEG."
        ) from error
