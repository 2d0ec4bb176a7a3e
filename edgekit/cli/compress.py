"""``edgekit compress``: smaller weights for a Core ML package."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.options import AsJson

if TYPE_CHECKING:
    from edgekit.targets.coreml.compression import Compressed, How


def command(
    package: Annotated[Path, typer.Argument(help="Core ML package (.mlpackage).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Package to write.")],
    palettize: Annotated[
        int | None, typer.Option(help="Bits of an index into a table of weights: 1 to 4, 6 or 8.")
    ] = None,
    uniform: Annotated[
        bool, typer.Option(help="Tables of equal distances instead of k-means centres.")
    ] = False,
    group_size: Annotated[
        int | None, typer.Option(help="Output channels that share a table; iOS18 and later.")
    ] = None,
    sparse: Annotated[
        float | None, typer.Option(help="Share of the smallest weights that become 0.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="Zeros in each so many neighbours, such as 2:4.")
    ] = None,
    zeros: Annotated[
        bool,
        typer.Option(
            "--zeros",
            help="Leave out the weights that are 0 already, as edgekit sparsify makes them, "
            "without making more.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Store the weights of a Core ML package as palettes or without zeros, and compare.

    In JSON, sqnr_db is null where the outputs are the same to the last bit.
    """
    from edgekit.cli.model_files import target_of
    from edgekit.cli.output import print_json
    from edgekit.errors import InputError, UsageError
    from edgekit.targets.coreml.compression import compress_package
    from edgekit.targets.coreml.tools import require_coremltools

    how = _choice(palettize, uniform, group_size, sparse, pattern, zeros=zeros)
    if target_of(package).info.name != "coreml":
        raise InputError(
            f"{package} is no Core ML package (.mlpackage); only those are compressed."
        )
    if output.suffix != ".mlpackage":
        raise UsageError(f"The output {output} needs the suffix .mlpackage.")
    if output.absolute() == package.absolute():
        raise UsageError("The output is the package itself; choose another name.")
    require_coremltools()
    made = compress_package(package, output, how)
    if as_json:
        print_json(
            {
                "package": str(made.path), "bytes_before": made.bytes_before,
                "bytes_after": made.bytes_after,
                "sqnr_db": made.sqnr_db if math.isfinite(made.sqnr_db) else None,
                "operators": made.operators,
            }
        )  # fmt: skip
    else:
        _print_table(made)


def _choice(
    bits: int | None,
    uniform: bool,
    group_size: int | None,
    share: float | None,
    pattern: str | None,
    *,
    zeros: bool,
) -> How:
    from edgekit.errors import UsageError
    from edgekit.targets.coreml.compression import Palette, Sparsity, Zeros

    sparse = share is not None or pattern is not None
    if [bits is not None, sparse, zeros].count(True) != 1:
        raise UsageError(
            "Choose one of --palettize BITS, --sparse SHARE or --pattern N:M, and --zeros."
        )
    if bits is not None:
        return Palette(bits, "uniform" if uniform else "kmeans", group_size)
    if uniform or group_size is not None:
        raise UsageError("--uniform and --group-size belong to --palettize.")
    if zeros:
        return Zeros()
    if share is not None and pattern is not None:
        raise UsageError("--sparse and --pattern exclude each other.")
    if pattern is None:
        assert share is not None
        return Sparsity(share)
    count, colon, among = pattern.partition(":")
    if not colon or not count.isdigit() or not among.isdigit() or not 0 < int(count) < int(among):
        raise UsageError(f"The pattern {pattern!r} is none; write N:M, for example 2:4.")
    return Sparsity(pattern=(int(count), int(among)))


def _print_table(made: Compressed) -> None:
    from edgekit.cli.output import Column, print_table
    from edgekit.report.figures import format_bytes

    share = made.bytes_after / made.bytes_before
    difference = f"{made.sqnr_db:.1f} dB signal to noise, random inputs"
    if made.sqnr_db == math.inf:
        difference = "the same, random inputs"
    rows = [
        ("size before", format_bytes(made.bytes_before)),
        ("size after", f"{format_bytes(made.bytes_after)} ({share:.0%})"),
        ("outputs against the original", difference),
        ("compressed constants", ", ".join(f"{n} {op}" for op, n in made.operators.items())),
    ]
    print_table((Column("Fact"), Column("Value")), rows, title=str(made.path))
