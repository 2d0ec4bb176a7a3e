"""Several processes, and processes that are killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from edgekit.store.history import read_history, record_run
from tests.unit.store.history.runs import artifact, finished

ROOT = Path(__file__).resolve().parents[4]

WRITER = """
import sys
from pathlib import Path
from edgekit.store.history import record_run
from tests.unit.store.history.runs import artifact, finished
file, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
run = finished(*(artifact(form=f"form{i}") for i in range(5)), project=name)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(count):
    print(record_run(file, run), flush=True)
"""

KILLED_WITHIN = """
import os, signal, sys
from pathlib import Path
from edgekit.store.history import database
from tests.unit.store.history.runs import artifact, finished
seen = []
def row(item, real=database.artifact_row):
    seen.append(item)
    if len(seen) == 400:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(item)
database.artifact_row = row
# A cache this small has SQLite write pages of the transaction to the disk before its end.
connect = database._connect
def small(file, mode):
    db = connect(file, mode)
    db.execute("PRAGMA cache_size = 4")
    return db
database._connect = small
database.record_run(Path(sys.argv[1]), finished(*(artifact(form=str(i)) for i in range(800))))
"""


def start(file: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), name, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def go(writer: subprocess.Popen[str]) -> None:
    assert writer.stdin is not None
    writer.stdin.write("go\n")
    writer.stdin.flush()


def ready(writer: subprocess.Popen[str]) -> None:
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"


def test_two_processes_that_make_the_file_at_once_both_record_all(tmp_path: Path) -> None:
    file = tmp_path / "h.sqlite"
    writers = [start(file, name, 25) for name in ("one", "two")]
    for writer in writers:
        ready(writer)
    for writer in writers:
        go(writer)
    numbers = []
    for writer in writers:
        out, err = writer.communicate(timeout=120)
        assert writer.returncode == 0, err
        numbers += [int(line) for line in out.split()]
    assert sorted(numbers) == list(range(1, 51))
    for name in ("one", "two"):
        runs = read_history(file, name)
        assert len(runs) == 25
        assert {len(run.artifacts) for run in runs} == {5}


def test_a_writer_killed_within_its_transaction_leaves_the_runs_before(tmp_path: Path) -> None:
    file = tmp_path / "h.sqlite"
    before = record_run(file, finished())
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WITHIN, str(file)], capture_output=True, cwd=ROOT
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    log = file.with_name("h.sqlite-wal")
    assert log.stat().st_size > 0, "nothing of the transaction was on the disk"
    assert [run.id for run in read_history(file)] == [before]
    after = record_run(file, finished(artifact(form="float16")))
    assert [run.id for run in read_history(file)] == [before, after]


def test_kills_at_any_moment_lose_no_run_that_was_acknowledged(tmp_path: Path) -> None:
    file = tmp_path / "h.sqlite"
    moments = random.Random(0)
    acknowledged: set[int] = set()
    for _ in range(6):
        writer = start(file, "net", 100_000)
        ready(writer)
        go(writer)
        time.sleep(moments.uniform(0.02, 0.3))
        writer.kill()
        out, _ = writer.communicate(timeout=60)
        acknowledged |= {int(line) for line in out.split("\n")[:-1]}
        if not file.exists() or not acknowledged:
            continue
        runs = read_history(file)
        assert acknowledged <= {run.id for run in runs}
        assert {(len(run.artifacts), len(run.stages)) for run in runs} == {(5, 1)}
    assert acknowledged
