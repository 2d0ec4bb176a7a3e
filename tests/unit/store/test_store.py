"""The store keeps what is whole and forgets the rest."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.core.stage import Note, StageResult
from edgekit.errors import InternalError, UsageError
from edgekit.store import store as store_module
from edgekit.store.provenance import ExternalFile, Provenance, Record, Timing
from edgekit.store.store import Garbage, Store

TIMING = Timing(started="2024-01-01T00:00:00+00:00", duration_s=1.5)
SIGNATURE = ModelSignature(
    inputs=(TensorSpec(name="x", shape=("batch", 3)),),
    outputs=(TensorSpec(name="y", shape=("batch", 2)),),
)


def provenance(**changes: object) -> Provenance:
    fields: dict[str, object] = {
        "stage": "double",
        "stage_version": 1,
        "config": {"factor": 2},
        "inputs": {"model": "ab"},
        "external_files": (ExternalFile(path="/data/a", digest="cd"),),
        "tools": {"torch": "2.13.0"},
        "seed": 0,
    }
    return Provenance.model_validate(fields | changes)


def put(store: Store, given: Provenance, content: bytes = b"weights") -> Record:
    """Commits a file and a folder."""
    with store.scratch() as workdir:
        file = workdir / "out.bin"
        file.write_bytes(content)
        folder = workdir / "report"
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "page.html").write_bytes(content + b"!")
        result = StageResult(
            artifacts={
                "model": Artifact.of(ArtifactKind.ONNX, file, signature=SIGNATURE),
                "report": Artifact.of(ArtifactKind.REPORT, folder),
            },
            metrics={"loss": 0.25},
            notes=(Note(where="conv1", text="not fused"),),
        )
        return store.commit(given, result, workdir, TIMING)


def test_what_was_put_is_got_back_with_all_its_facts(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    record = put(store, provenance())
    found = store.get(provenance().key())
    assert found.record == record
    assert found.notes == ()
    model = store.artifact(record.outputs["model"])
    assert model.path.read_bytes() == b"weights"
    assert model.path == tmp_path / "store" / "objects" / model.digest[:2] / f"{model.digest}.bin"
    assert model.signature == SIGNATURE
    report = store.artifact(record.outputs["report"])
    assert (report.path / "sub" / "page.html").read_bytes() == b"weights!"
    assert record.notes[0].text == "not fused"
    assert record.metrics == {"loss": 0.25}
    assert not list((tmp_path / "store" / "scratch").iterdir())


def test_unknown_key_is_simply_absent(tmp_path: Path) -> None:
    found = Store(tmp_path).get("00")
    assert found.record is None
    assert found.notes == ()


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "triple"},
        {"stage_version": 2},
        {"config": {"factor": 3}},
        {"inputs": {"model": "ac"}},
        {"external_files": (ExternalFile(path="/data/a", digest="ce"),)},
        {"tools": {"torch": "2.14.0"}},
        {"seed": 1},
        {"target": "tflite 1"},
        {"scope": {"device": "Neoverse-N1"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_part_of_the_provenance_changes_the_key(change: dict[str, object]) -> None:
    assert provenance(**change).key() != provenance().key()


def test_place_of_an_external_file_does_not_change_the_key() -> None:
    moved = provenance(external_files=(ExternalFile(path="/elsewhere/a", digest="cd"),))
    assert moved.key() == provenance().key()


@pytest.mark.parametrize("slot", ["model", "report"])
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_artifact_counts_as_absent_and_is_replaced(
    tmp_path: Path, slot: str, damage: str
) -> None:
    store = Store(tmp_path)
    record = put(store, provenance())
    path = store.artifact(record.outputs[slot]).path
    victim = path / "sub" / "page.html" if path.is_dir() else path
    if damage == "changed":
        victim.chmod(0o644)
        victim.write_bytes(b"weighty")
    else:
        victim.unlink()
    found = store.get(record.key)
    assert found.record is None
    assert found.notes[0].level == "warning"
    assert found.notes[0].where == f"output '{slot}'"
    assert ("missing" if damage == "missing" and slot == "model" else "damaged") in (
        found.notes[0].text
    )
    assert put(store, provenance()) == record
    assert store.get(record.key).record == record


@pytest.mark.parametrize("text", ["", "{", '{"key": "x"}', "\x00\x01"])
def test_unreadable_record_counts_as_absent(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    record = put(store, provenance())
    (tmp_path / "runs" / f"{record.key}.json").write_text(text)
    found = store.get(record.key)
    assert found.record is None
    assert "the record is unreadable" in found.notes[0].text


def test_record_under_a_wrong_key_counts_as_absent(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = put(store, provenance())
    other = provenance(seed=9).key()
    (tmp_path / "runs" / f"{record.key}.json").rename(tmp_path / "runs" / f"{other}.json")
    found = store.get(other)
    assert found.record is None
    assert "another key" in found.notes[0].text


def test_times_stand_in_the_record_and_nowhere_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = put(store, provenance())
    holders = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and b"2024-01-01" in path.read_bytes()
    ]
    assert holders == [tmp_path / "runs" / f"{record.key}.json"]
    assert json.loads(holders[0].read_text())["duration_s"] == 1.5


def test_outputs_outside_the_working_folder_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    stray = tmp_path / "stray.onnx"
    stray.write_bytes(b"x")
    result = StageResult({"model": Artifact.of(ArtifactKind.ONNX, stray)})
    with (
        store.scratch() as workdir,
        pytest.raises(InternalError, match="lies outside its working folder"),
    ):
        store.commit(provenance(), result, workdir, TIMING)
    assert stray.exists()


def test_output_changed_after_it_was_described_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with store.scratch() as workdir:
        file = workdir / "m.onnx"
        file.write_bytes(b"x")
        result = StageResult({"model": Artifact.of(ArtifactKind.ONNX, file)})
        file.write_bytes(b"y")
        with pytest.raises(InternalError, match=r"changed m\.onnx after describing it"):
            store.commit(provenance(), result, workdir, TIMING)
    assert store.get(provenance().key()).record is None


def test_garbage_is_collected_and_what_is_named_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = put(store, provenance())
    lost = put(store, provenance(seed=5), b"other")
    (tmp_path / "runs" / f"{lost.key}.json").unlink()
    (tmp_path / "scratch" / "0123456789abcdef").mkdir()
    (tmp_path / "scratch" / "0123456789abcdef" / "half.onnx").write_bytes(b"h")
    (tmp_path / "scratch" / "0123456789abcdef.lock").touch()
    with store.scratch() as in_use:
        assert store.collect_garbage() == Garbage(scratch_folders=1, objects=2)
        assert in_use.is_dir()
    assert store.get(record.key).record == record
    assert not store.artifact(lost.outputs["model"]).path.exists()
    assert store.collect_garbage() == Garbage(0, 0)


def test_checkpoints_wait_for_a_month(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fresh, old = store.checkpoints("a" * 64), store.checkpoints("b" * 64)
    assert not fresh.exists()
    for folder in (fresh, old):
        folder.mkdir()
        (folder / "state").write_bytes(b"s")
    long_ago = time.time() - 40 * 86_400
    os.utime(old, (long_ago, long_ago))
    assert store.collect_garbage() == Garbage(0, 0, checkpoints=1)
    assert (fresh / "state").exists()
    assert not old.exists()
    store.discard_checkpoints("a" * 64)
    assert not fresh.exists()
    store.discard_checkpoints("a" * 64)


def test_full_disk_is_named_and_leaves_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(store_module, "sync_tree", full)
    with pytest.raises(
        UsageError, match=r"(?s)Cannot write to the store .*The disk is full.*kept"
    ):
        put(store, provenance())
    monkeypatch.undo()
    assert store.get(provenance().key()).record is None
    assert not list((tmp_path / "scratch").iterdir())


def test_real_full_device_is_named() -> None:
    from edgekit.store.os_errors import os_errors_explained

    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with (
        pytest.raises(UsageError, match=r"Cannot write /dev/full\. The disk is full"),
        os_errors_explained("write", full),
    ):
        full.write_bytes(b"x")


def test_file_in_place_of_the_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(UsageError, match=r"Cannot use the store .*is a file, not a folder"):
        Store(tmp_path / "store")


def test_store_of_another_format_is_refused(tmp_path: Path) -> None:
    Store(tmp_path)
    (tmp_path / "format").write_text("99")
    with pytest.raises(UsageError, match=r"has format '99'.*Delete the folder"):
        Store(tmp_path)


READ_ONLY = """
import os, sys
from pathlib import Path
from edgekit.errors import UsageError
from edgekit.store.store import Store
os.chdir(sys.argv[1])
if os.getuid() == 0:
    os.setuid(65534)
try:
    Store(Path("store"))
except UsageError as error:
    print(error)
"""


def test_read_only_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(folder)], capture_output=True, text=True, check=True
    )
    assert "Cannot use the store store" in done.stdout
    assert "Permission is denied. Choose a folder that you may write to." in done.stdout
