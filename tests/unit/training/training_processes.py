"""Run as a program by test_distributed.py: forks trainings of two processes, and kills some.

Importing takes longer than all trainings, so everything is imported once and forked.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # optimizers import it, which takes seconds
import torch.distributed
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import nn

from edgekit.core.metadata import Preprocessing
from edgekit.core.progress import SilentProgress
from edgekit.core.signature import TensorSpec
from edgekit.data.contract import DataSpec
from edgekit.errors import EdgekitError
from edgekit.pipeline import parallel
from edgekit.pipeline.registry import get_stage
from edgekit.pipeline.runner import Runner
from edgekit.pipeline.steps import Step, make_plan
from edgekit.stages.train import TrainStageConfig
from edgekit.store.store import Store
from edgekit.training.config import TrainConfig
from edgekit.training.distributed import joined
from edgekit.training.objectives import DistillationObjective, module_teacher
from edgekit.training.samples import TensorSamples
from edgekit.training.trainer import train
from tests.unit.training.test_trainer import network, stripes

_IMPORTED = (Accelerator, DistributedDataParallelKwargs, torch._dynamo)
COURSES: dict[str, dict[str, Any]] = {
    "plain": {"shift_px": 1, "flip": True},
    "blended": {"mixup": 0.3, "cutmix": 1.0, "ema": 0.9, "label_smoothing": 0.1},
    "sgd": {"optimizer": "sgd", "clip_norm": 0.1, "keep": "best", "progressive_from": 0.5},
    "taught": {"epochs": 2},
    "unequal": {"batch_size": 15, "weight_decay": 0.1},
}


def options(**fields: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "epochs": 3,
            "batch_size": 16,
            "lr": 0.02,
            "warmup_epochs": 0,
            "device": "cpu",
            "threads": 1,
            **fields,
        }
    )


class Plain(nn.Module):
    """Without normalisation and dropout, and with a part that no output depends on."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                nn.Linear(32, 3),
            )  # fmt: skip
        self.unused = nn.Linear(2, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layers(image)
        return scores


def courses(place: Path) -> None:
    """All courses, with and without normalisation."""
    rank = os.environ.get("RANK", "0")
    with joined("cpu"):
        model: nn.Module
        for name, fields in COURSES.items():
            model = Plain()
            teacher = (
                DistillationObjective(module_teacher(network())) if name == "taught" else None
            )
            result = train(model, stripes(), options(**fields), 3, objective=teacher)
            torch.save([model.state_dict(), result.curve], place / f"{name}-{rank}.pt")
        model = network()
        result = train(model, stripes(), options(epochs=4), 3)
        torch.save([model.state_dict(), result.curve], place / f"normalised-{rank}.pt")


def refusals(place: Path) -> None:
    """What has to fail in both processes alike."""
    said = []
    poisoned = stripes()
    poisoned.inputs[7] = float("nan")
    one = TensorSamples(stripes().inputs, torch.ones(160, dtype=torch.int64))
    other = place / "state"
    if os.environ["RANK"] == "0":
        train(Plain(), stripes(), options(epochs=1), 4, folder=other)
    cases: list[tuple[TensorSamples, TrainConfig, Path | None]] = [
        (poisoned, options(validation=0), None),
        (stripes(), options(batch_size=1), None),
        (one, options(), None),
        (stripes(), options(), other),
    ]
    with joined("cpu"):
        for samples, config, folder in cases:
            try:
                train(Plain(), samples, config, 3, folder=folder)
            except EdgekitError as error:
                said.append(f"{type(error).__name__}: {error}")
    torch.save(said, place / f"refusals-{os.environ['RANK']}.pt")


class Killed(SilentProgress):
    """Kills its process in the middle of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.left = epoch

    def start(self, label: str, total: int | None) -> None:
        self.left -= 1

    def advance(self, steps: int = 1, note: str = "") -> None:
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def resumable(place: Path, folder: str, killed_in: int = 0) -> None:
    """A training with everything that is random, whose state is kept in a folder."""
    rank = os.environ.get("RANK", "0")
    config = options(epochs=4, mixup=0.2, shift_px=1, flip=True, ema=0.9)
    progress = Killed(killed_in) if killed_in and rank == "0" else SilentProgress()
    with joined("cpu"):
        model = network()
        result = train(model, stripes(), config, 3, progress, place / folder)
    torch.save([model.state_dict(), result.curve], place / f"{folder}-{rank}.pt")


def staged(place: Path, store: str) -> None:
    """A stage in a pipeline; of two processes the first leads and the second follows."""
    if parallel.is_follower():
        assert parallel.follow() == 0
        return
    if "RANK" in os.environ:
        parallel.lead()
    config = TrainStageConfig(
        source=f"{place.parent if store == 'own' else place}/model.py:create",
        input=TensorSpec(name="image", shape=("batch", 1, 8, 8)),
        preprocessing=Preprocessing(channels="gray", scale=1 / 16),
        data=DataSpec(set="digits", split="train", limit=160),
        options=options(epochs=2, batch_size=32),
    )
    plan = make_plan([Step("train", get_stage("train"), config)])
    runner = Runner(Store(place / store))
    (first,), (again,) = runner.run(plan).steps, runner.run(plan).steps
    for line in parallel._leading:
        line.send(None)
    weights = first.artifacts["weights"].path.read_bytes()
    notes = [note.text for note in first.notes]
    torch.save([notes, weights, again.reused], place / f"{store}.pt")


def alone(place: Path) -> None:
    """The same in one process."""
    courses(place)
    staged(place, "own")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def forked(work: Callable[..., None], *given: Any, count: int = 2) -> list[int]:
    """Runs ``work`` in processes as torchrun would start them; gives their exit codes."""
    port = free_port()
    children = []
    for rank in range(count):
        child = os.fork()
        if not child:
            if count > 1:
                os.environ.update(
                    RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count),
                    LOCAL_WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
                )  # fmt: skip
            try:
                work(*given)
            except BaseException as error:
                sys.stderr.write(f"process {rank}: {type(error).__name__}: {error}\n")
                os._exit(1)
            os._exit(0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1])]
    for child in children[1:]:
        if codes[0]:
            os.kill(child, signal.SIGKILL)  # as torchrun does
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return codes


def main() -> None:
    place = Path(sys.argv[1])
    (place / "alone").mkdir()
    codes = {
        "alone": forked(alone, place / "alone", count=1),
        "courses": forked(courses, place),
        "refusals": forked(refusals, place),
        "calm": forked(resumable, place, "calm"),
        "killed": forked(resumable, place, "resumed", 3),
        "resumed": forked(resumable, place, "resumed"),
        "staged": forked(staged, place, "shared"),
    }
    torch.save(codes, place / "codes.pt")


if __name__ == "__main__":
    main()
