"""The processes that do a training together; mostly it is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from edgekit.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Rows:
    """What one process has of a batch that several divide among them.

    Attributes:
        first: Its first row.
        count: Number of its rows.
        total: Rows of the whole batch.
    """

    first: int
    count: int
    total: int

    def of[T: (Tensor, list[int])](self, batch: T) -> T:
        """The process's own rows of something that counts the whole batch's."""
        return batch[self.first : self.first + self.count]


class Processes(Protocol):
    """What a training needs to know of the processes that share it, and asks of them."""

    @property
    def rank(self) -> int:
        """This process, from 0."""

    @property
    def count(self) -> int:
        """How many there are."""

    def wrapped(self, model: nn.Module) -> AbstractContextManager[nn.Module]:
        """Inside, the model in a form whose gradients are the mean over all processes.

        Every process begins with the weights of the first one.
        """

    def sum(self, values: Tensor) -> Tensor:
        """The sum of what each process gives."""

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Puts the mean over all processes into each tensor, in place."""

    def gathered[T](self, value: T) -> list[T]:
        """What each process gives, by rank."""

    def from_first[T](self, make: Callable[[], T]) -> T:
        """What ``make`` gives in the first process; what it raises there is raised in all."""


class Alone:
    """One process that has the whole batch."""

    rank = 0
    count = 1

    def wrapped(self, model: nn.Module) -> AbstractContextManager[nn.Module]:
        """The model itself."""
        return nullcontext(model)

    def sum(self, values: Tensor) -> Tensor:
        """The values themselves."""
        return values

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Does nothing."""

    def gathered[T](self, value: T) -> list[T]:
        """One value."""
        return [value]

    def from_first[T](self, make: Callable[[], T]) -> T:
        """What ``make`` gives."""
        return make()


_current: ContextVar[Processes | None] = ContextVar("processes", default=None)


def current_processes() -> Processes:
    """Those that a training is divided among; one, where `using` names no others."""
    return _current.get() or Alone()


@contextmanager
def using(processes: Processes) -> Iterator[None]:
    """Inside, trainings are divided among ``processes``."""
    token = _current.set(processes)
    try:
        yield
    finally:
        _current.reset(token)


def own_rows(processes: Processes, total: int) -> Rows:
    """Rows of a batch that this process has; as equal a part as can be.

    Raises:
        ConfigError: If there are fewer rows than processes.
    """
    if total < processes.count:
        raise ConfigError(
            f"A step of {total} samples cannot be divided among {processes.count} processes. "
            "Raise train.batch_size, give more samples or start fewer processes"
        )
    first = total * processes.rank // processes.count
    end = total * (processes.rank + 1) // processes.count
    return Rows(first, end - first, total)
