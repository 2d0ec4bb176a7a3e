"""Makes the baseline of artifacts that are accepted as good."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import edgekit
from edgekit.core.metrics import Unavailable
from edgekit.core.progress import Progress
from edgekit.core.target import RuntimeConfig
from edgekit.data.contract import DataSpec
from edgekit.errors import InputError, UsageError
from edgekit.gate.baseline import (
    Baseline,
    KeptAccuracy,
    KeptArtifact,
    KeptData,
    keep_accuracy,
    read_baseline,
    signature_texts,
    write_baseline,
)
from edgekit.gate.candidates import find_candidates
from edgekit.gate.check import CheckRequest, changed_options
from edgekit.gate.kept_artifacts import KeptArtifacts
from edgekit.gate.options import GateOptions
from edgekit.gate.subject import (
    Subject,
    files_digest,
    measurable,
    open_subject,
    peak_memory_of,
    predict,
)
from edgekit.measure.device import device_name
from edgekit.report.figures import format_bytes, format_share


@dataclass(frozen=True, slots=True)
class Updated:
    """A baseline that was written.

    Attributes:
        baseline: It.
        changes: What is different from the one before, one sentence an artifact.
    """

    baseline: Baseline
    changes: tuple[str, ...]


def update_baseline(request: CheckRequest, progress: Progress | None = None) -> Updated:
    """Measures artifacts, keeps copies of them, and writes the baseline.

    An output folder replaces the whole baseline; single artifacts replace their own entries.
    Tolerances and data set stay those of the baseline before unless others are given.

    Raises:
        UsageError: If there is nothing to keep, or the baseline cannot be written.
        InputError: If an artifact, the data set or single artifacts' baseline is damaged.
    """
    candidates = find_candidates(request.paths)
    single = candidates.folder is None
    before = _baseline_before(request, needed=single)
    options = changed_options(before.options if before else GateOptions(), request.changes)
    data = _data(request, before)
    if single and before is not None and before.artifacts:
        _check_joins(before, data)
    subjects = [
        open_subject(item.path, item.target, options.threads) for item in candidates.artifacts
    ]
    if not subjects:
        reasons = "; ".join(f"{name}: {why}" for name, why in candidates.missing.items())
        raise UsageError(f"There is no artifact to make a baseline of: {reasons}.")
    spec = data.spec(request.data_root) if data else None
    made = {item.name: _measured(item, spec, options, progress) for item in subjects}
    kept = request.artifacts
    for item in subjects:
        _keep(kept, item)
    others = before.artifacts if single and before else {}
    baseline = Baseline(
        model=next((item.model for item in subjects if item.model), ""),
        edgekit_version=edgekit.__version__,
        device=device_name(),
        options=options,
        data=data,
        artifacts={**others, **made},
    )
    write_baseline(request.baseline, baseline)
    kept.drop_others({item.digest for item in baseline.artifacts.values()})
    return Updated(baseline, tuple(_changes(before, baseline)))


def _baseline_before(request: CheckRequest, *, needed: bool) -> Baseline | None:
    """The baseline so far; what is damaged is replaced, unless entries of it have to stay."""
    if not request.baseline.exists():
        return None
    if needed:
        return read_baseline(request.baseline)
    with suppress(InputError):
        return read_baseline(request.baseline)
    return None


def _check_joins(before: Baseline, data: KeptData | None) -> None:
    """Single artifacts are added to entries of one machine and one data set only."""
    if before.device != device_name():
        raise UsageError(
            f"The baseline holds for {before.device}, this machine is {device_name()}. Update all "
            "artifacts together: give the output folder."
        )
    if before.data != data:
        raise UsageError(
            "The data set is not that of the baseline's other artifacts. Update all artifacts "
            "together: give the output folder."
        )


def _data(request: CheckRequest, before: Baseline | None) -> KeptData | None:
    kept = before.data if before else None
    if request.data is None and kept is None:
        return None
    same_set = kept is not None and request.data in (None, kept.set)
    limit = request.limit if request.limit or not same_set or kept is None else kept.limit
    name = request.data if request.data is not None else kept.set if kept else ""
    spec = DataSpec(set=name, root=request.data_root, limit=limit)
    return KeptData(
        set=spec.set, split=spec.split, limit=spec.limit, files_digest=files_digest(spec)
    )


def _measured(
    subject: Subject, spec: DataSpec | None, options: GateOptions, progress: Progress | None
) -> KeptArtifact:
    inputs, outputs = signature_texts(subject.facts.signature)
    memory: int | Unavailable = Unavailable(reason="it was turned off")
    if options.memory:
        memory = peak_memory_of(subject.target, subject.path, options.threads)
    return KeptArtifact(
        target=subject.target.info.name,
        digest=subject.digest,
        size_bytes=subject.size_bytes,
        inputs=inputs,
        outputs=outputs,
        runtime="" if isinstance(subject.runtime, Unavailable) else subject.runtime,
        accuracy=_accuracy(subject, spec, options, progress),
        latency=measurable(subject.target),
        memory_bytes=memory,
    )


def _accuracy(
    subject: Subject, spec: DataSpec | None, options: GateOptions, progress: Progress | None
) -> KeptAccuracy | Unavailable:
    if spec is None:
        return Unavailable(reason="no data set was named with --data")
    if isinstance(subject.runtime, Unavailable):
        return subject.runtime
    found = predict(subject, subject.path, spec, options.threads, progress)
    if isinstance(found, Unavailable):
        # Accuracy was asked for; a baseline without it would pass everything later.
        raise InputError(f"The accuracy of {subject.name} cannot be measured: {found.reason}")
    return keep_accuracy(found.classes, found.targets)


def _keep(kept: KeptArtifacts, subject: Subject) -> None:
    """Copies the artifact and tries the copy: what lies beside a file does not come along."""
    path = kept.keep(subject.name, subject.digest, subject.path)
    if isinstance(subject.runtime, Unavailable):
        return
    session = subject.target.load(path, RuntimeConfig())
    if not isinstance(session, Unavailable):
        session.close()


def _changes(before: Baseline | None, after: Baseline) -> Sequence[str]:
    lines = []
    earlier = before.artifacts if before else {}
    for name, entry in sorted(after.artifacts.items()):
        old = earlier.get(name)
        if old is None:
            lines.append(f"{name}: new, {_figures(entry)}")
        elif old != entry:
            same = " (the same file)" if old.digest == entry.digest else ""
            lines.append(f"{name}: {_figures(entry)}, before {_figures(old)}{same}")
    lines += [f"{name}: taken out" for name in sorted(earlier.keys() - after.artifacts.keys())]
    return lines


def _figures(entry: KeptArtifact) -> str:
    size = format_bytes(entry.size_bytes)
    if isinstance(entry.accuracy, Unavailable):
        return size
    return f"{size}, top-1 {format_share(entry.accuracy.hits / entry.accuracy.samples)}"
