"""What the commands that change a model by one stage have in common, such as prune."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from edgekit.api import ConvertOptions
from edgekit.cli.convert import (
    Channels,
    DynamicBatch,
    Inputs,
    Labels,
    Mean,
    Model,
    Name,
    NoBench,
    Output,
    PreprocessingFile,
    Resize,
    Scale,
    Seed,
    Size,
    Std,
    Store,
    Weights,
)
from edgekit.cli.history_flags import NoHistory
from edgekit.cli.model_options import field_options, given
from edgekit.cli.options import DataRoot, Limit, checked, help_of, parse_precisions
from edgekit.core.stage import StageConfig
from edgekit.data.contract import DataSpec

Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SET",
        help=f"{help_of(DataSpec, 'set')} Its training split is worked with, and accuracy is "
        "measured on its test split.",
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", "-t", metavar="NAME",
        help="Also lower to this target and measure it; repeatable. None makes the graph alone.",
    ),
]  # fmt: skip
Precisions = Annotated[
    list[str],
    typer.Option("--precision", "-p", metavar="NAME", help="Numeric form; repeatable."),
]


def stage_command(
    stage: str, options: type[StageConfig], panel: str, text: str
) -> Callable[..., None]:
    """The command of a stage: what all of them share, and its own options.

    Args:
        stage: Name of the stage.
        options: Its option model.
        panel: Heading of its options in the help.
        text: Help of the command.
    """

    @field_options(options, panel=panel)
    def command(
        model: Model,
        data: Data = None,
        output: Output = Path("out"),
        target: Targets = None,
        precision: Precisions = ["float32"],  # noqa: B006 - Typer hands out a copy
        inputs: Inputs = None,
        weights: Weights = None,
        dynamic_batch: DynamicBatch = False,
        name: Name = None,
        labels: Labels = None,
        store: Store = None,
        no_history: NoHistory = False,
        seed: Seed = 0,
        data_root: DataRoot = None,
        limit: Limit = None,
        no_bench: NoBench = False,
        preprocessing: PreprocessingFile = None,
        size: Size = None,
        resize: Resize = None,
        channels: Channels = None,
        scale: Scale = None,
        mean: Mean = None,
        std: Std = None,
        **fields: object,
    ) -> None:
        from edgekit.cli.preprocessing_flags import PreprocessingFlags, preprocessing_from
        from edgekit.cli.single_run import run_single
        from edgekit.core.target import BenchConfig
        from edgekit.pipeline.project import read_labels

        flags = PreprocessingFlags(size, resize, channels, scale, mean, std)
        section = checked(options, **given(fields))
        chosen = checked(
            ConvertOptions,
            **{stage: section},
            stages=(stage,),
            weights=weights,
            inputs=tuple(inputs or ()),
            dynamic_batch=dynamic_batch,
            name=name,
            labels=() if labels is None else read_labels(labels),
            preprocessing=preprocessing_from(preprocessing, flags),
            data=None if data is None else DataSpec(set=data, root=data_root, limit=limit),
            bench=None if no_bench else BenchConfig(),
            seed=seed,
            store=store,
        )
        run_single(
            stage,
            model,
            (tuple(target or ()), parse_precisions(precision)),
            output,
            chosen,
            recorded=not no_history,
        )

    command.__doc__ = text
    return command
