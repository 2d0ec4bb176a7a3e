"""Random changes to training images, seeded."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.errors import ConfigError
from edgekit.training.config import TrainConfig
from edgekit.training.devices import moved
from edgekit.training.processes import Rows


class Augmentation:
    """Moves and mirrors images, each by its own random amount."""

    def __init__(self, config: TrainConfig, seed: int) -> None:
        """Draws from a generator of its own, so that nothing else shifts its stream."""
        self._shift = config.shift_px
        self._flip = config.flip
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def generator(self) -> torch.Generator:
        """What is drawn from; an interrupted training puts its state back."""
        return self._generator

    def __call__(self, images: Tensor, rows: Rows | None = None) -> Tensor:
        """Gives changed copies.

        Args:
            images: ``float32[N, C, H, W]`` on any device; not modified. Pixels that a shift
                brings in repeat the edge.
            rows: Which part of a batch they are, so that each is changed as it would be within
                the whole one; the whole one by default.

        Raises:
            ConfigError: If the input has no height and width.
        """
        if not self._shift and not self._flip:
            return images
        if images.ndim != 4:
            raise ConfigError(
                f"train.shift_px and train.flip need images of 4 axes [N, C, H, W], but the "
                f"model's input has {images.ndim}. Leave them out for this model."
            )
        rows = rows or Rows(0, len(images), len(images))
        if self._flip:
            images = self._flipped(images, rows)
        if self._shift:
            images = self._shifted(images, rows)
        return images

    def _flipped(self, images: Tensor, rows: Rows) -> Tensor:
        chosen = rows.of(torch.rand(rows.total, generator=self._generator)) < 0.5
        chosen = moved(chosen, images.device)
        return torch.where(chosen[:, None, None, None], images.flip(-1), images)

    def _shifted(self, images: Tensor, rows: Rows) -> Tensor:
        count, _, height, width = images.shape
        shift = self._shift
        padded = functional.pad(images, (shift, shift, shift, shift), mode="replicate")
        size = (rows.total, 1)
        high = 2 * shift + 1
        # Drawn on the CPU, so that a GPU's training sees the same images.
        down = rows.of(torch.randint(high, size, generator=self._generator))
        right = rows.of(torch.randint(high, size, generator=self._generator))
        lines = moved(down + torch.arange(height), images.device)
        columns = moved(right + torch.arange(width), images.device)
        samples = torch.arange(count, device=images.device)[:, None, None]
        # Indexing with [N, H, 1] and [N, 1, W] around the slice puts the channels last.
        return padded[samples, :, lines[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
