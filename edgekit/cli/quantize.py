"""``edgekit quantize``: one model to a QDQ graph, fine-tuned if asked, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from edgekit.api import ConvertOptions
from edgekit.cli.convert import (
    AccuracySamples,
    AdaRound,
    BiasCorrection,
    Calibrate,
    CalibrationMethod,
    CalibrationSamples,
    Channels,
    DynamicBatch,
    Equalize,
    FallbackForm,
    Inputs,
    KeepFloat,
    Labels,
    MaxDrop,
    Mean,
    Model,
    Name,
    Output,
    PreprocessingFile,
    Resize,
    Scale,
    ScaleNumbers,
    Seed,
    Sensitivity,
    Size,
    Std,
    Store,
    Weights,
)
from edgekit.cli.history_flags import NoHistory
from edgekit.cli.lowering_flags import (
    BatchSizing,
    DeploymentTarget,
    FloatComputing,
    ImageInput,
    IntegerOnly,
    Io,
    WeightComputing,
)
from edgekit.cli.options import (
    MEASUREMENT,
    DataRoot,
    Limit,
    checked,
    help_of,
    option,
    parse_precisions,
)
from edgekit.data.contract import DataSpec
from edgekit.errors import UsageError
from edgekit.pipeline.project import QuantizeSection
from edgekit.quantization.options import QuantizeOptions
from edgekit.training.qat.config import QatConfig

TRAINING = "Fine-tuning (with --qat)"


def _qat_option(field: str, name: str, metavar: str | None = None) -> Any:
    """An option that takes the field's default where it is not given."""
    default = QatConfig.model_fields[field].default
    shown = False if default is None else str(default)
    return option(QatConfig, field, name, metavar=metavar, panel=TRAINING, show_default=shown)


Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", "-t", metavar="NAME",
        help="Also lower to this target and verify it; repeatable. None makes the graph alone.",
    ),
]  # fmt: skip
Schemes = Annotated[
    list[str],
    typer.Option(
        "--scheme", metavar="NAME", help=f"{help_of(QuantizeSection, 'schemes')} Repeatable."
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SET",
        help=f"{help_of(DataSpec, 'set')} Its training split is calibrated and fine-tuned with; "
        "accuracy is measured on its test split where it has labels.",
    ),
]
EvaluationData = Annotated[
    str | None,
    typer.Option(
        "--eval-data",
        metavar="SET",
        help="Data set to measure accuracy on instead of that of --data.",
        rich_help_panel=MEASUREMENT,
    ),
]
Qat = Annotated[bool, option(QuantizeSection, "qat", "--qat", panel=TRAINING)]
Task = Annotated[Literal["auto", "classify", "imitate"] | None, _qat_option("task", "--task")]
Epochs = Annotated[int | None, _qat_option("epochs", "--epochs", "N")]
Batch = Annotated[int | None, _qat_option("batch_size", "--batch", "N")]
Optimizer = Annotated[Literal["adamw", "sgd"] | None, _qat_option("optimizer", "--optimizer")]
Rate = Annotated[float | None, _qat_option("lr", "--lr", "X")]
ScaleRate = Annotated[float | None, _qat_option("scale_lr", "--scale-lr", "X")]
ClipNorm = Annotated[float | None, _qat_option("clip_norm", "--clip-norm", "X")]
Distillation = Annotated[float | None, _qat_option("distillation", "--distillation", "X")]
Shift = Annotated[int | None, _qat_option("shift_px", "--shift", "PIXELS")]
Flip = Annotated[bool | None, _qat_option("flip", "--flip/--no-flip")]
Validation = Annotated[float | None, _qat_option("validation", "--validation", "X")]
Keep = Annotated[Literal["best", "last"] | None, _qat_option("keep", "--keep")]
Threads = Annotated[int | None, _qat_option("threads", "--threads", "N")]


