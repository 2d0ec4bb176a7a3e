"""What the layer-by-layer comparison of artifacts with a reference finds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekit.core.metrics import Proportion
from edgekit.core.model_base import FrozenModel

Cause = Literal["clipping", "coarse-step", "wide-range", "computation", "not-finite", "refused"]
"""Why a layer is out of line: values lie outside what its integers can express; its integers are
spread wider than its values; its values differ in size by more than its integers can express; it
computes something else (weights, arithmetic or a fused activation); NaN or infinity; the runtime
refuses the operator."""

RemedyKind = Literal[
    "keep-float", "int16", "percentile", "minmax", "equalize", "requantize", "convert-again"
]


class ErrorFigures(FrozenModel):
    """How far a tensor is from the reference, over all elements of all samples.

    Attributes:
        sqnr_db: Power of the reference over power of the difference, in dB; None where nothing
            differs, or the reference is 0 throughout.
        max_abs: Largest absolute difference, in the tensor's own unit.
        cosine: Cosine of the angle between both; None where one of them is 0 throughout.
        lsb: Largest difference in steps of the tensor's scale; None where it is not quantized.
        noise: Mean square of the difference.
    """

    sqnr_db: float | None
    max_abs: float
    cosine: float | None
    lsb: float | None = None
    noise: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return self.max_abs == 0


class OwnErrorParts(FrozenModel):
    """Where the own error of a quantized tensor comes from, as mean squares.

    The reference's result is rounded by the tensor's scale and zero point, which is what the best
    of kernels could give; the parts need not add up to the whole, as they may cancel out.

    Attributes:
        rounding: Of elements within the range that the integers express.
        clipping: Of elements outside it.
        computation: What the operator gives, less that best result.
        clipped_share: Share of the elements outside the range, 0..1.
        clipped_samples: Share of the samples with a value beyond the range, at the end where
            there are more of them, 0..1. Of a range that ``n`` other samples gave it is about
            ``1 / (n + 1)``.
        step_ratio: Step of the scale over the step that the reference's values need at least;
            None where the scale is prescribed by the kernel, or a constant tensor needs none.
    """

    rounding: float
    clipping: float
    computation: float
    clipped_share: float
    clipped_samples: float = 0.0
    step_ratio: float | None = None


class LayerError(FrozenModel):
    """Error of one tensor, and of the operators that make it.

    Attributes:
        tensor: Canonical name: the one in the reference.
        stored: Name in the artifact.
        layer: Name of the node that makes it in the reference; empty for an input.
        operators: Operators of the artifact between the tensors before it and this one.
        place: Place in the artifact's order of execution, from 0.
        dtype: Type that it is stored in, for example ``"int8"``.
        scale: Step of its integers; None where it is not quantized.
        zero_point: Integer that stands for 0; None as above.
        is_output: Whether it is an output of the model.
        cumulative: Both run end to end on the same inputs: own and inherited error together.
        own: Operators run on the reference's values; None where they could not.
        own_missing: Why ``own`` is None; empty where it is not.
        own_share: Share of the cumulative error's power that the own error explains, 0..1; None
            where nothing differs or ``own`` is None.
        parts: Parts of the own error; None where the tensor is not quantized or ``own`` is None.
        excess_db: By how many dB the own error is beyond what the artifact's format and its
            other layers explain; below 0 it is in line; None where there is none.
        out_of_line: Whether it is beyond that.
    """

    tensor: str
    stored: str
    layer: str = ""
    operators: tuple[str, ...] = ()
    place: int = 0
    dtype: str = "float32"
    scale: float | None = None
    zero_point: int | None = None
    is_output: bool = False
    cumulative: ErrorFigures
    own: ErrorFigures | None = None
    own_missing: str = ""
    own_share: float | None = None
    parts: OwnErrorParts | None = None
    excess_db: float | None = None
    out_of_line: bool = False


class UnmatchedTensor(FrozenModel):
    """A tensor that could not be compared.

    Attributes:
        tensor: Its name there.
        side: Where it is: ``"artifact"`` or ``"reference"``.
        reason: Why it has no counterpart.
    """

    tensor: str
    side: Literal["artifact", "reference"]
    reason: str


class Culprit(FrozenModel):
    """A layer whose own error is out of line.

    Attributes:
        tensor: Canonical name of what it makes.
        layer: Name of its node in the reference.
        operators: Its operators in the artifact.
        cause: What is wrong with it.
        text: The finding in one sentence.
    """

    tensor: str
    layer: str
    operators: tuple[str, ...]
    cause: Cause
    text: str


class TrialFigures(FrozenModel):
    """How good a quantized graph is.

    Attributes:
        sqnr_db: Of the model's outputs against the reference; None where nothing differs.
        own_sqnr_db: Of the culprit's own error; None where nothing differs or it is not there.
        agreement: Samples with the reference's best class; None where outputs are no scores.
        accuracy: Samples that are right; None without labels.
    """

    sqnr_db: float | None
    own_sqnr_db: float | None = None
    agreement: Proportion | None = None
    accuracy: Proportion | None = None


class RemedyTrial(FrozenModel):
    """What a remedy gave when it was tried.

    Attributes:
        before: The artifact as it is.
        after: The reference quantized with the remedy, in the artifact's own form and runtime.
        helps: Whether outputs are closer to the reference than before, and no fewer samples agree.
        best: Whether it is the first of those that help to which no later one is superior: the
            remedies come in the order of what they cost.
        calibration: How the ranges were found, for example ``"percentile"``.
        problem: Why it could not be tried; empty where it was.
    """

    before: TrialFigures | None = None
    after: TrialFigures | None = None
    helps: bool = False
    best: bool = False
    calibration: str = ""
    problem: str = ""


class Remedy(FrozenModel):
    """Something to do about a culprit.

    Attributes:
        kind: What.
        layer: Node that it is for; empty where it is for the whole model.
        text: What to do, in one sentence.
        options: Options of ``edgekit convert`` or ``quantize`` that do it; empty where none do.
        trial: What it gave; None where it was not tried.
    """

    kind: RemedyKind
    layer: str = ""
    text: str
    options: tuple[str, ...] = ()
    trial: RemedyTrial | None = None


class ArtifactErrors(FrozenModel):
    """Comparison of one artifact with the reference.

    Attributes:
        name: File name, or the source as it was given.
        runtime: What ran it.
        format: ``"torch"``, ``"onnx"``, ``"qdq"``, ``"tflite"``, ``"coreml"`` ...
        layers: In the artifact's order of execution.
        ranking: Tensors by own error, the one farthest out of line first.
        culprits: Layers out of line, the worst first; empty where none is.
        verdict: What was found, in one or two sentences.
        remedies: What can be done about the first culprit.
        agreement: Samples with the reference's best class; None where outputs are no scores.
        accuracy: Samples that are right; None without labels.
        unmatched: Tensors that were not compared, with the reason.
        notes: What else there is to know.
    """

    name: str
    runtime: str
    format: str
    layers: tuple[LayerError, ...]
    ranking: tuple[str, ...] = ()
    culprits: tuple[Culprit, ...] = ()
    verdict: str
    remedies: tuple[Remedy, ...] = ()
    agreement: Proportion | None = None
    accuracy: Proportion | None = None
    unmatched: tuple[UnmatchedTensor, ...] = ()
    notes: tuple[str, ...] = ()

    def layer(self, tensor: str) -> LayerError:
        """The entry of a tensor.

        Args:
            tensor: Canonical name.

        Raises:
            KeyError: If it was not compared.
        """
        for item in self.layers:
            if item.tensor == tensor:
                return item
        raise KeyError(tensor)

    @property
    def best_remedy(self) -> Remedy | None:
        """The remedy that gave most when it was tried; None where none helps or was tried."""
        tried = (item for item in self.remedies if item.trial is not None)
        return next((item for item in tried if item.trial and item.trial.best), None)

    @property
    def outputs(self) -> tuple[LayerError, ...]:
        """The entries of the model's outputs."""
        return tuple(layer for layer in self.layers if layer.is_output)

    @property
    def output_sqnr_db(self) -> float | None:
        """Lowest cumulative SQNR of an output; None where no output differs, or none was seen."""
        found = [layer.cumulative.sqnr_db for layer in self.outputs]
        return min((value for value in found if value is not None), default=None)


class LayerComparison(FrozenModel):
    """Layer-by-layer comparison of artifacts with one reference.

    Attributes:
        version: Of this form.
        reference: File name or source of the reference.
        reference_runtime: What ran it.
        reference_accuracy: Samples that it has right; None without labels.
        dataset: Name of the data set.
        samples: Samples that both ran on.
        artifacts: One entry for each, in the order given.
    """

    version: Literal[1] = 1
    reference: str
    reference_runtime: str
    reference_accuracy: Proportion | None = None
    dataset: str
    samples: int
    artifacts: tuple[ArtifactErrors, ...] = Field(min_length=1)
