"""``edgekit inspect``: what a model file holds, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.options import AsJson

if TYPE_CHECKING:
    from edgekit.core.target import Inspection


def command(
    file: Annotated[Path, typer.Argument(help="Model file or folder, such as .tflite.")],
    as_json: AsJson = False,
) -> None:
    """Show operators, multiply-accumulates, parameters, size, inputs and outputs of a model."""
    from edgekit.cli.model_files import inspect_file
    from edgekit.cli.output import print_json

    inspection = inspect_file(file)
    if as_json:
        print_json(inspection.model_dump(mode="json"))
    else:
        _print_tables(inspection)


def _print_tables(inspection: Inspection) -> None:
    from edgekit.cli.output import Column, print_table, results

    print_table((Column("Fact"), Column("Value")), _facts(inspection))
    results().print()
    names = ("Tensor", "Name", "Type", "Shape", "Stored as")
    print_table([Column(name) for name in names], _tensors(inspection))
    results().print()
    ops = [(item.op, str(item.count)) for item in inspection.ops]
    print_table((Column("Operator"), Column("Count", "right")), ops)


def _facts(inspection: Inspection) -> list[tuple[str, str]]:
    from edgekit.report.figures import format_bytes, format_count
    from edgekit.report.model_tables import describe_preprocessing

    macs = "not known" if inspection.macs is None else format_count(inspection.macs)
    facts = [
        ("file", str(inspection.path)),
        ("format", inspection.format),
        ("size", f"{format_bytes(inspection.size_bytes)} ({inspection.size_bytes:,} bytes)"),
        ("parameters", f"{inspection.parameters:,}"),
        ("multiply-accumulates", macs),
        ("float operators", str(inspection.float_ops)),
        ("integer operators", str(inspection.integer_ops)),
    ]
    metadata = inspection.metadata
    if metadata is not None:
        facts.append(("preprocessing", describe_preprocessing(metadata.preprocessing)))
        facts.append(("labels", ", ".join(metadata.labels) or "none"))
    return facts + [(name.replace("_", " "), text) for name, text in inspection.details.items()]


def _tensors(inspection: Inspection) -> list[tuple[str, ...]]:
    sides = (("input", inspection.signature.inputs), ("output", inspection.signature.outputs))
    rows: list[tuple[str, ...]] = []
    for direction, specs in sides:
        for spec in specs:
            shape = " x ".join(map(str, spec.shape))
            stored = " x ".join(map(str, spec.stored_shape)) if spec.stored_axes else "same"
            rows.append((direction, spec.name, spec.dtype, shape, stored))
    return rows
