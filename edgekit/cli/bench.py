"""``edgekit bench``: latency of one artifact, or of two in one interleaved run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.options import AsJson, Threads, option
from edgekit.core.load_plan import MIN_LOADS, LoadPlan
from edgekit.core.target import BenchConfig

if TYPE_CHECKING:
    from edgekit.core.metrics import LatencyStats
    from edgekit.core.target import Session
    from edgekit.measure.latency import LatencyRatio


Warmup = Annotated[int, option(BenchConfig, "warmup_runs", "--warmup", metavar="N", min=0)]
Runs = Annotated[int, option(BenchConfig, "runs", "--runs", metavar="N", min=1)]
Loads = Annotated[int, option(LoadPlan, "loads", "--loads", metavar="N", min=MIN_LOADS)]
Instructions = Annotated[
    bool,
    typer.Option(
        "--instructions",
        help="Count the instructions of one inference with valgrind instead of the time; with "
        "--vs of both, and their ratio.",
    ),
]
Memory = Annotated[bool, option(BenchConfig, "memory", "--memory/--no-memory")]


def command(
    artifact: Annotated[Path, typer.Argument(metavar="A", help="Model file or folder.")],
    versus: Annotated[
        Path | None, typer.Option("--vs", metavar="B", help="Measure A and B in turn.")
    ] = None,
    threads: Threads = 1,
    warmup_runs: Warmup = 10,
    runs: Runs = 100,
    loads: Loads = 12,
    memory: Memory = True,
    instructions: Instructions = False,
    as_json: AsJson = False,
) -> None:
    """Measure latency on random inputs: A alone with its memory, or A against B.

    With --vs both are loaded anew --loads times in one process and run in pairs, --runs in all,
    in random order; the ratio comes with its 95 % interval over loads.
    """
    from edgekit.cli.output import print_json

    if instructions:
        from edgekit.cli.instructions import show_instructions

        show_instructions(artifact, versus, threads, as_json=as_json)
        return

    config = BenchConfig(threads=threads, warmup_runs=warmup_runs, runs=runs, memory=memory)
    if versus is None:
        stats = _measure(artifact, config)
        if as_json:
            print_json({"artifact": str(artifact), **stats.model_dump(mode="json")})
        else:
            _print_stats(artifact, stats)
        return
    plan = LoadPlan.of_total(runs, loads=loads, warmup_runs=warmup_runs)
    ratio, runtimes = _compare(artifact, versus, threads, plan)
    if as_json:
        files = {"a": str(artifact), "b": str(versus), "threads": threads}
        named = dict(zip(("a_runtime", "b_runtime"), runtimes, strict=True))
        print_json({**files, **named, **ratio.model_dump(mode="json")})
    else:
        _print_ratio((artifact, versus), runtimes, ratio, threads)


def _measure(path: Path, config: BenchConfig) -> LatencyStats:
    from edgekit.cli.model_files import target_of
    from edgekit.cli.progress import shown_progress
    from edgekit.core.metrics import Unavailable
    from edgekit.errors import MissingToolError

    target = target_of(path)
    with shown_progress() as progress:
        progress.start(f"latency of {path.name}", None)
        stats = target.measure(path, config)
        progress.finish()
    if isinstance(stats, Unavailable):
        raise MissingToolError(stats.reason)
    return stats


def _compare(
    a: Path, b: Path, threads: int, plan: LoadPlan
) -> tuple[LatencyRatio, tuple[str, str]]:
    from contextlib import closing
    from functools import partial

    from edgekit.cli.progress import shown_progress
    from edgekit.measure.artifact_latency import compare_latency

    with closing(_load(a, threads)) as first, closing(_load(b, threads)) as second:
        runtimes = first.runtime, second.runtime
    with shown_progress() as progress:
        ratio = compare_latency(
            partial(_load, a, threads), partial(_load, b, threads), plan, progress
        )
    return ratio, runtimes


def _load(path: Path, threads: int) -> Session:
    from edgekit.cli.model_files import target_of
    from edgekit.core.metrics import Unavailable
    from edgekit.core.target import RuntimeConfig
    from edgekit.errors import MissingToolError

    session = target_of(path).load(path, RuntimeConfig(threads=threads))
    if isinstance(session, Unavailable):
        raise MissingToolError(session.reason)
    return session


def _print_stats(path: Path, stats: LatencyStats) -> None:
    from edgekit.cli.output import Column, print_table, remark
    from edgekit.report.figures import format_bytes, format_ms

    memory = stats.peak_memory_bytes
    times = (stats.p50_ms, stats.p90_ms, stats.mean_ms, stats.min_ms)
    row = (
        *(format_ms(time) for time in times),
        "not measured" if memory is None else format_bytes(memory),
        f"{stats.runs} after {stats.warmup_runs}",
        str(stats.threads),
        str(stats.batch),
        stats.runtime,
    )
    names = ("p50", "p90", "Mean", "Fastest", "Peak memory", "Runs after warm-up", "Threads")
    columns = (*(Column(name, "right") for name in (*names, "Batch")), Column("Runtime"))
    print_table(columns, [row], title=f"{path} on {stats.device}")
    for note in stats.notes:
        remark(f"note: {note}")


def _print_ratio(
    paths: tuple[Path, Path], runtimes: tuple[str, str], ratio: LatencyRatio, threads: int
) -> None:
    from edgekit.cli.output import Column, print_table, results
    from edgekit.report.figures import format_ms

    rows = [
        (name, str(path), format_ms(p50_ms), runtime)
        for name, path, p50_ms, runtime in zip(
            "AB", paths, (ratio.a_p50_ms, ratio.b_p50_ms), runtimes, strict=True
        )
    ]
    columns = (Column(""), Column("Artifact"), Column("p50", "right"), Column("Runtime"))
    print_table(columns, rows)
    plural = "thread" if threads == 1 else "threads"
    results().print(
        f"A / B = {ratio.median_ratio:.3f} "
        f"({100 * ratio.confidence:.0f} % interval {ratio.low:.3f} to {ratio.high:.3f}), "
        f"{ratio.pairs} interleaved pairs in {ratio.loads} fresh loads of both, "
        f"{threads} {plural}, {ratio.device}",
        markup=False,
    )
