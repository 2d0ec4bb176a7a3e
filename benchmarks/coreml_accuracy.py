"""One quantized graph on three targets: accuracy of the sample models, side by side.

Every model is quantized once (PTQ, default options, scales that float16 represents); onnxruntime,
tflite and coreml are lowered from that one QDQ graph. Core ML packages run in the edgekit MIL
runtime, not on the Neural Engine, in float32 and in float16. Run from the repository root, with
the data sets in EDGEKIT_DATA:

    python -m benchmarks.coreml_accuracy [NAME ...]

It writes benchmarks/results/coreml_accuracy.json and .md after each model.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from benchmarks.quantization_accuracy import (
    RESULTS,
    SAMPLES,
    STORE,
    base_project,
    predictions,
)
from edgekit.api import run_project
from edgekit.cli.progress import shown_progress
from edgekit.core.exactness import ExactnessReport
from edgekit.core.signature import TensorSpec
from edgekit.data.datasets import open_dataset
from edgekit.measure.device import device_name
from edgekit.pipeline.project import TargetSection
from edgekit.pipeline.run_result import RunResult
from edgekit.stages.lower import Verification

COLUMNS: dict[str, dict[str, Any]] = {
    "onnxruntime float32": {"target": "onnxruntime", "precision": "float32"},
    "onnxruntime int8": {"target": "onnxruntime", "precision": "int8"},
    "tflite int8": {"target": "tflite", "precision": "int8"},
    "coreml float16": {"target": "coreml", "precision": "float16"},
    "coreml W8A8, float32": {"target": "coreml", "precision": "int8", "compute": "float32"},
    "coreml W8A8, float16": {"target": "coreml", "precision": "int8", "compute": "float16"},
}

CONDITIONS = (
    "{}; versions in constraints.txt. Top-1 on the whole test set; all int8 columns are lowered "
    "from one QDQ graph (PTQ, default options, scales that float16 represents). Core ML packages "
    "ran in the edgekit MIL runtime, **not on the Neural Engine**; 'alike' are images for which "
    "the artifact predicts what onnxruntime does, int8 or float32 as it is itself."
)


def run_column(name: str, given: dict[str, Any]) -> tuple[Any, Verification]:
    """What an artifact predicts for the test set, and how its lowering was verified."""
    project = base_project(name)
    choices = {key: value for key, value in given.items() if key != "target"}
    quantize = project.quantize.model_copy(
        update={"schemes": ("int8",), "qat": False, "scale_format": "float16"}
    )
    changed = project.model_copy(
        update={
            "quantize": quantize,
            "targets": {given["target"]: TargetSection.model_validate(choices)},
        }
    )
    with shown_progress() as progress:
        result = run_project(changed, store=STORE, progress=progress)
    found = predictions(result, f"evaluate-{given['target']}-{given['precision']}")
    return found, verification_of(result, f"lower-{given['target']}-{given['precision']}")


def verification_of(result: RunResult, step_id: str) -> Verification:
    """How a lowering was verified."""
    (step,) = [item for item in result.steps if item.id == step_id]
    return Verification.model_validate_json(step.artifacts["verification"].path.read_bytes())


def labels_of(name: str) -> Any:
    """True classes of the test set."""
    data = base_project(name).data
    assert data is not None
    dataset = open_dataset(data.model_copy(update={"split": "test"}))
    project = base_project(name)
    shape = project.model.inputs[0].split(":")[1].split("x")
    spec = TensorSpec(name="image", shape=tuple(int(size) for size in shape))
    batches = dataset.batches(project.model.preprocessing, spec, 250)
    return np.concatenate([batch.labels for batch in batches])


def row_of(name: str) -> dict[str, Any]:
    """All columns of a model."""
    labels = labels_of(name)
    row: dict[str, Any] = {"model": name, "samples": len(labels), "device": device_name()}
    references: dict[str, Any] = {}
    for column, given in COLUMNS.items():
        found, verification = run_column(name, given)
        cell: dict[str, Any] = {"hits": int((found == labels).sum())}
        form = "int8" if given["precision"] == "int8" else "float32"
        reference = references.setdefault(form, found)
        cell["alike"] = int((found == reference).sum())
        if isinstance(verification.exactness, ExactnessReport):
            exactness = verification.exactness
            cell["compared_tensors"] = exactness.compared_tensors
            cell["differing_tensors"] = exactness.differing_tensors
            cell["max_lsb"] = exactness.max_lsb
        row[column] = cell
        print(f"{name}, {column}: {cell}", flush=True)
    return row


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table."""
    lines = [
        "# One quantized graph on three targets",
        "",
        CONDITIONS.format(rows[0]["device"]),
        "",
        (
            "| model | artifact | top-1 | from onnxruntime, points | alike | tensors compared | "
            "differ | teacher-forced |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for column, given in COLUMNS.items():
            cell = row[column]
            share = 100 * cell["hits"] / row["samples"]
            base = row[f"onnxruntime {'int8' if given['precision'] == 'int8' else 'float32'}"]
            away = share - 100 * base["hits"] / row["samples"]
            lsb = cell.get("max_lsb")
            cells = [
                f"{row['model']} (n = {row['samples']})",
                column,
                f"{share:.2f} %",
                "–" if column.startswith("onnxruntime") else f"{away:+.2f}",
                str(cell.get("alike", "–")),
                str(cell.get("compared_tensors", "–")),
                str(cell.get("differing_tensors", "–")),
                "–" if lsb is None else f"{lsb} LSB",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("models", nargs="*", default=["resnet20", "fashion_cnn", "tiny_vit"])
    arguments = parser.parse_args()
    path = RESULTS / "coreml_accuracy.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    for name in arguments.models:
        rows = [row for row in rows if row["model"] != name]
        rows.append(row_of(name))
        rows.sort(key=lambda row: list(SAMPLES).index(row["model"]))
        path.write_text(json.dumps(rows, indent=1) + "\n")
        path.with_suffix(".md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
