"""The accuracy gate of one artifact."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.metrics import Unavailable
from edgekit.core.paired_accuracy import PairedAccuracy
from edgekit.data.contract import DataSpec
from edgekit.errors import EdgekitError, UnsupportedError, VerificationError
from edgekit.gate.accuracy import AccuracyJudgement, judge_accuracy
from edgekit.gate.baseline import KeptAccuracy, unpack
from edgekit.gate.case import Case, CheckContext
from edgekit.gate.culprit import Blame, CulpritRequest, references_of
from edgekit.gate.subject import Predictions, predict, samples_in
from edgekit.gate.verdict import Finding, Verdict
from edgekit.report.figures import format_points, format_share

_LOOKS = 2
"""The samples of the baseline, and where they cannot tell, more. Each gets half of the
probability of a false alarm (Bonferroni)."""
_MORE_THAN_NEEDED = 1.2


@dataclass(frozen=True, slots=True)
class Compared:
    """Both artifacts on the same samples.

    Attributes:
        before: Predictions of the baseline's.
        now: Predictions of the artifact.
        seconds: Time that running the artifact took.
        elsewhere: What the baseline's artifact predicted where the baseline was made; None where
            ``before`` is that.
    """

    before: Predictions
    now: Predictions
    seconds: float
    elsewhere: Predictions | None = None

    def paired(self, confidence: float) -> PairedAccuracy:
        """The flips between them."""
        return PairedAccuracy.of(
            self.before.classes, self.now.classes, self.now.targets, confidence
        )

    def drift(self, confidence: float) -> PairedAccuracy | None:
        """The flips of the baseline's artifact from there to here."""
        if self.elsewhere is None:
            return None
        here, there = self.before.classes, self.elsewhere.classes
        return PairedAccuracy.of(there, here, self.now.targets, confidence)


def check_accuracy(context: CheckContext, case: Case) -> Finding:
    """Compares the predictions on the samples of the baseline, and on more where they help."""
    kept = case.entry.accuracy
    if isinstance(kept, Unavailable):
        return case.finding(
            "accuracy",
            Verdict.CANNOT_TELL if context.data_problem else Verdict.NOT_CHECKED,
            context.data_problem or f"The baseline does not gate it: {kept.reason}",
        )
    if context.spec is None or context.data_problem:
        return case.finding(
            "accuracy",
            Verdict.CANNOT_TELL,
            context.data_problem or "The baseline names no data set.",
            remedy="Give the samples of the baseline, or make a new one with --update.",
        )
    try:
        compared = on_kept_samples(context, case, kept, context.spec)
    except (UnsupportedError, VerificationError) as error:
        return case.finding("accuracy", Verdict.FAIL, str(error))
    if isinstance(compared, Unavailable):
        return case.finding("accuracy", Verdict.CANNOT_TELL, compared.reason)
    margin, confidence = context.options.margin / 100, context.options.confidence
    extensible = context.spec.limit is not None and isinstance(case.before, Path)
    at_each_look = 1 - (1 - confidence) / _LOOKS if extensible else confidence
    drift = compared.drift(confidence)
    if drift is not None and judge_accuracy(drift, margin).verdict is Verdict.FAIL:
        return drift_finding(context, case, compared, drift)
    paired = compared.paired(at_each_look)
    judged = judge_accuracy(paired, margin, identical=case.identical)
    if judged.verdict is Verdict.CANNOT_TELL and extensible:
        more = on_more_samples(context, case, compared, judged.needed)
        if more is not None:
            compared = more
            paired = compared.paired(at_each_look)
            judged = judge_accuracy(paired, margin, identical=case.identical)
    finding = accuracy_finding(case.subject.name, compared, paired, judged, margin)
    if judged.verdict is Verdict.FAIL and case.subject.quantized:
        found = blame(context, case, context.spec)
        remedy = " ".join(text for text in (found.remedy, finding.remedy) if text)
        return finding.model_copy(update={"culprit": found.culprit, "remedy": remedy})
    return finding


def on_kept_samples(
    context: CheckContext, case: Case, kept: KeptAccuracy, spec: DataSpec
) -> Compared | Unavailable:
    """The artifact beside what the baseline kept, or beside the baseline's artifact run here."""
    if not case.same_environment and isinstance(case.before, Unavailable):
        return Unavailable(
            reason="Predictions of another runtime or processor are not compared with those of "
            f"this one, and {case.before.reason}."
        )
    threads = context.options.threads
    start = time.perf_counter()
    now = predict(case.subject, case.subject.path, spec, threads, context.progress)
    seconds = time.perf_counter() - start
    if isinstance(now, Unavailable):
        return now
    problem = other_samples(now, kept)
    if problem:
        return Unavailable(reason=problem)
    stored = Predictions(tuple(unpack(kept.predictions).tolist()), now.targets)
    hits = sum(a == b for a, b in zip(stored.classes, stored.targets, strict=True))
    if hits != kept.hits:
        return Unavailable(
            reason=f"The baseline contradicts itself: it says {kept.hits} right and holds "
            f"predictions of which {hits} are."
        )
    if case.same_environment:
        return Compared(stored, now, seconds)
    before: Predictions | Unavailable
    if case.identical:
        before = now
    else:
        assert isinstance(case.before, Path)
        before = predict(case.subject, case.before, spec, threads, context.progress)
    if isinstance(before, Unavailable):
        return before
    return Compared(before, now, seconds, elsewhere=stored)


