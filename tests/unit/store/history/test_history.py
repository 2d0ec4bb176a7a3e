"""Runs are read back as they were recorded."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.metrics import Unavailable
from edgekit.core.run_history import (
    FinishedRun,
    GitState,
    HistoryAccuracy,
    HistoryArtifact,
    HistoryLatency,
    HistoryStage,
    RecordedRun,
)
from edgekit.errors import InputError
from edgekit.store.history import history_file, read_history, record_run
from edgekit.store.history import schema as schema_module
from tests.unit.store.history.runs import artifact, finished, stage

# Lone surrogates are no text that UTF-8 can hold.
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
COUNT = st.integers(0, 2**62)
MILLISECONDS = st.floats(0, 1e9, allow_subnormal=True)
MISSING = st.builds(Unavailable, reason=TEXT)
ACCURACY = (
    st.builds(HistoryAccuracy, value=st.floats(0, 1), n=COUNT, dataset=TEXT, runtime=TEXT)
    | MISSING
)
LATENCY = (
    st.builds(
        HistoryLatency,
        p50_ms=MILLISECONDS,
        p90_ms=MILLISECONDS,
        runs=COUNT,
        warmup_runs=COUNT,
        threads=COUNT,
        batch=COUNT,
        runtime=TEXT,
        device=TEXT,
        peak_memory_bytes=st.none() | COUNT,
        notes=st.lists(TEXT, max_size=2).map(tuple),
    )
    | MISSING
)
FIGURES = {
    "form": TEXT,
    "target": TEXT,
    "accuracy": ACCURACY,
    "latency": LATENCY,
    "size_bytes": COUNT | MISSING,
    "macs": st.none() | COUNT,
    "parameters": st.none() | COUNT,
}
ARTIFACT = st.builds(
    HistoryArtifact,
    engine=TEXT,
    compute=TEXT,
    deployment_target=TEXT,
    file_name=TEXT,
    digest=TEXT,
    **FIGURES,
)
STAGE = st.builds(HistoryStage, stage=TEXT, step=TEXT, parent=TEXT, **FIGURES)
RUN = st.builds(
    FinishedRun,
    project=TEXT,
    command=TEXT,
    finished=st.datetimes(timezones=st.just(UTC)),
    duration_s=MILLISECONDS,
    git=st.builds(GitState, commit=TEXT, dirty=st.booleans()) | MISSING,
    edgekit_version=TEXT,
    device=TEXT,
    system=TEXT,
    seed=st.integers(0, 2**32 - 1),
    steps=COUNT,
    steps_reused=COUNT,
    artifacts=st.lists(ARTIFACT, max_size=3).map(tuple),
    stages=st.lists(STAGE, max_size=3).map(tuple),
)


def recorded(number: int, run: FinishedRun) -> RecordedRun:
    return RecordedRun(id=number, **{name: getattr(run, name) for name in type(run).model_fields})


@settings(max_examples=60, deadline=None)
@given(st.lists(RUN, min_size=1, max_size=3))
def test_what_is_recorded_is_read_back_to_the_last_bit(runs: list[FinishedRun]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "h.sqlite"
        numbers = [record_run(file, run) for run in runs]
        found = read_history(file)
    assert numbers == list(range(1, len(runs) + 1))
    assert found == tuple(map(recorded, numbers, runs))
    assert RecordedRun.model_validate_json(found[0].model_dump_json()) == found[0]


def test_the_history_lies_beside_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert history_file(Path(".edgekit")) == tmp_path / ".edgekit.history.sqlite"
    assert history_file(Path(".")) == tmp_path.parent / f"{tmp_path.name}.history.sqlite"
    assert history_file(Path("/")) == Path("/edgekit.history.sqlite")


def test_one_project_is_chosen_in_the_order_of_recording(tmp_path: Path) -> None:
    file = tmp_path / "a name?with#signs%20.sqlite"
    later = datetime(2026, 5, 1, tzinfo=UTC)
    # The clock may go backwards; the order of recording does not.
    record_run(file, finished(finished=later))
    record_run(file, finished(project="other"))
    record_run(file, finished(finished=later - timedelta(days=3)))
    assert [run.id for run in read_history(file)] == [1, 2, 3]
    assert [run.id for run in read_history(file, "net")] == [1, 3]
    with pytest.raises(
        InputError, match=r"no run of a project 'nett'\. It has runs of: net, other"
    ):
        read_history(file, "nett")


def test_a_time_with_an_offset_stays_the_same_moment(tmp_path: Path) -> None:
    east = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    record_run(tmp_path / "h", finished(finished=east))
    (run,) = read_history(tmp_path / "h")
    assert run.finished == datetime(2026, 5, 1, 10, tzinfo=UTC)


def test_columns_can_be_asked_for_by_sqlite_itself(tmp_path: Path) -> None:
    file = tmp_path / "h.sqlite"
    record_run(file, finished(artifact(), artifact(form="float32", size_bytes=310_000)))
    with closing(sqlite3.connect(file)) as db:
        rows = db.execute(
            "SELECT project, git_dirty, target, form, accuracy, accuracy_n, p50_ms, size_bytes, "
            "latency_notes FROM runs JOIN artifacts ON run = id ORDER BY position"
        ).fetchall()
        (mode,) = db.execute("PRAGMA journal_mode").fetchone()
    notes = json.dumps(["the latency did not settle"])
    assert rows == [
        ("net", 0, "tflite", "int8", 0.984, 500, 0.0283, 68200, notes),
        ("net", 0, "tflite", "float32", 0.984, 500, 0.0283, 310_000, notes),
    ]
    assert mode == "wal"


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    record_run(tmp_path / "h.sqlite", finished())
    read_history(tmp_path / "h.sqlite")
    assert [path.name for path in tmp_path.iterdir()] == ["h.sqlite"]


def test_an_older_schema_is_read_as_it_is_and_brought_up_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "h.sqlite"
    record_run(file, finished())
    before = file.read_bytes()
    newer = ("ALTER TABLE runs ADD COLUMN host TEXT NOT NULL DEFAULT 'unknown'",)
    monkeypatch.setattr(schema_module, "MIGRATIONS", (*schema_module.MIGRATIONS, newer))
    assert len(read_history(file)) == 1
    assert file.read_bytes() == before
    record_run(file, finished(stages=(stage(), stage(step="distill"))))
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("SELECT host FROM runs").fetchall() == [("unknown",)] * 2
    assert [len(run.stages) for run in read_history(file)] == [1, 2]


def test_a_migration_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "h.sqlite"
    record_run(file, finished())
    half = ("ALTER TABLE runs ADD COLUMN host TEXT", "ALTER TABLE absent ADD COLUMN x TEXT")
    with monkeypatch.context() as patch:
        patch.setattr(schema_module, "MIGRATIONS", (*schema_module.MIGRATIONS, half))
        with pytest.raises(Exception, match="absent"):
            record_run(file, finished())
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert "host" not in {row[1] for row in db.execute("PRAGMA table_info(runs)")}
    assert len(read_history(file)) == 1
