"""The coreml target: everything the rest of edgekit asks of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.artifact import Artifact
from edgekit.core.exactness import ExactnessReport
from edgekit.core.metrics import LatencyStats, Unavailable
from edgekit.core.quant import QuantConstraints
from edgekit.core.target import (
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
from edgekit.targets.coreml import INFO

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgekit.core.observation import ObservableSession
    from edgekit.core.op_profile import LoadDone, OpProfile, ProfileConfig
    from edgekit.core.target import Array

_FACTORY = "edgekit.targets.coreml.target:create_target"


def create_target() -> CoreMLTarget:
    """The target; imports no toolchain."""
    return CoreMLTarget()


class CoreMLTarget:
    """ML programs in packages; implements `edgekit.core.target.Target`."""

    @property
    def info(self) -> TargetInfo:
        """Static facts; needs no toolchain."""
        return INFO

    def capabilities(self) -> Capabilities:
        """Packages are written where coremltools is, run everywhere, and timed on a Mac."""
        from edgekit.targets.coreml.tools import coremltools_missing

        missing = coremltools_missing()
        return Capabilities(
            convertible=Unavailable(reason=missing) if missing else None,
            measurable=_not_measurable(),
        )

    def check(self, model: ir.Model) -> SupportReport:
        """Looks for nodes that edgekit's lowering refuses; ``model`` is not modified.

        Raises:
            MissingToolError: If coremltools is not installed.
        """
        from edgekit.targets.coreml.tools import require_coremltools

        require_coremltools()
        from edgekit.targets.coreml.lowering.graph import check_graph
        from edgekit.targets.coreml.lowering.options import LoweringOptions

        return check_graph(model, LoweringOptions(INFO.deployment_targets[0]))

    def lower(self, source: Artifact, config: LowerConfig, workdir: Path) -> Lowered | Unavailable:
        """Lowers a canonical ONNX artifact to an ``.mlpackage`` folder below ``workdir``.

        Raises:
            ConfigError: If the target does not offer a choice, or choices do not go together.
            UnsupportedGraphError: With all nodes that cannot be lowered.
            UnsupportedError: If coremltools fails.
            InputError: If the artifact is damaged, or ``workdir`` cannot be written.
        """
        config = config.settled_for(INFO)
        missing = self.capabilities().convertible
        if missing is not None:
            return missing
        from edgekit.targets.coreml.writer import write_artifact

        return write_artifact(source, config, workdir)

    def load(self, artifact: Path, config: RuntimeConfig) -> Session | Unavailable:
        """Loads a package: into Core ML on a Mac, into the edgekit MIL runtime elsewhere.

        Raises:
            InputError: If the package is missing or damaged.
            UnsupportedError: If it holds an operator that the runtime does not know.
        """
        if sys.platform == "darwin":
            from edgekit.targets.coreml.native import native_missing, open_native

            if not native_missing():
                return open_native(artifact)
        from edgekit.targets.coreml.session import MilSession

        return MilSession(artifact, config)

    def measure(self, artifact: Path, config: BenchConfig) -> LatencyStats | Unavailable:
        """Measures latency on a Mac; elsewhere there is nothing to measure.

        Raises:
            InputError: If the package is missing or damaged.
        """
        reason = _not_measurable()
        if reason is not None:
            return reason
        from edgekit.measure.artifact_latency import measure_artifact

        return measure_artifact(self, artifact, config, target_factory=_FACTORY)

    def profile(
        self, artifact: Path, config: ProfileConfig, done: LoadDone | None = None
    ) -> OpProfile | Unavailable:
        """Times single operators in the edgekit MIL runtime, not Apple's; an open batch at 1.

        Raises:
            InputError: If it is missing, damaged or of another format.
            UnsupportedError: If the runtime refuses it.
        """
        from edgekit.targets.coreml.profiling import profile_package

        return profile_package(artifact, config, done)

    def inspect(self, path: Path) -> Inspection:
        """Static facts about a package; needs no coremltools.

        Raises:
            InputError: If it is missing, damaged or of another format.
        """
        from edgekit.targets.coreml.inspection import inspect

        return inspect(path)

    def verify(
        self, artifact: Path, source: Path, samples: Sequence[Mapping[str, Array]]
    ) -> ExactnessReport | Unavailable:
        """Compares integers, scales and every operator with the QDQ graph.

        Raises:
            InputError: If a file is missing, damaged, or was not made by edgekit.
        """
        from edgekit.targets.coreml.exactness import compare_with_graph

        return compare_with_graph(artifact, source, samples)

    def observe(self, artifact: Path) -> ObservableSession | Unavailable:
        """Loads a package in the edgekit MIL runtime so that its inner tensors can be seen.

        Raises:
            InputError: If it is missing, damaged or of another format.
            UnsupportedError: If the runtime refuses it.
        """
        from edgekit.targets.coreml.observation import ObservedPackage

        return ObservedPackage(artifact)

    def quant_constraints(self) -> QuantConstraints | Unavailable:
        """What the target demands of quantized graphs: nothing beyond the defaults."""
        return Unavailable(
            reason="Core ML quantizes around operators, so it takes every 8-bit QDQ graph."
        )

    def integrate(self, artifact: Artifact, destination: Path) -> Unavailable:
        """Writes an application skeleton: not yet offered."""
        return Unavailable(
            reason="edgekit has no application template for Core ML yet; Xcode makes a class from "
            f"{artifact.path.name} when it is added to a project."
        )


def _not_measurable() -> Unavailable | None:
    if sys.platform == "darwin":
        from edgekit.targets.coreml.native import native_missing

        missing = native_missing()
        return Unavailable(reason=missing) if missing else None
    return Unavailable(
        reason="Core ML runs on Apple's systems alone; how long the edgekit MIL runtime takes "
        "here says nothing of a phone. edgekit inspect gives an estimate, marked as one."
    )