def command(
    model: Model,
    data: Data = None,
    scheme: Schemes = ["int8"],  # noqa: B006 - Typer hands out a copy
    target: Targets = None,
    output: Output = Path("out"),
    inputs: Inputs = None,
    weights: Weights = None,
    dynamic_batch: DynamicBatch = False,
    io: Io = "float32",
    integer_only: IntegerOnly = False,
    weight_compute: WeightComputing = None,
    compute: FloatComputing = None,
    deployment_target: DeploymentTarget = None,
    image_input: ImageInput = False,
    batch_sizes: BatchSizing = None,
    name: Name = None,
    labels: Labels = None,
    store: Store = None,
    no_history: NoHistory = False,
    seed: Seed = 0,
    data_root: DataRoot = None,
    limit: Limit = None,
    eval_data: EvaluationData = None,
    qat: Qat = False,
    task: Task = None,
    epochs: Epochs = None,
    batch: Batch = None,
    optimizer: Optimizer = None,
    lr: Rate = None,
    scale_lr: ScaleRate = None,
    clip_norm: ClipNorm = None,
    distillation: Distillation = None,
    shift: Shift = None,
    flip: Flip = None,
    validation: Validation = None,
    keep: Keep = None,
    threads: Threads = None,
    calibrate: Calibrate = None,
    calibration_samples: CalibrationSamples = 256,
    calibration_method: CalibrationMethod = "auto",
    keep_float: KeepFloat = None,
    scale_format: ScaleNumbers = None,
    equalize: Equalize = False,
    bias_correction: BiasCorrection = False,
    adaround: AdaRound = False,
    max_drop: MaxDrop = None,
    fallback: FallbackForm = "float",
    accuracy_samples: AccuracySamples = 1024,
    sensitivity: Sensitivity = False,
    preprocessing: PreprocessingFile = None,
    size: Size = None,
    resize: Resize = None,
    channels: Channels = None,
    scale: Scale = None,
    mean: Mean = None,
    std: Std = None,
) -> None:
    """Quantize a model into NAME.qdq.onnx, fine-tune it with --qat, and compare the accuracy.

    A .qdq.onnx file that was made before is kept as it is and can be fine-tuned.
    """
    from edgekit.cli.preprocessing_flags import PreprocessingFlags, preprocessing_from
    from edgekit.cli.single_run import run_single
    from edgekit.pipeline.project import read_labels

    flags = PreprocessingFlags(size, resize, channels, scale, mean, std)
    training: dict[str, object] = {
        "task": task, "epochs": epochs, "batch_size": batch, "optimizer": optimizer, "lr": lr,
        "scale_lr": scale_lr, "clip_norm": clip_norm, "distillation": distillation,
        "shift_px": shift, "flip": flip, "validation": validation, "keep": keep,
        "threads": threads,
    }  # fmt: skip
    train_set = None if data is None else DataSpec(set=data, root=data_root, limit=limit)
    options = checked(
        ConvertOptions,
        weights=weights,
        inputs=tuple(inputs or ()),
        dynamic_batch=dynamic_batch,
        io=io,
        integer_only=integer_only,
        weight_compute=weight_compute,
        compute=compute,
        deployment_target=deployment_target,
        image_input=image_input,
        batch_sizes=batch_sizes,
        name=name,
        labels=() if labels is None else read_labels(labels),
        preprocessing=preprocessing_from(preprocessing, flags),
        data=train_set
        if eval_data is None
        else DataSpec(set=eval_data, root=data_root, limit=limit),
        calibration=_training_split(calibrate or (eval_data and data), data_root),
        quantize=checked(
            QuantizeOptions,
            samples=calibration_samples,
            method=calibration_method,
            keep_float=tuple(keep_float or ()),
            scale_format=scale_format,
            equalize=equalize,
            bias_correction=bias_correction,
            adaround=adaround,
            max_drop=max_drop,
            fallback=fallback,
            accuracy_samples=accuracy_samples,
            sensitivity=sensitivity,
        ),
        qat=_qat_options(training, asked=qat),
        qat_data=train_set,
        schemes=parse_precisions(scheme),
        bench=None,
        seed=seed,
        store=store,
    )
    run_single(
        "quantize",
        model,
        (tuple(target or ()), options.schemes),
        output,
        options,
        recorded=not no_history,
    )


def _training_split(name: str | None, root: Path | None) -> DataSpec | None:
    return None if not name else DataSpec(set=name, root=root, split="train")


def _qat_options(given: dict[str, object], *, asked: bool) -> QatConfig | None:
    """The options of the training; None where it is not asked for.

    Raises:
        UsageError: If there are options for a training that is not asked for.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if not asked and given:
        flags = ", ".join(_FLAGS.get(name, f"--{name.replace('_', '-')}") for name in given)
        raise UsageError(f"{flags}: belongs to fine-tuning, which is not asked for; add --qat.")
    return checked(QatConfig, **given) if asked else None


_FLAGS = {"batch_size": "--batch", "shift_px": "--shift"}
