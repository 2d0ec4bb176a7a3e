"""``edgekit convert``: one model to checked artifacts and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from edgekit.api import ConvertOptions
from edgekit.cli.history_flags import NoHistory
from edgekit.cli.lowering_flags import (
    BatchSizing,
    DeploymentTarget,
    Engine,
    FloatComputing,
    ImageInput,
    IntegerOnly,
    Io,
    WeightComputing,
)
from edgekit.cli.options import (
    PREPROCESSING,
    DataRoot,
    DataSet,
    Limit,
    Threads,
    checked,
    help_of,
    option,
    parse_precisions,
    preprocessing_option,
)
from edgekit.core.quant import ScaleFormat
from edgekit.core.target import BenchConfig, LowerConfig, Precision
from edgekit.data.contract import DataSpec
from edgekit.pipeline.project import ModelSection
from edgekit.quantization.options import QuantizeOptions

QUANTIZATION = "Quantization"

Model = Annotated[str, typer.Argument(metavar="MODEL", help=help_of(ModelSection, "source"))]
Targets = Annotated[
    list[str], typer.Option("--target", "-t", metavar="NAME", help="Target; repeatable.")
]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for what is made.")
]
Precisions = Annotated[
    list[str],
    typer.Option(
        "--precision",
        "-p",
        metavar="NAME",
        help=f"{help_of(LowerConfig, 'precision')} {', '.join(get_args(Precision))}. Repeatable.",
    ),
]
Inputs = Annotated[
    list[str] | None, option(ConvertOptions, "inputs", "--input", metavar="NAME:SHAPE")
]
Weights = Annotated[Path | None, option(ConvertOptions, "weights", "--weights", metavar="FILE")]
DynamicBatch = Annotated[bool, option(ConvertOptions, "dynamic_batch", "--dynamic-batch")]
Tolerance = Annotated[
    float | None, option(ConvertOptions, "tolerance", "--tolerance", metavar="X")
]
Name = Annotated[str | None, option(ConvertOptions, "name", "--name", metavar="NAME")]
Labels = Annotated[Path | None, option(ModelSection, "labels_file", "--labels", metavar="FILE")]
Store = Annotated[Path | None, option(ConvertOptions, "store", "--store", metavar="DIR")]
Seed = Annotated[int, option(ConvertOptions, "seed", "--seed", metavar="N", min=0)]
Calibrate = Annotated[
    str | None,
    option(
        ConvertOptions,
        "calibration",
        "--calibrate",
        metavar="SET",
        panel=QUANTIZATION,
    ),
]
CalibrationSamples = Annotated[
    int,
    option(
        QuantizeOptions, "samples", "--calibration-samples", metavar="N", min=1, panel=QUANTIZATION
    ),
]
CalibrationMethod = Annotated[
    str,
    option(QuantizeOptions, "method", "--calibration-method", metavar="NAME", panel=QUANTIZATION),
]
KeepFloat = Annotated[
    list[str] | None,
    option(QuantizeOptions, "keep_float", "--keep-float", metavar="PATTERN", panel=QUANTIZATION),
]
ScaleNumbers = Annotated[
    ScaleFormat | None,
    option(QuantizeOptions, "scale_format", "--scale-format", panel=QUANTIZATION),
]
MaxDrop = Annotated[
    float | None,
    option(QuantizeOptions, "max_drop", "--max-drop", metavar="POINTS", panel=QUANTIZATION),
]
FallbackForm = Annotated[
    Literal["float", "int16"],
    option(QuantizeOptions, "fallback", "--fallback", panel=QUANTIZATION),
]
AccuracySamples = Annotated[
    int,
    option(
        QuantizeOptions, "accuracy_samples", "--accuracy-samples",
        metavar="N", min=0, panel=QUANTIZATION,
    ),
]  # fmt: skip
Sensitivity = Annotated[
    bool, option(QuantizeOptions, "sensitivity", "--sensitivity", panel=QUANTIZATION)
]
Equalize = Annotated[bool, option(QuantizeOptions, "equalize", "--equalize", panel=QUANTIZATION)]
BiasCorrection = Annotated[
    bool, option(QuantizeOptions, "bias_correction", "--bias-correction", panel=QUANTIZATION)
]
AdaRound = Annotated[bool, option(QuantizeOptions, "adaround", "--adaround", panel=QUANTIZATION)]
NoBench = Annotated[
    bool,
    typer.Option(
        "--no-bench", help="Leave latency and memory out.", rich_help_panel="Measurement"
    ),
]
PreprocessingFile = Annotated[
    Path | None,
    typer.Option(
        "--preprocessing",
        metavar="FILE",
        help="TOML file with the options of this panel as keys, or with log-mel features of "
        "recordings.",
        rich_help_panel=PREPROCESSING,
    ),
]
Size = Annotated[str | None, preprocessing_option("size", "HxW")]
Resize = Annotated[Literal["stretch", "crop"] | None, preprocessing_option("resize")]
Channels = Annotated[Literal["gray", "rgb", "bgr"] | None, preprocessing_option("channels")]
Scale = Annotated[str | None, preprocessing_option("scale", "X")]
Mean = Annotated[str | None, preprocessing_option("mean", "X,X,X")]
Std = Annotated[str | None, preprocessing_option("std", "X,X,X")]


def command(
    model: Model,
    target: Targets = ["tflite"],  # noqa: B006 - Typer hands out a copy
    output: Output = Path("out"),
    precision: Precisions = ["float32"],  # noqa: B006 - Typer hands out a copy
    inputs: Inputs = None,
    weights: Weights = None,
    dynamic_batch: DynamicBatch = False,
    engine: Engine = None,
    io: Io = "float32",
    integer_only: IntegerOnly = False,
    weight_compute: WeightComputing = None,
    compute: FloatComputing = None,
    deployment_target: DeploymentTarget = None,
    image_input: ImageInput = False,
    batch_sizes: BatchSizing = None,
    tolerance: Tolerance = None,
    name: Name = None,
    labels: Labels = None,
    store: Store = None,
    no_history: NoHistory = False,
    seed: Seed = 0,
    data: DataSet = None,
    data_root: DataRoot = None,
    limit: Limit = None,
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
    no_bench: NoBench = False,
    threads: Threads = 1,
    preprocessing: PreprocessingFile = None,
    size: Size = None,
    resize: Resize = None,
    channels: Channels = None,
    scale: Scale = None,
    mean: Mean = None,
    std: Std = None,
) -> None:
    """Convert a model; every artifact is run and compared with ONNX Runtime before it is kept."""
    from edgekit.cli.preprocessing_flags import PreprocessingFlags, preprocessing_from
    from edgekit.cli.single_run import run_single
    from edgekit.pipeline.project import read_labels

    flags = PreprocessingFlags(size, resize, channels, scale, mean, std)
    options = checked(
        ConvertOptions,
        weights=weights,
        inputs=tuple(inputs or ()),
        dynamic_batch=dynamic_batch,
        engine=engine,
        weight_compute=weight_compute,
        io=io,
        integer_only=integer_only,
        compute=compute,
        deployment_target=deployment_target,
        image_input=image_input,
        batch_sizes=batch_sizes,
        tolerance=tolerance,
        name=name,
        labels=() if labels is None else read_labels(labels),
        preprocessing=preprocessing_from(preprocessing, flags),
        data=None if data is None else DataSpec(set=data, root=data_root, limit=limit),
        calibration=_calibration_set(calibrate, data_root),
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
        bench=None if no_bench else BenchConfig(threads=threads),
        seed=seed,
        store=store,
    )
    run_single(
        "convert",
        model,
        (target, parse_precisions(precision)),
        output,
        options,
        recorded=not no_history,
    )


def _calibration_set(name: str | None, root: Path | None) -> DataSpec | None:
    """The training split of a set, so that accuracy is not measured on the same samples."""
    return None if name is None else DataSpec(set=name, root=root, split="train")
