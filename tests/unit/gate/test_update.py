"""Making and renewing baselines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.core.metrics import Unavailable
from edgekit.errors import ConfigError, InputError, UsageError
from edgekit.gate import update
from edgekit.gate.baseline import read_baseline
from edgekit.gate.check import run_check
from edgekit.gate.verdict import Verdict
from tests.unit.gate.conftest import Bench, write_classifier, write_samples


def test_a_new_baseline_keeps_artifact_predictions_and_options(bench: Bench) -> None:
    done = bench.update(changes=(("margin", 1.5), ("latency", True), ("memory", False)))
    baseline = read_baseline(bench.baseline)
    assert baseline == done.baseline
    assert (baseline.model, baseline.options.margin) == ("lines", 1.5)
    assert baseline.data is not None
    assert baseline.data.set == bench.data
    entry = baseline.artifacts["lines.onnx"]
    assert (entry.target, entry.inputs) == ("onnxruntime", ("x: float32[1, 16]",))
    assert entry.latency is None
    assert entry.memory_bytes == Unavailable(reason="it was turned off")
    kept = bench.request().artifacts.place("lines.onnx", entry.digest)
    assert kept.read_bytes() == bench.artifact.read_bytes()
    assert done.changes[0].startswith("lines.onnx: new, ")
    assert "top-1 9" in done.changes[0]


def test_updating_accepts_a_change_and_drops_the_old_artifact(bench: Bench) -> None:
    bench.update(changes=(*bench.request().changes, ("margin", 1.5)))
    write_classifier(bench.artifact, spoilt=0.5)
    assert run_check(bench.request()).verdict is Verdict.FAIL
    done = bench.update(data=None)
    assert "before" in done.changes[0]
    assert run_check(bench.request()).verdict is Verdict.PASS
    assert len(list(bench.request().artifacts.folder.iterdir())) == 1
    # What is not given stays: the data set and the tolerances.
    assert done.baseline.options.margin == 1.5
    assert done.baseline.data is not None
    assert bench.update(data=None).changes == ()


def test_the_same_baseline_is_the_same_bytes(bench: Bench) -> None:
    bench.update()
    before = bench.baseline.read_bytes()
    bench.update()
    assert bench.baseline.read_bytes() == before


def test_a_folder_replaces_all_and_single_artifacts_their_own(bench: Bench) -> None:
    out = bench.folder / "out"
    for name in ("lines.onnx", "more.onnx"):
        write_classifier(out / name)
    bench.update(paths=(out,))
    write_classifier(out / "more.onnx", spoilt=0.1)
    done = bench.update(paths=(out / "more.onnx",))
    assert sorted(done.baseline.artifacts) == ["lines.onnx", "more.onnx"]
    assert [line.split(":")[0] for line in done.changes] == ["more.onnx"]
    assert run_check(bench.request(paths=(out,))).verdict is Verdict.PASS
    (out / "lines.onnx").unlink()
    done = bench.update(paths=(out,))
    assert done.changes == ("lines.onnx: taken out",)


def test_a_damaged_baseline_is_replaced_by_a_folder_and_not_by_a_part(bench: Bench) -> None:
    out = bench.folder / "out"
    write_classifier(out / "lines.onnx")
    bench.baseline.write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        bench.update()
    assert bench.baseline.read_text() == "{"
    bench.update(paths=(out,))
    assert run_check(bench.request(paths=(out,))).verdict is Verdict.PASS


def test_a_part_does_not_join_what_does_not_go_together(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.update()
    with pytest.raises(UsageError, match="The data set is not that of the baseline's other"):
        bench.update(limit=100)
    monkeypatch.setattr(update, "device_name", lambda: "Other CPU")
    with pytest.raises(UsageError, match=r"this machine is Other CPU\. Update all"):
        bench.update()


def test_accuracy_that_cannot_be_measured_is_no_baseline(bench: Bench) -> None:
    write_samples(bench.folder / "samples.npz", count=10)
    write_classifier(bench.artifact, extra_features=2)
    with pytest.raises(InputError, match=r"The accuracy of lines\.onnx cannot be measured"):
        bench.update()
    assert not bench.baseline.exists()
    with pytest.raises(ConfigError, match="There is no data set 'digit'"):
        bench.update(data="digit")


def test_nothing_to_make_a_baseline_of(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "out" / "report" / "report.json"
    path.parent.mkdir(parents=True)
    gone = {"status": "unavailable", "reason": "coremltools is not installed"}
    target = {"target": "coreml", "precision": "int8", "artifact": gone}
    path.write_text(json.dumps({"targets": [target]}))
    with pytest.raises(UsageError, match="no artifact to make a baseline of: coreml int8: coreml"):
        bench.update(paths=(tmp_path / "out",))
