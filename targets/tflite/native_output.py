"""Catches what native code writes to standard error, which Python cannot redirect."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

_LOGGER = logging.getLogger(__name__)
# The descriptor belongs to the whole process: two captures at once would mix.
_LOCK = threading.Lock()
_STDERR = 2
_CHATTER = ("INFO:", "VERBOSE:")


@contextlib.contextmanager
def quiet_native_stderr() -> Iterator[list[str]]:
    """Holds back standard error of native code inside the block.

    LiteRT announces every delegate there. Lines that are more than announcements are
    logged as warnings at the end.

    Yields:
        The lines caught; filled when the block ends.
    """
    lines: list[str] = []
    with _LOCK, tempfile.TemporaryFile() as caught:
        sys.stderr.flush()
        try:
            saved = os.dup(_STDERR)
        except OSError:  # the process has no standard error at all
            yield lines
            return
        os.dup2(caught.fileno(), _STDERR)
        try:
            yield lines
        finally:
            os.dup2(saved, _STDERR)
            os.close(saved)
            caught.seek(0)
            lines += caught.read().decode(errors="replace").splitlines()
    for line in lines:
        if line.strip() and not line.startswith(_CHATTER):
            _LOGGER.warning("LiteRT: %s", line)
