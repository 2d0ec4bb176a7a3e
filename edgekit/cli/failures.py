"""Turns an exception into one message on stderr and an exit code."""

from __future__ import annotations

import errno
import sys
import traceback

from edgekit.errors import EdgekitError, InternalError

EXIT_INTERNAL = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""

_DISK_ERRORS = {
    errno.ENOSPC: (EXIT_INTERNAL, "the disk is full", "free some space and run it again"),
    errno.EDQUOT: (EXIT_INTERNAL, "the disk quota is used up", "free some space"),
    errno.EROFS: (EXIT_USAGE, "the file system is read-only", "choose another folder"),
    errno.EACCES: (EXIT_USAGE, "permission denied", "choose a folder that you may write to"),
    errno.EPERM: (EXIT_USAGE, "permission denied", "choose a folder that you may write to"),
}


def report_failure(error: BaseException, *, debug: bool) -> int:
    """Prints ``error`` as one message.

    Args:
        error: What a command raised.
        debug: Print the traceback as well.

    Returns:
        The exit code of the process.

    Raises:
        BrokenPipeError: Passed on: the reader of the output has gone, so nothing can be said.
    """
    if isinstance(error, BrokenPipeError):
        raise error
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    code, message = _describe(error)
    print(f"error: {message}", file=sys.stderr, flush=True)  # noqa: T201 - stderr is the place
    return code


def _describe(error: BaseException) -> tuple[int, str]:
    """Exit code and message of an exception."""
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED, "interrupted; finished steps are kept, no output is half-written"
    if isinstance(error, EdgekitError):
        prefix = "internal error: " if isinstance(error, InternalError) else ""
        return error.exit_code, f"{prefix}{error}"
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        code, what, remedy = _DISK_ERRORS[error.errno]
        where = f" at {error.filename}" if error.filename else ""
        return code, f"{what}{where}; {remedy}"
    if isinstance(error, MemoryError):
        return EXIT_INTERNAL, "out of memory; close other programs or use a smaller model"
    kind = type(error).__name__
    text = f"{kind}: {error}" if str(error) else kind
    return EXIT_INTERNAL, f"internal error: {text}; re-run with --debug for the traceback"
