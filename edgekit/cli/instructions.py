"""What ``edgekit bench --instructions`` prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.core.instruction_count import InstructionCount


def show_instructions(a: Path, b: Path | None, threads: int, *, as_json: bool) -> None:
    """Counts and prints the instructions of one artifact, or of two with their ratio.

    Raises:
        UsageError: If more than one thread is asked for.
        MissingToolError: If valgrind or the runtime is missing.
        UnsupportedError: If the target cannot be counted.
    """
    from edgekit.cli.output import print_json
    from edgekit.core.instruction_count import not_comparable
    from edgekit.errors import UsageError

    if threads != 1:
        raise UsageError(
            "Instructions are counted with one thread: a thread that waits for others would "
            "count as well. Leave --threads out."
        )
    paths = [a] if b is None else [a, b]
    counts = [_count(path) for path in paths]
    reason = not_comparable(*counts) if len(counts) > 1 else ""
    if not as_json:
        _print(paths, counts, reason)
        return
    found = [
        {
            "artifact": str(path),
            "instructions": count.instructions,
            "spread": count.spread,
            **count.model_dump(mode="json"),
        }
        for path, count in zip(paths, counts, strict=True)
    ]
    if len(found) == 1:
        print_json(found[0])
        return
    ratio = None if reason else counts[0].instructions / counts[1].instructions
    print_json({"a": found[0], "b": found[1], "ratio": ratio, "not_comparable": reason})


def _count(path: Path) -> InstructionCount:
    from edgekit.cli.model_files import target_of
    from edgekit.cli.progress import shown_progress
    from edgekit.core.instruction_count import CountingTarget
    from edgekit.core.metrics import Unavailable
    from edgekit.errors import MissingToolError, UnsupportedError

    target = target_of(path)
    if not isinstance(target, CountingTarget):
        raise UnsupportedError(
            f"Instructions of target {target.info.name!r} are not counted: its runtime here is "
            "not the one that runs on devices."
        )
    with shown_progress() as progress:
        progress.start(f"instructions of {path.name}", None)
        count = target.count_instructions(path)
        progress.finish()
    if isinstance(count, Unavailable):
        raise MissingToolError(f"Instructions cannot be counted: {count.reason}.")
    return count


def _print(paths: list[Path], counts: list[InstructionCount], reason: str) -> None:
    from edgekit.cli.output import Column, print_table, remark, results

    rows = [
        (
            str(path),
            f"{count.instructions:,}",
            f"{count.spread:.3%}",
            count.arithmetic,
            count.runtime,
        )
        for path, count in zip(paths, counts, strict=True)
    ]
    columns = [Column("Artifact"), Column("Instructions", "right"), Column("Spread", "right")]
    columns += [Column("Arithmetic"), Column("Runtime")]
    print_table(columns, rows)
    results().print()
    first = counts[0]
    if len(counts) > 1 and not reason:
        ratio = first.instructions / counts[1].instructions
        results().print(f"A / B = {ratio:.4f}", markup=False)
    elif reason:
        results().print(f"No ratio: {reason}.", markup=False, soft_wrap=True)
    remark(
        f"Median of {len(first.runs)} inferences, 1 thread, batch {first.batch}, {first.tool}, "
        f"{first.processor}. This is no latency."
    )
