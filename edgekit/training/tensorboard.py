"""Metrics of a training for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgekit.core.run_summary import EpochPoint
from edgekit.errors import InputError, MissingToolError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Metrics(Protocol):
    """Receives the course of a training."""

    def begin(self, steps: int) -> None:
        """Training begins after so many steps, which an interrupted one has done already."""

    def write(self, point: EpochPoint, losses: Sequence[float]) -> None:
        """One epoch has ended; ``losses`` is the mean loss of each of its steps."""

    def close(self) -> None:
        """Nothing more comes."""


def open_metrics(folder: Path | None) -> Metrics:
    """Writes event files into a folder; None writes nothing.

    Raises:
        MissingToolError: If the package tensorboard is not installed.
    """
    if folder is None:
        return _Unwatched()
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingToolError.for_extra(
            "tensorboard", "train", "write metrics for TensorBoard (train.tensorboard)"
        ) from error

    def open_writer(first_step: int) -> SummaryWriter:
        folder.mkdir(parents=True, exist_ok=True)
        return SummaryWriter(str(folder), purge_step=first_step)

    return _EventFiles(folder, open_writer)


class _Unwatched:
    def begin(self, steps: int) -> None:
        """See `Metrics.begin`."""

    def write(self, point: EpochPoint, losses: Sequence[float]) -> None:
        """See `Metrics.write`."""

    def close(self) -> None:
        """See `Metrics.close`."""


class _EventFiles:
    """Scalars by number of optimizer steps, so that runs of other batch sizes compare."""

    def __init__(self, folder: Path, open_writer: Callable[[int], SummaryWriter]) -> None:
        self._folder = folder
        self._open = open_writer
        self._writer: SummaryWriter | None = None
        self._steps = 0

    def begin(self, steps: int) -> None:
        """Hides what an interrupted training wrote of steps that are now done again."""
        self._steps = steps
        try:
            self._writer = self._open(steps + 1)
        except OSError as error:
            raise InputError(
                f"train.tensorboard: nothing can be written to {self._folder}: {error}"
            ) from error

    def write(self, point: EpochPoint, losses: Sequence[float]) -> None:
        """See `Metrics.write`."""
        assert self._writer is not None
        for number, loss in enumerate(losses, self._steps + 1):
            self._writer.add_scalar("loss/step", loss, number)
        self._steps += len(losses)
        scalars = {
            "loss/train": point.loss,
            "loss/kept_back": point.val_loss,
            "accuracy/train": point.train_accuracy,
            "accuracy/kept_back": point.val_accuracy,
            "learning_rate": point.lr,
            "epoch": point.epoch,
        }
        for name, value in scalars.items():
            if value is not None:
                self._writer.add_scalar(name, value, self._steps)
        self._writer.flush()

    def close(self) -> None:
        """See `Metrics.close`."""
        if self._writer is not None:
            self._writer.close()
