"""Accuracy of the sample models in float, after PTQ and after QAT, on their whole test sets.

Every model goes the way of `edgekit run`: its own project file with the float weights, the
default options of quantization and of fine-tuning. Measured are the torch twin of the graph, the
artifact of onnxruntime and the artifact of tflite; of those two also how many images they
predict alike, and what `edgekit verify` says of the TFLite file. Run from the repository root,
with the data sets in EDGEKIT_DATA:

    python -m benchmarks.quantization_accuracy [NAME ...] [--seeds 0 1 2] [--again]

It writes benchmarks/results/quantization_accuracy.json and .md after each row and passes over
rows that are there already; what a row needs lies in the store `.edgekit` and is reused, so that
it can be stopped at any time. Weights: those stored beside the models; digits_resnet trains its
own; resnet20 takes EDGEKIT_DATA/models/resnet20-cifar10/resnet20-12fca82f.th.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel

from edgekit.api import run_project
from edgekit.cli.progress import shown_progress
from edgekit.core.exactness import ExactnessReport
from edgekit.data.datasets import open_dataset
from edgekit.errors import UnsupportedError
from edgekit.graph.io import load_onnx, read_metadata
from edgekit.graph.torch_twin import build_twin
from edgekit.measure.device import device_name
from edgekit.measure.results import EvaluationResult
from edgekit.pipeline.project import (
    BenchmarkSection,
    ProjectConfig,
    ReportSection,
    TargetSection,
    load_project,
)
from edgekit.pipeline.run_result import RunResult
from edgekit.stages.lower import Verification

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
STORE = ROOT / ".edgekit"
TARGETS = ("onnxruntime", "tflite")
COLUMNS = (
    "model", "form", "torch twin", "onnxruntime", "tflite", "drop, points", "tflite = onnxruntime",
    "tensors that differ", "largest step", "QAT epoch kept", "QAT minutes",
)  # fmt: skip
type Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sample:
    """A model of this repository.

    Attributes:
        folder: Below ``sample_models``.
        weights: Its float weights: beside it, or below EDGEKIT_DATA; None trains them.
    """

    folder: str
    weights: str | None


SAMPLES = {
    "resnet20": Sample("resnet_cifar", "models/resnet20-cifar10/resnet20-12fca82f.th"),
    "digits_resnet": Sample("digits_resnet", None),
    "fashion_cnn": Sample("fashion_cnn", "fashion_cnn.safetensors"),
    "tiny_vit": Sample("tiny_vit", "tiny_vit.safetensors"),
}


class Row(BaseModel):
    """One model in one form.

    Attributes:
        model: Name of the sample.
        form: ``"float32"``, ``"PTQ int8"`` or ``"QAT int8"``.
        seed: Of the fine-tuning; None in other forms.
        samples: Images of the test set.
        hits: Right ones by runtime; a runtime that cannot express the model is missing.
        refused: Why a target cannot express it.
        alike: Images for which tflite and onnxruntime predict the same.
        drop: Points of top-1 accuracy below the float graph, of tflite or else onnxruntime.
        differing_tensors: Of the TFLite file against the QDQ graph.
        max_lsb: Largest difference of an operator of it, in steps of its output.
        best_epoch: Epoch that was kept.
        epochs: Epochs that were trained.
        qat_minutes: Time of the fine-tuning.
        device: Machine.
    """

    model: str
    form: str
    seed: int | None
    samples: int
    hits: dict[str, int]
    refused: str = ""
    alike: int | None = None
    drop: float = 0.0
    differing_tensors: int | None = None
    max_lsb: int | None = None
    best_epoch: int | None = None
    epochs: int | None = None
    qat_minutes: float | None = None
    device: str


def base_project(name: str) -> ProjectConfig:
    """The sample's project without training, with its float weights."""
    given = SAMPLES[name]
    project = load_project(ROOT / "sample_models" / given.folder / "edgekit.toml")
    weights = trained_weights(project) if given.weights is None else found_weights(given)
    return project.model_copy(
        update={
            "stages": (),
            "model": project.model.model_copy(update={"weights": weights}),
            "benchmark": BenchmarkSection(enabled=False),
            "report": ReportSection(enabled=False),
            "store": STORE,
            "output": STORE / "benchmark" / name,
        }
    )


