"""Options of quantization-aware training; importing them loads no framework."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from edgekit.core.quant import ScaleFormat
from edgekit.core.stage import StageConfig

ActivationRanges = Literal["calibrated", "minmax", "ema", "learned"]
WeightScales = Literal["calibrated", "minmax", "learned"]
Task = Literal["auto", "classify", "imitate"]


class QatConfig(StageConfig):
    """How a quantized graph is fine-tuned.

    The same options and seed give the same weights on a CPU.
    """

    task: Task = Field(
        "auto",
        description="classify learns from labels and the float model; imitate from the outputs "
        "of the float model alone, whatever they mean; auto classifies where the data has labels "
        "and the float model predicts them.",
    )
    epochs: int = Field(3, ge=1, description="Passes over the training set.")
    batch_size: int = Field(
        64,
        ge=1,
        description="Samples in one step; a model that is fixed to a smaller batch is run several "
        "times a step.",
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        "adamw", description="AdamW, or SGD with Nesterov momentum 0.9."
    )
    lr: float = Field(
        3e-4,
        gt=0,
        description="Highest learning rate of weights and biases; for adamw as a share of each "
        "tensor's root mean square, which differs much between layers.",
    )
    scale_lr: float = Field(
        1e-3,
        gt=0,
        description="Highest learning rate of learned scales, of which the logarithm is learned.",
    )
    weight_decay: float = Field(0.0, ge=0, description="Decay of weights; biases have none.")
    clip_norm: float | None = Field(
        None, gt=0, description="Largest norm of the gradient; longer ones are scaled down."
    )
    activation_ranges: ActivationRanges = Field(
        "learned",
        description="calibrated keeps the graph's; minmax and ema watch the observer epochs; "
        "learned trains the scales after them.",
    )
    observer_epochs: float = Field(
        0.0,
        ge=0,
        description="Epochs in which activation ranges follow what is seen; then they are frozen, "
        "or learned.",
    )
    observer_momentum: float = Field(
        0.05, gt=0, le=1, description="Share of a new step in the moving average of ema."
    )
    weight_scales: WeightScales = Field(
        "learned",
        description="calibrated keeps the graph's; minmax follows the largest weight of each "
        "channel; learned trains the scales.",
    )
    scale_format: ScaleFormat | None = Field(
        None,
        description="Number format that represents every scale from the first step on; that of "
        "the quantization before by default.",
    )
    frozen_share: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the steps, at the end, in which no scale changes any more.",
    )
    keep_zeros: bool = Field(
        True,
        description="Weights that are 0 stay 0, in tensors of which at least a fifth is, as "
        "sparsify leaves them.",
    )
    distillation: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Share of the loss that compares with the float model; the rest is the loss "
        "of the labels.",
    )
    temperature: float = Field(
        4.0, gt=0, description="Softens the class scores that are compared with the float model."
    )
    shift_px: int = Field(
        0, ge=0, description="Augmentation: move each image by up to so many pixels."
    )
    flip: bool = Field(False, description="Augmentation: mirror each image with probability 1/2.")
    validation: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of the samples kept back to compare epochs on.",
    )
    keep: Literal["best", "last"] = Field(
        "best",
        description="best keeps the epoch that does best on the samples kept back (the lowest "
        "loss of those whose accuracy is within the standard error of the highest), which may be "
        "the state before training; last keeps the last epoch whatever it does.",
    )
    threads: int = Field(
        2, ge=1, description="Threads of torch; the weights are the same only for the same number."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.activation_ranges in ("minmax", "ema") and not self.observer_epochs:
            raise ValueError(
                f"activation_ranges = {self.activation_ranges!r} needs observer_epochs above 0"
            )
        if self.observer_epochs and self.activation_ranges == "calibrated":
            raise ValueError(
                "activation_ranges = 'calibrated' keeps the graph's ranges, so observer_epochs "
                "must be 0"
            )
        if self.observer_epochs > self.epochs:
            raise ValueError(
                f"observer_epochs is {self.observer_epochs:g}, but there are only {self.epochs} "
                "epochs"
            )
        return self
