"""``edgekit eval``: accuracy of an artifact on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgekit.cli.options import AsJson, DataRoot, Limit, Threads, option
from edgekit.data.contract import DataSpec
from edgekit.stages.evaluate import EvaluateConfig

if TYPE_CHECKING:
    from edgekit.core.metrics import AccuracyReport
    from edgekit.core.stage import StageResult
    from edgekit.core.target import Target


Set = Annotated[str, option(DataSpec, "set", "--data", metavar="SET")]
Split = Annotated[Literal["train", "test"], option(DataSpec, "split", "--split")]
Batch = Annotated[int, option(EvaluateConfig, "batch", "--batch", metavar="N", min=1)]
TargetName = Annotated[
    str | None,
    typer.Option("--target", metavar="NAME", help="Target that runs it; by suffix if not given."),
]


def command(
    artifact: Annotated[Path, typer.Argument(help="Model file or folder, such as .tflite.")],
    data: Set,
    data_root: DataRoot = None,
    split: Split = "test",
    limit: Limit = None,
    batch: Batch = 32,
    threads: Threads = 1,
    target: TargetName = None,
    as_json: AsJson = False,
) -> None:
    """Measure top-1 and top-5 accuracy with the preprocessing that travels with the model."""
    from edgekit.cli.model_files import target_of

    spec = DataSpec(set=data, root=data_root, split=split, limit=limit)
    config = EvaluateConfig(data=spec, batch=batch, threads=threads)
    result = _evaluate(artifact, target_of(artifact, target), config)
    _show(artifact, result, as_json)


def _evaluate(path: Path, target: Target, config: EvaluateConfig) -> StageResult:
    """Runs the stage as a pipeline would, on a file that lies outside a store."""
    import tempfile

    from edgekit.cli.progress import shown_progress
    from edgekit.core.artifact import Artifact
    from edgekit.core.stage import StageContext
    from edgekit.stages.evaluate import EvaluateStage

    facts = target.inspect(path)
    model = Artifact.of(
        target.info.artifact_kind, path, signature=facts.signature, metadata=facts.metadata
    )
    with tempfile.TemporaryDirectory(prefix="edgekit-eval-") as folder, shown_progress() as shown:
        context = StageContext(workdir=Path(folder), progress=shown, target=target)
        return EvaluateStage().run(context, {"model": model}, config)


def _show(path: Path, result: StageResult, as_json: bool) -> None:
    from pydantic import TypeAdapter

    from edgekit.cli.output import print_json, remark
    from edgekit.core.metrics import AccuracyReport, Unavailable
    from edgekit.errors import MissingToolError

    answer: AccuracyReport | Unavailable = TypeAdapter(
        AccuracyReport | Unavailable
    ).validate_python(result.metrics["accuracy"])
    if isinstance(answer, Unavailable):
        raise MissingToolError(answer.reason)
    notes = [note.text for note in result.notes]
    if as_json:
        value = {"artifact": str(path), **answer.model_dump(mode="json"), "notes": notes}
        print_json(value)
        return
    for note in notes:
        remark(f"note: {note}")
    _print_table(path, answer)


def _print_table(path: Path, report: AccuracyReport) -> None:
    from edgekit.cli.output import Column, print_table
    from edgekit.report.figures import format_interval, format_share

    named = [("top-1", report.top1), ("top-5", report.top5)]
    rows = [
        (
            name,
            format_share(share.value),
            f"{format_interval(share)} %",
            f"{share.hits} of {share.n}",
            report.dataset,
            report.runtime,
        )
        for name, share in named
        if share is not None
    ]
    figures = [Column(name, "right") for name in ("Value", "95 % Wilson interval", "Right")]
    columns = (Column("Accuracy"), *figures, Column("Data set"), Column("Runtime"))
    print_table(columns, rows, title=str(path))
