"""``edgekit check``: artifacts against a baseline, for continuous integration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgekit.cli.options import AsJson, checked, help_of, option
from edgekit.data.contract import DataSpec
from edgekit.gate.options import Budget, GateOptions, OnUnknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekit.core.progress import Progress
    from edgekit.gate.check import CheckRequest
    from edgekit.gate.verdict import CheckReport, Finding

TOLERANCES = "Tolerances (kept in the baseline by --update)"
SAMPLES = "Samples and budget"
REPORTS = "Reports"


def _tolerance(field: str, name: str, metavar: str) -> Any:
    default = GateOptions.model_fields[field].default
    text = (
        f"{help_of(GateOptions, field)} By default as in the baseline, {default:g} in a new one."
    )
    return typer.Option(name, metavar=metavar, help=text, rich_help_panel=TOLERANCES)


def _switch(field: str, name: str) -> Any:
    text = f"{help_of(GateOptions, field)} By default as in the baseline."
    return typer.Option(f"--{name}/--no-{name}", help=text, rich_help_panel=TOLERANCES)


def _report(name: str, text: str) -> Any:
    return typer.Option(name, metavar="FILE", help=text, rich_help_panel=REPORTS)


Paths = Annotated[
    list[Path],
    typer.Argument(metavar="OUT", help="Output folder of run or convert, or single artifacts."),
]
BaselineFile = Annotated[
    Path, typer.Option("--baseline", metavar="FILE", help="Baseline to compare with.")
]
Update = Annotated[
    bool, typer.Option("--update", help="Accept the artifacts as good: write the baseline.")
]
Kept = Annotated[
    Path | None,
    typer.Option(
        "--artifacts",
        metavar="DIR",
        help="Folder of the baseline's artifacts; NAME.artifacts beside NAME.json by default.",
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="FILE",
        help="Float model whose layers are compared where accuracy is lost; by default "
        "MODEL.onnx or the float artifact in OUT.",
    ),
]
Unknown = Annotated[
    Literal["fail", "warn"],
    typer.Option("--on-unknown", help='Whether "cannot tell" ends with exit code 4 or with 0.'),
]
Data = Annotated[
    str | None,
    option(DataSpec, "set", "--data", metavar="SET", panel=SAMPLES),
]
Root = Annotated[
    Path | None, option(DataSpec, "root", "--data-root", metavar="DIR", panel=SAMPLES)
]
Limit = Annotated[
    int | None, option(DataSpec, "limit", "--limit", metavar="N", min=1, panel=SAMPLES)
]
MaxSamples = Annotated[
    int | None,
    option(Budget, "max_samples", "--max-samples", metavar="N", min=1, panel=SAMPLES),
]
Seconds = Annotated[float, option(Budget, "seconds", "--budget", metavar="S", panel=SAMPLES)]
Margin = Annotated[float | None, _tolerance("margin", "--margin", "POINTS")]
Latency = Annotated[float | None, _tolerance("latency_tolerance", "--latency-tolerance", "SHARE")]
Size = Annotated[float | None, _tolerance("size_tolerance", "--size-tolerance", "SHARE")]
Memory = Annotated[float | None, _tolerance("memory_tolerance", "--memory-tolerance", "SHARE")]
InstructionShare = Annotated[
    float | None, _tolerance("instruction_tolerance", "--instruction-tolerance", "SHARE")
]
Confidence = Annotated[float | None, _tolerance("confidence", "--confidence", "SHARE")]
Threads = Annotated[int | None, _tolerance("threads", "--threads", "N")]
GateLatency = Annotated[bool | None, _switch("latency", "latency")]
GateMemory = Annotated[bool | None, _switch("memory", "memory")]
GateInstructions = Annotated[bool | None, _switch("instructions", "instructions")]
JsonLines = Annotated[
    bool,
    typer.Option(
        "--json-lines",
        help="Print each finding as a line of JSON as soon as it is known.",
        rich_help_panel=REPORTS,
    ),
]
Junit = Annotated[Path | None, _report("--junit", "Write JUnit XML.")]
Sarif = Annotated[Path | None, _report("--sarif", "Write SARIF 2.1.0 for code scanning.")]
Report = Annotated[Path | None, _report("--report", "Write the report as JSON.")]
Summary = Annotated[
    Path | None,
    typer.Option(
        "--summary",
        metavar="FILE",
        envvar="GITHUB_STEP_SUMMARY",
        help="Append a table in Markdown.",
        rich_help_panel=REPORTS,
    ),
]


def command(
    paths: Paths,
    baseline: BaselineFile,
    update: Update = False,
    artifacts: Kept = None,
    reference: Reference = None,
    on_unknown: Unknown = "fail",
    data: Data = None,
    data_root: Root = None,
    limit: Limit = None,
    max_samples: MaxSamples = None,
    budget: Seconds = 60.0,
    margin: Margin = None,
    latency_tolerance: Latency = None,
    size_tolerance: Size = None,
    memory_tolerance: Memory = None,
    instruction_tolerance: InstructionShare = None,
    confidence: Confidence = None,
    threads: Threads = None,
    latency: GateLatency = None,
    memory: GateMemory = None,
    instructions: GateInstructions = None,
    as_json: AsJson = False,
    json_lines: JsonLines = False,
    junit: Junit = None,
    sarif: Sarif = None,
    report: Report = None,
    summary: Summary = None,
) -> None:
    """Check artifacts against a baseline: accuracy, latency, size, memory, instructions.

    Exit code 0: everything passes. 4: something fails, or cannot be told and
    --on-unknown is fail. 2: wrong usage, such as no baseline.
    """
    from edgekit.cli.progress import shown_progress
    from edgekit.errors import UsageError
    from edgekit.gate.check import CheckRequest, run_check

    if as_json and json_lines:
        raise UsageError("Choose --json or --json-lines.")
    options = {
        "margin": margin,
        "latency_tolerance": latency_tolerance,
        "size_tolerance": size_tolerance,
        "memory_tolerance": memory_tolerance,
        "instruction_tolerance": instruction_tolerance,
        "confidence": confidence,
        "threads": threads,
        "latency": latency,
        "memory": memory,
        "instructions": instructions,
    }
    request = CheckRequest(
        paths=tuple(paths),
        baseline=baseline,
        kept=artifacts,
        data=data,
        data_root=data_root,
        limit=limit,
        reference=reference,
        changes=tuple((key, value) for key, value in options.items() if value is not None),
        budget=checked(Budget, seconds=budget, max_samples=max_samples),
    )
    with shown_progress() as progress:
        if update:
            _update(request, progress, as_json=as_json)
            return
        done = run_check(request, progress=progress, tell=_print_line if json_lines else None)
    _write_reports(done, on_unknown, (junit, sarif, report, summary))
    if as_json or json_lines:
        _print_report(done, lines=json_lines)
    else:
        _print_table(done)
    _end(done, on_unknown)


def _update(request: CheckRequest, progress: Progress, *, as_json: bool) -> None:
    from edgekit.cli.output import print_json, remark, results
    from edgekit.gate.update import update_baseline

    done = update_baseline(request, progress)
    if as_json:
        print_json({"baseline": str(request.baseline), "changes": list(done.changes)})
        return
    for line in done.changes or ("Nothing changed.",):
        results().print(line, markup=False, soft_wrap=True)
    remark(f"{request.baseline} is written; commit it with {request.artifacts.folder}.")


def _write_reports(
    done: CheckReport,
    on_unknown: OnUnknown,
    places: tuple[Path | None, Path | None, Path | None, Path | None],
) -> None:
    from edgekit.gate.reports.junit import junit_xml
    from edgekit.gate.reports.sarif import sarif_text
    from edgekit.gate.reports.summary import markdown_summary
    from edgekit.store.durable import write_bytes
    from edgekit.store.os_errors import os_errors_explained

    junit, sarif, report, summary = places
    files: list[tuple[Path | None, Callable[[], bytes]]] = [
        (junit, lambda: junit_xml(done, on_unknown)),
        (sarif, lambda: sarif_text(done)),
        (report, lambda: (done.model_dump_json(indent=2) + "\n").encode()),
    ]
    for path, render in files:
        if path is not None:
            with os_errors_explained("write the report to", path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(path, render())
    if summary is not None:
        # GitHub gathers what all commands of a step append to the file.
        with os_errors_explained("write the summary to", summary.parent):
            summary.parent.mkdir(parents=True, exist_ok=True)
            with summary.open("a", encoding="utf-8", errors="replace") as out:
                out.write(markdown_summary(done))


def _print_line(finding: Finding) -> None:
    _write_line(finding.model_dump_json(exclude_none=True))


def _write_line(line: str) -> None:
    """Writes one line of JSON at once, so that a reader of the pipe sees it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _print_report(done: CheckReport, *, lines: bool) -> None:
    from edgekit.cli.output import print_json

    if lines:
        _write_line(done.model_dump_json(exclude={"findings"}))
    else:
        print_json(done.model_dump(mode="json"))


