"""A run summary with everything a report can hold, hostile names included."""

import pytest

from edgekit.core.exactness import ExactnessReport, ForcedDifference
from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.core.metrics import (
    AccuracyReport,
    LatencyStats,
    OutputDifference,
    Proportion,
    Unavailable,
)
from edgekit.core.paired_accuracy import PairedAccuracy
from edgekit.core.pruning_summary import (
    LayerWidth,
    LayerZeros,
    PruneSummary,
    SparsifySummary,
    SparsityGain,
    UnprunedLayers,
)
from edgekit.core.run_summary import (
    ArtifactSummary,
    EnvironmentSummary,
    EpochPoint,
    GraphSummary,
    LayerEffect,
    LedgerRow,
    QatEpoch,
    QatSummary,
    QuantizationSummary,
    QuantizationTrial,
    RunSummary,
    SourceFile,
    StepSummary,
    TargetResult,
    TrainingSummary,
)
from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.core.stage import Note
from edgekit.core.target import OpCount

HOSTILE = "<script>alert(1)</script>|`x`"
NO_RUNTIME = "this machine has no Core ML; run it on macOS"
DEVICE = "Test Processor 9000"


def accuracy(hits: int, digest: str, runtime: str) -> AccuracyReport:
    return AccuracyReport(
        dataset="digits/test",
        top1=Proportion.of(hits, 360),
        top5=Proportion.of(359, 360),
        predictions_digest=digest,
        runtime=runtime,
    )


def latency(p50_ms: float, runtime: str) -> LatencyStats:
    return LatencyStats(
        p50_ms=p50_ms,
        p90_ms=p50_ms * 1.25,
        mean_ms=p50_ms * 1.1,
        min_ms=p50_ms * 0.9,
        runs=200,
        warmup_runs=20,
        threads=1,
        batch=1,
        runtime=runtime,
        device=DEVICE,
        peak_memory_bytes=7_340_032,
    )


def artifact(name: str, size_bytes: int, ops: tuple[OpCount, ...]) -> ArtifactSummary:
    return ArtifactSummary(
        file_name=name,
        size_bytes=size_bytes,
        digest=(name.encode().hex() * 4)[:64],
        signature=None,
        graph=GraphSummary(
            ops=ops,
            macs=2_654_208,
            parameters=78_042,
            integer_ops=0,
            float_ops=sum(op.count for op in ops),
            details={"schema": "3"},
        ),
    )


def targets() -> tuple[TargetResult, ...]:
    tflite_ops = (OpCount(op="CONV_2D", count=9), OpCount(op="FULLY_CONNECTED", count=1))
    difference = OutputDifference(
        output="logits", max_abs=3.6e-6, reference_range=24.5, relative=1.47e-7
    )
    litert = "LiteRT 2.1.2 (XNNPACK)"
    return (
        TargetResult(
            target="tflite",
            title="TFLite",
            precision="float32",
            engine="edgekit",
            artifact=artifact("digits.float32.tflite", 318_432, tflite_ops),
            accuracy=accuracy(355, "a" * 64, litert),
            agreement=Proportion.of(360, 360),
            latency=latency(0.0421, litert),
            difference=(difference,),
            tolerance=1e-4,
            notes=(Note(where="node_1", text="ReLU fused into CONV_2D"),),
        ),
        TargetResult(
            target="tflite",
            title="TFLite",
            precision="float16",
            engine="onnx2tf",
            artifact=artifact("digits.float16.tflite", 160_100, tflite_ops),
            accuracy=accuracy(354, "b" * 64, litert),
            agreement=Proportion.of(359, 360),
            latency=latency(1.234, litert),
            difference=(difference.model_copy(update={"relative": 3e-3}),),
            tolerance=1e-3,
            exactness=ExactnessReport(
                compared_tensors=78,
                differing_tensors=0,
                mismatches=(),
                float_ops=(),
                custom_ops=(),
                max_lsb=1,
                forced=(
                    ForcedDifference(
                        tensor=f"relu {HOSTILE}", operators=("ADD",), lsb=1, share=0.0123
                    ),
                ),
                agreement=0.996,
                samples=250,
            ),
            notes=(Note(level="warning", where=HOSTILE, text=f"odd node {HOSTILE}"),),
        ),
        TargetResult(
            target="coreml",
            title="Core ML",
            precision="float32",
            engine="edgekit",
            compute="float16",
            deployment_target="iOS17",
            artifact=Unavailable(reason="coremltools is not installed"),
            accuracy=Unavailable(reason=NO_RUNTIME),
            latency=Unavailable(reason=NO_RUNTIME),
            difference=Unavailable(reason=NO_RUNTIME),
            tolerance=1e-4,
        ),
    )


