"""Progressive training: small images with little regularisation first.

Tan and Le, EfficientNetV2, 2021: image size and regularisation grow together in stages.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from edgekit.training.config import TrainConfig


def growth(epoch: int, config: TrainConfig) -> float:
    """How far training has grown, 0 in the first stage and 1 in the last.

    Args:
        epoch: Counted from 0.
        config: Options; without ``progressive_from`` everything is grown.
    """
    if config.progressive_from is None:
        return 1.0
    stages = min(config.progressive_stages, config.epochs)
    stage = min(stages - 1, epoch * stages // config.epochs)
    return 1.0 if stages == 1 else stage / (stages - 1)


def resized(images: Tensor, epoch: int, config: TrainConfig) -> Tensor:
    """Images in the size of an epoch.

    Args:
        images: ``float32[N, C, H, W]``; other inputs stay as they are.
        epoch: Counted from 0.
        config: Options.
    """
    if config.progressive_from is None or images.ndim != 4:
        return images
    share = config.progressive_from + (1 - config.progressive_from) * growth(epoch, config)
    size = [max(1, round(share * length)) for length in images.shape[2:]]
    if size == list(images.shape[2:]):
        return images
    return functional.interpolate(images, size=size, mode="bilinear", antialias=True)
