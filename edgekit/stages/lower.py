"""Stage lower: a canonical graph to a target's own format, executed and compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.exactness import ExactnessReport
from edgekit.core.metadata import AnyPreprocessing, Preprocessing
from edgekit.core.metrics import OutputDifference, Unavailable
from edgekit.core.model_base import FrozenModel
from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.core.stage import Note, StageConfig, StageContext, StageResult
from edgekit.core.target import (
    QUANTIZED,
    WEIGHTS_ONLY,
    FloatCompute,
    LowerConfig,
    Precision,
    RuntimeConfig,
    Session,
    Target,
    WeightCompute,
)
from edgekit.errors import InternalError, MissingToolError, UnsupportedError, VerificationError
from edgekit.measure.difference import compare_outputs
from edgekit.measure.feeds import random_feeds

if TYPE_CHECKING:
    from edgekit.core.target import Array

DEFAULT_TOLERANCES: Mapping[Precision, float] = {
    "float32": 1e-4,
    "float16": 2e-2,
    "int8": 1.0,
    "int16x8": 1.0,
    "int8-weights": 0.25,
    "int4-weights": 0.25,
}
"""Largest accepted difference for each numeric form, as a share of the output's range.

A quantized artifact is compared tensor by tensor and operator by operator where the target can
(`Target.verify`); end to end, one rounding may change all that follows. With weights alone in
integers, kernels may round activations to 8 bits as they come: of eight networks the worst,
mobilenet_v2 of random weights, was 0.08 off, and the worst trained one 0.025."""

MAX_ROUNDED_SHARE = 1.0
"""A layer on integer weights may be as far off as rounding its activations explains."""

_KEPT_FORCED = 20
_SHOWN_FLOAT_OPS = 5
"""Teacher-forced differences that the report shows."""

_DYNAMIC_BATCHES = (1, 3)
"""Batch sizes tried when the artifact leaves the batch open."""


FLOAT16_COMPUTE_TOLERANCE = 0.1
"""The same for an artifact that rounds every activation to float16. Of 13 networks of random
weights the worst, mobileone_s0, was 0.037 off; trained ones stay below 0.01."""


def default_tolerance(
    precision: Precision,
    weight_compute: WeightCompute | None = None,
    compute: FloatCompute | None = None,
) -> float:
    """Largest accepted difference where none is stated.

    Args:
        precision: Numeric form of the artifact.
        weight_compute: How it computes with integer weights alone; weights that are restored
            are held to what float32 is.
        compute: Precision that it computes in; None where the target leaves no choice.
    """
    exact = precision in WEIGHTS_ONLY and weight_compute == "exact"
    found = DEFAULT_TOLERANCES["float32" if exact else precision]
    return max(found, FLOAT16_COMPUTE_TOLERANCE) if compute == "float16" else found


class LowerStageConfig(StageConfig, LowerConfig):
    """Options of lowering and of the check that follows it."""

    tolerance: float = Field(
        default_factory=lambda given: default_tolerance(
            given.get("precision", "float32"), given.get("weight_compute"), given.get("compute")
        ),
        gt=0,
        description="Largest accepted difference from ONNX Runtime, as a share of the output's "
        "range.",
    )
    samples: int = Field(4, ge=1, description="Random inputs that are compared.")


class Verification(FrozenModel):
    """Result of executing a lowered artifact beside its source.

    Attributes:
        differences: Largest difference of each output over all samples; `Unavailable` when
            this machine cannot run the artifact.
        tolerance: Largest ``relative`` difference that was accepted.
        samples: Random inputs that were compared.
        seed: Seed they were drawn with.
        runtime: Runtime that executed the artifact; empty when none did.
        reference: Runtime that executed the source.
        exactness: Comparison of a quantized artifact with its QDQ graph, with the largest
            teacher-forced differences alone; None for an artifact that is not quantized.
    """

    differences: tuple[OutputDifference, ...] | Unavailable
    tolerance: float
    samples: int
    seed: int
    runtime: str
    reference: str
    exactness: ExactnessReport | Unavailable | None = None


class LowerStage:
    """Lowers a canonical graph and keeps the artifact only if it computes the same."""

    name: ClassVar[str] = "lower"
    version: ClassVar[int] = 2
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {
        "model": frozenset({ArtifactKind.ONNX, ArtifactKind.QDQ_ONNX})
    }
    optional: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {
        "artifact": None,
        "verification": ArtifactKind.METRICS,
    }
    tools: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnx-ir", "onnxruntime")

    @property
    def config_type(self) -> type[LowerStageConfig]:
        """Type of the options."""
        return LowerStageConfig

    def external_files(self, config: LowerStageConfig) -> tuple[Path, ...]:
        """None: all comes from the store."""
        return ()

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: LowerStageConfig
    ) -> StageResult:
        """Lowers, executes and compares.

        Raises:
            ConfigError: If the target does not offer a choice.
            UnsupportedGraphError: With all nodes that the target cannot express.
            MissingToolError: If this machine cannot lower to the target.
            VerificationError: If the artifact computes something else than its source.
        """
        target, source = context.target, inputs["model"]
        if target is None:
            raise InternalError("Stage 'lower' was planned without a target.")
        config = config.settled_for(target.info)
        lowered = target.lower(source, config, context.workdir)
        if isinstance(lowered, Unavailable):
            raise MissingToolError(f"{target.info.title} cannot be made here: {lowered.reason}")
        verification = _verify(target, source, lowered.artifact, config, context)
        notes = [Note(text=text) for text in lowered.notes]
        if config.precision in QUANTIZED:
            report = target.verify(lowered.artifact.path, source.path, ())
            notes += _require_exact(target, lowered.artifact, report)
            if config.integer_only:
                _require_integers(target, report)
            verification = verification.model_copy(update={"exactness": _shortened(report)})
        path = context.workdir / "verification.json"
        path.write_text(verification.model_dump_json(), encoding="utf-8")
        if isinstance(verification.differences, Unavailable):
            reason = verification.differences.reason
            notes.append(Note(level="warning", text=f"The artifact was not executed: {reason}"))
        return StageResult(
            artifacts={
                "artifact": lowered.artifact,
                "verification": Artifact.of(ArtifactKind.METRICS, path),
            },
            metrics={"verification": verification.model_dump(mode="json")},
            notes=tuple(notes),
        )


def _shortened(report: ExactnessReport | Unavailable) -> ExactnessReport | Unavailable:
    if isinstance(report, Unavailable):
        return report
    return report.model_copy(update={"forced": report.forced[:_KEPT_FORCED]})


def _require_exact(
    target: Target, artifact: Artifact, report: ExactnessReport | Unavailable
) -> list[Note]:
    """What the comparison of an integer artifact with its QDQ graph says.

    Raises:
        VerificationError: If integers, scales or zero points differ, an operator is further
            off than `edgekit.core.exactness.accepted_lsb` tells, or computes in float although
            the graph has it on integers.
    """
    if isinstance(report, Unavailable):
        return [Note(where=artifact.path.name, text=report.reason)]
    problems = [
        f"tensor {item.tensor!r} of value {item.value!r}: {item.what}: {item.detail}"
        for item in report.mismatches
    ]
    problems += [
        f"tensor {item.tensor!r} ({' + '.join(item.operators)}) is {item.lsb} steps of "
        f"{item.bits} bits off on {item.share:.2%} of its elements"
        for item in report.beyond()
    ]
    problems += [
        f"tensor {item.tensor!r} ({' + '.join(item.operators)}) is {item.share:.1f} times as far "
        "off as rounding explains"
        for item in report.rounded
        if not item.share <= MAX_ROUNDED_SHARE
    ]
    problems += [f"custom operator {name}" for name in report.custom_ops]
    problems += [f"{name} computes in float for no reason" for name in report.hidden_float_ops]
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise VerificationError(
            f"The {target.info.name} artifact is not exactly its QDQ graph; it is not kept:\n"
            f"{lines}\nPlease report the model."
        )
    if report.weights_only:
        return [Note(text=_weights_text(report))] if report.compared_tensors else []
    notes = [
        Note(
            text=f"{report.compared_tensors} quantized tensors compared with the QDQ graph: none "
            f"differs; largest teacher-forced difference of an operator: {report.forced_summary}"
        )
    ]
    notes += [
        Note(level="warning", text=_float_text(reason, names))
        for reason, names in report.float_ops_by_reason().items()
    ]
    return notes


def _require_integers(target: Target, report: ExactnessReport | Unavailable) -> None:
    """Refuses operators in float.

    Raises:
        UnsupportedError: Naming them with their reasons.
    """
    if isinstance(report, Unavailable) or not report.float_ops:
        return
    reasons = report.float_ops_by_reason().items()
    lines = "\n".join(f"  - {_float_text(reason, names)}" for reason, names in reasons)
    raise UnsupportedError(
        f"The {target.info.name} artifact was to compute on integers alone, but does not; it is "
        f"not kept:\n{lines}\nReplace these operators in the model, or leave --integer-only out."
    )


def _float_text(reason: str, names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_SHOWN_FLOAT_OPS])
    rest = len(names) - _SHOWN_FLOAT_OPS
    more = f" and {rest} more" if rest > 0 else ""
    count = "1 operator computes" if len(names) == 1 else f"{len(names)} operators compute"
    return f"{count} in float: {reason} ({shown}{more})"


def _weights_text(report: ExactnessReport) -> str:
    text = (
        f"{report.compared_tensors} tensors of integer weights compared with the QDQ graph: none "
        "differs; activations are float32"
    )
    if report.max_rounded is None:
        return text
    return (
        f"{text}; largest error of a layer on the graph's own activations: "
        f"{report.max_rounded:.0%} of what rounding explains at most ({len(report.rounded)} "
        "layers run alone)"
    )


def verification_feeds(
    signature: ModelSignature,
    preprocessing: AnyPreprocessing | None,
    seed: int,
    samples: int,
) -> Iterator[dict[str, Array]]:
    """Random inputs at the scale the model works at.

    The first input of a model with declared preprocessing of images is fed what random pixels
    of 0..255 become; all others, normalised log-mel features among them, are drawn by
    `random_feeds`.

    Args:
        signature: Inputs in the canonical graph's axis order.
        preprocessing: As the model declares it.
        seed: Seed.
        samples: How many to give; where the batch is open, its size varies among them.
    """
    for number in range(samples):
        batch = _DYNAMIC_BATCHES[number % len(_DYNAMIC_BATCHES)]
        feeds = random_feeds(signature, seed + number, batch)
        first = signature.inputs[0]
        if (
            isinstance(preprocessing, Preprocessing)
            and first.dtype == "float32"
            and len(first.shape) == 4
        ):
            feeds[first.name] = _normalised_pixels(first, preprocessing, seed + number, batch)
        yield feeds


def _normalised_pixels(
    spec: TensorSpec, preprocessing: Preprocessing, seed: int, batch: int
) -> Array:
    """Random pixels as ``(pixel * scale - mean) / std``, channels on axis 1 or else the last."""
    import numpy as np

    channels = 1 if preprocessing.channels == "gray" else 3
    shape = spec.concrete_shape(batch)
    axis = 1 if shape[1] == channels else len(shape) - 1
    along = [1] * len(shape)
    along[axis] = -1
    mean = np.reshape(preprocessing.mean, along)
    std = np.reshape(preprocessing.std, along)
    pixels = np.random.default_rng(seed).integers(0, 256, shape)
    return np.asarray((pixels * preprocessing.scale - mean) / std, dtype=np.float32)


def _verify(
    target: Target,
    source: Artifact,
    artifact: Artifact,
    config: LowerStageConfig,
    context: StageContext,
) -> Verification:
    session = target.load(artifact.path, RuntimeConfig())
    if isinstance(session, Unavailable):
        return Verification(
            differences=session,
            tolerance=config.tolerance,
            samples=0,
            seed=context.seed,
            runtime="",
            reference="",
        )
    from edgekit.graph.reference import ReferenceSession

    # ONNX Runtime's fused integer kernels round unlike the Q/DQ nodes that define the result.
    reference = ReferenceSession(
        source.path, optimization="disabled" if config.precision in QUANTIZED else "all"
    )
    try:
        differences = _differences(session, reference, source, config, context)
        verification = Verification(
            differences=differences,
            tolerance=config.tolerance,
            samples=config.samples,
            seed=context.seed,
            runtime=session.runtime,
            reference=reference.runtime,
        )
    finally:
        session.close()
        reference.close()
    _require_equal(target, config, verification, differences)
    return verification


def _differences(
    session: Session,
    reference: Session,
    source: Artifact,
    config: LowerStageConfig,
    context: StageContext,
) -> tuple[OutputDifference, ...]:
    """Worst difference of each output over all samples."""
    preprocessing = source.metadata.preprocessing if source.metadata else None
    worst: dict[str, OutputDifference] = {}
    context.progress.start("comparing with ONNX Runtime", config.samples)
    try:
        # The artifact's signature: where it fixes the batch, so must the feeds.
        for feeds in verification_feeds(
            session.signature, preprocessing, context.seed, config.samples
        ):
            for item in compare_outputs(reference.run(feeds), session.run(feeds)):
                if item.output not in worst or item.relative > worst[item.output].relative:
                    worst[item.output] = item
            context.progress.advance()
    finally:
        context.progress.finish()
    return tuple(worst.values())


def _remedy(target: Target, config: LowerStageConfig) -> str:
    """What else could be tried."""
    offers_exact = "exact" in target.info.weight_computes
    if config.weight_compute == "dynamic" and offers_exact:
        return "keep the activations as they are (--weight-compute exact)"
    return "try another engine"


def _require_equal(
    target: Target,
    config: LowerStageConfig,
    verification: Verification,
    differences: tuple[OutputDifference, ...],
) -> None:
    # Written so that NaN fails.
    wrong = [item for item in differences if not item.relative <= config.tolerance]
    if not wrong:
        return
    what = f"{target.info.name} artifact ({config.precision}, engine {config.engine})"
    lines = [
        f"The {what} does not compute what its source graph computes; it is not kept.",
        (
            f"{verification.runtime} against {verification.reference} on {verification.samples} "
            f"random inputs (seed {verification.seed}):"
        ),
    ]
    lines += [
        f"  - output {item.output!r}: max abs difference {item.max_abs:.3g}, that is "
        f"{item.relative:.3g} of the range {item.reference_range:.3g}; accepted is "
        f"{config.tolerance:.3g}"
        for item in wrong
    ]
    lines.append(
        "Raise the target's tolerance only if such a difference is harmless in your application; "
        f"otherwise {_remedy(target, config)}, and please report the model."
    )
    raise VerificationError("\n".join(lines))
