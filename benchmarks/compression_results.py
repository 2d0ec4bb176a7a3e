"""Tables of `benchmarks.compression`, from the runs that are done."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.compression import DATA, SEEDS, STUDENT_MACS, TRAINING, WORK, graph
from benchmarks.compression_graphs import latency_share, lowered
from edgekit.api import ConvertOptions, quantize
from edgekit.core.metrics import AccuracyReport
from edgekit.core.run_summary import LedgerRow, RunSummary
from edgekit.data.contract import DataSpec
from edgekit.data.model_inputs import open_inputs
from edgekit.graph.reference import ReferenceSession
from edgekit.measure.device import device_name
from edgekit.training.qat.config import QatConfig

HELD_OUT = 200
"""Images that the error of imitated outputs is measured with."""
RESULTS = Path(__file__).parent / "results"
QAT = QatConfig(epochs=1, batch_size=128, shift_px=2, flip=True, threads=1)


def finish() -> None:
    """Quantizes and times what was distilled, and writes what there is."""
    found: dict[str, Any] = {"device": device_name(), "elsewhere": _elsewhere(device_name())}
    found |= {"plateau": _plateau(), "allocation": _allocation()}
    found["trained_on"] = _trainings()
    found["imitation"] = _imitation()
    found["chain"] = [row for seed in SEEDS["chain"] if (row := _chain(seed))]
    (RESULTS / "compression.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "compression.md").write_text(_markdown(found))


def _elsewhere(device: str) -> dict[str, list[dict[str, float]]]:
    """How much faster the networks of the chain were on other processors, as stored before.

    Training may have left them other weights since; their shapes are the same.
    """
    place = RESULTS / "compression.json"
    if not place.exists():
        return {}
    before = json.loads(place.read_text())
    measured = {before["device"]: [row["faster"] for row in before["chain"]]}
    known: dict[str, list[dict[str, float]]] = {**before.get("elsewhere", {}), **measured}
    return {name: rows for name, rows in known.items() if name != device}


def _trainings() -> dict[str, list[str]]:
    """Names of the trainings by the processor that they ran on."""
    found: dict[str, list[str]] = {}
    for path in sorted((WORK / "runs").glob("*/trained_on")):
        found.setdefault(path.read_text().strip(), []).append(path.parent.name)
    return found


def _summary(name: str) -> RunSummary | None:
    path = WORK / "runs" / name / "report" / "report.json"
    return RunSummary.model_validate_json(path.read_bytes()) if path.exists() else None


def _top1(row: LedgerRow) -> float:
    assert isinstance(row.accuracy, AccuracyReport)
    return 100 * row.accuracy.top1.value


def _plateau() -> list[dict[str, Any]]:
    """The difference of the arms in each seed, and its t interval over seeds."""
    rows = []
    for network in STUDENT_MACS:
        pairs: list[list[float]] = []
        late: list[float] = []
        for seed in SEEDS["plateau"]:
            both = [_summary(f"plateau-{network}-{arm}-{seed}") for arm in ("labels", "teacher")]
            done = [item for item in both if item is not None]
            if len(done) == len(both):
                pairs.append([_top1(item.ledger[-1]) for item in done])
                late += [_late_change(item) for item in done]
        if len(pairs) > 1:
            found = {"network": network, "pairs": pairs, "late_change": statistics.mean(late)}
            rows.append({**found, **interval_of(pairs)})
    return rows


def _late_change(summary: RunSummary) -> float:
    """By what share the loss on samples kept back changed in the last fifth of the epochs."""
    losses = [point.val_loss for point in summary.further_training[-1].curve]
    last = max(1, len(losses) // 5)
    before, after = losses[-1 - last], losses[-1]
    assert before is not None
    assert after is not None
    return after / before - 1


def _imitation() -> list[dict[str, Any]]:
    """Error of the outputs on images that were not trained with, before and after training."""
    rows = []
    for seed in SEEDS["imitation"]:
        summary = _summary(f"imitation-{seed}")
        trained = WORK / "runs" / f"imitation-{seed}" / "ultraface.onnx"
        if summary is None:
            continue
        work = WORK / "prepared" / "imitation"
        base = lowered(graph("ultraface"), work / "base")
        rows.append(
            {
                "seed": seed,
                "images": HELD_OUT,
                "before": _output_errors(graph("ultraface-pruned")),
                "after": _output_errors(trained),
                "macs": (_macs(graph("ultraface")), _macs(trained)),
                "latency": latency_share(lowered(trained, work / "trained"), base),
            }
        )
    return rows


def _macs(path: Path) -> int:
    from edgekit.graph.inspect import count_macs
    from edgekit.graph.io import load_onnx

    return count_macs(load_onnx(path)) or 0


def _output_errors(path: Path) -> dict[str, tuple[float, float]]:
    """Squared error of each output as a share of the parent's variance.

    First of the variance of the whole output, then of what varies from image to image: every
    anchor has its own mean, which a network could give without looking.
    """
    from edgekit.graph.io import load_onnx, read_metadata, signature_of

    parent = load_onnx(graph("ultraface"))
    source = open_inputs(
        DataSpec(set=DATA["ultraface"], split="test", limit=HELD_OUT),
        signature_of(parent),
        read_metadata(parent).preprocessing,
    )
    found: dict[str, list[Any]] = {}
    with ReferenceSession(graph("ultraface")) as first, ReferenceSession(path) as second:
        for batch in source.batches(1):
            wanted, own = first.run(batch.feeds), second.run(batch.feeds)
            for name, value in wanted.items():
                found.setdefault(name, []).append((value, own[name]))
    errors: dict[str, tuple[float, float]] = {}
    for name, pairs in found.items():
        wanted_all, own_all = (np.stack(column) for column in zip(*pairs, strict=True))
        error = float(np.mean((own_all - wanted_all) ** 2, dtype=np.float64))
        between = float(np.mean(wanted_all.var(axis=0, dtype=np.float64)))
        errors[name] = error / float(wanted_all.var(dtype=np.float64)), error / between
    return errors


def interval_of(pairs: Sequence[Sequence[float]]) -> dict[str, float]:
    """Mean difference of pairs with its 95 % t interval."""
    differences = [second - first for first, second in pairs]
    mean, error = statistics.mean(differences), stats.sem(differences)
    half = float(stats.t.ppf(0.975, len(differences) - 1)) * float(error)
    return {"difference": mean, "low": mean - half, "high": mean + half}


def _allocation() -> dict[str, Any]:
    rows = {}
    for how in ("uniform", "latency"):
        runs = [_summary(f"allocation-{how}-{seed}") for seed in SEEDS["allocation"]]
        done = [item for item in runs if item is not None]
        if done:
            last = [item.ledger[-1] for item in done]
            rows[how] = {"top1": [_top1(row) for row in last], "macs": last[0].macs}
    place = WORK / "graphs" / "allocation.json"
    found = {"rows": rows, "latency": json.loads(place.read_text()) if place.exists() else {}}
    if len(rows) > 1:
        files = {how: WORK / "runs" / f"allocation-{how}-0" / "resnet.onnx" for how in rows}
        work = WORK / "prepared" / "allocation"
        made = {how: lowered(path, work / how) for how, path in files.items()}
        found["ratio"] = latency_share(made["latency"], made["uniform"])
    return found


def _chain(seed: int) -> dict[str, Any] | None:
    summary, folder = _summary(f"chain-{seed}"), WORK / "runs" / f"chain-{seed}"
    if summary is None:
        return None
    data = DataSpec(set=DATA["fashion"])
    made = quantize(
        folder / "fashion_cnn.onnx",
        data=data,
        targets=["tflite"],
        output=folder / "qat",
        options=ConvertOptions(
            qat=QAT, qat_data=data, bench=None, seed=seed, store=WORK / "stores" / f"qat-{seed}"
        ),
    )
    work = WORK / "prepared" / f"chain-{seed}"
    base = lowered(graph("fashion"), work / "base")
    pruned = lowered(folder / "fashion_cnn.onnx", work / "pruned")
    int8 = made.artifact("tflite", "int8")
    return {
        "seed": seed,
        "rows": [(row.stage, row.form, _top1(row), row.macs) for row in summary.ledger]
        + [(row.stage, row.form, _top1(row), row.macs) for row in made.summary.ledger[1:]],
        "faster": {
            "pruned float32": 1 / latency_share(pruned, base),
            "pruned int8": 1 / latency_share(int8, base),
        },
    }


def _no_spread(row: dict[str, Any]) -> str:
    """Says where an interval has no width by chance: few test samples decide."""
    return (
        "; all differences are the same, so it has no width" if row["low"] == row["high"] else ""
    )


def _markdown(found: dict[str, Any]) -> str:
    lines = [
        "# Pruning, distillation and quantization-aware training",
        "",
        f"Latency on {found['device']}, one thread. Accuracy in percent of the whole test sets.",
        "",
    ]
    for processor, names in found["trained_on"].items():
        parts = dict.fromkeys(name.rpartition("-")[0] for name in names)
        lines += [f"Trained on {processor}: {', '.join(parts)}.", ""]
    for row in found["chain"]:
        stages = ", ".join(f"{stage} {form} {top1:.2f}" for stage, form, top1, _ in row["rows"])
        faster = ", ".join(f"{name} {times:.2f}x" for name, times in row["faster"].items())
        lines.append(f"- fashion_cnn, seed {row['seed']}: {stages}; TFLite against float32 of the "
                     f"parent: {faster}.")  # fmt: skip
    for processor, runs in found["elsewhere"].items():
        figures = "; ".join(
            f"{name} {', '.join(f'{run[name]:.2f}' for run in runs)}x" for name in runs[0]
        )
        lines.append(f"- fashion_cnn, the same shapes timed on {processor}: {figures}.")
    for row in found["plateau"]:
        epochs = TRAINING[row["network"]]["epochs"]
        pairs = "; ".join(f"{labels:.2f} / {teacher:.2f}" for labels, teacher in row["pairs"])
        lines.append(
            f"- {row['network']} student, {epochs} epochs, labels alone / with the parent: "
            f"{pairs}. Difference {row['difference']:+.2f} points "
            f"[{row['low']:+.2f}, {row['high']:+.2f}] (t interval over {len(row['pairs'])} "
            f"seeds{_no_spread(row)}). Over the last fifth of the epochs the loss on samples kept "
            f"back changed by {100 * row['late_change']:+.1f} %."
        )
    for row in found["imitation"]:
        before, after = (
            ", ".join(
                f"{name} {100 * whole:.2f} % ({100 * between:.0f} %)"
                for name, (whole, between) in row[when].items()
            )
            for when in ("before", "after")
        )
        whole, left = row["macs"]
        lines.append(
            f"- UltraFace RFB-320 (ONNX alone), {left / whole:.2f} of {whole / 1e6:.1f} M "
            f"multiply-accumulates, {row['latency']:.2f} of the latency: squared error of the "
            f"outputs on {row['images']} images, as a share of their variance (in brackets of "
            f"what varies from image to image), {before} after "
            f"pruning and {after} after training against the parent's outputs."
        )
    for how, row in found["allocation"]["rows"].items():
        tops = ", ".join(f"{item:.2f}" for item in row["top1"])
        share = found["allocation"]["latency"].get(how)
        lines.append(
            f"- ResNet-20, allocation {how}: {row['macs'] / 1e6:.1f} M multiply-accumulates, "
            f"{share:.3f} of the parent's latency, top-1 {tops}."
        )
    if "ratio" in found["allocation"]:
        lines.append(
            "- The trained networks of seed 0 timed in turn again: that of allocation latency "
            f"takes {found['allocation']['ratio']:.3f} of the time of the uniform one."
        )
    return "\n".join(lines) + "\n"
