"""``edgekit verify``: a quantized artifact against the QDQ graph it was lowered from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.options import AsJson, DataRoot, option
from edgekit.data.contract import DataSpec

if TYPE_CHECKING:
    from edgekit.core.exactness import ExactnessReport
    from edgekit.core.target import Array

Graph = Annotated[
    Path, typer.Option("--against", metavar="FILE", help="The QDQ graph, NAME.qdq.onnx.")
]
Set = Annotated[str | None, option(DataSpec, "set", "--data", metavar="SET")]
Samples = Annotated[
    int,
    typer.Option("--samples", metavar="N", min=1, help="Samples of the data set to compare on."),
]
Allowed = Annotated[
    int | None,
    typer.Option(
        "--max-lsb",
        metavar="N",
        min=0,
        help="Accepted teacher-forced difference, in steps; by default 1, with 16 bits 8.",
    ),
]
_SHOWN = 10


def command(
    artifact: Annotated[Path, typer.Argument(help="Quantized artifact, for example .tflite.")],
    against: Graph,
    data: Set = None,
    data_root: DataRoot = None,
    samples: Samples = 64,
    max_lsb: Allowed = None,
    as_json: AsJson = False,
) -> None:
    """Compare integers, scales and zero points, every operator, and the outputs.

    Exit code 4 tells that something differs.
    """
    from edgekit.cli.model_files import target_of
    from edgekit.cli.output import print_json
    from edgekit.core.metrics import Unavailable
    from edgekit.errors import MissingToolError, VerificationError

    target = target_of(artifact, None)
    feeds = [] if data is None else _feeds(against, data, data_root, samples)
    report = target.verify(artifact, against, feeds)
    if isinstance(report, Unavailable):
        raise MissingToolError(f"{artifact} cannot be verified: {report.reason}")
    if as_json:
        print_json(
            {"artifact": str(artifact), "against": str(against), **report.model_dump(mode="json")}
        )
    else:
        _print(report)
    problems = _problems(report, max_lsb)
    if problems:
        raise VerificationError(f"{artifact} is not exactly {against}: {'; '.join(problems)}.")


def _feeds(graph: Path, data: str, root: Path | None, samples: int) -> list[dict[str, Array]]:
    """Samples of a data set as the graph's inputs, one at a time where its batch is open."""
    from edgekit.data.image_set import spread
    from edgekit.data.model_inputs import open_inputs
    from edgekit.graph.io import load_onnx, read_metadata, signature_of

    model = load_onnx(graph)
    inputs = open_inputs(
        DataSpec(set=data, root=root), signature_of(model), read_metadata(model).preprocessing
    )
    chosen = spread(len(inputs), samples).tolist()
    return [batch.feeds for batch in inputs.batches(1, chosen)]


def _problems(report: ExactnessReport, max_lsb: int | None) -> list[str]:
    problems = []
    if report.differing_tensors:
        problems.append(f"{report.differing_tensors} tensors differ")
    if report.custom_ops:
        problems.append(f"{len(report.custom_ops)} custom operators")
    if hidden := report.hidden_float_ops:
        problems.append(f"{len(hidden)} operators compute in float for no reason")
    if beyond := report.beyond(max_lsb):
        worst = beyond[0]
        problems.append(
            f"{len(beyond)} operators are too far off, {worst.tensor!r} by {worst.lsb} steps of "
            f"{worst.bits} bits"
        )
    if report.max_rounded is not None and not report.max_rounded <= 1:
        problems.append(f"a layer is {report.max_rounded:.1f} times as far off as rounding is")
    return problems


def _print(report: ExactnessReport) -> None:
    from edgekit.cli.output import Column, print_table

    agreement = "not measured"
    if report.agreement is not None:
        agreement = f"{report.agreement:.2%} of {report.samples} samples"
    rows = [
        ("compared tensors", str(report.compared_tensors)),
        ("differing tensors", str(report.differing_tensors)),
        ("float operators", _float_operators(report)),
        ("custom operators", str(len(report.custom_ops))),
        *_forced_rows(report),
        ("end-to-end agreement", agreement),
    ]
    print_table([Column("Fact"), Column("Value")], rows)
    for item in report.mismatches[:_SHOWN]:
        typer.echo(f"differs: {item.tensor or item.value}: {item.what}: {item.detail}")
    if not report.weights_only:
        for name in report.hidden_float_ops[:_SHOWN]:
            typer.echo(f"float, not explained: {name}")
        for reason, names in report.float_ops_by_reason().items():
            typer.echo(f"float, {reason}: {', '.join(names[:_SHOWN])}")


def _float_operators(report: ExactnessReport) -> str:
    count = str(len(report.float_ops))
    return f"{count}, as weights alone are integers" if report.weights_only else count


def _forced_rows(report: ExactnessReport) -> list[tuple[str, str]]:
    """Differences of operators that were run on the graph's own values."""
    if not report.weights_only:
        return [
            ("teacher-forced difference", f"{report.max_lsb} LSB"),
            ("operators forced", str(len(report.forced))),
        ]
    largest = "not measured"
    if report.max_rounded is not None:
        largest = f"{report.max_rounded:.0%} of what rounding explains at most"
    return [
        ("largest difference of a layer", largest),
        ("layers forced", str(len(report.rounded))),
    ]
