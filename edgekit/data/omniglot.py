"""Omniglot: handwritten characters of many alphabets, read from its zips without unpacking them.

B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum, "Human-level concept learning through
probabilistic program induction", Science 350, 2015. Each character was drawn by 20 people.

A zip holds ``<folder>/<Alphabet>/characterNN/NNNN_NN.png``, black ink on white, 105x105. The
parts of a split are alphabets, so that no character of the test part was trained with.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgekit.data.contract import Dataset, DataSpec, Labels
from edgekit.data.decoding import decode_image
from edgekit.data.image_set import ImageSet, ImagesInMemory, check_targets, spread
from edgekit.data.root import find_folder, root_remedy
from edgekit.errors import InputError

ARCHIVES = (
    "images_background_small1.zip",
    "images_background_small2.zip",
    "images_background.zip",
    "images_evaluation.zip",
)
"""Names that the authors publish the drawings under; any of them is enough."""

TEST_ALPHABETS = ("Balinese", "Early_Aramaic")
"""Of ``images_background_small1``. Greek and Latin share letter forms and stay on one side."""

SIDE = 28
_PUBLISHED_SIDE = 105

type Drawings = dict[str, list[tuple[Path, str]]]
"""Archive and member of each drawing, by character ``"Alphabet/characterNN"``."""


@dataclass(frozen=True, slots=True)
class Characters:
    """Drawings with the character that each shows.

    Attributes:
        images: Ink, ``uint8[n, 28, 28]``: 0 is paper, 255 is ink.
        labels: Class of each drawing, ``int64[n]``, ascending.
        classes: ``"Alphabet/characterNN"`` by class; turned ones end in ``"@90"``, ``"@180"``
            or ``"@270"`` degrees, against the clock.
        files: Zips that they were read from.
    """

    images: npt.NDArray[np.uint8]
    labels: Labels
    classes: tuple[str, ...]
    files: tuple[Path, ...]

    def inputs(self) -> npt.NDArray[np.float32]:
        """Ink as a model is fed it, ``float32[n, 1, 28, 28]`` in 0..1."""
        return (self.images.astype(np.float32) / np.float32(255))[:, None]

    def with_rotations(self) -> Characters:
        """Adds each character turned by 90, 180 and 270 degrees as further classes.

        Santoro et al., "Meta-Learning with Memory-Augmented Neural Networks", 2016. A character
        that is symmetric (a circle) gives classes that nothing tells apart.
        """
        count = len(self.classes)
        images = [np.rot90(self.images, turns, axes=(1, 2)) for turns in range(4)]
        turned = [f"{name}@{90 * turns}" for turns in range(1, 4) for name in self.classes]
        return Characters(
            images=np.ascontiguousarray(np.concatenate(images)),
            labels=np.concatenate([self.labels + turns * count for turns in range(4)]),
            classes=(*self.classes, *turned),
            files=self.files,
        )


def set_files(spec: DataSpec) -> tuple[Path, ...]:
    """The zips that are there, in the order of `ARCHIVES`.

    Raises:
        InputError: If there is none.
    """
    folder = find_folder(spec, ("omniglot", "Omniglot"))
    found = tuple(folder / name for name in ARCHIVES if (folder / name).is_file())
    if not found:
        raise InputError(
            f"Data set 'omniglot' needs one of {', '.join(ARCHIVES)} in {folder}; none is there. "
            f"{root_remedy()}"
        )
    return found


def open_set(spec: DataSpec) -> Dataset:
    """The drawings of a split, by character; 28x28, ink is 255.

    Raises:
        InputError: See `read_characters`.
    """
    characters = read_characters(spec.split, spec.root)
    return ImageSet(
        name="omniglot",
        split=spec.split,
        labels=characters.classes,
        files=characters.files,
        source=ImagesInMemory(characters.images),
        targets=characters.labels,
        chosen=spread(len(characters.labels), spec.limit),
    )


def read_characters(
    split: Literal["train", "test"],
    root: Path | None = None,
    *,
    test_alphabets: Sequence[str] = TEST_ALPHABETS,
    rotations: bool = False,
) -> Characters:
    """Reads the drawings of the alphabets that belong to a split.

    A character that lies in several zips (Greek and Latin lie in both small ones) is taken from
    the first. Drawings are reduced by the mean over the area of each pixel and inverted.

    Args:
        split: ``"test"`` is ``test_alphabets``, ``"train"`` all others.
        root: Folder that holds ``omniglot``; see `edgekit.data.root.search_roots` for None.
        test_alphabets: Alphabets kept back.
        rotations: See `Characters.with_rotations`.

    Raises:
        InputError: If zips are missing, damaged or empty, an alphabet of ``test_alphabets`` is
            not in them, or none is left for the split; names the file and member.
    """
    files = set_files(DataSpec(set="omniglot", root=root, split=split))
    drawings: Drawings = {}
    for path in files:
        for character, members in _list_drawings(path).items():
            drawings.setdefault(character, members)
    kept = _of_split(drawings, split, test_alphabets, files)
    images = _decode([member for character in kept for member in drawings[character]])
    counts = [len(drawings[character]) for character in kept]
    labels = np.repeat(np.arange(len(kept), dtype=np.int64), counts)
    check_targets(f"omniglot ({split})", labels, len(images), len(kept))
    characters = Characters(images, labels, tuple(kept), files)
    return characters.with_rotations() if rotations else characters


def _list_drawings(archive: Path) -> Drawings:
    """Members ``.../<Alphabet>/<character>/<drawing>.png``, in order."""
    try:
        with zipfile.ZipFile(archive) as opened:
            names = sorted(opened.namelist())
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{archive} is no readable zip: {error}. Fetch it again.") from error
    found: Drawings = {}
    for name in names:
        path = PurePosixPath(name)
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
        if not hidden and path.suffix.lower() == ".png" and len(path.parts) >= 3:
            character = "/".join(path.parts[-3:-1])
            found.setdefault(character, []).append((archive, name))
    if not found:
        raise InputError(
            f"{archive} is empty: it holds no drawing <Alphabet>/<character>/*.png. "
            "Fetch it again."
        )
    return found


def _of_split(
    drawings: Mapping[str, object],
    split: str,
    test_alphabets: Sequence[str],
    files: Sequence[Path],
) -> list[str]:
    """Characters of the split, sorted by name."""
    alphabets = sorted({_alphabet(character) for character in drawings})
    where = ", ".join(str(path) for path in files)
    absent = sorted(set(test_alphabets) - set(alphabets))
    if absent:
        raise InputError(
            f"Test alphabets {', '.join(absent)} are not in {where}, which hold "
            f"{', '.join(alphabets)}. Choose test_alphabets among these."
        )
    wanted = split == "test"
    kept = [name for name in sorted(drawings) if (_alphabet(name) in test_alphabets) == wanted]
    if not kept:
        raise InputError(
            f"No alphabet is left for the split {split!r}: {where} hold {', '.join(alphabets)}, "
            f"and test_alphabets are {', '.join(test_alphabets) or 'none'}."
        )
    return kept


def _alphabet(character: str) -> str:
    return character.partition("/")[0]


def _decode(members: Sequence[tuple[Path, str]]) -> npt.NDArray[np.uint8]:
    """Images of the members, ``uint8[n, 28, 28]``; each zip is opened once."""
    images = np.empty((len(members), SIDE, SIDE), dtype=np.uint8)
    opened: dict[Path, zipfile.ZipFile] = {}
    try:
        for position, (archive, name) in enumerate(members):
            if archive not in opened:
                opened[archive] = zipfile.ZipFile(archive)
            images[position] = _ink(_content(opened[archive], archive, name), archive, name)
    finally:
        for file in opened.values():
            file.close()
    return images


def _content(opened: zipfile.ZipFile, archive: Path, name: str) -> bytes:
    try:
        return opened.read(name)
    # A damaged member fails in its checksum, stream, length or header; the last of these
    # stands for a compression that is not known and for one that wants a password.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise InputError(
            f"Drawing {name} in {archive} is damaged ({error}). Fetch the zip again."
        ) from error


def _ink(content: bytes, archive: Path, name: str) -> npt.NDArray[np.uint8]:
    drawing = decode_image(content, f"{archive}:{name}")
    if drawing.shape != (_PUBLISHED_SIDE, _PUBLISHED_SIDE):
        raise InputError(
            f"Drawing {name} in {archive} is {list(drawing.shape)}, expected "
            f"[{_PUBLISHED_SIDE}, {_PUBLISHED_SIDE}] in grey; this is not Omniglot as published."
        )
    ink = np.float64(255) - drawing
    reduced: npt.NDArray[np.uint8] = np.rint(_AREAS @ ink @ _AREAS.T).astype(np.uint8)
    return reduced


def _areas() -> npt.NDArray[np.float64]:
    """Share of each published row in each row of the result, ``[28, 105]``; rows add up to 1.

    Written out, as Pillow's box filter counts a row that is partly covered as whole or not at
    all, and as a change of a library's filter must not change the data set.
    """
    scale = _PUBLISHED_SIDE / SIDE
    tops = scale * np.arange(SIDE)[:, None]
    rows = np.arange(_PUBLISHED_SIDE)[None, :]
    covered = np.minimum(tops + scale, rows + 1) - np.maximum(tops, rows)
    shares: npt.NDArray[np.float64] = np.maximum(covered, 0) / scale
    return shares


_AREAS = _areas()
