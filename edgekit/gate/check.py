"""The whole check: candidates beside a baseline, one report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import edgekit
from edgekit.core.progress import Progress, SilentProgress
from edgekit.core.toml_config import describe_problems, validation_problems
from edgekit.data.contract import DataSpec
from edgekit.errors import ConfigError, EdgekitError, InputError
from edgekit.gate.artifact_check import check_artifact
from edgekit.gate.baseline import Baseline, read_baseline
from edgekit.gate.candidates import Candidate, Candidates, find_candidates, precision_of
from edgekit.gate.case import CheckContext
from edgekit.gate.culprit import CulpritFinder, find_culprit
from edgekit.gate.kept_artifacts import KeptArtifacts
from edgekit.gate.options import Budget, GateOptions
from edgekit.gate.subject import files_digest, open_subject
from edgekit.gate.verdict import CheckReport, Finding, Verdict, overall
from edgekit.measure.device import device_name

type Tell = Callable[[Finding], None]


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """What is checked, and with what.

    Attributes:
        paths: One output folder, or single artifacts.
        baseline: The baseline's file.
        kept: Folder of its artifacts; None is the one beside it.
        data: Data set; None is the baseline's.
        data_root: Folder that holds the data sets; None as usual.
        limit: Samples; None is as in the baseline.
        reference: Float model that layers are compared with where accuracy is lost; None looks
            beside the artifacts.
        changes: Fields of `GateOptions` that are not as in the baseline.
        budget: How long a verdict may be looked for.
    """

    paths: tuple[Path, ...]
    baseline: Path
    kept: Path | None = None
    data: str | None = None
    data_root: Path | None = None
    limit: int | None = None
    reference: Path | None = None
    changes: tuple[tuple[str, Any], ...] = ()
    budget: Budget = field(default_factory=Budget)

    @property
    def artifacts(self) -> KeptArtifacts:
        """Where the baseline's artifacts lie."""
        return KeptArtifacts(self.kept) if self.kept else KeptArtifacts.beside(self.baseline)


def run_check(
    request: CheckRequest,
    *,
    progress: Progress | None = None,
    tell: Tell | None = None,
    culprits: CulpritFinder = find_culprit,
) -> CheckReport:
    """Checks artifacts against a baseline.

    What is wrong with the baseline, the data or this machine becomes a finding, never a pass.

    Args:
        request: What is checked.
        progress: Receives the advance of measurements.
        tell: Receives each finding as soon as it is known.
        culprits: Names the layer of a loss of accuracy.

    Raises:
        UsageError: If there is no baseline, nothing to check, or an option is out of its range.
    """
    start = time.perf_counter()
    options = changed_options(GateOptions(), request.changes)
    if request.reference is not None and not request.reference.exists():
        raise InputError(f"{request.reference}: there is no such reference.")
    candidates = find_candidates(request.paths)
    findings: list[Finding] = []
    model = ""

    def found(items: Iterator[Finding]) -> None:
        for item in items:
            findings.append(item)
            if tell:
                tell(item)

    try:
        baseline = read_baseline(request.baseline)
    except InputError as error:
        found(iter([_damaged(error)]))
    else:
        model = baseline.model
        options = changed_options(baseline.options, request.changes)
        context = _context(request, baseline, options, candidates.folder, progress, culprits)
        found(_all_findings(context, candidates))
    return CheckReport(
        verdict=overall(findings),
        baseline=str(request.baseline),
        model=model,
        findings=tuple(findings),
        options=options,
        device=device_name(),
        edgekit_version=edgekit.__version__,
        duration_s=round(time.perf_counter() - start, 3),
        notes=candidates.notes,
    )


def changed_options(base: GateOptions, changes: Sequence[tuple[str, Any]]) -> GateOptions:
    """Options with some fields changed.

    Raises:
        ConfigError: If a value is out of its range.
    """
    try:
        return GateOptions.model_validate({**base.model_dump(), **dict(changes)})
    except ValidationError as error:
        problems = validation_problems(error, GateOptions)
        raise ConfigError(describe_problems("The options of the check", problems)) from error


def _all_findings(context: CheckContext, candidates: Candidates) -> Iterator[Finding]:
    context.progress.start("check", len(candidates.artifacts))
    try:
        for candidate in candidates.artifacts:
            yield from _of_candidate(context, candidate)
            context.progress.advance(note=candidate.name)
    finally:
        context.progress.finish()
    if candidates.folder is not None:
        yield from _missing(context.baseline, candidates)


def _of_candidate(context: CheckContext, candidate: Candidate) -> Iterator[Finding]:
    try:
        subject = open_subject(candidate.path, candidate.target, context.options.threads)
    except EdgekitError as error:
        yield Finding(
            artifact=candidate.name,
            gate="baseline",
            verdict=Verdict.FAIL,
            text=f"The artifact cannot be read: {error}",
        )
        return
    yield from check_artifact(context, subject)


def _missing(baseline: Baseline, candidates: Candidates) -> Iterator[Finding]:
    """Artifacts that the baseline has and the folder has not."""
    present = {candidate.name for candidate in candidates.artifacts}
    for name, entry in sorted(baseline.artifacts.items()):
        if name in present:
            continue
        not_made = candidates.missing.get(f"{entry.target} {precision_of(name)}")
        reason = not_made or candidates.missing.get(name)
        why = f": {reason}" if reason else ""
        yield Finding(
            artifact=name,
            gate="baseline",
            verdict=Verdict.CANNOT_TELL if not_made else Verdict.FAIL,
            text=f"The baseline has it, but this run did not make it{why}.",
            remedy="Make it, or take it out of the baseline with --update.",
        )


def _context(
    request: CheckRequest,
    baseline: Baseline,
    options: GateOptions,
    folder: Path | None,
    progress: Progress | None,
    culprits: CulpritFinder,
) -> CheckContext:
    spec, problem = _samples(request, baseline)
    return CheckContext(
        baseline=baseline,
        kept=request.artifacts,
        options=options,
        budget=request.budget,
        spec=spec,
        data_problem=problem,
        folder=folder,
        reference=request.reference,
        find_culprit=culprits,
        progress=progress or SilentProgress(),
    )


def _samples(request: CheckRequest, baseline: Baseline) -> tuple[DataSpec | None, str]:
    """The samples as they are opened here, and why they are not those of the baseline."""
    kept = baseline.data
    if kept is None and request.data is not None:
        return None, (
            f"The baseline holds no predictions, so nothing can be compared on {request.data!r}. "
            "Make a new one with --update --data."
        )
    if kept is None:
        return None, ""
    if request.data is not None and request.data != kept.set:
        return None, (
            f"The data set is {request.data!r}, that of the baseline {kept.set!r}; flips are "
            "counted on the same samples."
        )
    spec = kept.spec(request.data_root)
    if request.limit is not None:
        spec = spec.model_copy(update={"limit": request.limit})
    try:
        digest = files_digest(spec)
    except EdgekitError as error:
        return spec, f"The data set cannot be read: {error}"
    if digest != kept.files_digest:
        return spec, f"The files of the data set {kept.set!r} are not those of the baseline."
    return spec, ""


def _damaged(error: InputError) -> Finding:
    return Finding(
        gate="baseline",
        verdict=Verdict.FAIL,
        text=str(error),
        remedy="Restore it from version control, or make a new one with --update.",
    )
