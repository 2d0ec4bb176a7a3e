"""CIFAR-10 as PNG files, ``train/<class>/*.png`` and ``test/<class>/*.png``, in a folder or a zip.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from edgekit.data.contract import Dataset, DataSpec, Image
from edgekit.data.decoding import decode_image
from edgekit.data.image_folder import FilesOnDisk, images_below
from edgekit.data.image_set import ImageSet, ImageSource, check_targets, spread
from edgekit.data.root import find_folder, root_remedy
from edgekit.errors import InputError

CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

_SIDE = 32


def set_files(spec: DataSpec) -> tuple[Path, ...]:
    """The zip, or the folder of the split.

    Raises:
        InputError: If there is neither, or more than one zip.
    """
    folder = find_folder(spec, ("cifar10", "cifar-10", "CIFAR-10"))
    if (folder / spec.split).is_dir():
        return (folder / spec.split,)
    zips = sorted(folder.glob("*.zip"))
    of_split = [path for path in zips if path.stem == spec.split] or zips
    if len(of_split) == 1:
        return (of_split[0],)
    found = ", ".join(path.name for path in of_split) or "no .zip"
    raise InputError(
        f"Data set 'cifar10' needs a folder {spec.split}/ with one folder a class, or exactly "
        f"one .zip of them, in {folder}; found {found}. {root_remedy()}"
    )


def open_set(spec: DataSpec) -> Dataset:
    """Lists the images of the split, by class and then by file name; decodes none.

    Raises:
        InputError: If files are missing or damaged, or a folder is no class of CIFAR-10.
    """
    (place,) = set_files(spec)
    if place.is_dir():
        by_class: Mapping[str, Sequence[str]] = {
            entry.name: [str(path) for path in images_below(entry)]
            for entry in place.iterdir()
            if entry.is_dir()
        }
    else:
        by_class = _list_zip(place, spec.split)
    _check_classes(by_class, place, spec.split)
    members = [name for label in CLASS_NAMES for name in sorted(by_class[label])]
    counts = [len(by_class[label]) for label in CLASS_NAMES]
    targets = np.repeat(np.arange(len(CLASS_NAMES), dtype=np.int64), counts)
    check_targets(f"{place} ({spec.split})", targets, len(members), len(CLASS_NAMES))
    source: ImageSource = (
        FilesOnDisk(tuple(Path(name) for name in members))
        if place.is_dir()
        else FilesInZip(place, tuple(members))
    )
    return ImageSet(
        name="cifar10",
        split=spec.split,
        labels=CLASS_NAMES,
        files=(place,),
        source=CifarImages(source, tuple(members)),
        targets=targets,
        chosen=spread(len(members), spec.limit),
    )


@dataclass(frozen=True, slots=True)
class FilesInZip:
    """Images that are members of a zip archive, which stays open while they are read."""

    archive: Path
    members: tuple[str, ...]

    @contextmanager
    def reader(self) -> Iterator[Callable[[int], Image]]:
        """Opens the archive; see `ImageSource.reader`."""
        with zipfile.ZipFile(self.archive) as opened:

            def read(position: int) -> Image:
                name = f"{self.members[position]} in {self.archive}"
                try:
                    content = opened.read(self.members[position])
                except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
                    raise InputError(
                        f"Image {name} cannot be read: {error}. Fetch the archive again."
                    ) from error
                return decode_image(content, name)

            yield read


@dataclass(frozen=True, slots=True)
class CifarImages:
    """Checks that every image has CIFAR-10's size."""

    source: ImageSource
    names: tuple[str, ...]

    @contextmanager
    def reader(self) -> Iterator[Callable[[int], Image]]:
        """Opens the source; see `ImageSource.reader`."""
        with self.source.reader() as read_any:

            def read(position: int) -> Image:
                image = read_any(position)
                if image.shape != (_SIDE, _SIDE, 3):
                    raise InputError(
                        f"Image {self.names[position]} is {list(image.shape)}, expected "
                        f"[{_SIDE}, {_SIDE}, 3]; this is not CIFAR-10 as published."
                    )
                return image

            yield read


def _list_zip(archive: Path, split: str) -> dict[str, list[str]]:
    """Members below ``<split>/<class>/``, by class; a leading folder is allowed."""
    try:
        with zipfile.ZipFile(archive) as opened:
            names = opened.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{archive} is no readable zip: {error}. Fetch it again.") from error
    by_class: dict[str, list[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        if any(part.startswith((".", "__MACOSX")) for part in path.parts):
            continue
        in_split = len(path.parts) >= 3 and path.parts[-3] == split
        # A zip named after the split may hold the class folders at its top.
        at_top = archive.stem == split and len(path.parts) == 2
        if path.suffix.lower() == ".png" and (in_split or at_top):
            by_class.setdefault(path.parts[-2], []).append(name)
    return by_class


def _check_classes(by_class: Mapping[str, Sequence[str]], place: Path, split: str) -> None:
    if not by_class:
        raise InputError(f"{place} is empty: it holds no image below {split}/<class>/.")
    unknown = sorted(set(by_class) - set(CLASS_NAMES))
    absent = [name for name in CLASS_NAMES if not by_class.get(name)]
    if unknown or absent:
        raise InputError(
            f"{place} does not hold the 10 classes of CIFAR-10 for {split!r}: missing "
            f"{', '.join(absent) or 'none'}; unknown {', '.join(unknown) or 'none'}."
        )