def _print_table(done: CheckReport) -> None:
    from edgekit.cli.output import Column, print_table, remark, results
    from edgekit.gate.reports.wording import effect_figure, subject_of, told, verdict_sentence

    columns = (
        Column("Artifact"),
        Column("Gate"),
        Column("Verdict"),
        Column("Would find", "right"),
        Column("Why"),
    )
    rows = [
        (subject_of(item, done), item.gate, item.verdict.value, effect_figure(item), told(item))
        for item in done.findings
    ]
    print_table(columns, rows)
    results().print()
    if any(effect_figure(item) for item in done.findings):
        results().print(
            "Would find: the worsening that this measurement would have failed in 9 of 10 cases.",
            markup=False,
        )
    results().print(verdict_sentence(done), markup=False)
    for note in done.notes:
        remark(f"note: {note}")


def _end(done: CheckReport, on_unknown: OnUnknown) -> None:
    """Ends with exit code 4 unless everything is well."""
    from edgekit.cli.output import remark
    from edgekit.errors import GateError
    from edgekit.gate.reports.wording import subject_of
    from edgekit.gate.verdict import Verdict

    def named(verdict: Verdict) -> str:
        return ", ".join(f"{item.gate} of {subject_of(item, done)}" for item in done.of(verdict))

    if done.verdict is Verdict.FAIL:
        raise GateError(f"The check failed: {named(Verdict.FAIL)}.")
    if done.verdict is Verdict.CANNOT_TELL:
        what = named(Verdict.CANNOT_TELL) or "nothing was checked"
        if on_unknown == "fail":
            raise GateError(
                f"The check cannot tell: {what}. This counts as a failure; --on-unknown warn "
                "lets it go."
            )
        remark(f"warning: the check cannot tell: {what}.")
