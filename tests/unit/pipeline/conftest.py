"""A target that copies the graph, and can be told to misbehave."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.parser
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.core.metrics import LatencyStats, Unavailable
from edgekit.core.quant import QuantConstraints
from edgekit.core.signature import ModelSignature
from edgekit.core.target import (
    BenchConfig,
    Capabilities,
    Inspection,
    LowerConfig,
    Lowered,
    OpCount,
    RuntimeConfig,
    Session,
    SupportReport,
    TargetInfo,
)
from edgekit.graph.io import load_onnx, signature_of
from edgekit.graph.reference import ReferenceSession

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgekit.core.target import Array

type MakeTarget = Callable[..., FakeTarget]
type MakeModel = Callable[..., Artifact]


@dataclass
class FakeSession:
    """The reference session, with an error added to every output."""

    inner: ReferenceSession
    error: float
    shapes: list[tuple[int, ...]]

    @property
    def signature(self) -> ModelSignature:
        return self.inner.signature

    @property
    def runtime(self) -> str:
        return "Fake 1.0"

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.shapes += [array.shape for array in feeds.values()]
        outputs: dict[str, Any] = self.inner.run(feeds)
        return {
            name: value + np.float32(self.error) * np.ptp(value) for name, value in outputs.items()
        }

    def close(self) -> None:
        self.inner.close()


@dataclass
class FakeTarget:
    """A target whose format is the graph itself.

    Attributes:
        name: Registered name.
        error: Added to every output, as a share of its range.
        folder: Whether the artifact is a folder that holds the graph.
        facts: Other values of its `TargetInfo`.
        cannot: What this machine cannot do, of "convert", "run" and "measure".
        shapes: Shapes that sessions were fed.
    """

    name: str = "fake"
    error: float = 0.0
    folder: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    cannot: tuple[str, ...] = ()
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def info(self) -> TargetInfo:
        return TargetInfo(
            name=self.name,
            title="Fake format",
            extra="fake",
            artifact_kind=ArtifactKind.ORT_ONNX,
            suffix=".fake",
            precisions=("float32", "float16"),
            engines=("copy", "link"),
            folder=self.folder,
        ).model_copy(update=self.facts)

    def _missing(self, what: str) -> Unavailable | None:
        return Unavailable(reason=f"Fakes cannot {what} here.") if what in self.cannot else None

    def capabilities(self) -> Capabilities:
        return Capabilities(
            convertible=self._missing("convert"),
            runnable=self._missing("run"),
            measurable=self._missing("measure"),
        )

    def check(self, model: ir.Model) -> SupportReport:
        return SupportReport()

    def lower(self, source: Artifact, config: LowerConfig, workdir: Path) -> Lowered | Unavailable:
        if missing := self._missing("convert"):
            return missing
        path = workdir / f"model-{config.precision}.fake"
        if self.folder:
            (path / "Data").mkdir(parents=True)
            (path / "Manifest.json").write_text(f'{{"precision": "{config.precision}"}}')
        shutil.copyfile(source.path, self._graph(path))
        artifact = Artifact.of(
            ArtifactKind.ORT_ONNX,
            path,
            signature=source.signature,
            metadata=source.metadata,
            precision=config.precision,
        )
        return Lowered(artifact, (f"copied as {config.precision}",))

    def _graph(self, path: Path) -> Path:
        return path / "Data" / "graph.onnx" if self.folder else path

    def load(self, artifact: Path, config: RuntimeConfig) -> Session | Unavailable:
        return self._missing("run") or FakeSession(
            ReferenceSession(self._graph(artifact)), self.error, self.shapes
        )

    def measure(self, artifact: Path, config: BenchConfig) -> LatencyStats | Unavailable:
        return self._missing("measure") or LatencyStats(
            p50_ms=1.0,
            p90_ms=2.0,
            mean_ms=1.5,
            min_ms=0.5,
            runs=config.runs,
            warmup_runs=config.warmup_runs,
            threads=config.threads,
            batch=1,
            runtime="Fake 1.0",
            device="none",
        )

    def inspect(self, path: Path) -> Inspection:
        signature = ModelSignature(inputs=(), outputs=())
        if self.folder:
            signature = signature_of(load_onnx(self._graph(path)))
        return Inspection(
            path=path,
            format="fake",
            signature=signature,
            ops=(OpCount(op="Copy", count=1),),
            macs=None,
            parameters=2,
            size_bytes=3,
            integer_ops=0,
            float_ops=1,
        )

    def verify(
        self, artifact: Path, source: Path, samples: Sequence[Mapping[str, Array]]
    ) -> Unavailable:
        return Unavailable(reason="Fakes hold no integers.")

    def observe(self, artifact: Path) -> Unavailable:
        return Unavailable(reason="Fakes show no inner tensors.")

    def quant_constraints(self) -> QuantConstraints | Unavailable:
        return Unavailable(reason="Fakes are not quantized.")

    def integrate(self, artifact: Artifact, destination: Path) -> Unavailable:
        return Unavailable(reason="Fakes have no application.")


@pytest.fixture
def make_target() -> MakeTarget:
    """Builds fake targets."""
    return FakeTarget


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Builds an artifact of a convolution, given the text of its input's shape."""

    def build(shape: str = "1, 3, 4, 4", preprocessing: Preprocessing | None = None) -> Artifact:
        text = f"""
            <ir_version: 10, opset_import: ["" : 20]>
            net (float[{shape}] image) => (float[{shape.partition(",")[0]}, 2, 2, 2] scores)
            <float[2, 3, 3, 3] w = {{{", ".join(str((i % 7) / 7 - 0.4) for i in range(54))}}}>
            {{ scores = Conv <kernel_shape = [3, 3]> (image, w) }}
        """
        path = tmp_path / "model.onnx"
        onnx.save(onnx.parser.parse_model(text), path)
        return Artifact.of(
            ArtifactKind.ONNX,
            path,
            signature=signature_of(load_onnx(path)),
            metadata=ModelMetadata(name="net", preprocessing=preprocessing),
        )

    return build
