"""Operating-system errors as messages that a user can act on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import UsageError

_REMEDIES = {
    errno.ENOSPC: "The disk is full. Free some space and run again; finished steps are kept",
    errno.EDQUOT: "The disk quota is used up. Free some space and run again",
    errno.EROFS: "It is on a read-only file system. Choose a folder that can be written to",
    errno.EACCES: "Permission is denied. Choose a folder that you may write to",
    errno.EPERM: "Permission is denied. Choose a folder that you may write to",
    errno.ENOTDIR: "A part of the path is a file, not a folder. Choose another folder",
    errno.EEXIST: "A file of that name is in the way. Choose another folder",
    errno.ENAMETOOLONG: "The name is too long. Choose a shorter project name or folder",
}


def explain_os_error(error: OSError, action: str, path: Path) -> UsageError:
    """The message for ``error``, which came while doing ``action`` with ``path``.

    Args:
        error: What the operating system answered.
        action: Verb phrase, for example ``"write"``.
        path: What was being worked on; the file that ``error`` names is added where it differs.
    """
    place = str(path)
    if error.filename is not None and str(error.filename) != place:
        place = f"{place} (at {error.filename})"
    remedy = _REMEDIES.get(error.errno or 0, error.strerror or str(error))
    return UsageError(f"Cannot {action} {place}. {remedy}.")


@contextmanager
def os_errors_explained(action: str, path: Path) -> Iterator[None]:
    """Turns each OSError of its body into a `UsageError` with a remedy."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, action, path) from error
