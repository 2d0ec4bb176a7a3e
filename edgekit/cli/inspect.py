"""``edgekit inspect``: what a model file holds, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.options import AsJson

if TYPE_CHECKING:
    from edgekit.core.target import Inspection


def command(
    file: Annotated[Path, typer.Argument(help="Model file, for example .onnx or .tflite.")],
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
    from edgekit.cli.output import Column, print_table
    from edgekit.report.figures import format_bytes, format_count

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
    facts += [(name.replace("_", " "), text) for name, text in inspection.details.items()]
    print_table((Column("Fact"), Column("Value")), facts)
    tensors = []
    sides = (("input", inspection.signature.inputs), ("output", inspection.signature.outputs))
    for direction, specs in sides:
        for spec in specs:
            shape = " x ".join(map(str, spec.shape))
            stored = " x ".join(map(str, spec.stored_shape)) if spec.stored_axes else "same"
            tensors.append((direction, spec.name, spec.dtype, shape, stored))
    names = ("Tensor", "Name", "Type", "Shape", "Stored as")
    print_table([Column(name) for name in names], tensors)
    ops = [(item.op, str(item.count)) for item in inspection.ops]
    print_table((Column("Operator"), Column("Count", "right")), ops)
