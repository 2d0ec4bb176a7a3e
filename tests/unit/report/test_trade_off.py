"""The front against its definition, by trying every pair."""

from __future__ import annotations

from typing import Literal

import hypothesis.strategies as st
from hypothesis import given

from edgekit.report.trade_off import Point, front, points_of, trade_off_tables
from tests.unit.report.conftest import full_summary

levels = st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5])
points = st.builds(
    Point,
    name=st.text(max_size=3),
    group=st.just("tflite"),
    form=st.just("int8"),
    accuracy=levels,
    latency_ms=st.none() | levels,
    size_kib=levels,
    device=st.sampled_from(["a", "b"]),
    dataset=st.sampled_from(["x", "y"]),
)


@given(st.lists(points, max_size=12), st.sampled_from(["latency_ms", "size_kib"]))
def test_the_front_is_what_nothing_beats(
    given_points: list[Point], cost: Literal["latency_ms", "size_kib"]
) -> None:
    found = front(given_points, cost)
    for point in given_points:
        value = point.cost(cost)
        if value is None:
            assert point not in found
            continue
        better = [
            other
            for other in given_points
            if (price := other.cost(cost)) is not None
            and (cost == "size_kib" or other.device == point.device)
            and other.dataset == point.dataset
            and (price, -other.accuracy) != (value, -point.accuracy)
            and price <= value
            and other.accuracy >= point.accuracy
        ]
        assert (point in found) == (not better)
    costs = [point.cost(cost) for point in found]
    assert costs == sorted(costs, key=lambda item: item or 0.0)


def test_points_of_a_run_are_artifacts_with_known_accuracy() -> None:
    found = points_of(full_summary())
    assert [point.name for point in found] == ["tflite float32", "tflite float16"]
    assert next(point.name for point in points_of(full_summary(), "a")) == "a: tflite float32"
    (table,) = trade_off_tables(found)
    assert [row[4].text for row in table.rows] == ["latency and size", "size"]


def test_stages_are_points_unless_an_artifact_is_made_of_them() -> None:
    summary = full_summary()
    measured = summary.targets[0].latency
    trained, pruned, *rest = (
        row.model_copy(update={"latency": measured, "target": "tflite"}) for row in summary.ledger
    )
    found = points_of(summary.model_copy(update={"ledger": (trained, pruned, *rest)}))
    assert [point.name for point in found] == [
        "tflite float32", "tflite float16", "trained float32 on tflite", "PTQ int8 on tflite",
    ]  # fmt: skip


def test_accuracies_on_other_data_are_named_and_not_compared() -> None:
    made = [
        Point("a", "x", "int8", 0.9, 1.0, 10.0, dataset="digits, n = 500"),
        Point("b", "y", "int8", 0.8, 2.0, 20.0, dataset="cifar, n = 500"),
    ]
    assert front(made, "size_kib") == tuple(made)
    (table,) = trade_off_tables(made)
    assert [row[1].detail for row in table.rows] == ["digits, n = 500", "cifar, n = 500"]
