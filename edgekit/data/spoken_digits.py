"""Spoken digits: the Free Spoken Digit Dataset, from its WAV files or a zip of them.

Z. Jackson, C. Souza, J. Flaks, Y. Pan, H. Nicolas, A. Thite, "Free Spoken Digit Dataset", 2018,
https://doi.org/10.5281/zenodo.1342401: ``<digit>_<speaker>_<number>.wav``, 8 kHz, one channel,
16 bits; ten digits by six speakers, 50 times each.

The parts of a split are speakers, so that no voice of the test part was trained with. (Its
authors divide by number, which puts every voice into both parts.)
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from edgekit.data.contract import Dataset, DataSpec
from edgekit.data.image_set import spread
from edgekit.data.recording import Recording, decode_wave
from edgekit.data.recording_set import RecordingSet
from edgekit.data.root import find_folder, root_remedy
from edgekit.errors import InputError

CLASS_NAMES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
)  # fmt: skip

TEST_SPEAKERS = ("theo", "yweweler")
"""Kept back: the last two of the published six by name, taken before anything was measured.
As published, 1,000 recordings to test with and 2,000 of four speakers to train with."""

_FOLDERS = ("spoken-digits", "fsdd", "free-spoken-digit-dataset")
_ARCHIVE = "recordings.zip"
_RECORDINGS = "recordings"
_NAME = re.compile(r"(?P<digit>[0-9])_(?P<speaker>[^_]+)_[0-9]+\.wav", re.IGNORECASE)
_REMEDY = "Fetch it again."


def set_files(spec: DataSpec) -> tuple[Path, ...]:
    """The folder of WAV files, or else the zip.

    Raises:
        InputError: If there is neither.
    """
    folder = find_folder(spec, _FOLDERS)
    for place in (folder / _RECORDINGS, folder / _ARCHIVE):
        if place.exists():
            return (place,)
    if any(folder.glob("*.wav")):
        return (folder,)
    raise InputError(
        f"Data set 'spoken-digits' needs {_ARCHIVE}, or {_RECORDINGS}/ with WAV files, in "
        f"{folder}; neither is there. {root_remedy()}"
    )


def open_set(spec: DataSpec) -> Dataset:
    """Lists the recordings of a split, by digit, speaker and file name; decodes none.

    Raises:
        InputError: See `open_speakers`.
    """
    return open_speakers(spec)


def open_speakers(spec: DataSpec, test_speakers: Sequence[str] = TEST_SPEAKERS) -> RecordingSet:
    """The data set with other speakers kept back.

    Args:
        spec: Root, split and limit; ``"test"`` is ``test_speakers``, ``"train"`` all others.
        test_speakers: Speakers kept back.

    Raises:
        InputError: If files are missing or damaged, a name is not as published, a speaker of
            ``test_speakers`` is not there, or a digit has no recording in the split.
    """
    (place,) = set_files(spec)
    names = _members(place)
    if not names:
        raise InputError(f"{place} is empty: it holds no .wav file. {_REMEDY}")
    takes = sorted(_take(name, place) for name in names)
    kept = _of_split(takes, spec.split, test_speakers, place)
    targets = np.array([take.digit for take in kept], np.int64)
    absent = [name for digit, name in enumerate(CLASS_NAMES) if digit not in targets]
    if absent:
        raise InputError(
            f"{place} has no recording of {', '.join(absent)} for the split {spec.split!r}. "
            f"{_REMEDY}"
        )
    return RecordingSet(
        name="spoken-digits",
        split=spec.split,
        labels=CLASS_NAMES,
        files=(place,),
        source=WaveFiles(place, tuple(take.name for take in kept)),
        targets=targets,
        chosen=spread(len(kept), spec.limit),
    )


@dataclass(frozen=True, slots=True, order=True)
class _Take:
    """One recording, in the order of the data set."""

    digit: int
    speaker: str
    name: str


@dataclass(frozen=True, slots=True)
class WaveFiles:
    """Recordings that are files in a folder, or members of a zip that stays open while read."""

    place: Path
    names: tuple[str, ...]

    @contextmanager
    def reader(self) -> Iterator[Callable[[int], Recording]]:
        """Opens the place; see `RecordingSource.reader`."""
        if self.place.is_dir():
            yield lambda position: self._read(position, self._file)
            return
        with _opened(self.place) as archive:
            yield lambda position: self._read(position, archive.read)

    def _file(self, name: str) -> bytes:
        return (self.place / name).read_bytes()

    def _read(self, position: int, content: Callable[[str], bytes]) -> Recording:
        name = self.names[position]
        try:
            found = content(name)
        # A damaged member fails in its checksum, stream, length or header; the last of these
        # stands for a compression that is not known and for one that wants a password.
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            raise InputError(
                f"Recording {name} in {self.place} cannot be read: {error}. {_REMEDY}"
            ) from error
        return decode_wave(found, f"{name} in {self.place}")


def _opened(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{archive} is no readable zip: {error}. {_REMEDY}") from error


def _members(place: Path) -> list[str]:
    """Names of the WAV files of a folder or a zip."""
    if place.is_dir():
        names = [path.name for path in place.iterdir() if path.is_file()]
    else:
        with _opened(place) as archive:
            names = archive.namelist()
    return [
        name
        for name in names
        if name.lower().endswith(".wav")
        and not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
    ]


def _take(name: str, place: Path) -> _Take:
    matched = _NAME.fullmatch(PurePosixPath(name).name)
    if matched is None:
        raise InputError(
            f"{name} in {place} is not called <digit>_<speaker>_<number>.wav; this is not the "
            "Free Spoken Digit Dataset as published."
        )
    return _Take(int(matched["digit"]), matched["speaker"], name)


def _of_split(
    takes: Sequence[_Take],
    split: Literal["train", "test"],
    test_speakers: Sequence[str],
    place: Path,
) -> list[_Take]:
    speakers = sorted({take.speaker for take in takes})
    absent = sorted(set(test_speakers) - set(speakers))
    if absent:
        raise InputError(
            f"Test speakers {', '.join(absent)} are not in {place}, which holds "
            f"{', '.join(speakers)}. {_REMEDY}"
        )
    kept = [take for take in takes if (take.speaker in test_speakers) == (split == "test")]
    if not kept:
        raise InputError(
            f"No speaker is left for the split {split!r}: {place} holds {', '.join(speakers)}, "
            f"and test speakers are {', '.join(test_speakers) or 'none'}."
        )
    return kept
