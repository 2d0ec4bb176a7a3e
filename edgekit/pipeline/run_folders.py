"""Folders that a run needs, and takes back where it made them for nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def store_folder(store: Path | None) -> Iterator[Path]:
    """The folder asked for, or one that goes when the run has ended."""
    if store is not None:
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="edgekit-store-") as folder:
        yield Path(folder)


@contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """Takes back folders that a failed run made for nothing."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    except BaseException:
        for place in made:
            try:
                place.rmdir()
            except OSError:
                break  # never made, or something lies in it
        raise
