"""Small image files for the tests of data sets."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CIFAR_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

type Writer = Callable[[Path, Mapping[str, bytes]], Path]


def encode(value: int = 0, height: int = 32, width: int = 32, *, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, dtype=np.uint8)).save(stream, form)
    return stream.getvalue()


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Makes a PNG of one value."""
    return encode


@pytest.fixture
def cifar_members() -> dict[str, bytes]:
    """Files of a CIFAR-10 of two images a class; the pixel value is ten times the class."""
    return {
        f"{split}/{name}/{index}.png": encode(label * 10)
        for split in ("train", "test")
        for label, name in enumerate(CIFAR_CLASSES)
        for index in range(2)
    }


@pytest.fixture
def write_zip() -> Writer:
    def write(path: Path, members: Mapping[str, bytes]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path

    return write


@pytest.fixture
def write_files() -> Writer:
    def write(folder: Path, members: Mapping[str, bytes]) -> Path:
        for name, content in members.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    return write
