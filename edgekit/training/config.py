"""Options of training; importing them loads no framework."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edgekit.core.stage import StageConfig


class TrainConfig(StageConfig):
    """How a classifier is trained. The same options and seed give the same weights on a CPU."""

    epochs: int = Field(20, ge=1, description="Passes over the training set.")
    batch_size: int = Field(64, ge=1, description="Samples in one step.")
    optimizer: Literal["adamw", "sgd"] = Field(
        "adamw", description="AdamW, or SGD with Nesterov momentum 0.9."
    )
    lr: float = Field(2e-3, gt=0, description="Learning rate after warm-up.")
    weight_decay: float = Field(
        0.01, ge=0, description="Decay of weights; normalisation and biases have none."
    )
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="Course of the learning rate after warm-up; cosine ends at 0."
    )
    warmup_epochs: float | None = Field(
        None,
        ge=0,
        description="Epochs over which the learning rate rises linearly; a twentieth of all by "
        "default.",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of the target spread over all classes."
    )
    clip_norm: float | None = Field(
        1.0, gt=0, description="Largest norm of the gradient; longer ones are scaled down."
    )
    shift_px: int = Field(
        0, ge=0, description="Augmentation: move each image by up to so many pixels."
    )
    flip: bool = Field(False, description="Augmentation: mirror each image with probability 1/2.")
    validation: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the training set kept back to measure accuracy after each epoch.",
    )
    threads: int = Field(
        2, ge=1, description="Threads of torch; the weights are the same only for the same number."
    )

    @model_validator(mode="after")
    def _check_warmup(self) -> TrainConfig:
        if self.warmup_epochs is not None and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs:g}, but there are only {self.epochs} epochs"
            )
        return self
