"""Steps are added up the same however seldom they are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor

from edgekit.errors import GateError
from edgekit.training.processes import Alone
from edgekit.training.step_figures import StepFigure, StepFigures


def steps(losses: Iterable[float], samples: int = 4, total: int = 4) -> list[StepFigure]:
    return [
        StepFigure(torch.tensor(loss), torch.tensor(index % 3), samples, total, 0.1 * index)
        for index, loss in enumerate(losses, 1)
    ]


def test_looking_seldom_gives_the_same_sums() -> None:
    at_once, seldom = StepFigures(1, 1, Alone()), StepFigures(1, 4, Alone())
    given = steps([0.1 * number for number in range(1, 11)])
    assert [at_once.add(step) for step in given] == [1] * 10
    assert [seldom.add(step) for step in given] == [0, 0, 0, 4] * 2 + [0, 0]
    assert seldom.look() == 2
    assert seldom.look() == 0
    assert at_once.losses == seldom.losses
    assert (at_once.loss, at_once.hits, at_once.samples) == (
        seldom.loss, seldom.hits, seldom.samples,
    )  # fmt: skip
    assert at_once.loss == pytest.approx(4 * 5.5, rel=1e-6)
    assert at_once.hits == sum(index % 3 for index in range(1, 11))
    assert at_once.rate == seldom.rate == pytest.approx(1.0)


def test_a_gpu_is_asked_seldom() -> None:
    assert StepFigures.on(torch.device("cpu"), 1, Alone()).every == 1
    assert StepFigures.on(torch.device("cuda"), 1, Alone()).every == 50


@pytest.mark.parametrize("every", [1, 4, 100])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_first_loss_that_is_not_finite_is_named(every: int, bad: float) -> None:
    figures = StepFigures(3, every, Alone())
    given = steps([1.0] * 6 + [bad, 1.0, bad, 1.0])
    message = rf"the loss is {bad} in epoch 3, step 7 \(learning rate 0\.7\)"
    with pytest.raises(GateError, match=message):  # noqa: PT012 - where depends on ``every``
        for step in given:
            figures.add(step)
        figures.look()


class Two(Alone):
    """Two processes, the other of which gives a fixed loss and hits."""

    count = 2

    def sum(self, values: Tensor) -> Tensor:
        other = torch.tensor([[5.0 * 3 / 7], [2.0]], dtype=torch.float64)
        return values + other

    def from_first[T](self, make: Callable[[], T]) -> T:
        return make()


def test_shares_of_processes_count_by_their_samples() -> None:
    figures = StepFigures(1, 1, Two())
    figures.add(StepFigure(torch.tensor(2.0), torch.tensor(1), 4, 7, 0.1))
    assert figures.losses == [pytest.approx((2.0 * 4 + 5.0 * 3) / 7)]
    assert (figures.hits, figures.samples) == (3, 7)
    assert figures.loss == pytest.approx(2.0 * 4 + 5.0 * 3)
