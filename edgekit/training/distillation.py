"""Options of the stage distill; importing them loads no framework."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from edgekit.training.config import TrainConfig


class DistillOptions(TrainConfig):
    """How an imported network is trained on, by labels, by a teacher, or by both."""

    epochs: int = Field(10, ge=1, description="Passes over the training set.")
    lr: float = Field(1e-3, gt=0, description="Learning rate after warm-up.")
    keep: Literal["last", "best"] = Field(
        "best",
        description="best keeps the epoch that does best on the samples kept back, which may be "
        "the state before training; last keeps the last epoch, or the best one where patience is "
        "set.",
    )
    teacher: str | None = Field(
        None,
        description="What is learned from: a model as model.source names it, or a file of a "
        "target; by default the graph as it was before pruning.",
    )
    teacher_weights: Path | None = Field(
        None, description="State dict of a teacher that is a torch module."
    )
    task: Literal["auto", "classify", "imitate"] = Field(
        "auto",
        description="classify learns from labels and the teacher; imitate from the teacher's "
        "outputs alone, whatever they mean; auto classifies where the data has labels and the "
        "teacher predicts them.",
    )
    alpha: float = Field(
        0.1, ge=0, le=1, description="Weight of the labels; the rest is the teacher's."
    )
    temperature: float = Field(
        4.0, gt=0, description="Softens the class scores that are compared with the teacher's."
    )
    hints: tuple[str, ...] = Field(
        (),
        description="Layers of the graph (patterns) whose features are learned from the "
        "teacher's, besides the outputs; the teacher has to be a graph with layers of these "
        "names, as a pruned network's parent is.",
    )
    hint: Literal["attention", "features"] = Field(
        "attention",
        description="attention compares where a layer's channels are active; features compares "
        "the values, where channels differ through a 1x1 convolution that is dropped afterwards.",
    )
    hint_weight: float = Field(1.0, ge=0, description="Weight of the features' loss.")
    keep_zeros: bool = Field(
        True,
        description="Weights that are 0 stay 0, in tensors of which at least a fifth is, as "
        "sparsify leaves them.",
    )
    batch_norm: bool = Field(
        True,
        description="Put a BatchNorm behind every convolution while training, and fold it in the "
        "end; the imported graph has folded its own.",
    )

    def train_config(self) -> TrainConfig:
        """The options of the training itself."""
        # Not from model_dump, which leaves out what is no part of the cache key.
        return TrainConfig.model_validate(
            {name: getattr(self, name) for name in TrainConfig.model_fields}
        )
