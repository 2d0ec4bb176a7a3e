"""What pruning, distillation and quantization-aware training cost and gain, over seeds.

Three parts, all with data below EDGEKIT_DATA:

- ``chain``: fashion_cnn trained from scratch on Fashion-MNIST, pruned to half of its MACs,
  distilled, and quantized with QAT; three seeds.
- ``plateau``: the same pruned students trained on by labels alone and by labels and their
  parent, to their plateau; five seeds, fashion_cnn and ResNet-20.
- ``allocation``: ResNet-20 pruned uniformly and by latency to the same measured latency, then
  distilled; three seeds.

Run from the repository root, the steps in order:

    python -m benchmarks.compression prepare
    python -m benchmarks.compression train [--part NAME] [--workers N] [--device cuda]
    python -m benchmarks.compression finish

``prepare`` prunes and times on this machine; ``train`` may run on another, with the folder
.edgekit/compression carried to and fro; ``finish`` quantizes, times and writes
benchmarks/results/compression.json and .md. What is done already is not done again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.api import run_project
from edgekit.pipeline.project import ProjectConfig

ROOT = Path(__file__).parents[1]
WORK = Path(os.environ.get("EDGEKIT_COMPRESSION", ROOT / ".edgekit" / "compression"))
FASHION_LABELS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CIFAR_LABELS = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
FASHION: Mapping[str, Any] = {
    "source": f"{ROOT / 'sample_models' / 'fashion_cnn' / 'model.py'}:fashion_cnn",
    "inputs": ("image:1x1x28x28",),
    "dynamic_batch": True,
    "labels": FASHION_LABELS,
    "preprocessing": {"channels": "gray", "scale": 1 / 255, "mean": [0.286], "std": [0.353]},
}
RESNET: Mapping[str, Any] = {
    "source": f"{ROOT / 'sample_models' / 'resnet_cifar' / 'model.py'}:resnet20",
    "inputs": ("image:1x3x32x32",),
    "dynamic_batch": True,
    "labels": CIFAR_LABELS,
    "preprocessing": {
        "scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
    },
}  # fmt: skip
SCRATCH = {
    "epochs": 20, "batch_size": 128, "lr": 4e-3, "weight_decay": 0.05, "shift_px": 2,
    "flip": True, "label_smoothing": 0.05, "validation": 0.05, "threads": 1,
}  # fmt: skip
CHAIN = {
    "epochs": 20, "batch_size": 128, "lr": 2e-3, "weight_decay": 0.05, "shift_px": 2,
    "flip": True, "validation": 0.05, "threads": 1, "keep": "last",
}  # fmt: skip
PLATEAU = {
    "fashion": {**CHAIN, "epochs": 40},
    "resnet": {
        **CHAIN, "epochs": 100, "lr": 3e-3, "shift_px": 4, "weight_decay": 0.02,
    },
}  # fmt: skip
DATA = {"fashion": "fashion-mnist", "resnet": "cifar10"}
STUDENT_MACS = {"fashion": 0.25, "resnet": 0.35}
ALLOCATION_LATENCY = 0.62
SEEDS = {"chain": (0, 1, 2), "plateau": (0, 1, 2, 3, 4), "allocation": (0, 1, 2)}


@dataclass(frozen=True, slots=True)
class Job:
    """One training.

    Attributes:
        name: Folder below the work folder.
        part: Part of the benchmark.
        project: What is run.
    """

    name: str
    part: str
    project: Mapping[str, Any]


def graph(name: str) -> Path:
    """A float graph that `prepare` makes."""
    return WORK / "graphs" / f"{name}.onnx"


def jobs(device: str) -> list[Job]:
    """All trainings."""
    made = [_chain(seed, device) for seed in SEEDS["chain"]]
    for network in ("fashion", "resnet"):
        for arm in ("labels", "teacher"):
            made += [_plateau(network, arm, seed, device) for seed in SEEDS["plateau"]]
    for how in ("uniform", "latency"):
        made += [_allocation(how, seed, device) for seed in SEEDS["allocation"]]
    return made


def _chain(seed: int, device: str) -> Job:
    project = {
        "name": "fashion_cnn",
        "seed": seed,
        "stages": ("train", "prune", "distill"),
        "model": FASHION,
        "data": {"set": DATA["fashion"]},
        "train": {**SCRATCH, "device": device},
        "prune": {"macs_ratio": 0.5},
        "distill": {**CHAIN, "device": device},
    }
    return Job(f"chain-{seed}", "chain", project)


def _plateau(network: str, arm: str, seed: int, device: str) -> Job:
    options = {**PLATEAU[network], "device": device}
    project: dict[str, Any] = {
        "name": network,
        "seed": seed,
        "model": {"source": str(graph(f"{network}-student"))},
        "data": {"set": DATA[network]},
    }
    if arm == "labels":
        project |= {"stages": ("train",), "train": options}
    else:
        teacher = {"teacher": str(graph(network)), "alpha": 0.1, "temperature": 4.0}
        project |= {"stages": ("distill",), "distill": {**options, **teacher}}
    return Job(f"plateau-{network}-{arm}-{seed}", "plateau", project)


def _allocation(how: str, seed: int, device: str) -> Job:
    options = {**PLATEAU["resnet"], "device": device, "teacher": str(graph("resnet"))}
    project = {
        "name": "resnet",
        "seed": seed,
        "stages": ("distill",),
        "model": {"source": str(graph(f"resnet-{how}"))},
        "data": {"set": DATA["resnet"]},
        "distill": options,
    }
    return Job(f"allocation-{how}-{seed}", "allocation", project)


def run_job(name: str, device: str) -> None:
    """Runs one training in this process."""
    (job,) = [job for job in jobs(device) if job.name == name]
    folder = WORK / "runs" / name
    config = ProjectConfig.model_validate({**job.project, "output": folder})
    started = time.monotonic()
    run_project(config)
    (folder / "seconds").write_text(f"{time.monotonic() - started:.1f}\n")


def train(parts: tuple[str, ...], workers: int, device: str, only: str) -> None:
    """Runs all trainings that are not done, each in a process of its own."""
    wanted = [
        job
        for job in jobs(device)
        if job.part in parts
        and only in job.name
        and not (WORK / "runs" / job.name / "seconds").exists()
    ]

    def run(job: Job) -> None:
        command = [sys.executable, "-m", "benchmarks.compression", "job", job.name]
        done = subprocess.run(
            [*command, "--device", device], capture_output=True, text=True, check=False
        )
        last = (done.stderr.strip().splitlines() or [""])[-1]
        print(f"{job.name}: {'done' if not done.returncode else last}", flush=True)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, wanted))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("step", choices=("prepare", "train", "job", "finish"))
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--part", choices=tuple(SEEDS))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    parts = tuple(SEEDS) if given.part is None else (given.part,)
    if given.step == "prepare":
        from benchmarks.compression_graphs import prepare

        prepare()
    elif given.step == "train":
        train(parts, given.workers, given.device, given.name)
    elif given.step == "job":
        run_job(given.name, given.device)
    else:
        from benchmarks.compression_results import finish

        finish()


if __name__ == "__main__":
    main()
