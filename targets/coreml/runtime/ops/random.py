"""Random numbers: reproducible with a seed, but not those of another runtime."""

from __future__ import annotations

import torch

from edgekit.errors import UnsupportedError
from edgekit.targets.coreml.runtime.registry import Ints, Tensor, operator


def _generator(seed: int) -> torch.Generator:
    made = torch.Generator()
    if seed < 0:
        made.seed()
    else:
        made.manual_seed(seed)
    return made


@operator("random_bernoulli")
def random_bernoulli(*, shape: Ints, prob: float = 0.5, seed: int = -1) -> Tensor:
    """1 with the given probability, else 0."""
    return (torch.rand(shape, generator=_generator(seed)) < prob).to(torch.float32)


@operator("random_normal")
def random_normal(
    *, shape: Ints, mean: float = 0.0, stddev: float = 1.0, seed: int = -1
) -> Tensor:
    """Normally distributed."""
    return torch.randn(shape, generator=_generator(seed)) * stddev + mean


@operator("random_uniform")
def random_uniform(*, shape: Ints, low: float = 0.0, high: float = 1.0, seed: int = -1) -> Tensor:
    """Evenly distributed in ``[low, high)``."""
    return torch.rand(shape, generator=_generator(seed)) * (high - low) + low


@operator("random_categorical")
def random_categorical(
    *, x: Tensor, mode: str = "logits", size: int = 1, seed: int = -1
) -> Tensor:
    """Indices drawn with replacement from the distributions in the last axis."""
    if mode not in {"logits", "probs"}:
        raise UnsupportedError(f"random_categorical in mode {mode!r} is not known")
    chances = torch.softmax(x, -1) if mode == "logits" else x
    flat = chances.reshape(-1, x.shape[-1])
    drawn = torch.multinomial(flat, size, replacement=True, generator=_generator(seed))
    return drawn.reshape(*x.shape[:-1], size).to(torch.float32)
