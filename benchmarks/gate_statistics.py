"""How often the regression gate is right: false alarms, misses, and what a verdict costs.

Latency. The network is a stack of 20 equal convolutions; a regression of 5 or 10 % is one or two
real layers more. Each trial is a process of its own, as a check in continuous integration is: it
runs `edgekit.gate.latency.gate_latency` with the default tolerances on two files. The pairs are
the same file twice, two files that differ in their weights alone, and 20 layers against 21 and
22. What the machine does besides is stated as its load average.

Accuracy. The predictions are those of a real model on its whole test set, in float32 and int8.
The flips between the two keep their number, and each gets a direction by a fair coin, so that
int8 is exactly as accurate as float32; then each sample that int8 has right is spoilt with the
probability that makes the planted drop. A trial draws n samples with replacement and asks
`edgekit.gate.accuracy.judge_accuracy`. Run from the repository root, with the data sets in
EDGEKIT_DATA for accuracy:

    python -m benchmarks.gate_statistics [--trials 200] [--only latency | accuracy | table]
        [--form "tflite int8"]

Trials are added to benchmarks/results/gate_statistics.jsonl as they come, and those that are
there are not made again; the table goes to gate_statistics.md and gate_statistics.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel
from scipy.stats import beta

from edgekit.core.paired_accuracy import PairedAccuracy
from edgekit.core.target import RuntimeConfig
from edgekit.gate.accuracy import judge_accuracy
from edgekit.gate.latency import gate_latency
from edgekit.gate.options import GateOptions
from edgekit.measure.artifact_latency import session_loader
from edgekit.measure.device import device_name
from edgekit.pipeline.registry import get_target

RESULTS = Path(__file__).parent / "results"
TRIALS = RESULTS / "gate_statistics.jsonl"
SUMMARY = RESULTS / "gate_statistics.json"
FLIPS = RESULTS / "gate_statistics_flips.json"
VERDICTS = ("fail", "cannot tell", "pass")
OPTIONS = GateOptions()
BUDGET_S = 60.0
LAYERS, CHANNELS, SIDE = 20, 16, 24
FORMS = {"tflite int8": ("tflite", "int8"), "onnxruntime float32": ("onnxruntime", "float32")}
PAIRS = {
    "same file": ("20-0", "20-0"),
    "other weights": ("20-1", "20-0"),
    "+5 %": ("21-0", "20-0"),
    "+10 %": ("22-0", "20-0"),
}
"""The artifact and the baseline of each kind of trial, as layers and seed of the weights."""
DROPS, SAMPLES, MARGINS = (0.0, 0.3, 1.0), (1000, 4800, 10_000), (0.0, 0.5)
ACCURACY_TRIALS = 2000
MODELS = {
    "fashion_cnn": ("fashion_cnn", "sample"),
    "resnet20": ("resnet_cifar", "models/resnet20-cifar10/resnet20-12fca82f.th"),
}


class Trial(BaseModel):
    """One verdict on latency.

    Attributes:
        form: Runtime and numeric form.
        pair: Which files.
        seed: Number of the trial.
        verdict: What the gate said.
        ratio: Its figure, with the interval.
        low: Lower end.
        high: Upper end.
        ms: Time of one run of the baseline.
        loads: Loads that it took.
        seconds: Time that the verdict took, without starting the process.
        load_average: Of the machine when the trial ended, over a minute.
    """

    form: str
    pair: str
    seed: int
    verdict: str
    ratio: float
    low: float
    high: float
    ms: float
    loads: int
    seconds: float
    load_average: float


@dataclass(frozen=True, slots=True)
class Flips:
    """A model in float32 and int8 on the same samples.

    Attributes:
        right: Whether float32 is right, ``bool[n]``.
        differs: Whether int8 is right where float32 is wrong or the other way round.
        changed: Samples with another prediction, right or wrong.
    """

    right: npt.NDArray[np.bool_]
    differs: npt.NDArray[np.bool_]
    changed: int


def write_network(layers: int, seed: int, folder: Path) -> Path:
    """A stack of equal convolutions in ONNX, ``image [1, 16, 24, 24]``."""
    import torch
    from torch import nn

    from edgekit.graph.canonicalize import canonicalize
    from edgekit.graph.importers import InputRequest
    from edgekit.graph.importers.torch_export import export_module
    from edgekit.graph.io import save_onnx

    torch.manual_seed(seed)
    stack: list[nn.Module] = []
    for _ in range(layers):
        stack += [nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*stack, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    for parameter in model.parameters():
        if parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter)
    request = InputRequest(name="image", shape=(1, CHANNELS, SIDE, SIDE))
    path = folder / f"{layers}-{seed}.onnx"
    exported = export_module(model, [request], dynamic_batch=False, where=path.stem)
    save_onnx(canonicalize(exported).model, path)
    return path


def artifacts(folder: Path) -> dict[tuple[str, str], Path]:
    """All files by form and network, made if need be."""
    from benchmarks.int8_latency import lowered, quantized_graph
    from edgekit.core.artifact import Artifact, ArtifactKind
    from edgekit.core.target import LowerConfig

    folder.mkdir(parents=True, exist_ok=True)
    made: dict[tuple[str, str], Path] = {}
    for network in sorted({name for pair in PAIRS.values() for name in pair}):
        places = {form: folder / f"{network}-{form.split()[0]}" for form in FORMS}
        if not all(place.is_dir() for place in places.values()):
            layers, seed = map(int, network.split("-"))
            source = write_network(layers, seed, folder)
            shape = (8, CHANNELS, SIDE, SIDE)
            images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
            lowered(quantized_graph(source, images), "int8", "float32", places["tflite int8"])
            places["onnxruntime float32"].mkdir()
            get_target("onnxruntime").lower(
                Artifact.of(ArtifactKind.ONNX, source),
                LowerConfig(),
                places["onnxruntime float32"],
            )
        for form, place in places.items():
            made[form, network] = next(path for path in place.iterdir() if path.is_file())
    return made


def run_trial(form: str, pair: str, seed: int, now: Path, before: Path) -> Trial:
    """One verdict in this process."""
    target = get_target(FORMS[form][0])

    def load(path: Path) -> Any:
        return target.load(path, RuntimeConfig())

    judged = gate_latency(
        session_loader(partial(load, now)),
        session_loader(partial(load, before)),
        OPTIONS,
        budget_s=BUDGET_S,
        seed=seed,
    )
    ratio = judged.ratio
    return Trial(
        form=form,
        pair=pair,
        seed=seed,
        verdict=judged.verdict.value,
        ratio=round(ratio.median_ratio, 5),
        low=round(ratio.low, 5),
        high=round(ratio.high, 5),
        ms=round(ratio.b_p50_ms, 4),
        loads=ratio.loads,
        seconds=round(judged.seconds, 2),
        load_average=round(os.getloadavg()[0], 2),
    )


def stored_trials() -> list[Trial]:
    """All trials made so far."""
    if not TRIALS.exists():
        return []
    return [Trial.model_validate_json(line) for line in TRIALS.read_text().splitlines()]


def measure_latency(trials: int, forms: Sequence[str], folder: Path) -> None:
    """Makes the trials that are missing, kinds in turn, so that a drift strikes all alike."""
    files = artifacts(folder)
    done = {(item.form, item.pair, item.seed) for item in stored_trials()}
    for seed in range(trials):
        wanted = [
            (form, pair) for form in forms for pair in PAIRS if (form, pair, seed) not in done
        ]
        for form, pair in wanted:
            now, before = PAIRS[pair]
            words = [form, pair, str(seed), str(files[form, now]), str(files[form, before])]
            command = [sys.executable, "-m", "benchmarks.gate_statistics", "--trial", *words]
            made = subprocess.run(command, capture_output=True, text=True, check=True)
            trial = Trial.model_validate_json(made.stdout.strip().splitlines()[-1])
            with TRIALS.open("a") as stream:
                stream.write(trial.model_dump_json() + "\n")
        if wanted and seed % 50 == 49:
            write_table()
        print(f"trial {seed + 1} of {trials}", flush=True)


def evaluated(name: str) -> Flips:
    """Runs a sample model in float32 and int8 over its whole test set."""
    from edgekit.api import run_project
    from edgekit.measure.results import EvaluationResult
    from edgekit.pipeline.project import (
        BenchmarkSection,
        ReportSection,
        TargetSection,
        load_project,
    )

    folder, weights = MODELS[name]
    place = Path(__file__).parents[1] / "sample_models" / folder
    source = (
        place / f"{folder}.safetensors"
        if weights == "sample"
        else Path(os.environ["EDGEKIT_DATA"]) / weights
    )
    base = load_project(place / "edgekit.toml")
    with tempfile.TemporaryDirectory() as output:
        project = base.model_copy(
            update={
                "stages": (),
                "output": Path(output),
                "model": base.model.model_copy(update={"weights": source}),
                "quantize": base.quantize.model_copy(update={"qat": False}),
                "targets": {"tflite": TargetSection(precision=("float32", "int8"))},
                "benchmark": BenchmarkSection(enabled=False),
                "report": ReportSection(enabled=False),
            }
        )
        result = run_project(project, store=Path(output) / "store")
        steps = {step.id: step for step in result.steps}
        found = {
            form: EvaluationResult.model_validate_json(
                steps[f"evaluate-tflite-{form}"].artifacts["metrics"].path.read_bytes()
            )
            for form in ("float32", "int8")
        }
    truth = np.array(found["int8"].targets)
    plain, integers = (np.array(found[form].predictions) for form in ("float32", "int8"))
    right = plain == truth
    return Flips(right, right != (integers == truth), int((plain != integers).sum()))


def stored_flips() -> dict[str, Flips]:
    """The flips of all models, from the file where they are there already."""
    known: dict[str, Any] = json.loads(FLIPS.read_text()) if FLIPS.exists() else {}
    for name in MODELS:
        if name not in known:
            found = evaluated(name)
            known[name] = {
                "samples": len(found.right),
                "right": int(found.right.sum()),
                "lost": int((found.right & found.differs).sum()),
                "gained": int((~found.right & found.differs).sum()),
                "changed": found.changed,
            }
            FLIPS.write_text(json.dumps(known, indent=1) + "\n")
    return {name: _flips_of_counts(**counts) for name, counts in known.items()}


def _flips_of_counts(samples: int, right: int, lost: int, gained: int, changed: int) -> Flips:
    """Samples in another order, which drawing with replacement does not notice."""
    rights = np.arange(samples) < right
    differs = np.zeros(samples, dtype=bool)
    differs[:lost] = True
    differs[samples - gained :] = True
    return Flips(rights, differs, changed)


def drawn(flips: Flips, n: int, drop: float, rng: np.random.Generator) -> tuple[int, int]:
    """Gained and lost samples of one trial."""
    chosen = rng.integers(0, len(flips.right), n)
    flipped = flips.differs[chosen]
    # With a fair direction float32 and int8 are equally accurate, whatever they were.
    before = np.where(flipped, rng.random(n) < 0.5, flips.right[chosen])
    now = before ^ flipped
    accuracy = float(flips.right.mean())
    now &= rng.random(n) >= drop / 100 / accuracy
    return int((now & ~before).sum()), int((before & ~now).sum())


def accuracy_rows(flips: dict[str, Flips]) -> Iterator[str]:
    """Shares of verdicts, one row for each model, drop, n and margin."""
    confidence = OPTIONS.confidence
    for name, found in flips.items():
        for drop in DROPS:
            for n in SAMPLES:
                rng = np.random.default_rng([n, round(10 * drop)])
                pairs = [drawn(found, n, drop, rng) for _ in range(ACCURACY_TRIALS)]
                cells = []
                for margin in MARGINS:
                    said = [
                        judge_accuracy(
                            PairedAccuracy.of_flips(n, gained, lost, gained + lost, confidence),
                            margin / 100,
                        ).verdict.value
                        for gained, lost in pairs
                    ]
                    cells += [
                        f"{said.count(word) / len(said):.1%}"
                        for word in ("fail", "cannot tell", "pass")
                    ]
                yield f"| {name} | {drop:g} | {n:,} | {' | '.join(cells)} |"


def latency_rows(trials: list[Trial]) -> Iterator[str]:
    """Shares of verdicts, one row for each form and pair."""
    for form in FORMS:
        for pair in PAIRS:
            found = [item for item in trials if (item.form, item.pair) == (form, pair)]
            if not found:
                continue
            ratios = np.array([item.ratio for item in found])
            seconds = np.array([item.seconds for item in found])
            said = [item.verdict for item in found]
            shares = [f"{said.count(word)}" for word in VERDICTS]
            yield (
                f"| {form} | {pair} | {len(found)} | {' | '.join(shares)} | "
                f"{np.median(ratios):.4f} | {100 * ratios.std():.2f} % | "
                f"{np.median(seconds):.1f} / {np.percentile(seconds, 90):.1f} s | "
                f"{np.mean([item.loads for item in found]):.0f} |"
            )


def write_table() -> None:
    """Writes gate_statistics.md from what there is."""
    parts = ["# Statistics of the regression gate\n"]
    trials = stored_trials()
    if trials:
        parts.append(latency_part(trials))
    if FLIPS.exists():
        parts.append(accuracy_part())
    (RESULTS / "gate_statistics.md").write_text("\n".join(parts))
    SUMMARY.write_text(json.dumps(latency_summary(trials), indent=1) + "\n")


def latency_summary(trials: list[Trial]) -> list[dict[str, Any]]:
    """The figures of the table on latency, one entry for each form and pair."""
    entries = []
    for form in FORMS:
        for pair in PAIRS:
            found = [item for item in trials if (item.form, item.pair) == (form, pair)]
            if not found:
                continue
            said = [item.verdict for item in found]
            seconds = [item.seconds for item in found]
            entries.append(
                {
                    "form": form,
                    "pair": pair,
                    "trials": len(found),
                    **{word: said.count(word) for word in VERDICTS},
                    "verdict_s_p50": round(float(np.median(seconds)), 2),
                    "verdict_s_p90": round(float(np.percentile(seconds, 90)), 2),
                    "median_ratio": round(float(np.median([item.ratio for item in found])), 4),
                }
            )
    return entries


def bounds(trials: list[Trial]) -> str:
    """Rates of errors over all forms in words, with exact (Clopper-Pearson) upper bounds."""
    sentences = []
    for what, pairs, wrong in (
        ("False alarms on what is equally fast", ("same file", "other weights"), "fail"),
        ("Slowdowns of 5 % that were not found", ("+5 %",), ""),
        ("Slowdowns of 10 % that were not found", ("+10 %",), ""),
    ):
        found = [item for item in trials if item.pair in pairs]
        missed = sum(item.verdict == wrong if wrong else item.verdict != "fail" for item in found)
        if found:
            most = beta.ppf(0.95, missed + 1, len(found) - missed)
            sentences.append(
                f"{what}: {missed} of {len(found)} (at most {most:.1%} with a confidence of 95 %)."
            )
    return " ".join(sentences)


def latency_part(trials: list[Trial]) -> str:
    """Conditions and table of the trials on latency."""
    load = np.percentile([item.load_average for item in trials], [10, 50, 90])
    medians = ", ".join(
        f"{form} {np.median([item.ms for item in trials if item.form == form]):.2f} ms"
        for form in FORMS
        if any(item.form == form for item in trials)
    )
    conditions = (
        f"{device_name()}, 1 thread, each trial in a process of its own. The network has {LAYERS} "
        f"convolutions of {CHANNELS} channels on {SIDE}x{SIDE} ({medians}); a planted slowdown is "
        f"one or two layers more. Default options: tolerance {OPTIONS.latency_tolerance:.0%}, "
        f"confidence {OPTIONS.confidence:.0%} over at most four looks. Load average of the "
        f"machine with two cores meanwhile: median {load[1]:.1f}, 10th to 90th percentile "
        f"{load[0]:.1f} to {load[2]:.1f}."
    )
    header = (
        "| form | pair | trials | fail | cannot tell | pass | median ratio | its spread (sd) | "
        "time of a verdict, median / p90 | loads |"
    )
    rows = (header, "|" + "---|" * 10, *latency_rows(trials))
    return "\n".join(["## Latency", "", conditions, "", bounds(trials), "", *rows, ""])


def accuracy_part() -> str:
    """Conditions and table of the trials on accuracy."""
    real = "; ".join(
        f"{name}: {item['changed']} of {item['samples']:,} predictions change from float32 to "
        f"int8, {item['gained']} become right and {item['lost']} wrong"
        for name, item in json.loads(FLIPS.read_text()).items()
    )
    conditions = (
        f"Share of {ACCURACY_TRIALS:,} trials, confidence {OPTIONS.confidence:.0%}. {real}. "
        "These flips are drawn with a fair direction, so that a drop of 0 is one of exactly 0; "
        "the planted drop (points) comes on top."
    )
    header = (
        "| model | drop | n | margin 0: fail | cannot tell | pass | margin 0.5: fail | "
        "cannot tell | pass |"
    )
    rows = (header, "|" + "---|" * 9, *accuracy_rows(stored_flips()))
    return "\n".join(["## Accuracy", "", conditions, "", *rows, ""])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--only", choices=("latency", "accuracy", "table"))
    parser.add_argument("--form", action="append", choices=tuple(FORMS), help="repeatable")
    parser.add_argument("--folder", type=Path, default=Path(".edgekit") / "gate-statistics")
    parser.add_argument("--trial", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.trial:
        form, pair, seed, now, before = arguments.trial
        print(run_trial(form, pair, int(seed), Path(now), Path(before)).model_dump_json())
        return
    if arguments.only in (None, "accuracy"):
        stored_flips()
    if arguments.only in (None, "latency"):
        measure_latency(arguments.trials, arguments.form or tuple(FORMS), arguments.folder)
    write_table()


if __name__ == "__main__":
    main()
