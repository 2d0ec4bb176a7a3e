"""Options of training; importing them loads no framework."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from edgekit.core.stage import StageConfig


class TrainConfig(StageConfig):
    """How a classifier is trained. The same options and seed give the same weights on a CPU."""

    epochs: int = Field(20, ge=1, description="Passes over the training set.")
    batch_size: int = Field(64, ge=1, description="Samples in one step.")
    optimizer: Literal["adam", "adamw", "sgd"] = Field(
        "adamw", description="Adam, AdamW, or SGD with Nesterov momentum 0.9."
    )
    lr: float = Field(2e-3, gt=0, description="Learning rate after warm-up.")
    weight_decay: float = Field(
        0.01,
        ge=0,
        description="Decay of weights: decoupled from the gradient with AdamW, plain L2 (added to "
        "the gradient) with Adam and SGD.",
    )
    decay_vectors: bool = Field(
        False, description="Decay biases and the scales and shifts of normalisations too."
    )
    schedule: Literal["cosine", "restarts", "step", "constant"] = Field(
        "cosine",
        description="Course of the learning rate after warm-up; cosine ends at 0, restarts does "
        "so again and again, step falls by step_factor every step_epochs.",
    )
    step_epochs: float = Field(
        10.0, gt=0, description="Epochs between two falls of the schedule step."
    )
    step_factor: float = Field(
        0.1, gt=0, lt=1, description="Factor on the learning rate at each of them."
    )
    restart_epochs: float = Field(
        10.0, gt=0, description="Epochs of the first cosine of the schedule restarts."
    )
    restart_growth: float = Field(
        2.0, ge=1, description="How many times longer each following cosine is."
    )
    warmup_epochs: float | None = Field(
        None,
        ge=0,
        description="Epochs over which the learning rate rises linearly; a twentieth of all by "
        "default.",
    )
    loss: Literal["cross_entropy", "focal"] = Field(
        "cross_entropy",
        description="Loss of the labels; focal counts samples that are right already less, for "
        "classes of very different size.",
    )
    focal_gamma: float = Field(2.0, gt=0, description="How much less the focal loss counts them.")
    bn_l1: float = Field(
        0.0,
        ge=0,
        description="Penalty on the sizes of all BatchNorm scales, which makes channels "
        "unimportant for a pruning by bn_scale; 1e-5 to 1e-4 is usual.",
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
    mixup: float = Field(
        0.0,
        ge=0,
        description="Augmentation: blend pairs of samples by shares from Beta(mixup, mixup); 0 "
        "leaves it out.",
    )
    cutmix: float = Field(
        0.0,
        ge=0,
        description="Augmentation: paste a box of another image, its area from Beta(cutmix, "
        "cutmix); 0 leaves it out. With mixup too, one of both is chosen for each batch.",
    )
    progressive_from: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Progressive training: share of the image size to begin with; it grows to the "
        "whole over progressive_stages, and mixup and label smoothing grow with it.",
    )
    progressive_stages: int = Field(
        4, ge=2, description="Sizes of progressive training, each for as many epochs."
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of a running mean of the weights, which then is what is kept; 0.999 "
        "is usual.",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Stop after so many epochs without a better accuracy on the samples kept "
        "back, and keep the best epoch.",
    )
    validation: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the training set kept back to measure accuracy after each epoch.",
    )
    keep: Literal["last", "best"] = Field(
        "last",
        description="best keeps the epoch that does best on the samples kept back, which may be "
        "the state before training; last keeps the last epoch, or the best one where patience is "
        "set.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to train; auto takes a GPU where torch finds one."
    )
    mixed_precision: Literal["off", "bfloat16", "float16"] = Field(
        "off",
        description="Number format of the products of a step; weights stay float32, and float16 "
        "scales the loss against underflow.",
    )
    threads: int = Field(
        2, ge=1, description="Threads of torch; the weights are the same only for the same number."
    )
    tensorboard: Path | None = Field(
        None,
        exclude=True,  # does not change the result, so it is no part of the cache key
        description="Folder for TensorBoard's event files; a result that is reused writes none.",
    )

    @model_validator(mode="after")
    def _check_patience(self) -> TrainConfig:
        for name, wanted in (
            ("patience", self.patience is not None),
            ("keep", self.keep == "best"),
        ):
            if wanted and not self.validation:
                raise ValueError(f"{name} needs samples kept back; set validation above 0")
        return self

    @model_validator(mode="after")
    def _check_warmup(self) -> TrainConfig:
        if self.warmup_epochs is not None and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs:g}, but there are only {self.epochs} epochs"
            )
        return self