def found_weights(given: Sample) -> Path:
    """Where the stored weights lie."""
    assert given.weights is not None
    beside = ROOT / "sample_models" / given.folder / given.weights
    return beside if beside.exists() else Path(os.environ["EDGEKIT_DATA"]) / given.weights


def trained_weights(project: ProjectConfig) -> Path:
    """Trains the float model as its project says."""
    changes = {
        "targets": {"onnxruntime": TargetSection()},
        "benchmark": BenchmarkSection(enabled=False),
        "output": STORE / "benchmark" / f"{project.name}-float",
    }
    with shown_progress() as progress:
        result = run_project(project.model_copy(update=changes), store=STORE, progress=progress)
    return next(path for path in result.outputs if path.suffix == ".safetensors")


def form_project(project: ProjectConfig, form: str, seed: int | None) -> ProjectConfig:
    """The project of one form, still without targets."""
    quantize = project.quantize.model_copy(
        update={"schemes": ("int8",), "qat": form == "QAT int8"}
    )
    return project.model_copy(update={"quantize": quantize, "seed": seed or 0, "targets": {}})


def row_of(name: str, form: str, seed: int | None, rows: list[Row]) -> Row:
    """Makes one form of a model and measures it."""
    project = form_project(base_project(name), form, seed)
    precision = "float32" if form == "float32" else "int8"
    runs: dict[str, RunResult] = {}
    refused = ""
    for target in TARGETS:
        section = TargetSection.model_validate({"precision": precision})
        changed = project.model_copy(update={"targets": {target: section}})
        try:
            with shown_progress() as progress:
                runs[target] = run_project(changed, store=STORE, progress=progress)
        except UnsupportedError as error:
            refused = f"{target}: {str(error).splitlines()[0]}"
    result = runs["onnxruntime"]
    steps = {step.id: step for step in result.steps}
    graph = "import_model" if form == "float32" else "qat" if form == "QAT int8" else "quantize"
    predicted = {
        target: predictions(run, f"evaluate-{target}-{precision}") for target, run in runs.items()
    }
    labels, twin = twin_predictions(steps[graph].artifacts["model"].path, project)
    predicted = {"torch twin": twin, **predicted}
    row = Row(
        model=name,
        form=form,
        seed=seed,
        samples=len(labels),
        hits={runtime: int((found == labels).sum()) for runtime, found in predicted.items()},
        refused=refused,
        device=device_name(),
    )
    if "tflite" in predicted:
        row.alike = int((predicted["tflite"] == predicted["onnxruntime"]).sum())
        add_verification(row, runs["tflite"], f"lower-tflite-{precision}")
    best = row.hits.get("tflite", row.hits["onnxruntime"])
    plain = next((item for item in rows if (item.model, item.form) == (name, "float32")), row)
    row.drop = 100 * (plain.hits["onnxruntime"] - best) / row.samples
    if form == "QAT int8":
        summary = steps["qat"].metrics["qat"]
        row.best_epoch, row.epochs = summary["best_epoch"], len(summary["curve"]) - 1
        row.qat_minutes = steps["qat"].duration_s / 60
    return row


def predictions(result: RunResult, step_id: str) -> Labels:
    """What an artifact predicts for each image of the test set."""
    (step,) = [item for item in result.steps if item.id == step_id]
    content = step.artifacts["metrics"].path.read_bytes()
    return np.array(EvaluationResult.model_validate_json(content).predictions, np.int64)


