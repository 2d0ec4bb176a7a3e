"""What quantization-aware training minimizes, and by what epochs are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.nn import functional

from edgekit.errors import InputError
from edgekit.graph.torch_twin.fake_quantize import FakeQuantize
from edgekit.graph.torch_twin.twin import TorchTwin
from edgekit.training.qat.config import QatConfig

_SMALLEST_PROBABILITY = 1.0 / 512
"""Half a step of 8-bit probabilities: what is rounded to 0 may be that large."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Score:
    """How well a twin does on samples that it was not trained with.

    Attributes:
        value: Share of right predictions, or for ``task = "imitate"`` the signal-to-noise
            ratio of all outputs against the float model, in dB.
        loss: Mean loss.
    """

    value: float
    loss: float

    def better_than(self, other: Score) -> bool:
        """True for a higher value, or the same one with a lower loss."""
        return (self.value, -self.loss) > (other.value, -other.loss)


def gives_probabilities(twin: TorchTwin) -> bool:
    """True when the first output comes from a Softmax, perhaps rounded."""
    output = next(node for node in twin.graph_module.graph.nodes if node.op == "output")
    node = output.args[0][0]
    while isinstance(node, fx.Node) and node.op == "call_module":
        module = twin.graph_module.get_submodule(str(node.target))
        if not isinstance(module, FakeQuantize):
            return False
        node = node.args[0]
    return isinstance(node, fx.Node) and node.target is torch.softmax


class QatLoss:
    """Loss of labels and of the comparison with the float model."""

    def __init__(self, config: QatConfig, probabilities: bool, distils: bool) -> None:
        """Fixes what is compared.

        Args:
            config: Options.
            probabilities: Whether the model gives probabilities instead of logits.
            distils: Whether there is a float model to compare with.
        """
        self._classify = config.task == "classify"
        self._share = config.distillation if distils else 0.0
        self._temperature = config.temperature
        self._probabilities = probabilities

    @property
    def needs_teacher(self) -> bool:
        """True when the outputs of the float model have a share in the loss."""
        return not self._classify or self._share > 0

    def __call__(
        self, outputs: tuple[Tensor, ...], labels: Tensor, teacher: tuple[Tensor, ...] | None
    ) -> Tensor:
        """The loss of one batch, a scalar.

        Args:
            outputs: Of the quantized model.
            labels: ``int64[n]``.
            teacher: Outputs of the float model; None when it has no share.
        """
        if not self._classify:
            return imitation_loss(outputs, teacher or ())
        logits = self._logits(outputs[0])
        loss = functional.cross_entropy(logits, labels)
        if not self._share or teacher is None:
            return loss
        distance = distillation_loss(logits, self._logits(teacher[0]), self._temperature)
        return (1 - self._share) * loss + self._share * distance

    def _logits(self, output: Tensor) -> Tensor:
        if not self._probabilities:
            return output
        return torch.log(output.clamp(min=_SMALLEST_PROBABILITY))


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T^2 * KL(softmax(teacher / T) || softmax(student / T))``, mean over the batch.

    Hinton et al., Distilling the Knowledge in a Neural Network, 2015; the factor keeps the
    gradient's size when the temperature changes.
    """
    soft = functional.log_softmax(student / temperature, dim=1)
    target = functional.log_softmax(teacher / temperature, dim=1)
    divergence = functional.kl_div(soft, target, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def imitation_loss(outputs: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Mean over the outputs of their squared error, relative to the float output's variance.

    Dividing by the variance makes outputs of different units count alike.
    """
    terms = []
    for output, target in zip(outputs, teacher, strict=True):
        if not output.is_floating_point():
            continue
        variance = target.var(correction=0) if target.numel() > 1 else target.square().mean()
        terms.append((output - target).square().mean() / (variance + _TINY))
    if not terms:
        raise InputError("The model has no floating-point output that could be imitated")
    return torch.stack(terms).mean()


@dataclass(slots=True)
class ScoreSums:
    """Adds up a `Score` over batches."""

    config: QatConfig
    samples: int = 0
    hits: int = 0
    loss: float = 0.0
    noise: float = 0.0
    signal: float = 0.0

    def add(
        self, outputs: tuple[Tensor, ...], labels: Tensor, teacher: tuple[Tensor, ...] | None,
        loss: float,
    ) -> None:  # fmt: skip
        """Takes one batch."""
        count = len(labels)
        self.samples += count
        self.loss += loss * count
        if self.config.task == "classify":
            self.hits += int((outputs[0].argmax(dim=1) == labels).sum())
            return
        for output, target in zip(outputs, teacher or (), strict=True):
            if output.is_floating_point():
                wide = target.double()
                scale = float(wide.var(correction=0)) * wide.numel() + _TINY
                self.noise += float((output.double() - wide).square().sum()) / scale * count
                self.signal += count

    def score(self) -> Score:
        """Of all batches so far."""
        if self.config.task == "classify":
            return Score(self.hits / self.samples, self.loss / self.samples)
        ratio = self.signal / max(self.noise, _TINY)
        return Score(10 * math.log10(ratio), self.loss / self.samples)
