"""How far a training has come, and what it needs to go on from there."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from edgekit.core.run_summary import QatEpoch
from edgekit.graph.torch_twin.twin import TorchTwin
from edgekit.training.kept_zeros import keep_zeros
from edgekit.training.qat.config import QatConfig
from edgekit.training.qat.fake_quantize import TrainableFakeQuantize
from edgekit.training.qat.losses import Score
from edgekit.training.qat.optimizer import make_qat_optimizer
from edgekit.training.qat.phases import Phases


@dataclass(frozen=True, slots=True)
class Best:
    """The best epoch so far with its weights and scales, as a plain twin holds them."""

    epoch: int
    state: dict[str, Tensor]


@dataclass(slots=True)
class Course:
    """What the epochs so far have given.

    Attributes:
        curve: The state before training and each epoch.
        start: Score before training.
        highest: Score whose value is the highest so far.
        best_score: Score of the best epoch so far.
        best: That epoch; None for the state before training.
    """

    curve: list[QatEpoch]
    start: Score
    highest: Score
    best_score: Score
    best: Best | None = None

    @classmethod
    def of(cls, start: Score) -> Course:
        """Before the first epoch."""
        point = QatEpoch(epoch=0, loss=None, score=start.value, held_out_loss=start.loss, lr=None)
        return cls([point], start, start, start)

    def improves(self, score: Score) -> bool:
        """Whether an epoch is the best so far.

        Of those whose share of right predictions is within the standard error of the highest,
        the one with the lowest loss is the best: a few samples more or less are chance.
        """
        if score.value > self.highest.value:
            self.highest = score
        least = self.highest.value - self.highest.error
        if score.value < least:
            return False
        return self.best_score.value < least or score.loss < self.best_score.loss


@dataclass(frozen=True, slots=True)
class Machinery:
    """Everything that a step changes.

    Attributes:
        twin: With trainable quantizers.
        quantizers: All of them, each once.
        optimizer: Of weights and scales.
        schedule: Of the learning rates.
        phases: Of the quantizers.
        generators: Of order and augmentation.
    """

    twin: TorchTwin
    quantizers: Sequence[TrainableFakeQuantize]
    optimizer: Optimizer
    schedule: LambdaLR
    phases: Phases
    generators: tuple[torch.Generator, ...]

    @classmethod
    def of(
        cls, twin: TorchTwin, config: QatConfig, steps: int,
        generators: tuple[torch.Generator, ...],
    ) -> Machinery:  # fmt: skip
        """Before the first step.

        Args:
            twin: With trainable quantizers.
            config: Options.
            steps: Steps of an epoch.
            generators: Of order and augmentation.
        """
        quantizers = [
            module
            for module in twin.quantizers().values()
            if isinstance(module, TrainableFakeQuantize)
        ]
        optimizer = make_qat_optimizer(twin, quantizers, config)
        if config.keep_zeros:
            keep_zeros(twin, optimizer)
        total = config.epochs * steps
        schedule = LambdaLR(
            optimizer, lambda step: 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / total)))
        )
        phases = Phases(config, steps, quantizers)
        return cls(twin, quantizers, optimizer, schedule, phases, generators)

    def rate(self, config: QatConfig) -> float:
        """The learning rate of weights that the next step takes, as the options state it."""
        now, first = self.schedule.get_last_lr()[0], self.schedule.base_lrs[0]
        return config.lr * float(now) / float(first)

    def state(self, course: Course) -> dict[str, Any]:
        """All of it together with the course, as a checkpoint holds it."""
        best = course.best
        return {
            "curve": [point.model_dump() for point in course.curve],
            "start": asdict(course.start),
            "highest": asdict(course.highest),
            "best_score": asdict(course.best_score),
            "best": None if best is None else {"epoch": best.epoch, "state": best.state},
            "twin": self.twin.state_dict(),
            "quantizers": [item.phase() for item in self.quantizers],
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "steps": self.phases.steps_done,
            "generators": [item.get_state() for item in self.generators],
        }

    def resume(self, state: Mapping[str, Any]) -> Course:
        """Goes on from a `state`; gives its course."""
        self.twin.load_state_dict(state["twin"])
        for quantizer, phase in zip(self.quantizers, state["quantizers"], strict=True):
            quantizer.resume(phase)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.phases.resume(state["steps"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved)
        best = state["best"]
        return Course(
            curve=[QatEpoch.model_validate(point) for point in state["curve"]],
            start=Score(**state["start"]),
            highest=Score(**state["highest"]),
            best_score=Score(**state["best_score"]),
            best=None if best is None else Best(best["epoch"], best["state"]),
        )


def identity_of(
    config: QatConfig, seed: int, samples: int, state: Mapping[str, Tensor]
) -> dict[str, Any]:
    """What tells one training from another, as JSON."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return {
        "config": config.model_dump(mode="json"),
        "seed": seed,
        "samples": samples,
        "start": digest.hexdigest(),
    }
