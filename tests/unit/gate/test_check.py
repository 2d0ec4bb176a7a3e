"""The check with real artifacts, and with everything that can be wrong."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.layer_error import Culprit
from edgekit.core.metadata import Preprocessing
from edgekit.core.metrics import Unavailable
from edgekit.errors import (
    ConfigError,
    InputError,
    MissingToolError,
    UnsupportedError,
    UsageError,
)
from edgekit.gate import artifact_check, subject, update
from edgekit.gate.baseline import KeptAccuracy, read_baseline
from edgekit.gate.check import CheckRequest, run_check
from edgekit.gate.culprit import Blame, CulpritRequest
from edgekit.gate.options import Budget
from edgekit.gate.verdict import CheckReport, Finding, Gate, Verdict
from edgekit.measure.accuracy import classify
from edgekit.targets.onnxruntime.target import create_target
from tests.unit.gate.conftest import Bench, write_classifier, write_samples


def said(report: CheckReport, gate: Gate, artifact: str = "lines.onnx") -> Finding:
    (found,) = [item for item in report.findings if (item.gate, item.artifact) == (gate, artifact)]
    return found


@pytest.fixture
def quick_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peak memory without the fresh process that measures it."""
    for module in (update, artifact_check):
        monkeypatch.setattr(module, "peak_memory_of", lambda *_: 5_000_000)


def edit(path: Path, change: Any) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_the_same_artifact_passes(bench: Bench) -> None:
    bench.update()
    told: list[Finding] = []
    report = run_check(bench.request(), tell=told.append)
    assert report.verdict is Verdict.PASS
    assert report.model == "lines"
    assert told == list(report.findings)
    assert [item.verdict for item in told] == [
        Verdict.PASS, Verdict.PASS, Verdict.NOT_CHECKED, Verdict.PASS, Verdict.NOT_CHECKED,
    ]  # fmt: skip
    assert "all 1,000 predictions are those of the baseline" in said(report, "accuracy").text


def test_a_spoilt_artifact_fails_with_flips(bench: Bench) -> None:
    bench.update()
    write_classifier(bench.artifact, spoilt=0.5)
    report = run_check(bench.request())
    assert report.verdict is Verdict.FAIL
    found = said(report, "accuracy")
    assert found.verdict is Verdict.FAIL
    assert found.paired is not None
    assert found.paired.lost > found.paired.gained
    assert found.before is not None
    assert found.now is not None
    assert found.now == pytest.approx(found.before + found.paired.difference)
    # A float artifact has no quantization to blame.
    assert found.culprit is None


def test_a_harmless_change_passes_with_a_margin_it_can_show(bench: Bench) -> None:
    bench.update()
    write_classifier(bench.artifact, spoilt=0.01)
    request = bench.request(changes=(*bench.request().changes, ("margin", 3.0)))
    report = run_check(request)
    found = said(report, "accuracy")
    assert found.verdict is Verdict.PASS
    assert found.paired is not None
    assert found.paired.changed > 0
    assert report.options.margin == 3.0


def test_what_the_samples_cannot_show(bench: Bench) -> None:
    bench.update()
    write_classifier(bench.artifact, spoilt=0.12)
    found = said(run_check(bench.request()), "accuracy")
    assert found.verdict is Verdict.CANNOT_TELL
    assert found.needed is not None
    told = re.fullmatch(r"About ([\d,]+) samples would tell if .*, 1,000 were .*", found.remedy)
    assert told is not None
    assert found.needed <= int(told[1].replace(",", "")) <= 1.1 * found.needed
    assert found.minimum_effect is not None
    assert found.minimum_effect > 0.005


def test_more_samples_are_taken_where_a_part_cannot_tell(bench: Bench) -> None:
    bench.update(limit=150)
    write_classifier(bench.artifact, spoilt=0.25)
    found = said(run_check(bench.request()), "accuracy")
    assert found.paired is not None
    assert found.paired.n > 150
    assert found.paired.confidence == pytest.approx(0.99)
    few = said(run_check(bench.request(budget=Budget(seconds=5, max_samples=160))), "accuracy")
    assert few.paired is not None
    assert few.paired.n <= 160


