"""The contract of a target: all that the rest of edgekit knows of a deployment format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from pydantic import Field, model_validator

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.exactness import ExactnessReport
from edgekit.core.lowering_choices import LoweringChoices
from edgekit.core.metadata import ModelMetadata
from edgekit.core.metrics import LatencyStats, Unavailable
from edgekit.core.model_base import FrozenModel
from edgekit.core.precision import (
    INTEGER_ACTIVATIONS,
    QUANTIZED,
    WEIGHTS_ONLY,
    FloatCompute,
    IoType,
    Precision,
    WeightCompute,
)
from edgekit.core.quant import QuantConstraints
from edgekit.core.signature import ModelSignature
from edgekit.core.toml_config import describe_problems
from edgekit.errors import ConfigError, UnsupportedNode

__all__ = [
    "INTEGER_ACTIVATIONS",
    "QUANTIZED",
    "WEIGHTS_ONLY",
    "BenchConfig",
    "Capabilities",
    "FloatCompute",
    "Inspection",
    "IoType",
    "LowerConfig",
    "Lowered",
    "LoweringChoices",
    "OpCount",
    "Precision",
    "RuntimeConfig",
    "Session",
    "SupportReport",
    "Target",
    "TargetInfo",
    "WeightCompute",
]

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx_ir as ir

    from edgekit.core.observation import ObservableSession

    type Array = npt.NDArray[np.generic]


class RuntimeConfig(FrozenModel):
    """How a runtime is started."""

    threads: int = Field(1, ge=1, description="Threads given to the runtime.")


class BenchConfig(FrozenModel):
    """Options of a latency measurement."""

    threads: int = Field(1, ge=1, description="Threads given to the runtime.")
    warmup_runs: int = Field(10, ge=0, description="Runs before measuring, not counted.")
    runs: int = Field(100, ge=1, description="Measured runs.")
    memory: bool = Field(True, description="Measure peak memory in a fresh process.")


class TargetInfo(FrozenModel):
    """Facts about a target that are known without loading its toolchain.

    Attributes:
        name: Registered name, as given to ``--target``.
        title: Human name.
        extra: The extra of edgekit that installs its toolchain.
        artifact_kind: Kind of the artifact that `Target.lower` makes.
        suffix: File suffix of that artifact, with the dot.
        precisions: Numeric forms it can be lowered to.
        engines: Lowering engines, the default first.
        weight_computes: How it computes with integer weights alone, the default first.
        io_types: Types that inputs and outputs of an int8 artifact can have.
        integer_only: Whether it can compute on integers throughout when asked to.
        computes: Precisions in which it can compute on floating point, the default first;
            empty where that cannot be chosen. What is lowered as float32 computes in float32.
        deployment_targets: Oldest systems that an artifact can be made for, the default first;
            empty where that cannot be chosen.
        image_input: Whether an artifact can take images instead of tensors.
        batch_sizes: Whether the sizes of an open batch can be chosen.
        folder: Whether artifacts are folders, such as ``.mlpackage``, instead of files.
        version: Raised whenever the same graph and options lower to another file; part of the
            cache key.
        tools: Distributions whose versions enter the cache key, for example ``("flatbuffers",)``.
    """

    name: str
    title: str
    extra: str
    artifact_kind: ArtifactKind
    suffix: str
    precisions: tuple[Precision, ...]
    engines: tuple[str, ...] = ("edgekit",)
    weight_computes: tuple[WeightCompute, ...] = ("exact",)
    io_types: tuple[IoType, ...] = ("float32",)
    integer_only: bool = False
    computes: tuple[FloatCompute, ...] = ()
    deployment_targets: tuple[str, ...] = ()
    image_input: bool = False
    batch_sizes: bool = False
    folder: bool = False
    version: int = 1
    tools: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.computes and "float32" in self.precisions and "float32" not in self.computes:
            raise ValueError("what offers precision float32 must offer to compute in it")
        return self


class LowerConfig(LoweringChoices):
    """Options of lowering a canonical graph to a target."""

    precision: Precision = Field("float32", description="Numeric form of the artifact.")

    def settled_for(self, info: TargetInfo) -> Self:
        """The same with the target's own way wherever nothing is chosen.

        What is settled stays as it is when settled again.

        Raises:
            ConfigError: If the target does not offer a choice or the precision, or a choice
                contradicts the precision; all of them are listed.
        """
        problems = [
            f"{problem.choice}: {problem.text}"
            for problem in self.problems(info, [self.precision])
        ]
        if self.precision not in info.precisions:
            problems.append(
                f"precision: {self.precision} is not offered; accepted: "
                f"{', '.join(info.precisions)}"
            )
        if problems:
            raise ConfigError(describe_problems(f"Lowering to target {info.name!r}", problems))
        own: dict[str, object] = {"engine": info.engines[0]}
        if self.precision in WEIGHTS_ONLY:
            own["weight_compute"] = info.weight_computes[0]
        if info.computes:
            own["compute"] = "float32" if self.precision == "float32" else info.computes[0]
        if info.deployment_targets:
            own["deployment_target"] = info.deployment_targets[0]
        return self.model_copy(
            update={name: value for name, value in own.items() if getattr(self, name) is None}
        )


class Capabilities(FrozenModel):
    """What this machine can do with a target: None means yes, otherwise the reason why not."""

    convertible: Unavailable | None = None
    runnable: Unavailable | None = None
    measurable: Unavailable | None = None


class SupportReport(FrozenModel):
    """Result of checking a graph against a target before lowering."""

    unsupported: tuple[UnsupportedNode, ...] = ()

    @property
    def supported(self) -> bool:
        """True when every node can be lowered."""
        return not self.unsupported


class OpCount(FrozenModel):
    """Number of operators of one type in an artifact."""

    op: str
    count: int


class Inspection(FrozenModel):
    """Static facts about a model file.

    Attributes:
        path: The file.
        format: ``"onnx"``, ``"tflite"`` ...
        signature: Inputs and outputs.
        ops: Operators by type, most frequent first.
        macs: Multiply-accumulates of one inference at batch 1; None when a shape is unknown.
        parameters: Number of constant weights.
        size_bytes: Size of the file (with external data).
        integer_ops: Operators that compute on integers.
        float_ops: Operators that compute on floating point.
        details: Anything particular to the format, by name.
        metadata: What travels with the model besides its graph; None when the file says nothing.
    """

    path: Path
    format: str
    signature: ModelSignature
    ops: tuple[OpCount, ...]
    macs: int | None
    parameters: int
    size_bytes: int
    integer_ops: int
    float_ops: int
    details: dict[str, str] = Field(default_factory=dict)
    metadata: ModelMetadata | None = None


@dataclass(frozen=True, slots=True)
class Lowered:
    """What lowering gives: the artifact and the reasons for everything noteworthy."""

    artifact: Artifact
    notes: tuple[str, ...] = ()


class Session(Protocol):
    """A loaded artifact, ready to run. Not thread-safe; use one session a thread."""

    @property
    def signature(self) -> ModelSignature:
        """Inputs and outputs in the canonical graph's axis order."""

    @property
    def runtime(self) -> str:
        """Name and version of the runtime, for example ``"LiteRT 2.1.2 (XNNPACK)"``."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs once.

        Args:
            feeds: By input name, in the canonical graph's axis order and dtype; arrays are
                not modified. The session converts to the stored order.

        Returns:
            By output name, in the canonical graph's axis order; arrays owned by the caller.

        Raises:
            InputError: If a feed is missing or has the wrong shape or dtype.
        """

    def close(self) -> None:
        """Frees the runtime; the session cannot be used afterwards."""


