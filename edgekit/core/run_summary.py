"""All that a finished run has to tell, typed: what the report is written from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekit.core.exactness import ExactnessReport
from edgekit.core.metadata import ModelMetadata
from edgekit.core.metrics import (
    AccuracyReport,
    LatencyStats,
    OutputDifference,
    Proportion,
    Unavailable,
)
from edgekit.core.model_base import FrozenModel
from edgekit.core.paired_accuracy import PairedAccuracy
from edgekit.core.pruning_summary import PruneSummary, SparsifySummary
from edgekit.core.run_evidence import CalibratedRange, LayerErrorSummary, PredictionSummary
from edgekit.core.signature import ModelSignature
from edgekit.core.stage import Note
from edgekit.core.target import OpCount

SUMMARY_SCHEMA_VERSION = 1
"""Raised whenever a field of `RunSummary` changes its meaning or goes away."""


class SourceFile(FrozenModel):
    """A file outside the store that the run was made from.

    Attributes:
        role: What it was used as, for example ``"weights"`` or the step that read it.
        name: File name without its folder, so that reports of two machines compare equal.
        digest: sha256 of its content, hex.
    """

    role: str
    name: str
    digest: str


class EpochPoint(FrozenModel):
    """One epoch of a training curve.

    Attributes:
        epoch: Counted from 1.
        loss: Mean training loss over the epoch's samples.
        train_accuracy: Share of training samples that were right while training, 0..1; None
            where no labels are learned.
        val_accuracy: Share of validation samples that are right after the epoch, 0..1; None
            without a validation set or labels.
        lr: Learning rate of the epoch's last step.
        val_loss: Mean loss over the validation samples; None where it was not measured.
    """

    epoch: int
    loss: float
    train_accuracy: float | None
    val_accuracy: float | None
    lr: float
    val_loss: float | None = None


class TrainingSummary(FrozenModel):
    """The training of a run.

    Attributes:
        dataset: Name of the data set with its split, for example ``"digits/train"``.
        curve: One point an epoch, in order.
        parameters: Number of trained parameters.
        optimizer: Name of the optimizer.
        step: Step of the plan.
        teacher: What was learned from besides labels; empty for labels alone.
        task: ``"classify"``, or ``"imitate"`` where no labels were learned.
        kept_epoch: Epoch whose weights were kept, 0 for the state before; None for the last.
    """

    dataset: str
    curve: tuple[EpochPoint, ...]
    parameters: int
    optimizer: str
    step: str = "train"
    teacher: str = ""
    task: Literal["classify", "imitate"] = "classify"
    kept_epoch: int | None = None


class QuantizationTrial(FrozenModel):
    """One way of quantizing that was tried.

    Attributes:
        name: What was done, for example ``"mse+equalized"``.
        sqnr_db: Signal to quantization noise ratio of the outputs, in dB, on calibration
            samples held out; None: not measured.
        metric: Top-1 accuracy, 0..1, on labelled samples not calibrated with; None: not measured.
        chosen: True for the one that the QDQ graph is.
    """

    name: str
    sqnr_db: float | None
    metric: float | None = None
    chosen: bool = False


class LayerEffect(FrozenModel):
    """What quantizing one layer alone does to the model.

    Attributes:
        layer: Name of the node.
        op_type: Its type.
        sqnr_db: Signal to quantization noise ratio of the outputs, in dB.
        metric: Top-1 accuracy, 0..1; None: not measured.
    """

    layer: str
    op_type: str
    sqnr_db: float
    metric: float | None = None


class QuantizationSummary(FrozenModel):
    """How a QDQ graph came about.

    Attributes:
        scheme: Name of the scheme.
        dataset: Calibration set; empty where none was needed.
        samples: Samples calibrated with.
        accuracy_samples: Samples that accuracy was compared on; 0: it was not.
        float_accuracy: Top-1 accuracy of the float graph on those, 0..1; None: not measured.
        trials: Everything that was tried, in order.
        sensitivity: Effect of each layer alone, the worst first; empty unless asked for.
        fallback: What layers become that cost too much accuracy, ``"float"`` or ``"int16"``.
        fallback_layers: Those layers.
        float_nodes: Why a node computes in float, by its name.
        ranges: Of the activations, in graph order; empty where they stay float.
    """

    scheme: str
    dataset: str = ""
    samples: int = 0
    output_error: tuple[float, float] | None = None
    accuracy_samples: int = 0
    float_accuracy: float | None = None
    trials: tuple[QuantizationTrial, ...] = ()
    sensitivity: tuple[LayerEffect, ...] = ()
    fallback: str = "float"
    fallback_layers: tuple[str, ...] = ()
    float_nodes: dict[str, str] = Field(default_factory=dict)
    ranges: tuple[CalibratedRange, ...] = ()


class QatEpoch(FrozenModel):
    """One epoch of quantization-aware training.

    Attributes:
        epoch: Counted from 1; 0 is the graph before training.
        loss: Mean training loss; None before training.
        score: On the samples kept back: share of right predictions, or for
            ``task = "imitate"`` the signal-to-noise ratio against the float model in dB.
        held_out_loss: Mean loss on the samples kept back.
        lr: Learning rate of the epoch's last step; None before training.
    """

    epoch: int
    loss: float | None
    score: float
    held_out_loss: float
    lr: float | None


class QatSummary(FrozenModel):
    """How a QDQ graph was fine-tuned.

    Attributes:
        scheme: Name of the quantization scheme.
        dataset: Data set trained with.
        task: ``"classify"`` or ``"imitate"``.
        reason: Why this task; empty when it was asked for.
        samples: Samples trained with.
        held_out: Samples of the same set kept back, on which epochs are compared.
        seed: Seed by which they were drawn.
        curve: The state before training, which is that of post-training quantization, and each
            epoch.
        best_epoch: The epoch that is kept; 0 when training did not help.
        teacher_score: Share of the samples kept back that the float model gets right; None
            without float model or labels.
        optimizer: Name of the optimizer.
        batch_size: Samples in one step.
    """

    scheme: str
    dataset: str
    task: Literal["classify", "imitate"]
    reason: str = ""
    samples: int
    held_out: int
    seed: int
    curve: tuple[QatEpoch, ...]
    best_epoch: int
    teacher_score: float | None
    optimizer: str
    batch_size: int


class LedgerRow(FrozenModel):
    """The model after one stage, and what the stage cost and gained.

    Attributes:
        form: Numeric form, such as ``"float32"`` or ``"int8"``.
        stage: What made it: ``"float"`` for what was imported, ``"trained"``, ``"pruned"``,
            ``"sparsified"``, ``"distilled"``, ``"fine-tuned"``, ``"PTQ"`` or ``"QAT"``.
        accuracy: In ONNX Runtime without fused kernels, so of the graph as it is written.
        agreement: Samples for which the first graph predicts the same class; None: unknown.
        step: Step of the plan that made it.
        parent: Step that made the graph which it was made from; empty for the first.
        paired: Beside its parent on the same samples; None where one was not evaluated.
        macs: Multiply-accumulates of one inference; None when a shape is unknown.
        parameters: Constant weights; None where the graph could not be inspected.
        size_bytes: Size of the file that ``target`` was given; None where there is none.
        latency: Of that file on this machine; None where there is none.
        target: For which size and latency hold; empty where there is none.
    """

    form: str
    stage: str
    accuracy: AccuracyReport | Unavailable
    agreement: Proportion | None = None
    step: str = ""
    parent: str = ""
    paired: PairedAccuracy | None = None
    macs: int | None = None
    parameters: int | None = None
    size_bytes: int | None = None
    latency: LatencyStats | Unavailable | None = None
    target: str = ""


class GraphSummary(FrozenModel):
    """Static facts about one model file (the part of `Inspection` that has no path).

    Attributes:
        ops: Operators by type, most frequent first.
        macs: Multiply-accumulates of one inference at batch 1; None when a shape is unknown.
        parameters: Number of constant weights.
        integer_ops: Operators that compute on integers.
        float_ops: Operators that compute on floating point.
        details: Anything particular to the format, by name.
    """

    ops: tuple[OpCount, ...]
    macs: int | None
    parameters: int
    integer_ops: int
    float_ops: int
    details: dict[str, str] = Field(default_factory=dict)


class ArtifactSummary(FrozenModel):
    """The file that a target was given.

    Attributes:
        file_name: Name in the output folder, for example ``"digits.float16.tflite"``.
        size_bytes: Size of the file, or of all files of a folder.
        digest: sha256 of its content, hex.
        signature: Inputs and outputs, with the order in which axes are stored.
        graph: Operators and counts; `Unavailable` when the file could not be inspected.
    """

    file_name: str
    size_bytes: int
    digest: str
    signature: ModelSignature | None
    graph: GraphSummary | Unavailable


class TargetResult(FrozenModel):
    """What came out for one target at one precision.

    Attributes:
        target: Registered name of the target.
        title: Human name of the target.
        precision: Numeric form, for example ``"float16"``.
        engine: Lowering engine that wrote the artifact.
        compute: Precision in which it computes on floating point; empty where there is no choice.
        deployment_target: Oldest system that it was made for; empty where there is no choice.
        artifact: The file; `Unavailable` when this machine could not make it.
        accuracy: Accuracy on the evaluation set; `Unavailable` with the reason otherwise.
        agreement: Share of samples for which it predicts the same class as ONNX Runtime on the
            canonical graph; None where either was not evaluated.
        latency: Latency on this machine; `Unavailable` with the reason otherwise.
        difference: Difference of each output from ONNX Runtime on the canonical graph;
            `Unavailable` when the artifact could not be executed here.
        tolerance: Largest ``relative`` difference that was accepted.
        notes: Reasons for everything noteworthy about this target.
        exactness: Comparison with the QDQ graph it was lowered from; None for an artifact that
            is not quantized, `Unavailable` where it could not be compared.
    """

    target: str
    title: str
    precision: str
    engine: str
    artifact: ArtifactSummary | Unavailable
    accuracy: AccuracyReport | Unavailable
    latency: LatencyStats | Unavailable
    difference: tuple[OutputDifference, ...] | Unavailable
    tolerance: float
    notes: tuple[Note, ...] = ()
    agreement: Proportion | None = None
    exactness: ExactnessReport | Unavailable | None = None
    compute: str = ""
    deployment_target: str = ""


class StepSummary(FrozenModel):
    """One step of the run.

    Attributes:
        name: Step id, for example ``"lower-tflite-float16"``.
        key: Key of its record in the store, hex.
        reused: True when the store already held the result.
        duration_s: Time the work took when it was done, also for a reused step.
    """

    name: str
    key: str
    reused: bool
    duration_s: float


class EnvironmentSummary(FrozenModel):
    """Machine and versions that the figures hold for.

    Attributes:
        device: Processor, as the operating system names it.
        cpu_count: Logical processors.
        system: Operating system and architecture.
        python: Version of Python.
        tools: Version of each distribution whose version the results depend on, by name.
    """

    device: str
    cpu_count: int
    system: str
    python: str
    tools: dict[str, str]


class RunSummary(FrozenModel):
    """All results of one run of a project.

    Holds no wall-clock time: the only values that differ between two runs on one machine are
    measured durations and latencies.

    Attributes:
        schema_version: Version of this schema, see `SUMMARY_SCHEMA_VERSION`.
        project: Name of the project.
        edgekit_version: Version that ran.
        seed: Seed of everything random.
        sources: Files that the run was made from, with digests.
        signature: Inputs and outputs of the canonical graph.
        metadata: What travels with the model.
        source_graph: Operators and counts of the canonical graph.
        reference_accuracy: Accuracy of the canonical graph in ONNX Runtime, to which every
            target is compared; `Unavailable` without a data set.
        training: Training curve; None when the run did not train.
        quantization: How each QDQ graph came about; empty when nothing was quantized.
        qat: How QDQ graphs were fine-tuned; empty when none was.
        pruning: What each pruning removed; empty when nothing was pruned.
        sparsifying: What single weights were made 0; empty when none were.
        further_training: How float graphs were trained on after their import; empty when none
            was.
        ledger: The model after each stage, from the first float graph to the last quantized one;
            empty when the run only converted.
        predictions: Which classes were taken for which, and which samples changed; None where
            no accuracy was measured.
        layer_errors: Error of every layer of each quantized graph; empty where none was compared.
        targets: One entry for each target and precision, in the order of the project.
        steps: Steps in the order in which they were executed, the report itself left out.
        environment: Machine and versions.
        notes: Reasons that concern the whole run.
    """

    schema_version: Literal[1] = 1
    project: str
    edgekit_version: str
    seed: int
    sources: tuple[SourceFile, ...]
    signature: ModelSignature
    metadata: ModelMetadata
    source_graph: GraphSummary | Unavailable
    reference_accuracy: AccuracyReport | Unavailable
    training: TrainingSummary | None
    quantization: tuple[QuantizationSummary, ...] = ()
    qat: tuple[QatSummary, ...] = ()
    pruning: tuple[PruneSummary, ...] = ()
    sparsifying: tuple[SparsifySummary, ...] = ()
    further_training: tuple[TrainingSummary, ...] = ()
    ledger: tuple[LedgerRow, ...] = ()
    predictions: PredictionSummary | None = None
    layer_errors: tuple[LayerErrorSummary, ...] = ()
    targets: tuple[TargetResult, ...]
    steps: tuple[StepSummary, ...]
    environment: EnvironmentSummary
    notes: tuple[Note, ...] = ()
