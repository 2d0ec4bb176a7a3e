"""Stage benchmark: size, latency and peak memory of a lowered model on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from edgekit.core.artifact import Artifact, ArtifactKind, size_on_disk
from edgekit.core.metrics import Unavailable
from edgekit.core.stage import Note, StageConfig, StageContext, StageResult
from edgekit.core.target import BenchConfig
from edgekit.errors import ConfigError
from edgekit.measure.results import BenchmarkResult, write_result
from edgekit.measure.session import RUNNABLE_KINDS, check_kind


class BenchmarkConfig(StageConfig):
    """Options of the stage."""

    bench: BenchConfig = Field(
        default_factory=lambda: BenchConfig(), description="How latency is measured."
    )


class BenchmarkStage:
    """Latency on the target's runtime; needs a target."""

    name: ClassVar[str] = "benchmark"
    version: ClassVar[int] = 1
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {"model": RUNNABLE_KINDS}
    optional: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {"metrics": ArtifactKind.METRICS}
    tools: ClassVar[tuple[str, ...]] = ("ai-edge-litert", "numpy", "onnxruntime")

    @property
    def config_type(self) -> type[BenchmarkConfig]:
        """Type of the options."""
        return BenchmarkConfig

    def external_files(self, config: BenchmarkConfig) -> tuple[Path, ...]:
        """None: the inputs are random."""
        return ()

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: BenchmarkConfig
    ) -> StageResult:
        """Measures and writes a `BenchmarkResult`.

        On a machine that cannot measure the artifact the result says so.

        Raises:
            ConfigError: If there is no target, or it does not run files of this kind.
        """
        model = inputs["model"]
        target = context.target
        if target is None:
            raise ConfigError("The benchmark step has no target; latency belongs to a runtime.")
        check_kind(model, target)
        name = target.info.name
        context.progress.start(f"latency of {name}", None)
        try:
            latency = target.measure(model.path, config.bench)
        finally:
            context.progress.finish()
        result = BenchmarkResult(
            model_digest=model.digest,
            target=name,
            precision=model.precision,
            size_bytes=size_on_disk(model.path),
            latency=latency,
        )
        path = write_result(context.workdir / "benchmark.json", result)
        texts = (
            (f"Not measured: {latency.reason}",)
            if isinstance(latency, Unavailable)
            else latency.notes
        )
        return StageResult(
            artifacts={"metrics": Artifact.of(ArtifactKind.METRICS, path)},
            metrics={
                "latency": latency.model_dump(mode="json"),
                "size_bytes": result.size_bytes,
            },
            notes=tuple(Note(level="warning", where=name, text=text) for text in texts),
        )
