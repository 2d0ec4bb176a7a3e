"""MNIST and Fashion-MNIST in the IDX format, plain or gzip-compressed.

IDX (Y. LeCun, the MNIST page): two zero bytes, a type byte, the number of dims, each dim as
a big-endian uint32, then the elements in C order.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from edgekit.data.contract import Dataset, DataSpec
from edgekit.data.image_set import ImageSet, ImagesInMemory, check_targets, spread
from edgekit.data.root import find_folder, root_remedy
from edgekit.errors import InputError

_UINT8 = 0x08
_PIECE_BYTES = 1 << 20
_STEMS = {"train": "train", "test": "t10k"}

CLASS_NAMES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
}  # fmt: skip

_FOLDERS = {
    "mnist": ("mnist", "MNIST/raw"),
    "fashion-mnist": ("fashion-mnist", "FashionMNIST/raw"),
}
"""edgekit's folder, then the one that torchvision downloads into."""


def set_files(spec: DataSpec) -> tuple[Path, ...]:
    """The image and the label file of the split.

    Raises:
        InputError: If one is missing.
    """
    folder = find_folder(spec, _FOLDERS[spec.set])
    stem = _STEMS[spec.split]
    return (
        _existing(folder, f"{stem}-images-idx3-ubyte", spec),
        _existing(folder, f"{stem}-labels-idx1-ubyte", spec),
    )


def open_set(spec: DataSpec) -> Dataset:
    """Reads both files; 60,000 training images take 47 MB.

    Raises:
        InputError: If a file is missing, damaged or does not fit the other.
    """
    image_file, label_file = set_files(spec)
    images = read_idx(image_file, rank=3)
    targets = read_idx(label_file, rank=1).astype(np.int64)
    labels = CLASS_NAMES[spec.set]
    check_targets(
        f"Data set {spec.set!r} in {image_file.parent}", targets, len(images), len(labels)
    )
    return ImageSet(
        name=spec.set,
        split=spec.split,
        labels=labels,
        files=(image_file, label_file),
        source=ImagesInMemory(images),
        targets=targets,
        chosen=spread(len(images), spec.limit),
    )


def read_idx(path: Path, *, rank: int) -> npt.NDArray[np.uint8]:
    """Reads an IDX file of unsigned bytes.

    Args:
        path: The file; gzip is recognised by its content.
        rank: Number of dims that it must have.

    Raises:
        InputError: If it is no such file, is truncated or holds more than it says.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not zipped:
                return _parse(raw, path, rank)
            with gzip.GzipFile(fileobj=raw) as stream:
                return _parse(stream, path, rank)  # type: ignore[arg-type]  # reads like one
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}. Fetch the file again.") from error


def _parse(stream: BinaryIO, path: Path, rank: int) -> npt.NDArray[np.uint8]:
    header = stream.read(4)
    if len(header) < 4 or header[:2] != b"\0\0":
        raise InputError(f"{path} is no IDX file: it begins with {header!r}, not two zero bytes.")
    if header[2] != _UINT8:
        raise InputError(
            f"{path} holds elements of IDX type 0x{header[2]:02x}; expected unsigned bytes (0x08)."
        )
    if header[3] != rank:
        raise InputError(f"{path} has {header[3]} dims, expected {rank}.")
    dims_bytes = stream.read(4 * rank)
    if len(dims_bytes) < 4 * rank:
        raise InputError(f"{path} is truncated within its header. Fetch the file again.")
    dims = struct.unpack(f">{rank}I", dims_bytes)
    size = math.prod(dims)
    # One byte beyond the declared size tells a longer file.
    data = _read_at_most(stream, size + 1)
    if len(data) != size:
        fault = "is truncated" if len(data) < size else "is longer than its header says"
        raise InputError(
            f"{path} {fault}: dims {' x '.join(map(str, dims))} need {size} bytes, "
            f"found {len(data) if len(data) < size else 'more'}. Fetch the file again."
        )
    return np.frombuffer(data, dtype=np.uint8).reshape(dims)


def _read_at_most(stream: BinaryIO, size: int) -> bytes:
    """Reads in pieces, so that a false size in a header allocates no more than the file holds."""
    data = bytearray()
    while len(data) < size and (piece := stream.read(min(_PIECE_BYTES, size - len(data)))):
        data += piece
    return bytes(data)


def _existing(folder: Path, stem: str, spec: DataSpec) -> Path:
    # Some distributions write "idx3-ubyte" with a dot before it.
    names = [stem, stem.replace("-idx", ".idx")]
    for name in names:
        for path in (folder / f"{name}.gz", folder / name):
            if path.is_file():
                return path
    raise InputError(
        f"Data set {spec.set!r} is incomplete: {folder} holds neither {stem}.gz nor {stem}. "
        f"{root_remedy()}"
    )
