from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.graph.values import Array
from edgekit.quantization.held_out import HeldOutSplit
from edgekit.quantization.quality import SQNR_LIMIT, SqnrMeter, measure_sqnr
from tests.unit.quantization.graphs import batches, residual_net


def test_sqnr_follows_its_definition_over_batches_and_outputs() -> None:
    random = np.random.default_rng(0)
    meter = SqnrMeter()
    expected = [random.standard_normal((5, 3)).astype(np.float32) for _ in range(3)]
    noise = [random.standard_normal((5, 3)).astype(np.float32) * 0.01 for _ in range(3)]
    for signal, error in zip(expected, noise, strict=True):
        meter.update({"a": signal, "b": signal}, {"a": signal + error, "b": signal + 2 * error})
    power = np.square(np.concatenate(expected).astype(np.float64)).sum()
    lost = np.square(np.concatenate(noise).astype(np.float64)).sum()
    ratio = 10 * np.log10(power / lost)
    assert meter.result() == pytest.approx(ratio - 10 * np.log10(4) / 2, abs=1e-3)


@pytest.mark.parametrize(
    ("reference", "candidate", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], SQNR_LIMIT),
        ([0.0, 0.0], [0.0, 1.0], -SQNR_LIMIT),
        ([3.0, 4.0], [3.0, 3.5], 20.0),
    ],
)
def test_limits(reference: list[float], candidate: list[float], expected: float) -> None:
    meter = SqnrMeter()
    meter.update({"y": np.array(reference)}, {"y": np.array(candidate)})
    assert meter.result() == pytest.approx(expected)


def test_integer_outputs_do_not_count() -> None:
    meter = SqnrMeter()
    meter.update({"class": np.array([1])}, {"class": np.array([7])})
    assert meter.result() == SQNR_LIMIT


def test_empty_data() -> None:
    with pytest.raises(InputError, match="No data to compare"):
        measure_sqnr(residual_net(), [residual_net()], [])


def test_graph_against_itself() -> None:
    # The two sessions optimize differently, so they differ by float32 rounding.
    (ratio,) = measure_sqnr(residual_net(), [residual_net()], batches())
    assert ratio > 120


def _split(count: int, every: int) -> HeldOutSplit:
    feeds: list[dict[str, Array]] = [{"x": np.array([index])} for index in range(count)]
    return HeldOutSplit(lambda: iter(feeds), every)


def _indices(batches: object) -> list[int]:
    return [int(batch["x"][0]) for batch in batches]  # type: ignore[attr-defined]


def test_every_nth_batch_judges() -> None:
    split = _split(9, 4)
    assert _indices(split.fitting()) == [0, 1, 2, 4, 5, 6, 8]
    assert _indices(split.judging()) == [3, 7]
    assert split.divided


@pytest.mark.parametrize(("count", "every"), [(3, 4), (5, 0)])
def test_all_batches_do_both_when_there_are_too_few(count: int, every: int) -> None:
    split = _split(count, every)
    assert _indices(split.fitting()) == _indices(split.judging()) == list(range(count))
    assert not split.divided
