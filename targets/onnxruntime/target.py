"""The onnxruntime target: everything the rest of edgekit asks of it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.artifact import Artifact, ArtifactKind, file_stem
from edgekit.core.exactness import ExactnessReport
from edgekit.core.metrics import LatencyStats, Unavailable
from edgekit.core.target import (
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
from edgekit.errors import InputError, UnsupportedError, UnsupportedGraphError
from edgekit.targets.onnxruntime import INFO

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgekit.core.instruction_count import InstructionCount
    from edgekit.core.observation import ObservableSession
    from edgekit.core.op_profile import LoadDone, OpProfile, ProfileConfig
    from edgekit.core.target import Array

_FACTORY = "edgekit.targets.onnxruntime.target:create_target"
_PRELOAD = ("edgekit.targets.onnxruntime.runtime",)


def create_target() -> OnnxRuntimeTarget:
    """The target; imports no toolchain."""
    return OnnxRuntimeTarget()


class OnnxRuntimeTarget:
    """The canonical graph as it is; implements `edgekit.core.target.Target`."""

    @property
    def info(self) -> TargetInfo:
        """Static facts; needs no toolchain."""
        return INFO

    def capabilities(self) -> Capabilities:
        """Everything: ONNX Runtime is installed with edgekit, unless it was removed since."""
        missing = _missing()
        return Capabilities(convertible=missing, runnable=missing, measurable=missing)

    def check(self, model: ir.Model) -> SupportReport:
        """Looks for nodes that the CPU provider cannot run; ``model`` is not modified."""
        from edgekit.targets.onnxruntime.support import check_graph

        return check_graph(model)

    def lower(self, source: Artifact, config: LowerConfig, workdir: Path) -> Lowered | Unavailable:
        """Copies the graph (float32), or stores its weights as float16.

        Raises:
            ConfigError: If the target does not offer a choice, or choices do not go together.
            UnsupportedGraphError: With the nodes that ONNX Runtime cannot run.
            UnsupportedError: If the weights lie in a file of their own.
            InputError: If the artifact is damaged, or ``workdir`` cannot be written.
        """
        config = config.settled_for(INFO)
        if missing := _missing():
            return missing
        from edgekit.graph.io import (
            external_files,
            load_onnx,
            read_metadata,
            save_onnx,
            signature_of,
        )
        from edgekit.graph.quantized import require_qdq
        from edgekit.targets.onnxruntime.float_layers import keep_float_layers
        from edgekit.targets.onnxruntime.half_weights import halve_weights
        from edgekit.targets.onnxruntime.redundant_clips import drop_redundant_clips
        from edgekit.targets.onnxruntime.restored_weights import restore_weights
        from edgekit.targets.onnxruntime.separate_weights import separate_weights
        from edgekit.targets.onnxruntime.uint8_activations import shift_activations

        model = load_onnx(source.path)
        require_qdq(model, config.precision)
        if external_files(source.path):
            raise UnsupportedError(
                f"{source.path.name} keeps its weights in a file of their own (they exceed "
                f"1 GiB); target {INFO.name!r} writes single files."
            )
        report = self.check(model)
        if not report.supported:
            raise UnsupportedGraphError(INFO.name, report.unsupported)
        path = workdir / f"{file_stem(read_metadata(model).name)}-{config.precision}{INFO.suffix}"
        notes: tuple[str, ...] = ()
        if config.precision == "float16":
            notes = halve_weights(model)
            save_onnx(model, path)
        elif config.precision == "int8":
            notes = shift_activations(model)
            drop_redundant_clips(model)
            separate_weights(model)
            keep_float_layers(model)
            save_onnx(model, path)
        elif config.precision in WEIGHTS_ONLY:
            notes = restore_weights(model)
            save_onnx(model, path)
        else:
            _copy(source.path, path)
        artifact = Artifact.of(
            ArtifactKind.ORT_ONNX,
            path,
            signature=signature_of(model),
            metadata=read_metadata(model),
            precision=config.precision,
        )
        return Lowered(artifact, notes)

    def load(self, artifact: Path, config: RuntimeConfig) -> Session | Unavailable:
        """Loads an ONNX file into ONNX Runtime's CPU provider.

        Raises:
            InputError: If the file is missing, damaged or of another format.
            UnsupportedError: If ONNX Runtime refuses a sound file.
        """
        if missing := _missing():
            return missing
        from edgekit.targets.onnxruntime.runtime import OrtSession

        return OrtSession(artifact, config)

    def measure(self, artifact: Path, config: BenchConfig) -> LatencyStats | Unavailable:
        """Measures latency and peak memory on this machine; a dynamic batch at 1.

        Raises:
            InputError: If the file is missing, damaged or of another format.
            UnsupportedError: If ONNX Runtime refuses a sound file.
        """
        from edgekit.measure.artifact_latency import measure_artifact

        return measure_artifact(self, artifact, config, target_factory=_FACTORY, preload=_PRELOAD)

    def profile(
        self, artifact: Path, config: ProfileConfig, done: LoadDone | None = None
    ) -> OpProfile | Unavailable:
        """Times single nodes of the graph that ONNX Runtime makes of a file; an open batch at 1.

        Raises:
            InputError: If it is missing, damaged or of another format.
            UnsupportedError: If the runtime refuses it.
        """
        if missing := _missing():
            return missing
        from edgekit.targets.onnxruntime.profiling import profile_file

        return profile_file(artifact, config, done)

    def count_instructions(self, artifact: Path) -> InstructionCount | Unavailable:
        """Counts the instructions of an inference under valgrind; an open batch is 1.

        Raises:
            InputError: If the file is missing, damaged or of another format.
            UnsupportedError: If the runtime refuses the file, or dies under valgrind.
        """
        if missing := _missing():
            return missing
        from edgekit.measure.instructions import count_instructions
        from edgekit.targets.onnxruntime.arithmetic import arithmetic_of

        return count_instructions(INFO.name, _FACTORY, artifact, arithmetic_of(artifact))

    def inspect(self, path: Path) -> Inspection:
        """Static facts about an ONNX file; needs no runtime.

        Raises:
            InputError: If the file is missing, damaged or of another format.
        """
        from edgekit.graph.inspect import inspect_onnx

        return inspect_onnx(path)

    def verify(
        self, artifact: Path, source: Path, samples: Sequence[Mapping[str, Array]]
    ) -> ExactnessReport | Unavailable:
        """Compares integers, scales and zero points, and with integer activations every operator.

        Raises:
            InputError: If a file is missing or damaged.
            UnsupportedError: If ONNX Runtime cannot run the artifact.
        """
        from edgekit.graph.io import load_onnx
        from edgekit.targets.onnxruntime.exactness import compare_integers
        from edgekit.targets.onnxruntime.weight_comparison import (
            compare_weights,
            has_integer_weights_alone,
        )

        graph = load_onnx(source)
        if has_integer_weights_alone(graph):
            return compare_weights(load_onnx(artifact), graph)
        return compare_integers(artifact, source, samples)

    def observe(self, artifact: Path) -> ObservableSession | Unavailable:
        """Loads an ONNX file, optimized as when it is run, so that its inner tensors can be seen.

        Raises:
            InputError: If it is missing, damaged or of another format.
            UnsupportedError: If the runtime refuses it.
        """
        if missing := _missing():
            return missing
        from edgekit.targets.onnxruntime.observation import observe_file

        return observe_file(artifact)

    def quant_constraints(self) -> Unavailable:
        """What the target demands of quantized graphs: nothing, it runs any QDQ graph."""
        return Unavailable(reason="ONNX Runtime runs every QDQ graph.")

    def integrate(self, artifact: Artifact, destination: Path) -> Unavailable:
        """Writes an application skeleton: not yet offered."""
        return Unavailable(
            reason="edgekit has no application template for ONNX Runtime; its own Python, C++, "
            f"Java and Objective-C packages load {artifact.path.name} as it is."
        )


def _missing() -> Unavailable | None:
    if importlib.util.find_spec("onnxruntime") is None:
        return Unavailable(
            reason="onnxruntime is not installed; reinstall edgekit, which depends on it."
        )
    return None


def _copy(source: Path, path: Path) -> None:
    """Copies a file whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        shutil.copyfile(source, beside)
        beside.replace(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}. Choose a folder that exists "
            "and can be written."
        ) from error
    finally:
        beside.unlink(missing_ok=True)
