"""``edgekit profile``: where the time of an artifact goes, operator by operator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.options import MEASUREMENT, AsJson, option
from edgekit.core.op_profile import ProfileConfig

if TYPE_CHECKING:
    from edgekit.cli.output import Column
    from edgekit.core.op_profile import Estimate, OpProfile, ProfiledOp, ProfileTotal


_NAME_WIDTH = 32

Threads = Annotated[
    int, option(ProfileConfig, "threads", "--threads", metavar="N", min=1, panel=MEASUREMENT)
]
Warmup = Annotated[
    int, option(ProfileConfig, "warmup_runs", "--warmup", metavar="N", min=0, panel=MEASUREMENT)
]
Runs = Annotated[
    int, option(ProfileConfig, "runs", "--runs", metavar="N", min=1, panel=MEASUREMENT)
]
Loads = Annotated[
    int, option(ProfileConfig, "loads", "--loads", metavar="N", min=2, max=100, panel=MEASUREMENT)
]


def command(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="Model file or folder.")],
    target: Annotated[
        str | None,
        typer.Option(
            "--target", "-t", metavar="NAME", help="Target that runs it; by default by suffix."
        ),
    ] = None,
    threads: Threads = 1,
    warmup_runs: Warmup = 10,
    runs: Runs = 50,
    loads: Loads = 5,
    top: Annotated[
        int,
        typer.Option(
            "--top", metavar="N", min=0, help="Show the N operators that take longest; 0: all."
        ),
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Show where the time of an artifact goes: by operator, by type, and by who runs it.

    The times are those of the runtime's own profiler on random inputs, beside a run without
    profiler; intervals are over fresh loads.
    """
    from edgekit.cli.output import print_json

    config = ProfileConfig(threads=threads, warmup_runs=warmup_runs, runs=runs, loads=loads)
    profile = _profile(artifact, target, config)
    if as_json:
        print_json({"artifact": str(artifact), **profile.model_dump(mode="json")})
    else:
        _print(artifact, profile, top)


def _profile(path: Path, name: str | None, config: ProfileConfig) -> OpProfile:
    from edgekit.cli.model_files import target_of
    from edgekit.cli.progress import shown_progress
    from edgekit.core.metrics import Unavailable
    from edgekit.core.op_profile import ProfilingTarget
    from edgekit.errors import MissingToolError, UnsupportedError

    target = target_of(path, name)
    if not isinstance(target, ProfilingTarget):
        raise UnsupportedError(
            f"Target {target.info.name!r} does not tell the time of single operators. Measure "
            "the whole with `edgekit bench`."
        )
    cannot = target.capabilities().runnable
    if cannot is not None:
        raise MissingToolError(cannot.reason)
    with shown_progress() as progress:
        progress.start(f"profile of {path.name}", config.loads)
        profile = target.profile(path, config, progress.advance)
        progress.finish()
    if isinstance(profile, Unavailable):
        raise UnsupportedError(profile.reason)
    return profile


def _print(path: Path, profile: OpProfile, top: int) -> None:
    from edgekit.cli.output import Column, print_table, remark, results

    shown = profile.operators
    title = f"{path} on {profile.device}, {profile.runtime}"
    if top and top < len(shown):
        shown = tuple(sorted(shown, key=lambda item: -item.time_us.value)[:top])
        title += f"; the {top} of {len(profile.operators)} operators that take longest"
    columns = [Column("#", "right"), Column("Operator"), Column("Value"), Column("Output")]
    columns += [Column("Runs in"), Column("Time", "right"), Column("Share", "right")]
    columns += [Column("95 %", "right"), Column("MACs", "right"), Column("GMAC/s", "right")]
    islands = any(item.float_island for item in profile.operators)
    if islands:
        columns.append(Column("Float"))
    print_table(
        columns,
        [_row(item, profile.resolution_us, islands=islands) for item in shown],
        title=title,
    )
    for head, totals in (("Type", profile.by_type), ("Runs in", profile.by_partition)):
        results().print()
        print_table(_total_columns(head), [_total(item, profile.resolution_us) for item in totals])
    results().print()
    for line in _whole(profile):
        results().print(line, markup=False, soft_wrap=True)
    remark(f"Method: {profile.method}.")
    for reason in dict.fromkeys(item.reason for item in profile.operators if item.reason):
        remark(f"float: {reason}")
    for note in profile.notes:
        remark(f"note: {note}")


def _row(item: ProfiledOp, step_us: float, *, islands: bool) -> tuple[str, ...]:
    from edgekit.report.figures import format_count

    shape = "x".join(map(str, item.shape))
    fused = item.index is not None and not item.kernels
    row = (
        "" if item.index is None else str(item.index),
        item.op,
        _short(item.name),
        f"{item.dtype} {shape}".strip(),
        item.partition,
        "fused" if fused else _microseconds(item.time_us.value, step_us),
        "" if fused else f"{100 * item.share.value:.1f} %",
        "" if fused else _percent(item.share),
        "not known" if item.macs is None else format_count(item.macs) if item.macs else "",
        "" if item.gmacs_per_s is None else f"{item.gmacs_per_s:.1f}",
    )
    return (*row, "float" if item.float_island else "") if islands else row


def _total_columns(head: str) -> list[Column]:
    from edgekit.cli.output import Column

    names = ("Operators", "Time", "Share", "95 %", "MACs", "GMAC/s")
    return [Column(head), *(Column(name, "right") for name in names)]


def _total(item: ProfileTotal, step_us: float) -> tuple[str, ...]:
    from edgekit.report.figures import format_count

    return (
        item.key,
        str(item.operators),
        _microseconds(item.time_us.value, step_us if item.time_us.high > 0 else 0.0),
        f"{100 * item.share.value:.1f} %",
        _percent(item.share),
        "not known" if item.macs is None else format_count(item.macs) if item.macs else "",
        "" if item.gmacs_per_s is None else f"{item.gmacs_per_s:.1f}",
    )


def _whole(profile: OpProfile) -> list[str]:
    plural = "thread" if profile.threads == 1 else "threads"
    whole = (
        f"All operators {_microseconds(profile.sum_us.value)}, a run without profiler "
        f"{_microseconds(profile.latency_us.value)}: the operators cover "
        f"{100 * profile.coverage.value:.1f} % of it ({_percent(profile.coverage)} %). A run with "
        f"profiler takes {_microseconds(profile.profiled_us.value)}."
    )
    conditions = (
        f"{profile.loads} fresh loads of {profile.runs} runs each, the faster half of which "
        f"counts; {profile.threads} {plural}, batch 1; the clock behind the operators' times "
        f"counts in steps of {profile.resolution_us:g} µs."
    )
    return [whole, conditions]


def _short(name: str) -> str:
    """The end of a long name, which tells more than its beginning."""
    return name if len(name) <= _NAME_WIDTH else f"…{name[1 - _NAME_WIDTH :]}"


def _microseconds(time_us: float, step_us: float = 0.0) -> str:
    from edgekit.report.figures import format_ms

    if time_us == 0 and step_us:
        return f"< {step_us:g} µs"

    return f"{time_us:.1f} µs" if time_us < 1000 else format_ms(time_us / 1000)


def _percent(share: Estimate) -> str:
    """An interval of shares in percent: ``3.1–3.4``, with an en dash."""
    return f"{100 * share.low:.1f}–{100 * share.high:.1f}"
