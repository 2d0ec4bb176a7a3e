"""Ctrl-C that cannot be lost.

Python raises KeyboardInterrupt wherever the signal happens to strike. Inside a library's
``except:`` or a callback it is dropped, and the work would go on as if nothing had happened. So
the signal is remembered, and the next report of progress raises it again.
"""

from __future__ import annotations

import signal
from types import FrameType

_received = False


def watch_interrupts() -> None:
    """Remembers SIGINT from now on, besides raising KeyboardInterrupt as usual."""
    signal.signal(signal.SIGINT, _remember)


def raise_if_interrupted() -> None:
    """Raises KeyboardInterrupt if a SIGINT came at any time before.

    Raises:
        KeyboardInterrupt: If so.
    """
    if _received:
        raise KeyboardInterrupt


def _remember(number: int, frame: FrameType | None) -> None:
    global _received
    _received = True
    signal.default_int_handler(number, frame)
