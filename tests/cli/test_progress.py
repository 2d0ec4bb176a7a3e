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


def test_inner_work_gives_a_line_every_interval() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = LineProgress(stream, interval_s=5.0, clock=clock)
    progress.start("Pipeline", 2)
    for epoch in range(5):
        progress.start(f"epoch {epoch}", 4)
        for step in range(4):
            clock.now_s += 1.0
            progress.advance(1, f"loss {step}")
        progress.finish()
    progress.advance(1, "train: done")
    progress.advance(1, "lower: reused")
    progress.finish()
    assert stream.getvalue().splitlines() == [
        "  epoch 1: 1/4 loss 0",
        "  epoch 2: 2/4 loss 1",
        "  epoch 3: 3/4 loss 2",
        "  epoch 4: 4/4 loss 3",
        "[1/2] train: done",
        "[2/2] lower: reused",
        "Pipeline: done in 20.0 s",
    ]


def test_work_of_unknown_length_has_no_total() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = LineProgress(stream, interval_s=1.0, clock=clock)
    progress.start("waiting", None)
    clock.now_s += 2.0
    progress.advance()
    progress.advance(1, "found")
    progress.finish()
    progress.finish()  # one too many changes nothing
    progress.advance()
    assert stream.getvalue().splitlines() == [
        "  waiting: 1",
        "[2] found",
        "waiting: done in 2.0 s",
    ]


def test_bars_leave_a_line_for_each_outer_step() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, color_system=None)
    with Progress("{task.description}", console=console, transient=True) as bars:
        progress = BarProgress(bars)
        progress.start("Pipeline", 12)
        progress.start("epoch 1", 2)
        progress.advance(2, "loss 0.1")
        progress.advance(0)
        progress.finish()
        progress.advance(1, "train [bold]: done")
        progress.finish()
        progress.finish()
        progress.advance()
        assert not bars.tasks
    assert "[ 1/12] train [bold]: done" in stream.getvalue()
    assert "loss 0.1" not in stream.getvalue()
