"""What pruning, distillation and quantization-aware training cost and gain, over seeds.

Four parts, all with data below EDGEKIT_DATA:

- ``chain``: fashion_cnn (the stored weights, trained from scratch by its own recipe) pruned to
  half of its MACs, distilled on Fashion-MNIST, and quantized with QAT.
- ``plateau``: the same pruned students trained on by labels alone and by labels and their
  parent, to their plateau; five seeds, digits_resnet and fashion_cnn with 10,000 images.
- ``imitation``: UltraFace RFB-320, known as ONNX alone, pruned to 0.7 of its MACs and trained
  on against its own float outputs, without labels.
- ``allocation``: ResNet-20 pruned uniformly and by latency to the same measured latency, then
  distilled with 10,000 images of CIFAR-10; three seeds.

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
from edgekit.measure.device import device_name
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
DIGITS: Mapping[str, Any] = {
    "source": f"{ROOT / 'sample_models' / 'digits_resnet' / 'model.py'}:digits_resnet",
    "inputs": ("image:1x1x8x8",),
    "dynamic_batch": True,
    "labels": tuple("0123456789"),
    "preprocessing": {"channels": "gray", "scale": 1 / 255, "mean": [0.305], "std": [0.376]},
}
FURTHER = {
    "batch_size": 128, "lr": 3e-3, "weight_decay": 0.05, "validation": 0.05, "threads": 1,
    "keep": "last",
}  # fmt: skip
ULTRAFACE_FILE = "models/ultraface/version-RFB-320.onnx"
ULTRAFACE: Mapping[str, Any] = {
    "preprocessing": {"size": (240, 320), "scale": 1 / 128, "mean": [127 / 128]},
}  # fmt: skip
PARENT_TRAINING: Mapping[str, Any] = {
    "epochs": 24, "batch_size": 64, "lr": 3e-3, "shift_px": 1, "label_smoothing": 0.05,
    "threads": 1,
}  # fmt: skip
TRAINED_HERE = frozenset({"digits"})
"""Networks without stored weights."""
TRAINING: Mapping[str, Mapping[str, Any]] = {
    "chain": {**FURTHER, "epochs": 40, "shift_px": 2, "flip": True},
    "digits": {**FURTHER, "epochs": 60, "batch_size": 64, "shift_px": 1},
    "fashion": {**FURTHER, "epochs": 50, "shift_px": 2, "flip": True},
    "ultraface": {
        "epochs": 10,
        "batch_size": 16,
        "lr": 1e-3,
        "weight_decay": 0.0,
        "validation": 0.05,
        "threads": 1,
        "flip": True,
        "keep": "last",
    },
    "resnet": {**FURTHER, "epochs": 40, "shift_px": 4, "flip": True, "weight_decay": 0.02},
}
DATA = {
    "digits": "digits", "fashion": "fashion-mnist", "resnet": "cifar10", "ultraface": "cifar10",
}  # fmt: skip
IMITATED_WITH = 2000
"""Images, scaled up to the network's input."""
IMITATION_MACS = 0.7
TRAINED_WITH = 10_000
"""Images of Fashion-MNIST that the students of ``plateau`` see."""
STUDENT_MACS = {"digits": 0.3, "fashion": 0.25}
ALLOCATION_LATENCY = 0.62
SEEDS = {
    "chain": (0, 1, 2),
    "plateau": (0, 1, 2, 3, 4),
    "allocation": (0, 1, 2),
    "imitation": (0,),
}


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
    for network in STUDENT_MACS:
        for seed in SEEDS["plateau"]:
            made += [_plateau(network, arm, seed, device) for arm in ("labels", "teacher")]
    for seed in SEEDS["allocation"]:
        made += [_allocation(how, seed, device) for how in ("uniform", "latency")]
    return made + [_imitation(seed, device) for seed in SEEDS["imitation"]]


def _imitation(seed: int, device: str) -> Job:
    options = {
        **TRAINING["ultraface"],
        "device": device,
        "data": {"set": DATA["ultraface"], "split": "train", "limit": IMITATED_WITH},
        "teacher": str(graph("ultraface")),
        "task": "imitate",
    }
    job = _distilled(f"imitation-{seed}", "ultraface-pruned", seed, options)
    # The classes of the images are none that a detector of faces could be right about.
    return Job(job.name, job.part, {**job.project, "evaluate": {"enabled": False}})


def _chain(seed: int, device: str) -> Job:
    project = {
        "name": "fashion_cnn",
        "seed": seed,
        "stages": ("prune", "distill"),
        "model": {"source": str(graph("fashion"))},
        "data": {"set": DATA["fashion"]},
        "prune": {"macs_ratio": 0.5},
        "distill": {**TRAINING["chain"], "device": device},
    }
    return Job(f"chain-{seed}", "chain", project)


def _plateau(network: str, arm: str, seed: int, device: str) -> Job:
    """The arms differ in the weight of the labels alone."""
    options = {
        **TRAINING[network],
        "device": device,
        "data": {"set": DATA[network], "split": "train", "limit": TRAINED_WITH},
        "teacher": str(graph(network)),
        "alpha": 1.0 if arm == "labels" else 0.1,
        "temperature": 4.0,
    }
    return _distilled(f"plateau-{network}-{arm}-{seed}", f"{network}-student", seed, options)


def _allocation(how: str, seed: int, device: str) -> Job:
    options = {**TRAINING["resnet"], "device": device, "teacher": str(graph("resnet"))}
    return _distilled(f"allocation-{how}-{seed}", f"resnet-{how}", seed, options)


def _distilled(name: str, student: str, seed: int, options: Mapping[str, Any]) -> Job:
    network = student.partition("-")[0]
    project = {
        "name": network,
        "seed": seed,
        "stages": ("distill",),
        "model": {"source": str(graph(student))},
        "data": {"set": DATA[network]},
        "distill": options,
    }
    return Job(name, name.partition("-")[0], project)


def run_job(name: str, device: str) -> None:
    """Runs one training in this process."""
    (job,) = [job for job in jobs(device) if job.name == name]
    folder = WORK / "runs" / name
    config = ProjectConfig.model_validate({**job.project, "output": folder})
    started = time.monotonic()
    run_project(config, store=WORK / "stores" / name)
    (folder / "trained_on").write_text(f"{_trained_on(device)}\n")
    (folder / "seconds").write_text(f"{time.monotonic() - started:.1f}\n")


def _trained_on(device: str) -> str:
    """The processor that a training with this option takes."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return device_name()
    return torch.cuda.get_device_name()


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
        if done.returncode:
            log = WORK / "runs" / f"{job.name}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(done.stderr)
        state = f"failed, see {log}" if done.returncode else "done"
        print(f"{job.name}: {state}", flush=True)

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
