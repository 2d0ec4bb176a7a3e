"""Progress as lines and as bars."""

import io

from rich.console import Console
from rich.progress import Progress

from edgekit.cli.progress import BarProgress, LineProgress


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_lines_come_at_most_every_interval() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = LineProgress(stream, interval_s=5.0, clock=clock)
    progress.start("train", 20)
    for step in range(20):
        clock.now_s += 1.0
        progress.advance(1, f"loss {step}")
    progress.finish()
    assert stream.getvalue().splitlines() == [
        "train ...",
        "train: 5/20 loss 4",
        "train: 10/20 loss 9",
        "train: 15/20 loss 14",
        "train: 20/20 loss 19",
        "train: done in 20.0 s loss 19",
    ]


def test_nested_work_ends_innermost_first() -> None:
    stream = io.StringIO()
    progress = LineProgress(stream, clock=Clock())
    progress.start("outer", None)
    progress.start("inner", 1)
    progress.finish()
    progress.finish()
    progress.finish()  # one too many changes nothing
    progress.advance()
    assert stream.getvalue().splitlines() == [
        "outer ...",
        "inner ...",
        "inner: done in 0.0 s",
        "outer: done in 0.0 s",
    ]


def test_bars_leave_one_line_for_finished_work() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, color_system=None)
    with Progress("{task.description}", console=console, transient=True) as bars:
        progress = BarProgress(bars)
        progress.start("train [bold]", 2)
        progress.advance(2, "loss 0.1")
        progress.advance(0)
        progress.finish()
        progress.finish()
        progress.advance()
        assert not bars.tasks
    assert "done train [bold]" in stream.getvalue()
    assert "loss 0.1" in stream.getvalue()
