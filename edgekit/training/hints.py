"""Hints: a student that learns from its teacher's features besides its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn

from edgekit.errors import ConfigError
from edgekit.graph.torch_twin.twin import TorchTwin
from edgekit.training.losses.distillation import attention_transfer_loss, hint_loss
from edgekit.training.objectives import Objective, StepBatch, Teacher
from edgekit.training.restored_norms import norm_behind

type HintKind = Literal["attention", "features"]


def matched_layers(
    student: TorchTwin, teacher: TorchTwin, patterns: Sequence[str]
) -> tuple[str, ...]:
    """Layers that both networks have, by the names of their nodes.

    Args:
        student: For example a pruned copy of the teacher.
        teacher: The other.
        patterns: Names with ``*`` and ``?``.

    Returns:
        Names in the order of the student's graph.

    Raises:
        ConfigError: If a pattern matches no layer of both.
    """
    shared = [name for name in student.layers if name in teacher.layers]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in shared):
            raise ConfigError(
                f"distill.hints: no layer that student and teacher both have is called "
                f"{pattern!r}; they share: {', '.join(shared) or 'none'}"
            )
    return tuple(
        name for name in shared if any(fnmatchcase(name, pattern) for pattern in patterns)
    )


class HintedNetwork(nn.Module):
    """A network that gives the outputs of some of its layers behind its own.

    Attributes:
        network: Gives a tensor or a tuple.
        regressors: By position, what brings a layer's channels to those of the teacher
            (Romero and others, FitNets, 2015: a convolution of 1x1); trained with the
            network, and of no use afterwards.
    """

    def __init__(
        self,
        network: nn.Module,
        twin: TorchTwin,
        layers: Sequence[str],
        regressors: Sequence[nn.Module] = (),
    ) -> None:
        """Wraps a network.

        Args:
            network: Runs the twin.
            twin: What it runs; its layers give the features, behind a restored BatchNorm
                where there is one.
            layers: Names of nodes.
            regressors: One a layer; none leaves features as they are.
        """
        super().__init__()
        self.network = network
        self.regressors = nn.ModuleList(regressors)
        self._twin = [twin]  # not registered: the network holds it
        self._layers = tuple(layers)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The network's outputs, then ``[N, C, ...]`` of each layer."""
        with _recorded(self._twin[0], self._layers) as found:
            outputs = self.network(inputs)
        several = tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)
        # A graph of a fixed batch has been run in pieces.
        features = [torch.cat(pieces)[: len(inputs)] for pieces in found]
        if len(self.regressors):
            pairs = zip(self.regressors, features, strict=True)
            features = [regressor(item) for regressor, item in pairs]
        return (*several, *features)


@dataclass(frozen=True, slots=True)
class HintObjective:
    """Another objective plus ``weight`` times the mean loss of some layers' features.

    Attributes:
        base: What the outputs are trained for.
        hinting: The teacher, which gives its features behind its outputs.
        kind: attention compares where channels are active (Zagoruyko and Komodakis, Paying
            More Attention to Attention, 2017); features compares the values (FitNets).
        weight: Of the features.
        hints: Number of layers.
    """

    base: Objective
    hinting: Teacher
    kind: HintKind
    weight: float
    hints: int

    @property
    def classifies(self) -> bool:
        """See `Objective.classifies`."""
        return self.base.classifies

    @property
    def teacher(self) -> Teacher:
        """See `Objective.teacher`."""
        return self.hinting

    @property
    def remembers_teacher(self) -> bool:
        """Features of a whole data set are too large to be kept."""
        return False

    def loss(self, outputs: tuple[Tensor, ...], batch: StepBatch, smoothing: float) -> Tensor:
        """See `Objective.loss`."""
        given = batch.teacher or ()
        own, wanted = outputs[: -self.hints], given[: -self.hints]
        plain = StepBatch(batch.inputs, batch.targets, wanted)
        compared = attention_transfer_loss if self.kind == "attention" else hint_loss
        pairs = zip(outputs[-self.hints :], given[-self.hints :], strict=True)
        terms = torch.stack([compared(mine, theirs) for mine, theirs in pairs])
        return self.base.loss(own, plain, smoothing) + self.weight * terms.mean()


def make_regressors(
    student: Sequence[Tensor], teacher: Sequence[Tensor], layers: Sequence[str], seed: int
) -> list[nn.Module]:
    """What brings each layer's channels to the teacher's.

    Args:
        student: Features ``[N, C, ...]`` of some samples, one tensor a layer.
        teacher: The teacher's for the same samples.
        layers: Names, for messages.
        seed: Of the initial weights.

    Raises:
        ConfigError: If more than the channels differ.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return [_regressor(*each) for each in zip(student, teacher, layers, strict=True)]


def require_maps(
    student: Sequence[Tensor], teacher: Sequence[Tensor], layers: Sequence[str]
) -> None:
    """Refuses features that have no height and width, or others than the teacher's.

    Raises:
        ConfigError: See above.
    """
    for own, wanted, name in zip(student, teacher, layers, strict=True):
        if own.ndim != 4 or own.shape[2:] != wanted.shape[2:]:
            raise ConfigError(
                f"distill.hint attention compares maps [N, C, H, W] of equal height and width; "
                f"{name} gives {list(own.shape[1:])} a sample and the teacher's "
                f"{list(wanted.shape[1:])}. Leave it out of distill.hints, or use hint = "
                "'features'"
            )


def _regressor(own: Tensor, wanted: Tensor, name: str) -> nn.Module:
    if own.ndim != wanted.ndim or own.shape[2:] != wanted.shape[2:] or own.ndim not in (2, 3, 4):
        raise ConfigError(
            f"distill.hints: {name} gives {list(own.shape[1:])} a sample and the teacher's "
            f"{list(wanted.shape[1:])}; only the channels may differ"
        )
    channels, others = own.shape[1], wanted.shape[1]
    if channels == others:
        return nn.Identity()
    if own.ndim == 2:
        return nn.Linear(channels, others)
    return nn.Conv1d(channels, others, 1) if own.ndim == 3 else nn.Conv2d(channels, others, 1)


@contextmanager
def _recorded(twin: TorchTwin, layers: Sequence[str]) -> Iterator[list[list[Tensor]]]:
    found: list[list[Tensor]] = [[] for _ in layers]
    handles = []
    for name, pieces in zip(layers, found, strict=True):
        layer = norm_behind(twin, twin.layers[name])
        handles.append(layer.register_forward_hook(_keep_in(pieces)))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _keep_in(pieces: list[Tensor]) -> Callable[[nn.Module, object, Tensor], None]:
    """A hook that keeps what a layer gives."""
    return lambda layer, arguments, output: pieces.append(output)
