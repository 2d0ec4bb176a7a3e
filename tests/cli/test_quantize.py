"""``edgekit quantize``: graphs, artifacts, figures, and what can go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

import edgekit.api
from edgekit.api import ConvertOptions
from edgekit.core.metrics import AccuracyReport
from edgekit.core.run_summary import RunSummary
from edgekit.graph.io import load_onnx, save_onnx
from edgekit.graph.quantized import is_quantized
from edgekit.graph.reference import ReferenceSession
from edgekit.training.qat.config import QatConfig
from tests.qat_models import badly_quantized, float_model, stripes

type Call = Callable[..., Result]

QAT = (
    "--qat", "--epochs", "2", "--batch", "32", "--lr", "1e-3", "--scale-lr", "2e-2",
    "--threads", "1", "--validation", "0.25",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float graph, a bad QDQ graph, and images with and without labels."""
    folder = tmp_path_factory.mktemp("stripes")
    save_onnx(float_model(), folder / "net.onnx")
    save_onnx(badly_quantized(), folder / "bad.qdq.onnx")
    samples = stripes()
    images = samples.inputs.numpy()
    np.savez(folder / "labelled.npz", image=images, y=samples.labels.numpy().astype(np.int64))
    np.savez(folder / "images.npz", image=images)
    return folder


def summary_of(out: Path) -> RunSummary:
    return RunSummary.model_validate_json((out / "report" / "report.json").read_text())


def shares(summary: RunSummary) -> dict[str, float]:
    found = {}
    for row in summary.ledger:
        assert isinstance(row.accuracy, AccuracyReport)
        found[row.stage] = row.accuracy.top1.value
    return found


def test_a_graph_alone(call: Call, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    data = ("--data", place / "labelled.npz", "--dynamic-batch")
    result = call("quantize", place / "net.onnx", *data, "-o", out)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["net.qdq.onnx", "report"]
    assert is_quantized(load_onnx(out / "net.qdq.onnx"))
    summary = summary_of(out)
    assert [(row.stage, row.form) for row in summary.ledger] == [
        ("float", "float32"), ("PTQ", "int8"),
    ]  # fmt: skip
    assert summary.qat == ()
    with ReferenceSession(out / "net.qdq.onnx", optimization="disabled") as session:
        scores = session.run({"image": stripes().inputs.numpy()})["logits"]
    right = float((scores.argmax(1) == stripes().labels.numpy()).mean())
    assert shares(summary)["PTQ"] == pytest.approx(right)
    assert "Points" in result.stdout
    assert summary.ledger[1].paired is not None
    assert summary.ledger[1].paired.n == len(stripes())
    assert "n = 256, in ONNX Runtime without fused kernels" in result.stdout


def test_a_bad_graph_is_trained_and_lowered(call: Call, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call(
        *("quantize", place / "bad.qdq.onnx", "--name", "net", "--data", place / "labelled.npz"),
        *("-o", out, "-t", "tflite", "-t", "onnxruntime", *QAT),
    )
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [
        "net.int8.onnx", "net.int8.tflite", "net.qdq.onnx", "report",
    ]  # fmt: skip
    summary = summary_of(out)
    found = shares(summary)
    # What was quantized already is its own float model.
    assert found["float"] == found["PTQ"]
    assert found["QAT"] > found["PTQ"] + 0.1
    for artifact in summary.targets:
        assert isinstance(artifact.accuracy, AccuracyReport)
        assert artifact.accuracy.top1.value == pytest.approx(found["QAT"], abs=0.01)
    (training,) = summary.qat
    assert training.best_epoch > 0
    assert "QAT int8: " in result.stdout
    assert "is not divided into training and test samples" in result.stderr
    page = (out / "report" / "report.md").read_text()
    for text in ("## Ledger", "## Quantization-aware training", "0 (PTQ)", "kept"):
        assert text in page


def test_images_without_labels_are_imitated_and_not_measured(
    call: Call, place: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    images = place / "images.npz"
    result = call("quantize", place / "net.onnx", "--data", images, "-o", out, *QAT)
    assert result.exit_code == 0, result.output
    assert summary_of(out).qat[0].task == "imitate"
    assert "not measured" in result.stdout
    assert "Accuracy: " in result.stdout
    assert f"Accuracy: Data set '{images}' has no labels." in result.stdout


def test_accuracy_may_be_measured_elsewhere(call: Call, place: Path, tmp_path: Path) -> None:
    samples = stripes(90)
    held = tmp_path / "held.npz"
    np.savez(held, image=samples.inputs.numpy(), y=samples.labels.numpy().astype(np.int64))
    result = call(
        *("quantize", place / "net.onnx", "--data", place / "images.npz", "--eval-data", held),
        *("-o", tmp_path / "out", *QAT),
    )
    assert result.exit_code == 0, result.output
    summary = summary_of(tmp_path / "out")
    assert summary.qat[0].dataset == "images.npz"
    assert summary.quantization[0].dataset == "images.npz"
    for row in summary.ledger:
        assert isinstance(row.accuracy, AccuracyReport)
        assert (row.accuracy.dataset, row.accuracy.top1.n) == ("held.npz/all", 90)


def test_from_python(place: Path, tmp_path: Path) -> None:
    options = ConvertOptions(qat=QatConfig(epochs=1, batch_size=32, threads=1), bench=None)
    made = edgekit.api.quantize(
        place / "net.onnx", data=str(place / "labelled.npz"), output=tmp_path / "out",
        options=options,
    )  # fmt: skip
    assert made.qdq_graph == tmp_path / "out" / "net.qdq.onnx"
    assert [row.stage for row in made.summary.ledger] == ["float", "PTQ", "QAT"]
    json.loads((tmp_path / "out" / "report" / "report.json").read_text())


@pytest.mark.parametrize(
    ("options", "code", "parts"),
    [
        (["--epochs", "3"], 2, ["--epochs: belongs to fine-tuning", "add --qat"]),
        (["--batch", "3", "--shift", "1"], 2, ["--batch, --shift: belongs", "add --qat"]),
        (["--qat"], 2, ["fine-tuning needs data to train with", "--data"]),
        (["--qat", "--epochs", "0"], 2, ["epochs", "greater than or equal to 1"]),
        (["--scheme", "int3"], 2, ["There is no precision 'int3'", "Did you mean 'int8'?"]),
        (["--scheme", "float16"], 2, ["float16 is no scheme of quantization", "int8, int16x8"]),
        (
            ["--scheme", "int8-weights", "--data", "{}/labelled.npz", "--qat"],
            2,
            ["no graph with integer activations (int8, int16x8) is made"],
        ),
        (
            ["--data", "{}/images.npz", "--qat", "--task", "classify"],
            2,
            ["Step 'qat': task = 'classify' cannot be trained: images.npz has no labels"],
        ),
        (
            ["--data", "{}/labelled.npz", *QAT, "--lr", "1e3", "--scale-lr", "1e3"],
            4,
            ["Step 'qat': QAT diverged", "Lower qat.lr"],
        ),
    ],
)
def test_it_says_what_is_wrong(
    call: Call, place: Path, tmp_path: Path, options: list[str], code: int, parts: list[str]
) -> None:
    line: list[Any] = [option.format(place) for option in options]
    result = call("quantize", place / "net.onnx", "-o", tmp_path / "out", *line)
    assert result.exit_code == code, result.output
    for part in parts:
        assert part in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()
