"""All gates of one artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from edgekit.core.metrics import Unavailable
from edgekit.errors import EdgekitError, InputError, MissingToolError
from edgekit.gate.accuracy_check import check_accuracy
from edgekit.gate.baseline import Baseline, KeptArtifact, signature_texts
from edgekit.gate.case import Case, CheckContext
from edgekit.gate.instructions import check_instructions
from edgekit.gate.latency import LatencyJudgement, gate_latency
from edgekit.gate.subject import Subject, loader_of, measurable, peak_memory_of
from edgekit.gate.values import judge_bytes
from edgekit.gate.verdict import Finding, Gate, Verdict
from edgekit.measure.device import device_name
from edgekit.report.figures import format_ms

_UPDATE = "If this is wanted, accept it with --update."


def check_artifact(context: CheckContext, subject: Subject) -> Iterator[Finding]:
    """The findings on one artifact, each as soon as it is known."""
    entry = context.baseline.artifacts.get(subject.name)
    if entry is None:
        yield Finding(
            artifact=subject.name,
            gate="baseline",
            verdict=Verdict.CANNOT_TELL,
            text="The baseline knows no artifact of this name, so there is nothing to compare "
            "with.",
            remedy="Take it into the baseline with --update.",
        )
        return
    stranger = _stranger(context.baseline, entry, subject)
    if stranger:
        yield Finding(
            artifact=subject.name,
            gate="baseline",
            verdict=Verdict.FAIL,
            text=f"The baseline is of another model: {stranger}.",
            remedy="Give the baseline of this model, or make a new one with --update.",
        )
        return
    case = open_case(context, subject, entry)
    if isinstance(case, Finding):
        yield case
        return
    yield check_environment(context, case)
    yield _guarded(case, "accuracy", lambda: check_accuracy(context, case))
    yield _guarded(case, "latency", lambda: check_latency(context, case))
    if context.options.instructions:
        yield _guarded(case, "instructions", lambda: check_instructions(context, case))
    yield judge_bytes(
        "size", subject.name, entry.size_bytes, subject.size_bytes, context.options.size_tolerance
    )
    yield _guarded(case, "memory", lambda: check_memory(context, case))


def _guarded(case: Case, gate: Gate, look: Callable[[], Finding]) -> Finding:
    """What a gate finds; one that breaks off is no pass, and the others still look."""
    try:
        return look()
    except MissingToolError as error:
        return case.finding(gate, Verdict.CANNOT_TELL, str(error))
    except EdgekitError as error:
        return case.finding(gate, Verdict.FAIL, f"It cannot be measured: {error}")


def open_case(context: CheckContext, subject: Subject, entry: KeptArtifact) -> Case | Finding:
    """Looks for the baseline's artifact; a finding where what lies there is damaged."""
    same = (
        subject.runtime == entry.runtime
        and device_name() == context.baseline.device
        and context.options.threads == context.baseline.options.threads
    )
    before: Path | Unavailable = subject.path
    if subject.digest != entry.digest:
        try:
            before = context.kept.find(subject.name, entry.digest)
        except InputError as error:
            return Finding(
                artifact=subject.name, gate="baseline", verdict=Verdict.FAIL, text=str(error)
            )
    return Case(subject, entry, before, same)


def check_environment(context: CheckContext, case: Case) -> Finding:
    """Whether this machine is that of the baseline, and what follows where it is not."""
    runtime, entry = case.subject.runtime, case.entry
    if isinstance(runtime, Unavailable):
        return case.finding(
            "environment", Verdict.CANNOT_TELL, f"It cannot be run here: {runtime.reason}"
        )
    here = _described(runtime, device_name(), context.options.threads)
    there = _described(
        entry.runtime or "no runtime", context.baseline.device, context.baseline.options.threads
    )
    if case.same_environment:
        return case.finding("environment", Verdict.PASS, f"As the baseline: {here}.")
    if isinstance(case.before, Unavailable):
        return case.finding(
            "environment",
            Verdict.CANNOT_TELL,
            f"The baseline holds for {there}, this is {here}, and {case.before.reason}. What was "
            "measured there is not compared with what is measured here.",
        )
    return case.finding(
        "environment",
        Verdict.PASS,
        f"The baseline was made with {there}, this is {here}: both artifacts are measured here, "
        "and no figure of the baseline is used but the size.",
    )


def _described(runtime: str, device: str, threads: int) -> str:
    return f"{runtime} on {device}, {threads} {'thread' if threads == 1 else 'threads'}"


