"""Where a training runs, and in which number format."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from edgekit.errors import MissingToolError
from edgekit.training.config import TrainConfig

_FORMATS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def chosen_device(config: TrainConfig) -> torch.device:
    """The device that the options name.

    Raises:
        MissingToolError: If it is a GPU and torch finds none.
    """
    found = torch.cuda.is_available()
    if config.device == "cuda" and not found:
        raise MissingToolError(
            "train.device is cuda, but torch finds no GPU on this machine; use device = 'auto'"
        )
    if config.device == "cpu" or not found:
        return torch.device("cpu")
    # Without it, cuBLAS has no deterministic products.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device("cuda")


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; nothing waits until a GPU is done with what it was given before."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def fits(size_bytes: int, device: torch.device) -> bool:
    """Whether so much may stay on a GPU for the whole training: a quarter of what is free."""
    return device.type == "cuda" and size_bytes <= torch.cuda.mem_get_info(device)[0] // 4


class MixedPrecision:
    """Products of a step in 16 bits; everything else stays float32.

    Micikevicius and others, Mixed Precision Training, 2018. The small exponent of float16 needs
    a loss that is scaled, and steps are left out where a gradient overflows; bfloat16 does not.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self._format = _FORMATS.get(config.mixed_precision)
        self._device = device
        scales = config.mixed_precision == "float16"
        self.scaler = torch.amp.GradScaler(device.type, enabled=scales)

    @contextmanager
    def products(self) -> Iterator[None]:
        """Inside, products are computed in the chosen format."""
        if self._format is None:
            yield
            return
        with torch.autocast(self._device.type, dtype=self._format):
            yield

    def step(
        self, loss: Tensor, optimizer: torch.optim.Optimizer, model: nn.Module, clip: float | None
    ) -> None:
        """Computes gradients, clips their global norm and changes the weights."""
        torch.autograd.backward(self.scaler.scale(loss))
        if clip is not None:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        self.scaler.step(optimizer)
        self.scaler.update()

    def advance(self, schedule: LRScheduler) -> None:
        """Moves the learning rate on, also after a step that was left out."""
        if not self.scaler.is_enabled():
            schedule.step()
            return
        with warnings.catch_warnings():
            # Torch takes a first step that was left out for one that was forgotten.
            warnings.filterwarnings("ignore", message=r"Detected call of `lr_scheduler.step\(\)`")
            schedule.step()