def full_summary() -> RunSummary:
    return RunSummary(
        project=f"digits {HOSTILE}",
        edgekit_version="0.1.0",
        seed=7,
        sources=(SourceFile(role="code", name="model.py", digest="c" * 64),),
        signature=ModelSignature(
            inputs=(TensorSpec(name="image", shape=("batch", 1, 8, 8)),),
            outputs=(TensorSpec(name="logits", shape=("batch", 10)),),
        ),
        metadata=ModelMetadata(
            name="digits",
            source=f"model.py:{HOSTILE}",
            preprocessing=Preprocessing(
                size=(8, 8), channels="gray", scale=1 / 16, mean=(0.3,), std=(0.25,)
            ),
            labels=(*"0123456789", "none"),
            license="Apache-2.0",
        ),
        source_graph=GraphSummary(
            ops=(OpCount(op="Conv", count=9), OpCount(op="Relu", count=7)),
            macs=2_654_208,
            parameters=78_042,
            integer_ops=0,
            float_ops=16,
        ),
        reference_accuracy=accuracy(355, "a" * 64, "onnxruntime 1.26.0"),
        training=TrainingSummary(
            dataset="digits/train",
            curve=tuple(
                EpochPoint(
                    epoch=epoch,
                    loss=2.3 / epoch,
                    train_accuracy=1 - 0.9 / epoch,
                    val_accuracy=1 - 0.8 / epoch,
                    lr=1e-3,
                )
                for epoch in range(1, 21)
            ),
            parameters=78_042,
            optimizer="AdamW",
        ),
        quantization=(
            QuantizationSummary(
                scheme="int8",
                dataset="digits/train",
                samples=256,
                accuracy_samples=1024,
                float_accuracy=0.9775,
                trials=(
                    QuantizationTrial(name="minmax", sqnr_db=31.44, metric=0.975),
                    QuantizationTrial(name="mse", sqnr_db=33.21, metric=0.9765, chosen=True),
                ),
                sensitivity=(LayerEffect(layer=f"conv {HOSTILE}", op_type="Conv", sqnr_db=28.1),),
                fallback_layers=("conv7",),
                float_nodes={"norm9": "LayerNormalization has no integer kernel"},
            ),
        ),
        qat=(
            QatSummary(
                scheme="int8",
                dataset=f"digits/train {HOSTILE}",
                task="classify",
                samples=1167,
                held_out=130,
                seed=7,
                curve=(
                    QatEpoch(epoch=0, loss=None, score=0.9231, held_out_loss=0.251, lr=None),
                    QatEpoch(epoch=1, loss=0.1234, score=0.9692, held_out_loss=0.15, lr=1e-4),
                    QatEpoch(epoch=2, loss=0.1111, score=0.9615, held_out_loss=0.16, lr=5e-5),
                ),
                best_epoch=1,
                teacher_score=0.9769,
                optimizer="adamw",
                batch_size=64,
            ),
        ),
        ledger=(
            LedgerRow(
                form="float32",
                stage="trained",
                accuracy=accuracy(355, "a" * 64, "onnxruntime"),
                macs=2_650_000,
                parameters=78_042,
                size_bytes=318_432,
                target="tflite",
            ),
            LedgerRow(
                form="float32",
                stage="pruned",
                accuracy=accuracy(350, "c" * 64, "onnxruntime"),
                macs=1_310_000,
                parameters=40_321,
                size_bytes=162_816,
                latency=Unavailable(reason="switched off"),
                target="tflite",
                paired=PairedAccuracy.of_flips(360, 2, 7, 9),
            ),
            LedgerRow(
                form="int8",
                stage="PTQ",
                accuracy=accuracy(345, "b" * 64, "onnxruntime"),
                agreement=Proportion.of(346, 360),
                paired=PairedAccuracy.of_flips(360, 1, 11, 13),
            ),
            LedgerRow(form="int8", stage="QAT", accuracy=Unavailable(reason="no labels here")),
        ),
        pruning=(
            PruneSummary(
                step="prune",
                importance="magnitude",
                allocation="latency",
                goal=0.5,
                macs=(2_650_000, 1_310_000),
                parameters=(78_042, 40_321),
                latency_ms=(0.0421, 0.0203),
                target="tflite",
                channels=(LayerWidth(layer="conv5", before=64, after=24),),
                unpruned=(UnprunedLayers(layers=("head",), reason="outputs of the network"),),
                dataset="digits/train",
                samples=512,
                output_error=(0.82, 0.0715),
            ),
        ),
        sparsifying=(
            SparsifySummary(
                step="sparsify",
                sparsity=0.8,
                layers=(
                    LayerZeros(layer="conv6", zeros=1234, weights=1543),
                    LayerZeros(layer=f"head {HOSTILE}", zeros=0, weights=640),
                ),
                dense=(UnprunedLayers(layers=("head",), reason="keep names it"),),
                zeros=1234,
                weights=2183,
                compressed_bytes=(262_144, 77_824),
                dataset="digits/train",
                samples=513,
                output_error=(0.0311, 0.0452),
                gains=(SparsityGain(target="tflite", text="No speed as written by edgekit"),),
            ),
            SparsifySummary(
                step="sparsify-2",
                sparsity=None,
                pattern="2:4",
                layers=(LayerZeros(layer="conv6", zeros=768, weights=1536),),
                zeros=768,
                weights=1536,
                compressed_bytes=(262_144, 161_792),
            ),
        ),
        targets=targets(),
        steps=(
            StepSummary(name="train", key="d" * 64, reused=True, duration_s=41.27),
            StepSummary(name="lower-tflite-float32", key="e" * 64, reused=False, duration_s=0.21),
        ),
        environment=EnvironmentSummary(
            device=DEVICE,
            cpu_count=2,
            system="Linux 6.1 x86_64",
            python="3.12.1",
            tools={"torch": "2.13.0", "onnxruntime": "1.26.0"},
        ),
        notes=(Note(text="the run as a whole has a remark"),),
    )


@pytest.fixture
def summary() -> RunSummary:
    return full_summary()


@pytest.fixture
def bare_summary(summary: RunSummary) -> RunSummary:
    """A conversion alone: no training, no data set, nothing executed."""
    nothing = Unavailable(reason="no data set was named")
    return summary.model_copy(
        update={
            "project": "bare",
            "training": None,
            "quantization": (),
            "qat": (),
            "ledger": (),
            "reference_accuracy": nothing,
            "source_graph": Unavailable(reason="a shape is missing"),
            "metadata": ModelMetadata(),
            "targets": (),
            "steps": (),
            "sources": (),
            "notes": (),
        }
    )