def check_latency(context: CheckContext, case: Case) -> Finding:
    """The latency gate."""
    name = case.subject.name
    off = _not_gated(case.entry.latency, context.options.latency)
    if off:
        return case.finding("latency", Verdict.NOT_CHECKED, off)
    if case.identical:
        return case.finding(
            "latency", Verdict.PASS, "The artifact is that of the baseline, byte for byte."
        )
    obstacle = _obstacle(case, measurable(case.subject.target))
    if obstacle:
        return case.finding("latency", Verdict.CANNOT_TELL, obstacle)
    assert isinstance(case.before, Path)
    threads = context.options.threads
    judged = gate_latency(
        loader_of(case.subject.target, case.subject.path, threads),
        loader_of(case.subject.target, case.before, threads),
        context.options,
        budget_s=context.budget.seconds,
        progress=context.progress,
    )
    return latency_finding(name, judged, context.options.latency_tolerance)


def latency_finding(name: str, judged: LatencyJudgement, tolerance: float) -> Finding:
    """The judgement in words."""
    ratio = judged.ratio
    limit = 1 + tolerance
    position = {
        Verdict.PASS: f"below {limit:g}",
        Verdict.FAIL: f"above {limit:g}",
    }.get(judged.verdict, f"on both sides of {limit:g}")
    text = (
        f"{format_ms(ratio.a_p50_ms)}, {ratio.median_ratio:.3f} times the baseline's "
        f"{format_ms(ratio.b_p50_ms)} ({100 * ratio.confidence:.1f} % interval {ratio.low:.3f} to "
        f"{ratio.high:.3f}, {position}; {ratio.pairs} pairs in {ratio.loads} loads)."
    )
    remedy = _UPDATE if judged.verdict is Verdict.FAIL else ""
    if judged.verdict is Verdict.CANNOT_TELL:
        remedy = "The ratio lies so near to the limit that no number of runs would tell."
        if judged.needed is not None:
            seconds = judged.seconds * judged.needed / ratio.loads
            remedy = (
                f"About {judged.needed} loads would tell, which take {seconds:.0f} s: raise "
                "--budget, or run it on a quieter machine."
            )
    return Finding(
        artifact=name,
        gate="latency",
        verdict=judged.verdict,
        text=text,
        remedy=remedy,
        before=ratio.b_p50_ms,
        now=ratio.a_p50_ms,
        unit="ms",
        minimum_effect=judged.minimum_effect,
        needed=judged.needed,
        ratio=ratio,
    )


def check_memory(context: CheckContext, case: Case) -> Finding:
    """The memory gate."""
    entry, target = case.entry, case.subject.target
    kept = entry.memory_bytes
    off = _not_gated(kept if isinstance(kept, Unavailable) else None, context.options.memory)
    if off or isinstance(kept, Unavailable):
        return case.finding("memory", Verdict.NOT_CHECKED, off)
    threads = context.options.threads
    now = peak_memory_of(target, case.subject.path, threads)
    if isinstance(now, Unavailable):
        return case.finding("memory", Verdict.CANNOT_TELL, now.reason)
    before = kept if case.same_environment else _memory_before(context, case)
    if isinstance(before, Unavailable):
        return case.finding("memory", Verdict.CANNOT_TELL, before.reason)
    return judge_bytes("memory", case.subject.name, before, now, context.options.memory_tolerance)


def _memory_before(context: CheckContext, case: Case) -> int | Unavailable:
    """Peak memory of the baseline's artifact, measured here."""
    obstacle = _obstacle(case, None)
    if obstacle:
        return Unavailable(reason=obstacle)
    assert isinstance(case.before, Path)
    return peak_memory_of(case.subject.target, case.before, context.options.threads)


def _obstacle(case: Case, unmeasurable: Unavailable | None) -> str:
    """Why the two artifacts cannot be measured beside each other; empty when they can."""
    if isinstance(case.subject.runtime, Unavailable):
        return f"It cannot be run here: {case.subject.runtime.reason}"
    if unmeasurable is not None:
        return unmeasurable.reason
    if isinstance(case.before, Unavailable):
        return f"There is nothing to measure it beside: {case.before.reason}."
    return ""


def _not_gated(kept: Unavailable | None, wanted: bool) -> str:
    if not wanted:
        return "Turned off."
    return f"The baseline does not gate it: {kept.reason}" if kept is not None else ""


def _stranger(baseline: Baseline, entry: KeptArtifact, subject: Subject) -> str:
    """What shows that the baseline is of another model; empty when nothing does."""
    if entry.target != subject.target.info.name:
        return f"its {subject.name} belongs to the target {entry.target}"
    if baseline.model and subject.model and baseline.model != subject.model:
        return f"it is of {baseline.model!r}, this artifact of {subject.model!r}"
    inputs, outputs = signature_texts(subject.facts.signature)
    for what, before, now in (
        ("inputs", entry.inputs, inputs),
        ("outputs", entry.outputs, outputs),
    ):
        if before != now:
            return f"its {what} are {', '.join(before)}, those of this artifact {', '.join(now)}"
    return ""
