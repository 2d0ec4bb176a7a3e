"""A Ctrl-C that a library swallows is raised again by the next report of progress."""

import io
import subprocess
import sys

from edgekit.cli.progress import LineProgress

SWALLOWING = """
import os, signal, sys
from edgekit.cli.interrupts import watch_interrupts
from edgekit.cli.progress import LineProgress

watch_interrupts()
progress = LineProgress(sys.stderr)
progress.start("work", 10)
try:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000000): pass
except BaseException:
    pass  # what a careless library does
progress.advance()
print("went on")
"""


def test_a_swallowed_interrupt_is_raised_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWING], capture_output=True, text=True, check=False
    )
    assert "went on" not in done.stdout
    assert "KeyboardInterrupt" in done.stderr


def test_without_an_interrupt_progress_goes_on() -> None:
    stream = io.StringIO()
    progress = LineProgress(stream)
    progress.start("work", 2)
    progress.advance()
    progress.finish()
    assert "work: done" in stream.getvalue()
