"""Losses of training: classification, metric learning, distillation."""

from __future__ import annotations

from edgekit.training.losses.classification import (
    binary_focal_loss,
    focal_loss,
    smoothed_cross_entropy,
)
from edgekit.training.losses.distillation import (
    attention_transfer_loss,
    distillation_loss,
    hint_loss,
    knowledge_distillation,
)
from edgekit.training.losses.metric import contrastive_loss, semi_hard_triplets, triplet_loss

__all__ = [
    "attention_transfer_loss",
    "binary_focal_loss",
    "contrastive_loss",
    "distillation_loss",
    "focal_loss",
    "hint_loss",
    "knowledge_distillation",
    "semi_hard_triplets",
    "smoothed_cross_entropy",
    "triplet_loss",
]
