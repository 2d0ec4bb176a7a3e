"""Statistics of an interrupted calibration, kept in a file."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import InputError

_HEADER = "header"


@dataclass(frozen=True, slots=True)
class SavedState:
    """What the statistics are of.

    Attributes:
        identity: Digest of the model, the observed values and the options.
        batches: Batches taken in.
        samples: Samples taken in.
        feeds_digest: Digest of these batches.
    """

    identity: str
    batches: int
    samples: int
    feeds_digest: str


def save_state(path: Path, saved: SavedState, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes statistics beside ``path`` and moves them there, so that none is ever half written.

    Args:
        path: Its folder must exist.
        saved: What they are of.
        arrays: The statistics by name.
    """
    header = np.frombuffer(json.dumps(asdict(saved)).encode(), np.uint8)
    contents: dict[str, Any] = {_HEADER: header, **arrays}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            np.savez_compressed(stream, **contents)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_state(path: Path) -> tuple[SavedState, dict[str, npt.NDArray[Any]]]:
    """Reads what `save_state` wrote.

    Raises:
        InputError: If the file is damaged or holds something else.
    """
    try:
        with path.open("rb") as stream, np.load(stream) as archive:
            arrays = {name: archive[name] for name in archive.files}
        saved = SavedState(**json.loads(arrays.pop(_HEADER).tobytes()))
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} holds no calibration statistics ({type(error).__name__}). "
            "Delete it or name another file"
        ) from error
    return saved, arrays
