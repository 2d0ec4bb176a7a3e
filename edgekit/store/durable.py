"""Writing so that after a kill or power cut a file is there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from edgekit.store.exchange import exchange

TEMPORARY_PREFIX = ".edgekit-tmp-"
"""Start of the name of every file and folder that is still being written."""
_ASIDE = "old"
"""Folder for what was moved aside, below one of that prefix."""


def write_bytes(path: Path, data: bytes) -> None:
    """Writes ``data`` beside ``path``, syncs it to disk, and puts it in place at once.

    Raises:
        OSError: If it cannot be written; ``path`` is then as before.
    """
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_path(path.parent)


def copy_into_place(source: Path, destination: Path) -> None:
    """Copies a file or folder beside ``destination``, syncs it, and puts it in place.

    What stands there is replaced in one step, a folder by exchange of the two. Where the file
    system cannot exchange, the old one is moved aside first: for a moment there is none, and
    after a kill in that moment `restore_moved_aside` brings it back.

    Raises:
        OSError: If it cannot be written; ``destination`` is then as before.
    """
    holder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=destination.parent))
    try:
        fresh = holder / "new"
        if source.is_dir():
            shutil.copytree(source, fresh, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, fresh)
        sync_tree(fresh)
        if destination.is_dir() or (fresh.is_dir() and os.path.lexists(destination)):
            if not exchange(fresh, destination):
                _move_aside_and_replace(fresh, destination, holder / _ASIDE)
        else:
            fresh.rename(destination)
    finally:
        shutil.rmtree(holder, ignore_errors=True)
    sync_path(destination.parent)


def _move_aside_and_replace(fresh: Path, destination: Path, folder: Path) -> None:
    folder.mkdir()
    aside = folder / destination.name
    destination.rename(aside)
    try:
        fresh.rename(destination)
    except BaseException:
        aside.rename(destination)
        raise


def restore_moved_aside(folder: Path) -> None:
    """Puts back what `copy_into_place` had moved aside in ``folder`` when it was killed.

    Call only while nobody else copies into the folder, and before leftovers are removed.

    Raises:
        OSError: If it cannot be moved.
    """
    for aside in folder.glob(f"{TEMPORARY_PREFIX}*/{_ASIDE}/*"):
        if not os.path.lexists(folder / aside.name):
            aside.rename(folder / aside.name)


def sync_tree(path: Path) -> None:
    """Forces a file, or every file and folder below a folder, to disk."""
    if path.is_dir():
        for child in path.rglob("*"):
            sync_path(child)
    sync_path(path)


def sync_path(path: Path) -> None:
    """Forces one file's content, or one folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