def test_another_machine_measures_both_artifacts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.update()
    write_classifier(bench.artifact, spoilt=0.5)
    monkeypatch.setattr(artifact_check, "device_name", lambda: "Other CPU")
    report = run_check(bench.request())
    assert said(report, "accuracy").verdict is Verdict.FAIL
    environment = said(report, "environment")
    assert environment.verdict is Verdict.PASS
    assert "this is ONNX Runtime" in environment.text
    assert "both artifacts are measured here" in environment.text


@pytest.mark.usefixtures("quick_memory")
def test_another_machine_without_the_baselines_artifact_cannot_tell(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.update(changes=())
    write_classifier(bench.artifact, spoilt=0.01)
    for path in bench.request().artifacts.folder.iterdir():
        path.unlink()
    monkeypatch.setattr(artifact_check, "device_name", lambda: "Other CPU")
    report = run_check(bench.request(changes=()))
    for gate in ("environment", "accuracy", "latency", "memory"):
        found = said(report, gate)
        assert found.verdict is Verdict.CANNOT_TELL, found
        assert "the baseline's artifact is not here" in found.text
    assert said(report, "size").verdict is Verdict.PASS
    assert report.verdict is Verdict.CANNOT_TELL


def test_another_runtime_version_is_another_environment(bench: Bench) -> None:
    bench.update()

    def older(value: dict[str, Any]) -> None:
        value["artifacts"]["lines.onnx"]["runtime"] = "ONNX Runtime 1.0 (CPU)"

    edit(bench.baseline, older)
    found = said(run_check(bench.request()), "environment")
    assert "The baseline was made with ONNX Runtime 1.0 (CPU)" in found.text


@pytest.mark.usefixtures("quick_memory")
def test_absent_baseline_artifact_leaves_latency_open(bench: Bench) -> None:
    bench.update(changes=())
    write_classifier(bench.artifact, spoilt=0.001)
    for path in bench.request().artifacts.folder.iterdir():
        path.unlink()
    report = run_check(bench.request(changes=()))
    latency = said(report, "latency")
    assert latency.verdict is Verdict.CANNOT_TELL
    assert "nothing to measure it beside: the baseline's artifact is not here" in latency.text
    # The machine is the same, so that what the baseline says of accuracy and memory holds.
    assert said(report, "memory").verdict is Verdict.PASS
    assert said(report, "accuracy").paired is not None


def test_identical_bytes_need_no_timing(bench: Bench) -> None:
    bench.update(changes=(("memory", False),))
    report = run_check(bench.request(changes=()))
    assert said(report, "latency").text == "The artifact is that of the baseline, byte for byte."
    assert report.verdict is Verdict.PASS


def test_latency_of_a_changed_artifact_is_timed_beside_the_kept_one(bench: Bench) -> None:
    bench.update()
    write_classifier(bench.artifact, spoilt=0.001)
    changes = (("latency", True), ("latency_tolerance", 0.5))
    latency = said(run_check(bench.request(changes=changes)), "latency")
    assert latency.verdict is Verdict.PASS
    assert latency.ratio is not None
    assert latency.ratio.loads >= 6
    assert latency.minimum_effect is not None


def test_a_larger_artifact_fails_by_size(bench: Bench) -> None:
    bench.update()

    def smaller(value: dict[str, Any]) -> None:
        value["artifacts"]["lines.onnx"]["size_bytes"] -= 100

    edit(bench.baseline, smaller)
    assert said(run_check(bench.request()), "size").verdict is Verdict.FAIL


def test_fewer_samples_are_no_pass(bench: Bench) -> None:
    bench.update()
    found = said(run_check(bench.request(limit=400)), "accuracy")
    assert found.verdict is Verdict.CANNOT_TELL
    assert "400 samples now, fewer than the 1000 of the baseline" in found.text
    found = said(run_check(bench.request(data=bench.data, limit=400)), "accuracy")
    assert found.verdict is Verdict.CANNOT_TELL


def test_other_samples_are_no_pass(bench: Bench) -> None:
    bench.update()
    write_samples(bench.folder / "samples.npz", seed=2)
    found = said(run_check(bench.request()), "accuracy")
    assert found.verdict is Verdict.CANNOT_TELL
    assert "are not those of the baseline" in found.text
    found = said(run_check(bench.request(data="digits")), "accuracy")
    assert "The data set is 'digits', that of the baseline 'npz:" in found.text
    (bench.folder / "samples.npz").unlink()
    found = said(run_check(bench.request()), "accuracy")
    assert found.verdict is Verdict.CANNOT_TELL
    assert "The data set cannot be read" in found.text


def test_a_baseline_of_another_model_fails(bench: Bench) -> None:
    bench.update()
    write_classifier(bench.artifact, name="curves")
    report = run_check(bench.request())
    assert report.verdict is Verdict.FAIL
    found = said(report, "baseline")
    assert "of another model: it is of 'lines', this artifact of 'curves'" in found.text
    write_classifier(bench.artifact, extra_features=3)
    report = run_check(bench.request())
    assert report.verdict is Verdict.FAIL
    assert "its inputs are x: float32[1, 16], those of this artifact x: float32[1, 19]" in (
        said(report, "baseline").text
    )


def test_a_damaged_baseline_fails(bench: Bench) -> None:
    bench.update()
    whole = bench.baseline.read_text()
    bench.baseline.write_text(whole[: len(whole) // 2])
    report = run_check(bench.request())
    assert report.verdict is Verdict.FAIL
    (found,) = report.findings
    assert "is damaged: it cannot be read as JSON" in found.text
    assert "Restore it from version control" in found.remedy


def test_a_baseline_that_contradicts_itself_cannot_tell(bench: Bench) -> None:
    bench.update()

    def more_hits(value: dict[str, Any]) -> None:
        value["artifacts"]["lines.onnx"]["accuracy"]["hits"] -= 5

    edit(bench.baseline, more_hits)
    found = said(run_check(bench.request()), "accuracy")
    assert found.verdict is Verdict.CANNOT_TELL
    assert "The baseline contradicts itself" in found.text


def test_a_damaged_kept_artifact_fails(bench: Bench) -> None:
    bench.update()
    (kept,) = bench.request().artifacts.folder.iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    write_classifier(bench.artifact, spoilt=0.01)
    report = run_check(bench.request())
    assert report.verdict is Verdict.FAIL
    assert "is damaged: its content has the digest" in said(report, "baseline").text


def test_a_damaged_artifact_fails(bench: Bench) -> None:
    bench.update()
    bench.artifact.write_bytes(b"no model")
    report = run_check(bench.request())
    assert report.verdict is Verdict.FAIL
    assert "The artifact cannot be read" in said(report, "baseline").text


def test_an_artifact_with_nan_fails(bench: Bench) -> None:
    bench.update()
    write_classifier(bench.artifact, log=True)
    report = run_check(bench.request())
    assert report.verdict is Verdict.FAIL
    assert "is NaN for" in said(report, "accuracy").text


def test_each_file_has_its_own_preprocessing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that breaks the preprocessing must not break the baseline's along with it."""
    right, wrong = Preprocessing(mean=(0.5,)), Preprocessing(mean=(127.0,))
    write_classifier(bench.artifact, preprocessing=right)
    bench.update()
    write_classifier(bench.artifact, preprocessing=wrong)
    used: list[Any] = []

    def spy(session: Any, dataset: Any, preprocessing: Any, **more: Any) -> Any:
        used.append(preprocessing)
        return classify(session, dataset, preprocessing, **more)

    monkeypatch.setattr(subject, "classify", spy)
    monkeypatch.setattr(artifact_check, "device_name", lambda: "Other CPU")
    run_check(bench.request())
    # The artifact, then that of the baseline beside it.
    assert used == [wrong, right]


def test_a_runtime_that_became_worse_is_no_pass(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here both artifacts are equally bad; the baseline says that it was better elsewhere."""
    bench.update()
    monkeypatch.setattr(artifact_check, "device_name", lambda: "Other CPU")
    assert said(run_check(bench.request()), "accuracy").verdict is Verdict.PASS

    def broken(*given: Any, **more: Any) -> Any:
        found = classify(*given, **more)
        wrong = np.where(np.arange(found.predictions.size) % 10 == 0, 0, found.predictions)
        return replace(found, predictions=wrong)

    monkeypatch.setattr(subject, "classify", broken)
    report = run_check(bench.request())
    found = said(report, "accuracy")
    assert (report.verdict, found.verdict) == (Verdict.FAIL, Verdict.FAIL)
    assert "The baseline's own artifact has" in found.text
    assert "computes something else" in found.text
    assert found.paired is not None
    assert found.paired.lost > found.paired.gained


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (UnsupportedError("ONNX Runtime fails"), Verdict.FAIL),
        (MissingToolError("no library"), Verdict.CANNOT_TELL),
    ],
)
def test_an_artifact_that_fails_as_it_runs_is_a_verdict(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, verdict: Verdict
) -> None:
    bench.update()
    write_classifier(bench.artifact, spoilt=0.01)

    def fails(*given: Any, **more: Any) -> Any:
        raise error

    monkeypatch.setattr(artifact_check, "gate_latency", fails)
    monkeypatch.setattr(subject, "classify", fails)
    report = run_check(bench.request(changes=(("latency", True), ("memory", False))))
    assert report.verdict is verdict
    for gate in ("accuracy", "latency"):
        assert said(report, gate).verdict is verdict
        assert str(error) in said(report, gate).text
    # The others have looked all the same.
    assert said(report, "size").verdict is Verdict.PASS


def test_a_missing_runtime_is_a_verdict(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as quick:
        quick.setattr(update, "peak_memory_of", lambda *_: 5_000_000)
        bench.update(changes=())
    kind = type(create_target())
    gone = Unavailable(reason="onnxruntime is not installed")
    monkeypatch.setattr(kind, "load", lambda *_: gone)
    monkeypatch.setattr(kind, "measure", lambda *_: gone)
    report = run_check(bench.request(changes=()))
    assert report.verdict is Verdict.CANNOT_TELL
    for gate in ("environment", "accuracy", "memory"):
        assert "onnxruntime is not installed" in said(report, gate).text
    write_classifier(bench.artifact, spoilt=0.01)
    latency = said(run_check(bench.request(changes=())), "latency")
    assert (latency.verdict, latency.text) == (
        Verdict.CANNOT_TELL,
        "It cannot be run here: onnxruntime is not installed",
    )


def test_an_artifact_that_the_baseline_does_not_know(bench: Bench) -> None:
    bench.update()
    other = write_classifier(bench.folder / "other.onnx")
    report = run_check(bench.request(paths=(other,)))
    assert report.verdict is Verdict.CANNOT_TELL
    assert "knows no artifact of this name" in said(report, "baseline", "other.onnx").text


def test_an_artifact_that_was_not_made_fails(bench: Bench) -> None:
    out = bench.folder / "out"
    for name in ("lines.onnx", "more.onnx"):
        write_classifier(out / name)
    bench.update(paths=(out,))
    (out / "more.onnx").unlink()
    report = run_check(bench.request(paths=(out,)))
    assert report.verdict is Verdict.FAIL
    assert "this run did not make it" in said(report, "baseline", "more.onnx").text
    # Named alone, the other is all that is asked for.
    assert run_check(bench.request(paths=(out / "lines.onnx",))).verdict is Verdict.PASS


def test_a_target_that_could_not_be_made_cannot_be_told(bench: Bench) -> None:
    out = bench.folder / "out"
    write_classifier(out / "lines.onnx")
    bench.update(paths=(out,))
    (out / "lines.onnx").unlink()
    gone = {"status": "unavailable", "reason": "onnxruntime is too old"}
    report_file = out / "report" / "report.json"
    report_file.parent.mkdir()
    report_file.write_text(
        json.dumps(
            {"targets": [{"target": "onnxruntime", "precision": "float32", "artifact": gone}]}
        )
    )
    report = run_check(bench.request(paths=(out,)))
    found = said(report, "baseline")
    assert found.verdict is Verdict.CANNOT_TELL
    assert "did not make it: onnxruntime is too old" in found.text
    # That another form of it could not be made excuses nothing.
    report_file.write_text(report_file.read_text().replace("float32", "int8"))
    assert said(run_check(bench.request(paths=(out,))), "baseline").verdict is Verdict.FAIL


def test_a_baseline_without_data_checks_the_rest(bench: Bench) -> None:
    bench.update(data=None)
    report = run_check(bench.request())
    found = said(report, "accuracy")
    assert found.verdict is Verdict.NOT_CHECKED
    assert "no data set was named with --data" in found.text
    assert report.verdict is Verdict.PASS
    # Who asks for accuracy is not told that all is well.
    report = run_check(bench.request(data=bench.data))
    assert report.verdict is Verdict.CANNOT_TELL
    assert "The baseline holds no predictions" in said(report, "accuracy").text


def test_the_layer_is_named_for_a_quantized_artifact(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.update()
    write_classifier(bench.artifact, spoilt=0.5)
    asked: list[CulpritRequest] = []
    culprit = Culprit(
        tensor="scores", layer="gemm", operators=("Gemm",), cause="coarse-step",
        text="Its step is 2.0 times what its values need.",
    )  # fmt: skip

    def blame(request: CulpritRequest) -> Blame:
        asked.append(request)
        return Blame(culprit, "Keep gemm in float.")

    monkeypatch.setattr(subject.Subject, "quantized", property(lambda self: True))
    found = said(run_check(bench.request(), culprits=blame), "accuracy")
    assert found.culprit == culprit
    assert found.remedy.startswith("Keep gemm in float. If this loss is wanted")
    assert asked[0].artifact == bench.artifact
    assert [path.parent.name for path in asked[0].references] == ["baseline.artifacts"]
    reference = write_classifier(bench.folder / "float" / "lines.onnx")
    run_check(bench.request(reference=reference), culprits=blame)
    assert asked.pop().references[0] == reference
    # A verdict that is no failure asks for no layer.
    write_classifier(bench.artifact, spoilt=0.01)
    run_check(bench.request(), culprits=blame)
    assert len(asked) == 1


def test_wrong_usage(bench: Bench) -> None:
    with pytest.raises(UsageError, match="there is no baseline"):
        run_check(bench.request())
    bench.update()
    with pytest.raises(InputError, match=r"none\.onnx: there is no such reference"):
        run_check(bench.request(reference=bench.folder / "none.onnx"))
    with pytest.raises(ConfigError, match="latency_tolerance: input should be greater than or"):
        run_check(bench.request(changes=(("latency_tolerance", 0.01),)))


def test_kept_predictions_are_those_of_the_artifact(bench: Bench) -> None:
    bench.update()
    kept = read_baseline(bench.baseline).artifacts["lines.onnx"].accuracy
    assert isinstance(kept, KeptAccuracy)
    samples = np.load(bench.folder / "samples.npz")
    from edgekit.gate.baseline import unpack
    from tests.unit.gate.conftest import centres

    weights = centres().astype(np.float64)
    scores = samples["x"] @ weights.T - 0.5 * (weights**2).sum(axis=1)
    assert unpack(kept.predictions).tolist() == scores.argmax(axis=1).tolist()
    assert kept.hits == int((scores.argmax(axis=1) == samples["y"]).sum())


def test_request_knows_where_artifacts_lie(tmp_path: Path) -> None:
    request = CheckRequest(paths=(), baseline=tmp_path / "ci.json")
    assert request.artifacts.folder == tmp_path / "ci.artifacts"
    other = CheckRequest(paths=(), baseline=tmp_path / "ci.json", kept=tmp_path / "cache")
    assert other.artifacts.folder == tmp_path / "cache"
