"""Mixup and CutMix: samples and their targets blended."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.training.devices import moved


class Mixing:
    """Blends each batch with itself in another order.

    Zhang and others, mixup, 2018: ``x = l x_i + (1 - l) x_j`` with ``l`` from Beta(a, a), and the
    targets likewise. Yun and others, CutMix, 2019: a box of the other image, whose share of the
    area is ``1 - l``.
    """

    def __init__(self, mixup: float, cutmix: float, seed: int) -> None:
        """Draws from a generator of its own.

        Args:
            mixup: Parameter of mixup's Beta distribution; 0 leaves it out.
            cutmix: The same of CutMix.
            seed: Seed.
        """
        self._mixup, self._cutmix = mixup, cutmix
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def generator(self) -> torch.Generator:
        """What is drawn from; an interrupted training puts its state back."""
        return self._generator

    def __call__(
        self, inputs: Tensor, labels: Tensor, classes: int, strength: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Blends a batch.

        Args:
            inputs: ``float32[N, ...]``; images ``[N, C, H, W]`` for CutMix. Not modified.
            labels: ``int64[N]``, on the same device.
            classes: Number of classes.
            strength: Factor on both parameters.

        Returns:
            Inputs, and class indices where nothing is blended, else shares ``[N, classes]``.
        """
        mixup, cutmix = strength * self._mixup, strength * self._cutmix
        if not mixup and not cutmix:
            return inputs, labels
        boxed = bool(cutmix) and inputs.ndim == 4
        if boxed and mixup:
            boxed = bool(torch.rand((), generator=self._generator) < 0.5)
        if not boxed and not mixup:
            return inputs, labels
        share = self._beta(cutmix if boxed else mixup)
        order = torch.randperm(len(inputs), generator=self._generator)
        order = moved(order, inputs.device)
        if boxed:
            blended, share = self._pasted(inputs, inputs[order], share)
        else:
            blended = share * inputs + (1 - share) * inputs[order]
        target = functional.one_hot(labels, classes).to(inputs.dtype)
        return blended, share * target + (1 - share) * target[order]

    def _beta(self, parameter: float) -> float:
        """From Beta(a, a): ``x / (x + y)`` of two Gamma(a) draws."""
        shapes = torch.full((2,), parameter, dtype=torch.float64)
        drawn = torch._standard_gamma(shapes, generator=self._generator)
        total = float(drawn.sum())
        return float(drawn[0]) / total if total > 0 else 0.5

    def _pasted(self, inputs: Tensor, other: Tensor, share: float) -> tuple[Tensor, float]:
        """The other's box in place of the own one, and the share that is left of the own."""
        height, width = inputs.shape[2:]
        edge = (1 - share) ** 0.5
        tall, wide = round(height * edge), round(width * edge)
        top = int(torch.randint(height - tall + 1, (), generator=self._generator))
        left = int(torch.randint(width - wide + 1, (), generator=self._generator))
        made = inputs.clone()
        rows, columns = slice(top, top + tall), slice(left, left + wide)
        made[:, :, rows, columns] = other[:, :, rows, columns]
        return made, 1 - tall * wide / (height * width)
