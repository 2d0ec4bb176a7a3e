"""The tflite target: everything the rest of edgekit asks of it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import __version__
from edgekit.core.artifact import Artifact, ArtifactKind, file_stem
from edgekit.core.exactness import ExactnessReport
from edgekit.core.metrics import LatencyStats, Unavailable
from edgekit.core.quant import QuantConstraints
from edgekit.core.target import (
    QUANTIZED,
    WEIGHTS_ONLY,
    BenchConfig,
    Capabilities,
    Inspection,
    LowerConfig,
    Lowered,
    RuntimeConfig,
    Session,
    SupportReport,
    TargetInfo,
)
from edgekit.errors import ConfigError, InputError, MissingToolError
from edgekit.targets.tflite import INFO

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgekit.core.instruction_count import InstructionCount
    from edgekit.core.observation import ObservableSession
    from edgekit.core.op_profile import LoadDone, OpProfile, ProfileConfig
    from edgekit.core.target import Array
    from edgekit.targets.tflite.lowering import LoweredGraph

_FACTORY = "edgekit.targets.tflite.target:create_target"
_PRELOAD = ("numpy", "ai_edge_litert.interpreter")
_SEED = 0


def create_target() -> TFLiteTarget:
    """The target; imports no toolchain."""
    return TFLiteTarget()


class TFLiteTarget:
    """LiteRT flatbuffers; implements `edgekit.core.target.Target`."""

    @property
    def info(self) -> TargetInfo:
        """Static facts; needs no toolchain."""
        return INFO

    def capabilities(self) -> Capabilities:
        """What can be done on this machine: all of it where the extra is installed."""
        from edgekit.targets.tflite.runtime import runtime_missing

        reason = runtime_missing()
        runtime = Unavailable(reason=reason) if reason else None
        writing = runtime
        if writing is None and importlib.util.find_spec("flatbuffers") is None:
            error = MissingToolError.for_extra("flatbuffers", INFO.extra, "write a .tflite file")
            writing = Unavailable(reason=str(error))
        return Capabilities(convertible=writing, runnable=runtime, measurable=runtime)

    def check(self, model: ir.Model) -> SupportReport:
        """Looks for nodes that edgekit's lowering refuses; ``model`` is not modified."""
        from edgekit.targets.tflite.lowering import check_graph

        return check_graph(model)

    def lower(self, source: Artifact, config: LowerConfig, workdir: Path) -> Lowered | Unavailable:
        """Lowers a canonical ONNX artifact to a .tflite file below ``workdir``.

        The file bears the model's metadata, the signature and the provenance. Its structure
        is verified; its outputs are compared by the caller.

        Raises:
            ConfigError: If the target does not offer a choice, or choices do not go together.
            UnsupportedGraphError: With all nodes that cannot be lowered.
            UnsupportedError: If the engine fails.
            VerificationError: If the file holds custom operators or dangling tensors.
            MissingToolError: If the engine is not installed.
            InputError: If the artifact is damaged, or ``workdir`` cannot be written.
        """
        config = config.settled_for(INFO)
        missing = self.capabilities().convertible
        if missing is not None:
            return missing
        from edgekit.graph.io import load_onnx, read_metadata
        from edgekit.graph.quantized import NO_WEIGHTS, is_quantized, require_qdq
        from edgekit.targets.tflite.metadata import embed_metadata
        from edgekit.targets.tflite.metadata_description import describe
        from edgekit.targets.tflite.verification import verify_structure

        model = load_onnx(source.path)
        require_qdq(model, config.precision)
        metadata = read_metadata(model)
        lowered = _run_engine(model, config)
        provenance = {
            "edgekit": __version__,
            "engine": str(config.engine),
            "precision": config.precision,
            "source_digest": source.digest,
        }
        data = embed_metadata(
            lowered.data,
            metadata,
            lowered.signature,
            provenance,
            lowered.tensors,
            lowered.float_reasons,
        )
        path = workdir / f"{file_stem(metadata.name)}-{config.precision}{INFO.suffix}"
        write_beside(path, data)
        try:
            structure = verify_structure(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        artifact = Artifact.of(
            ArtifactKind.TFLITE,
            path,
            signature=lowered.signature,
            metadata=metadata,
            precision=config.precision,
        )
        described = describe(metadata, lowered.signature).notes
        unchanged = config.precision in WEIGHTS_ONLY and not is_quantized(model)
        notes = [NO_WEIGHTS] if unchanged else []
        return Lowered(artifact, (*notes, *lowered.notes, *described, *structure.notes()))

    def load(self, artifact: Path, config: RuntimeConfig) -> Session | Unavailable:
        """Loads a .tflite file into LiteRT, with XNNPACK where it can run the operators.

        Raises:
            InputError: If the file is missing, damaged or of another format.
            UnsupportedError: If LiteRT refuses the file.
        """
        from edgekit.targets.tflite.runtime import LiteRTSession, runtime_missing

        if reason := runtime_missing():
            return Unavailable(reason=reason)
        return LiteRTSession(artifact, config)

    def measure(self, artifact: Path, config: BenchConfig) -> LatencyStats | Unavailable:
        """Measures latency on this machine with inputs of fixed random values.

        A measured run copies the inputs in, invokes the interpreter and copies the outputs
        out, in the file's own axis order: an application holds its data that way, so a
        change of layout on the way from the canonical graph is not counted. A dynamic batch
        is measured at 1.

        Raises:
            InputError: If the file is missing, damaged or of another format.
            UnsupportedError: If LiteRT refuses the file.
        """
        from edgekit.measure.feeds import random_feeds
        from edgekit.measure.latency import measure_latency
        from edgekit.measure.memory import peak_memory
        from edgekit.targets.tflite.runtime import LiteRTSession, runtime_missing

        if reason := runtime_missing():
            return Unavailable(reason=reason)
        session = LiteRTSession(artifact, RuntimeConfig(threads=config.threads))
        try:
            feeds = random_feeds(session.signature, _SEED)
            timings = measure_latency(
                session.prepare(feeds), runs=config.runs, warmup_runs=config.warmup_runs
            )
            runtime = session.runtime
        finally:
            session.close()
        memory = None
        if config.memory:
            memory = peak_memory(_FACTORY, artifact, preload=_PRELOAD, threads=config.threads)
        notes = (f"peak memory was not measured: {memory.note}",) if memory and memory.note else ()
        shapes = [array.shape for array in feeds.values()]
        return timings.stats(
            threads=config.threads,
            runtime=runtime,
            batch=shapes[0][0] if shapes and shapes[0] else 1,
            peak_memory_bytes=memory.peak_bytes if memory else None,
            notes=notes,
        )

    def profile(
        self, artifact: Path, config: ProfileConfig, done: LoadDone | None = None
    ) -> OpProfile | Unavailable:
        """Times single operators, of LiteRT and of XNNPACK; a dynamic batch at 1.

        Raises:
            InputError: If the file is missing, damaged or of another format.
            UnsupportedError: If LiteRT refuses the file, or its profiler fails.
        """
        from edgekit.targets.tflite.runtime import runtime_missing

        if reason := runtime_missing():
            return Unavailable(reason=reason)
        from edgekit.targets.tflite.profiling.profile import profile_file

        return profile_file(artifact, config, done)

    def count_instructions(self, artifact: Path) -> InstructionCount | Unavailable:
        """Counts the instructions of an inference under valgrind; an open batch is 1.

        Raises:
            InputError: If the file is missing, damaged or of another format.
            UnsupportedError: If the runtime refuses the file, or dies under valgrind.
        """
        from edgekit.targets.tflite.runtime import runtime_missing

        if reason := runtime_missing():
            return Unavailable(reason=reason)
        from edgekit.measure.instructions import count_instructions
        from edgekit.targets.tflite.arithmetic import arithmetic_of

        return count_instructions(INFO.name, _FACTORY, artifact, arithmetic_of(artifact))

    def inspect(self, path: Path) -> Inspection:
        """Static facts about a .tflite file; needs no runtime.

        Raises:
            InputError: If the file is missing, damaged or of another format.
        """
        from edgekit.targets.tflite.inspection import inspect

        return inspect(path)

    def verify(
        self, artifact: Path, source: Path, samples: Sequence[Mapping[str, Array]]
    ) -> ExactnessReport | Unavailable:
        """Compares integers, scales and every operator with the QDQ graph.

        Raises:
            InputError: If a file is missing, damaged, or was not made by edgekit's engine.
        """
        from edgekit.targets.tflite.runtime import runtime_missing

        if reason := runtime_missing():
            return Unavailable(reason=reason)
        from edgekit.targets.tflite.exactness.compare import compare_with_graph

        return compare_with_graph(artifact, source, samples)

    def observe(self, artifact: Path) -> ObservableSession | Unavailable:
        """Loads a .tflite file in LiteRT so that its inner tensors can be seen.

        Raises:
            InputError: If it is missing, damaged or of another format.
            UnsupportedError: If the runtime refuses it.
        """
        from edgekit.targets.tflite.runtime import runtime_missing

        if reason := runtime_missing():
            return Unavailable(reason=reason)
        from edgekit.targets.tflite.observation import ObservedFile

        return ObservedFile(artifact)

    def quant_constraints(self) -> QuantConstraints:
        """What TFLite's integer kernels demand: the defaults of placement."""
        return QuantConstraints()

    def integrate(self, artifact: Artifact, destination: Path) -> Unavailable:
        """Writes an application skeleton: not yet offered."""
        return Unavailable(
            reason=(
                "edgekit has no application template for tflite yet; the file's TFLite metadata "
                f"(normalisation, labels) is what Android tooling reads from {artifact.path.name}."
            )
        )


def write_beside(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all.

    Raises:
        InputError: If the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}. Choose a folder that "
            "exists and can be written."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _run_engine(model: ir.Model, config: LowerConfig) -> LoweredGraph:
    if config.engine == "onnx2tf":
        if config.precision in QUANTIZED:
            raise ConfigError(
                "Engine 'onnx2tf' loses the scales of a QDQ graph (its int8 files compute in "
                f"float); lower {config.precision} with --engine edgekit."
            )
        from edgekit.targets.tflite.engines.onnx2tf import lower_with_onnx2tf

        return lower_with_onnx2tf(model, config.precision)
    from edgekit.targets.tflite.lowering import LoweringOptions, lower_graph

    half = config.precision == "float16"
    # A layer that computes in float between integer activations is not to round them again.
    options = LoweringOptions(
        weights_dtype="float16" if half else "float32",
        weight_compute=config.weight_compute or "exact",
        io=config.io,
        integer_only=config.integer_only,
    )
    return lower_graph(model, options)