def add_verification(row: Row, result: RunResult, step_id: str) -> None:
    """What the check of the TFLite file against its QDQ graph says."""
    (step,) = [item for item in result.steps if item.id == step_id]
    content = step.artifacts["verification"].path.read_bytes()
    exactness = Verification.model_validate_json(content).exactness
    if isinstance(exactness, ExactnessReport):
        row.differing_tensors, row.max_lsb = exactness.differing_tensors, exactness.max_lsb


def twin_predictions(path: Path, project: ProjectConfig) -> tuple[Labels, Labels]:
    """True classes of the test set, and what the torch twin of a graph predicts."""
    assert project.data is not None
    model = load_onnx(path)
    twin = build_twin(model)
    dataset = open_dataset(project.data.model_copy(update={"split": "test"}))
    labels, found = [], []
    for batch in dataset.batches(
        read_metadata(model).preprocessing, twin.signature.inputs[0], 250
    ):
        with torch.no_grad():
            found.append(twin(torch.from_numpy(np.array(batch.inputs))).argmax(dim=1).numpy())
        labels.append(batch.labels)
    return np.concatenate(labels), np.concatenate(found)


def markdown(rows: list[Row]) -> str:
    """The table."""

    def share(row: Row, runtime: str) -> str:
        hits = row.hits.get(runtime)
        return "refused" if hits is None else f"{100 * hits / row.samples:.2f} %"

    def shown(value: Any, form: str = "") -> str:
        return "–" if value is None else format(value, form)

    conditions = (
        f"{rows[0].device}; versions in constraints.txt; default options of quantization (PTQ) "
        "and of fine-tuning (QAT) for all models. Top-1 on the whole test set; the drop is that "
        "of tflite (where refused, of onnxruntime) from the float graph."
    )
    lines = [
        "# Accuracy of quantized sample models",
        "",
        conditions,
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
    ]
    for row in rows:
        seed = "" if row.seed is None else f", seed {row.seed}"
        cells = [
            f"{row.model} (n = {row.samples})",
            f"{row.form}{seed}",
            *(share(row, runtime) for runtime in ("torch twin", *TARGETS)),
            "–" if row.form == "float32" else f"{row.drop:.2f}",
            "–" if row.alike is None else f"{row.alike} of {row.samples}",
            shown(row.differing_tensors),
            "–" if row.max_lsb is None else f"{row.max_lsb} LSB",
            "–" if row.best_epoch is None else f"{row.best_epoch} of {row.epochs}",
            shown(row.qat_minutes, ".1f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    refusals = sorted({f"{row.model}, {row.form}: {row.refused}" for row in rows if row.refused})
    return "\n".join([*lines, "", *(f"- {text}" for text in refusals)]).rstrip() + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("models", nargs="*", default=list(SAMPLES))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--again", action="store_true", help="measure rows that are there, too")
    arguments = parser.parse_args()
    path = RESULTS / "quantization_accuracy.json"
    rows: list[Row] = []
    if path.exists():
        rows = [Row.model_validate(item) for item in json.loads(path.read_text())]
    wanted: list[tuple[str, int | None]] = [("float32", None), ("PTQ int8", None)]
    wanted += [("QAT int8", seed) for seed in arguments.seeds]
    for name in arguments.models:
        for form, seed in wanted:
            old = [row for row in rows if (row.model, row.form, row.seed) == (name, form, seed)]
            if old and not arguments.again:
                continue
            rows = [row for row in rows if row not in old]
            row = row_of(name, form, seed, rows)
            rows.append(row)
            print(f"{name}, {form}, seed {seed}: {row.hits} of {row.samples}, drop {row.drop:.2f}")
            names = list(SAMPLES)
            rows.sort(key=lambda item: (names.index(item.model), order_of(item)))
            path.write_text(json.dumps([item.model_dump() for item in rows], indent=1) + "\n")
            path.with_suffix(".md").write_text(markdown(rows))


def order_of(row: Row) -> tuple[int, int]:
    """Float first, then PTQ, then QAT by seed."""
    return ("float32", "PTQ int8", "QAT int8").index(row.form), row.seed or 0


if __name__ == "__main__":
    main()
