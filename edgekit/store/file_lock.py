"""Locks between processes that vanish with their owner, even when it is killed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class FileLock:
    """An exclusive ``flock`` on a file that exists only while it is locked.

    The kernel drops the lock when the owner ends in any way, so a killed run leaves a file
    but no lock. Because owners remove the file, an acquired lock counts only if the path
    still names the locked file; otherwise the attempt is repeated.
    """

    def __init__(self, path: Path) -> None:
        """Names the lock; nothing is created yet."""
        self._path = path
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Locks without waiting; False when another owner holds it."""
        return self._acquire(fcntl.LOCK_EX | fcntl.LOCK_NB)

    def acquire(self) -> None:
        """Waits until the lock is free and takes it."""
        self._acquire(fcntl.LOCK_EX)

    def release(self) -> None:
        """Removes the file and gives the lock back; does nothing when it is not held."""
        if self._descriptor is None:
            return
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None

    def _acquire(self, flags: int) -> bool:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, flags)
                if self._still_named(descriptor):
                    self._descriptor = descriptor
                    return True
            except BlockingIOError:
                return False
            finally:
                if self._descriptor != descriptor:
                    os.close(descriptor)

    def _still_named(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False


@contextmanager
def locked(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds the lock at ``path`` for its body.

    Args:
        path: File of the lock; its folder exists.
        on_wait: Called once before waiting, when another owner holds the lock.
    """
    lock = FileLock(path)
    if not lock.try_acquire():
        if on_wait is not None:
            on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def shared_lock(path: Path) -> Iterator[None]:
    """Holds a lock that several owners share, and that `exclusive_lock` respects."""
    # Unlike the file of a FileLock this one is never removed, so its identity is not checked.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def exclusive_lock(path: Path) -> Iterator[bool]:
    """Gives True, and holds the lock, if nobody shares it at this moment; never waits."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        yield alone
    finally:
        os.close(descriptor)