class Target(Protocol):
    """A deployment format. Methods that a machine cannot serve return `Unavailable`."""

    @property
    def info(self) -> TargetInfo:
        """Static facts; needs no toolchain."""

    def capabilities(self) -> Capabilities:
        """What can be done on this machine, each with its reason if not."""

    def check(self, model: ir.Model) -> SupportReport:
        """Looks for nodes that cannot be lowered; ``model`` is not modified."""

    def lower(self, source: Artifact, config: LowerConfig, workdir: Path) -> Lowered | Unavailable:
        """Lowers a canonical ONNX artifact to a new file or folder below ``workdir``.

        Raises:
            ConfigError: See `LowerConfig.settled_for`, which is called first.
            UnsupportedGraphError: With all nodes that cannot be lowered.
        """

    def load(self, artifact: Path, config: RuntimeConfig) -> Session | Unavailable:
        """Loads a file of this target's format into its runtime."""

    def measure(self, artifact: Path, config: BenchConfig) -> LatencyStats | Unavailable:
        """Measures latency on this machine with inputs of fixed random values."""

    def inspect(self, path: Path) -> Inspection:
        """Static facts about a file of this format; needs no runtime.

        Raises:
            InputError: If the file is missing, damaged or of another format.
        """

    def verify(
        self, artifact: Path, source: Path, samples: Sequence[Mapping[str, Array]]
    ) -> ExactnessReport | Unavailable:
        """Compares a quantized artifact with the QDQ graph it was lowered from.

        Args:
            artifact: File of this target's format.
            source: The QDQ graph.
            samples: Inputs of the graph, one mapping a sample; seeded random ones if empty.

        Raises:
            InputError: If a file is missing, damaged, or was not made by edgekit.
        """

    def observe(self, artifact: Path) -> ObservableSession | Unavailable:
        """Loads a file of this target's format so that its inner tensors can be seen.

        Raises:
            InputError: If the file is missing, damaged or of another format.
            UnsupportedError: If the runtime refuses it.
        """

    def quant_constraints(self) -> QuantConstraints | Unavailable:
        """What the target demands of quantized graphs; `Unavailable` where it runs any.

        Placement keeps to the defaults of `QuantConstraints`, which must satisfy every target:
        there is one QDQ graph for all.
        """

    def integrate(self, artifact: Artifact, destination: Path) -> Unavailable:
        """Writes an application skeleton around the artifact."""
