"""Any images of your own: one folder a class."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.data.contract import Dataset, DataSpec, Image
from edgekit.data.decoding import IMAGE_SUFFIXES, decode_image
from edgekit.data.image_set import ImageSet, check_targets, spread
from edgekit.data.root import find_path
from edgekit.errors import InputError

_SPLITS = frozenset({"train", "test"})


def set_files(spec: DataSpec) -> tuple[Path, ...]:
    """The folder whose subfolders are the classes.

    Raises:
        InputError: If it does not exist.
    """
    return (_place(spec)[0],)


def open_set(spec: DataSpec) -> Dataset:
    """Lists the images, classes and files in the order of their names; decodes none.

    ``PATH/<class>/...`` has no division, so both splits give all images and the split is
    called ``all``. ``PATH/train/<class>/...`` with ``PATH/test/<class>/...`` has one.
    PNG and JPEG files are taken, also from subfolders of a class; other files and names that
    begin with a dot are passed over.

    Raises:
        InputError: If the folder is missing or empty, or a class has no image.
    """
    place, split = _place(spec)
    classes = sorted(
        entry for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    if not classes:
        raise InputError(
            f"{place} is empty: it holds no class folders; expected {place}/<class>/<image>.png."
        )
    by_class = {entry.name: images_below(entry) for entry in classes}
    without = [name for name, paths in by_class.items() if not paths]
    if without:
        raise InputError(
            f"{place} has class folders without a PNG or JPEG image: {', '.join(without)}. "
            "Remove them or add images; an empty class would only shift the labels."
        )
    paths = [path for found in by_class.values() for path in found]
    counts = [len(found) for found in by_class.values()]
    targets = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    check_targets(str(place), targets, len(paths), len(counts))
    return ImageSet(
        name=f"folder:{place.resolve().name if split == 'all' else place.resolve().parent.name}",
        split=split,
        labels=tuple(by_class),
        files=(place,),
        source=FilesOnDisk(tuple(paths)),
        targets=targets,
        chosen=spread(len(paths), spec.limit),
    )


def is_unlabelled(spec: DataSpec) -> bool:
    """Whether a data set is a folder of images that are in no class folders.

    Raises:
        InputError: If it is a folder that does not exist.
    """
    if spec.set.partition(":")[0] != "folder":
        return False
    place, _ = _place(spec)
    entries = [entry for entry in place.iterdir() if not entry.name.startswith(".")]
    return any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in entries) and not any(
        entry.is_dir() for entry in entries
    )


def open_unlabelled(spec: DataSpec) -> Dataset:
    """Lists the images of a folder without class folders; the set has no class names.

    Raises:
        InputError: If the folder is missing or empty.
    """
    place, split = _place(spec)
    paths = images_below(place)
    return ImageSet(
        name=f"folder:{place.resolve().name}",
        split=split,
        labels=(),
        files=(place,),
        source=FilesOnDisk(tuple(paths)),
        targets=np.full(len(paths), -1, np.int64),
        chosen=spread(len(paths), spec.limit),
    )


@dataclass(frozen=True, slots=True)
class FilesOnDisk:
    """Images that are files."""

    paths: tuple[Path, ...]

    def reader(self) -> AbstractContextManager[Callable[[int], Image]]:
        """Decodes a file each time; see `ImageSource.reader`."""
        return nullcontext(
            lambda position: decode_image(self.paths[position], str(self.paths[position]))
        )


def images_below(folder: Path) -> list[Path]:
    """PNG and JPEG files in a folder and its subfolders, by relative name."""
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _place(spec: DataSpec) -> tuple[Path, str]:
    """The folder of the classes, and what the split is called."""
    place = find_path(spec, spec.set.partition(":")[2])
    if not place.is_dir():
        raise InputError(f"Data set {spec.set!r} must be a folder of class folders, not a file.")
    splits = sorted(name for name in _SPLITS if (place / name).is_dir())
    if not splits:
        return place, "all"
    if spec.split not in splits:
        raise InputError(
            f"{place} is divided into {', '.join(splits)} but has no folder {spec.split!r}."
        )
    return place / spec.split, spec.split
