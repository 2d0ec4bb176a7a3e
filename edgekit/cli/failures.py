"""Turns an exception into one message on stderr and an exit code."""

from __future__ import annotations

import errno
import sys
import traceback
from pathlib import Path

from edgekit.errors import EdgekitError, InternalError

EXIT_INTERNAL = 1
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""

_ENVIRONMENT_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
)
"""What the operating system refuses for reasons outside edgekit."""


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
        return (
            EXIT_INTERRUPTED,
            "interrupted; no output is half-written, finished steps stay in the store",
        )
    if isinstance(error, EdgekitError):
        prefix = "internal error: " if isinstance(error, InternalError) else ""
        return error.exit_code, f"{prefix}{error}"
    if isinstance(error, OSError) and error.errno in _ENVIRONMENT_ERRORS:
        from edgekit.store.os_errors import explain_os_error

        explained = explain_os_error(error, "use", Path(error.filename or "the output folder"))
        return explained.exit_code, str(explained)
    if isinstance(error, MemoryError):
        return EXIT_INTERNAL, "out of memory; close other programs or use a smaller model"
    kind = type(error).__name__
    text = f"{kind}: {error}" if str(error) else kind
    return EXIT_INTERNAL, f"internal error: {text}; re-run with --debug for the traceback"
