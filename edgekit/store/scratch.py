"""Scratch folders that are cleared away when their owner ends, however it ends."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.store.file_lock import FileLock
from edgekit.store.os_errors import os_errors_explained

_LOCK_SUFFIX = ".lock"
_SECONDS_PER_DAY = 86_400


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Gives a new empty folder below ``parent`` and removes it afterwards.

    The lock beside it is taken before the folder is made and given back after it is gone, so
    `remove_abandoned` can tell the folder of a killed process from one in use.

    Raises:
        UsageError: If the folder cannot be made.
    """
    name = secrets.token_hex(8)
    lock = FileLock(parent / f"{name}{_LOCK_SUFFIX}")
    folder = parent / name
    try:
        with os_errors_explained("make a working folder in", parent):
            lock.acquire()
            folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def remove_abandoned(parent: Path) -> int:
    """Removes the scratch folders below ``parent`` whose owners are gone.

    Returns:
        How many were removed.
    """
    removed = 0
    for entry in sorted(parent.iterdir()):
        lock = FileLock(parent / f"{entry.name.removesuffix(_LOCK_SUFFIX)}{_LOCK_SUFFIX}")
        if not lock.try_acquire():
            continue
        folder = parent / entry.name.removesuffix(_LOCK_SUFFIX)
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
        lock.release()
    return removed


def remove_outdated(parent: Path, days: float) -> int:
    """Removes the folders below ``parent`` in which nothing was written for so many days.

    Returns:
        How many were removed.
    """
    removed = 0
    for folder in sorted(parent.iterdir()):
        if time.time() - folder.stat().st_mtime > days * _SECONDS_PER_DAY:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed
