"""Exchanging what two paths name, in one step of the file system."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Sequence
from pathlib import Path

_AT_WORKING_FOLDER = -100
"""AT_FDCWD of Linux; the paths are absolute, so it is not looked at."""
_SWAP = 2
"""RENAME_EXCHANGE of Linux's renameat2(2) and RENAME_SWAP of macOS's renamex_np(2)."""
_CANNOT = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def exchange(first: Path, second: Path) -> bool:
    """Exchanges two files or folders, whichever they are; at no moment is one of them missing.

    Returns:
        False where system or file system cannot do so; nothing has happened then.

    Raises:
        OSError: If both exist on a system that can, and may not be exchanged.
    """
    paths = [os.fsencode(path.absolute()) for path in (first, second)]
    name, arguments = _call(paths)
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None) if name else None
    if function is None:
        return False
    if function(*arguments) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))


def _call(paths: Sequence[bytes]) -> tuple[str, tuple[object, ...]]:
    """The C library's function and what it is called with; an empty name where there is none."""
    first, second = paths
    system = platform.system()
    if system == "Linux":
        at, flags = ctypes.c_int(_AT_WORKING_FOLDER), ctypes.c_uint(_SWAP)
        return "renameat2", (at, first, at, second, flags)
    if system == "Darwin":
        return "renamex_np", (first, second, ctypes.c_uint(_SWAP))
    return "", ()
