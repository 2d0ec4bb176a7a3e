"""Batches of a training: drawn, changed, and divided among the processes that share them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekit.errors import InputError
from edgekit.training.augment import Augmentation
from edgekit.training.config import TrainConfig
from edgekit.training.devices import moved
from edgekit.training.mixing import Mixing
from edgekit.training.processes import Processes, Rows, own_rows
from edgekit.training.progressive import growth, resized
from edgekit.training.samples import Samples, resident

type CountClasses = Callable[[Tensor, Tensor], int]
"""Classes that the model tells apart, from inputs on the device and labels on the CPU."""


@dataclass(frozen=True, slots=True)
class DrawnBatch:
    """What one process has of one step.

    Attributes:
        inputs: Augmented and blended, on the device.
        labels: ``int64[n]`` on the CPU.
        targets: Class indices, or shares ``[n, classes]``, on the device.
        positions: Of the samples within the set.
        total: Samples of the step in all processes.
        smoothing: Of the labels.
    """

    inputs: Tensor
    labels: Tensor
    targets: Tensor
    positions: list[int]
    total: int
    smoothing: float


class StepBatches:
    """Draws the batches of each epoch.

    Every process draws the same numbers for the whole batch and takes its own rows, so that
    together they see what one process would see.

    Attributes:
        samples: All of them, on the device where they fit.
        training: Positions that are trained with, in ascending order.
        kept_back: Positions that are not.
        steps: Steps of an epoch.
    """

    def __init__(
        self,
        samples: Samples,
        config: TrainConfig,
        seed: int,
        device: torch.device,
        processes: Processes,
    ) -> None:
        """Divides the samples.

        Raises:
            InputError: If too few are left to train with.
            ConfigError: If a step has fewer samples than there are processes.
        """
        self.samples = resident(samples, device)
        self._config = config
        self._device = device
        self._order = torch.Generator().manual_seed(seed)
        self._augment = Augmentation(config, seed + 1)
        self._mix = Mixing(config.mixup, config.cutmix, seed + 2)
        self.training, self.kept_back = self._split()
        self.steps = max(1, len(self.training) // config.batch_size)
        self._rows = own_rows(processes, min(config.batch_size, len(self.training)))

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        """What is drawn from; an interrupted training puts their states back."""
        return self._order, self._augment.generator, self._mix.generator

    def epoch(self, number: int, count_classes: CountClasses) -> Iterator[DrawnBatch]:
        """The steps of one epoch.

        Args:
            number: From 0.
            count_classes: Asked where labels are blended.
        """
        shuffled = torch.randperm(len(self.training), generator=self._order)
        size = self._rows.total
        order = self.training[shuffled][: self.steps * size].reshape(self.steps, size)
        # Samples are blended with any other of the whole batch.
        mixes = bool(self._config.mixup or self._config.cutmix)
        part = Rows(0, size, size) if mixes else self._rows
        mine = order[:, part.first : part.first + part.count]
        batches = self.samples.batches(mine.flatten().tolist(), part.count)
        for positions, (inputs, labels) in zip(mine.tolist(), batches, strict=True):
            images = self._augment(moved(inputs, self._device), part)
            images = resized(images, number, self._config)
            targets = moved(labels, self._device)
            if mixes:
                classes = count_classes(moved(inputs, self._device), labels)
                strength = growth(number, self._config)
                images, targets = self._mix(images, targets, classes, strength)
                images, targets = self._rows.of(images), self._rows.of(targets)
                labels, positions = self._rows.of(labels), self._rows.of(positions)
            smoothing = growth(number, self._config) * self._config.label_smoothing
            yield DrawnBatch(images, labels, targets, positions, size, smoothing)

    def _split(self) -> tuple[Tensor, Tensor]:
        count = len(self.samples)
        kept_back = round(count * self._config.validation)
        if count - kept_back < 2:
            raise InputError(
                f"{count} samples are too few to train with when train.validation keeps back "
                f"{kept_back}; at least 2 have to be left."
            )
        positions = torch.randperm(count, generator=self._order)
        return positions[kept_back:].sort().values, positions[:kept_back].sort().values
