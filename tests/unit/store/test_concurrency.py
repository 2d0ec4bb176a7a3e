"""Two processes on one store."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit.store.file_lock import FileLock
from edgekit.store.provenance import Provenance
from edgekit.store.scratch import remove_abandoned, scratch_folder
from edgekit.store.store import Store

WRITER = """
import sys
from pathlib import Path
from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.stage import StageResult
from edgekit.store.provenance import Provenance, Timing
from edgekit.store.store import Store

store = Store(Path(sys.argv[1]))
for seed in range(30):
    provenance = Provenance(
        stage="s", stage_version=1, config={}, inputs={}, external_files=(), tools={}, seed=seed
    )
    with store.scratch() as workdir:
        file, folder = workdir / "a.bin", workdir / "b"
        file.write_bytes(b"%d" % seed)
        folder.mkdir()
        (folder / "x").write_bytes(b"%d" % seed)
        result = StageResult({
            "file": Artifact.of(ArtifactKind.WEIGHTS, file),
            "folder": Artifact.of(ArtifactKind.REPORT, folder),
        })
        store.commit(provenance, result, workdir, Timing(started="", duration_s=0))
    store.collect_garbage()
    assert store.get(provenance.key()).record is not None
"""


def test_two_writers_of_the_same_results_both_succeed(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    errors = [writer.communicate()[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], errors
    store = Store(tmp_path)
    for seed in range(30):
        given = Provenance(
            stage="s",
            stage_version=1,
            config={},
            inputs={},
            external_files=(),
            tools={},
            seed=seed,
        )
        assert store.get(given.key()).record is not None
    assert not list((tmp_path / "scratch").iterdir())
    assert not list((tmp_path / "locks").iterdir())


HOLDER = """
import sys, time
from pathlib import Path
from edgekit.store.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_bytes(b"h")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_scratch_of_a_living_process_stays_and_of_a_killed_one_goes(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    try:
        assert remove_abandoned(tmp_path) == 0
        assert (folder / "half").exists()
    finally:
        process.kill()
        process.communicate()
    assert folder.exists()
    assert remove_abandoned(tmp_path) == 1
    assert not list(tmp_path.iterdir())


def test_lock_is_exclusive_and_its_file_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    first, second = FileLock(path), FileLock(path)
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert not path.exists()
    assert second.try_acquire()
    second.release()


WAITER = """
import sys, time
from pathlib import Path
from edgekit.store.store import Store
store = Store(Path(sys.argv[1]))
with store.lock("k", lambda: print("waiting", flush=True)):
    print("got it", flush=True)
"""


def test_second_owner_of_a_key_waits_and_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("k", lambda: None):
        process = subprocess.Popen(
            [sys.executable, "-c", WAITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "waiting"
        time.sleep(0.2)
        assert process.poll() is None
    assert process.communicate()[0].strip() == "got it"


def test_scratch_is_removed_when_the_body_is_interrupted(tmp_path: Path) -> None:
    def interrupted() -> None:
        with scratch_folder(tmp_path) as folder:
            (folder / "x").write_bytes(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())