def other_samples(now: Predictions, kept: KeptAccuracy) -> str:
    """Why these are not the samples of the baseline; empty when they are."""
    count = len(now.targets)
    if count != kept.samples:
        relation = "fewer" if count < kept.samples else "more"
        return (
            f"There are {count} samples now, {relation} than the {kept.samples} of the baseline; "
            "flips are counted on the same samples."
        )
    if now.targets_digest != kept.targets_digest:
        return "The samples have other labels or another order than those of the baseline."
    return ""


def on_more_samples(
    context: CheckContext, case: Case, compared: Compared, needed: int | None
) -> Compared | None:
    """Both artifacts on a larger part of the set; None where that is impossible or too slow."""
    spec, count = context.spec, len(compared.now.targets)
    if needed is None or spec is None or not isinstance(case.before, Path):
        return None
    try:
        total = samples_in(spec.model_copy(update={"limit": None}))
    except EdgekitError:
        return None
    wanted = min(math.ceil(needed * _MORE_THAN_NEEDED), total)
    if context.budget.max_samples is not None:
        wanted = min(wanted, context.budget.max_samples)
    expected_s = 2 * compared.seconds / count * wanted
    if wanted <= count or expected_s > context.budget.seconds:
        return None
    larger = spec.model_copy(update={"limit": wanted})
    threads = context.options.threads
    start = time.perf_counter()
    now = predict(case.subject, case.subject.path, larger, threads, context.progress)
    seconds = time.perf_counter() - start
    before = predict(case.subject, case.before, larger, threads, context.progress)
    if isinstance(now, Unavailable) or isinstance(before, Unavailable):
        return None
    return Compared(before, now, seconds)


def blame(context: CheckContext, case: Case, spec: DataSpec) -> Blame:
    """Asks for the layer that the loss comes from."""
    before = case.before if isinstance(case.before, Path) else None
    references = references_of(context.folder, case.subject.path, before)
    if context.reference is not None:
        references = (context.reference, *references)
    return context.find_culprit(CulpritRequest(case.subject.path, references, spec, before))


def accuracy_finding(
    name: str,
    compared: Compared,
    paired: PairedAccuracy,
    judged: AccuracyJudgement,
    margin: float,
) -> Finding:
    """The judgement in words.

    Args:
        name: The artifact.
        compared: Gives both accuracies.
        paired: The flips.
        judged: The verdict.
        margin: Loss that is accepted, a share.
    """
    before, now = (_share_right(item) for item in (compared.before, compared.now))
    return Finding(
        artifact=name,
        gate="accuracy",
        verdict=judged.verdict,
        text=_text(before, now, paired, judged.verdict, margin),
        remedy=_remedy(paired, judged),
        before=before,
        now=now,
        unit="share",
        minimum_effect=judged.minimum_effect,
        needed=judged.needed,
        paired=paired,
    )


def drift_finding(
    context: CheckContext, case: Case, compared: Compared, drift: PairedAccuracy
) -> Finding:
    """The baseline's own artifact is worse here than where it was measured.

    Beside each other here both may be equally bad, which must not pass.
    """
    assert compared.elsewhere is not None
    there, here = (_share_right(item) for item in (compared.elsewhere, compared.before))
    made_with = case.entry.runtime or "no runtime"
    return case.finding(
        "accuracy",
        Verdict.FAIL,
        f"The baseline's own artifact has {format_share(here)} right here, "
        f"{format_points(drift.difference)} points from the {format_share(there)} that it had "
        f"with {made_with} on {context.baseline.device} (of {drift.n:,} samples {drift.gained} "
        f"gained and {drift.lost} lost, McNemar p = {drift.p:.2g}): the runtime, the machine or "
        "the preprocessing computes something else.",
        remedy="Go back to the runtime of the baseline, or accept the loss with --update.",
        before=there,
        now=here,
        unit="share",
        paired=drift,
    )


def _text(
    before: float, now: float, paired: PairedAccuracy, verdict: Verdict, margin: float
) -> str:
    if not paired.changed:
        text = f"{format_share(now)}: all {paired.n:,} predictions are those of the baseline"
        if verdict is Verdict.PASS:
            return f"{text}."
        return (
            f"{text}, but so few samples do not exclude a loss of {-100 * paired.low:.2f} points."
        )
    position = {Verdict.PASS: "above", Verdict.FAIL: "below"}.get(verdict, "on both sides of")
    return (
        f"{format_share(now)}, {format_points(paired.difference)} points from the baseline's "
        f"{format_share(before)} ({100 * paired.confidence:g} % interval "
        f"{format_points(paired.low)} to {format_points(paired.high)}, {position} "
        f"{format_points(-margin)}; of {paired.n:,} samples {paired.gained} gained and "
        f"{paired.lost} lost, McNemar p = {paired.p:.2g})."
    )


def _remedy(paired: PairedAccuracy, judged: AccuracyJudgement) -> str:
    if judged.verdict is Verdict.FAIL:
        return "If this loss is wanted, accept it with --update."
    if judged.verdict is not Verdict.CANNOT_TELL:
        return ""
    if judged.needed is None:
        return "The difference is that of the margin, so that no number of samples would tell."
    digits = len(str(judged.needed)) - 2
    go_on = "if the flips go on as they are" if paired.changed else "if none changes"
    about = round(judged.needed + 0.5 * 10**digits, -digits) if digits > 0 else judged.needed
    return (
        f"About {about:,.0f} samples would tell {go_on}, "
        f"{paired.n:,} were there: evaluate on more, or widen --margin."
    )


def _share_right(predictions: Predictions) -> float:
    pairs = zip(predictions.classes, predictions.targets, strict=True)
    return sum(a == b for a, b in pairs) / len(predictions.targets)
