"""Figures are compared with the last run that measured the same under equal conditions."""

from __future__ import annotations

import pytest

from edgekit.core.history_trend import Change, history_series
from edgekit.core.metrics import Unavailable
from edgekit.core.run_history import FinishedRun, RecordedRun
from tests.unit.store.history.runs import ACCURACY, LATENCY, artifact, finished, stage

MISSING = Unavailable(reason="switched off")


def numbered(*runs: FinishedRun) -> list[RecordedRun]:
    return [
        RecordedRun(id=number, **{name: getattr(run, name) for name in type(run).model_fields})
        for number, run in enumerate(runs, start=1)
    ]


def test_changes_skip_runs_that_did_not_measure_or_measured_something_else() -> None:
    elsewhere = LATENCY.model_copy(update={"device": "another", "p50_ms": 9.0})
    fewer = ACCURACY.model_copy(update={"n": 50, "value": 0.5})
    slower = LATENCY.model_copy(update={"p50_ms": 0.0383})
    better = ACCURACY.model_copy(update={"value": 0.99})
    (series, _) = history_series(
        numbered(
            finished(artifact()),
            finished(artifact(latency=MISSING, accuracy=fewer, size_bytes=70_000)),
            finished(artifact(latency=elsewhere, accuracy=MISSING, size_bytes=MISSING)),
            finished(artifact(latency=slower, accuracy=better)),
        )
    )
    assert [point.run.id for point in series.points] == [1, 2, 3, 4]
    first, second, third, fourth = series.points
    assert (first.accuracy, first.latency, first.size) == (None, None, None)
    assert (second.accuracy, second.latency) == (None, None)
    assert second.size == Change(before=68200, difference=1800, since_run=1)
    assert (third.accuracy, third.latency, third.size) == (None, None, None)
    assert fourth.accuracy is not None
    assert fourth.accuracy.difference == pytest.approx(0.006)
    assert fourth.accuracy.since_run == 1
    assert fourth.latency is not None
    assert fourth.latency.difference == pytest.approx(0.01)
    assert fourth.latency.since_run == 1
    assert fourth.size == Change(before=70_000, difference=-1800, since_run=2)


def test_another_runtime_is_still_compared() -> None:
    newer = LATENCY.model_copy(update={"runtime": "LiteRT 9"})
    series, _ = history_series(numbered(finished(), finished(artifact(latency=newer))))
    assert series.points[1].latency == Change(before=0.0283, difference=0.0, since_run=1)


def test_series_are_by_project_with_artifacts_before_stages() -> None:
    runs = numbered(
        finished(project="z", stages=(stage(), stage(step="distill", stage="distilled"))),
        finished(artifact(form="float32"), artifact(), project="a", stages=()),
        finished(artifact(target="coreml"), project="z"),
    )
    found = [(item.project, item.target, item.form, item.step) for item in history_series(runs)]
    assert found == [
        ("a", "tflite", "float32", ""),
        ("a", "tflite", "int8", ""),
        ("z", "tflite", "int8", ""),
        ("z", "coreml", "int8", ""),
        ("z", "", "float32", "prune"),
        ("z", "", "float32", "distill"),
    ]
    assert all(not point.run.artifacts for item in history_series(runs) for point in item.points)


def test_no_runs_give_no_series() -> None:
    assert history_series(()) == ()
