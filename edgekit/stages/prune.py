"""Stage prune: a canonical graph to one with fewer channels."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metrics import Unavailable
from edgekit.core.pruning_summary import LayerWidth, PruneSummary, UnprunedLayers
from edgekit.core.stage import Note, StageConfig, StageContext, StageResult
from edgekit.core.target import LowerConfig, RuntimeConfig, Session, Target
from edgekit.data.datasets import DataSpec, data_files
from edgekit.errors import ConfigError, MissingToolError
from edgekit.training.pruning.stage_options import PruneOptions

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch
    from torch import nn

    from edgekit.graph.torch_twin import TorchTwin
    from edgekit.training.estimated_norms import StatisticsData
    from edgekit.training.pruning.report import PruneReport
    from edgekit.training.qat.samples import QatSamples


class PruneStageConfig(StageConfig):
    """Options of the stage."""

    step: str = Field("prune", description="Name of the step, for the report.")
    data: DataSpec | None = Field(
        None, description="Data set for statistics, and for importance taylor."
    )
    options: PruneOptions = Field(default_factory=PruneOptions, description="What to remove.")


class PruneStage:
    """Structured pruning of any imported network, through its torch form."""

    name: ClassVar[str] = "prune"
    version: ClassVar[int] = 4
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {
        "model": frozenset({ArtifactKind.ONNX})
    }
    optional: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {
        "model": ArtifactKind.ONNX,
        "summary": ArtifactKind.METRICS,
    }
    tools: ClassVar[tuple[str, ...]] = (
        "numpy", "onnx", "onnx-ir", "onnxruntime", "pillow", "scikit-learn", "torch",
        "torch-pruning",
    )  # fmt: skip

    @property
    def config_type(self) -> type[PruneStageConfig]:
        """Type of the options."""
        return PruneStageConfig

    def external_files(self, config: PruneStageConfig) -> tuple[Path, ...]:
        """The files of the data set."""
        return () if config.data is None else data_files(config.data)

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: PruneStageConfig
    ) -> StageResult:
        """Prunes and writes ``model.onnx`` and a `PruneSummary`.

        Raises:
            ConfigError: If the goal cannot be reached, or a pattern names no layer.
            UnsupportedError: If nothing can be pruned, or the graph is quantized.
            InputError: If the data set is missing or does not fit.
            MissingToolError: If torch-pruning is not installed, or the target of allocation
                latency cannot measure here.
        """
        from edgekit.graph.io import load_onnx, read_metadata, save_onnx, signature_of
        from edgekit.graph.torch_twin import build_twin
        from edgekit.training.determinism import deterministic
        from edgekit.training.estimated_norms import open_statistics
        from edgekit.training.pruning.separate_constants import separate_constants
        from edgekit.training.pruning.write_pruned import write_pruned

        source = inputs["model"]
        model = separate_constants(load_onnx(source.path))
        data = None
        if config.data is not None:
            count = config.options.statistics_samples
            data = open_statistics(model, config.data, count, "prune")
        with deterministic(context.seed, 1):
            twin = build_twin(model)
            pruning = _Pruning(context, model, twin, data, config)
            report = pruning.run()
        path = context.workdir / "model.onnx"
        pruned = write_pruned(twin, model)
        save_onnx(pruned, path)
        summary = _summary(config, context, report, data, pruning.errors)
        summary_path = context.workdir / "prune.json"
        summary_path.write_text(summary.model_dump_json(), encoding="utf-8")
        return StageResult(
            artifacts={
                "model": Artifact.of(
                    ArtifactKind.ONNX,
                    path,
                    signature=signature_of(pruned),
                    metadata=read_metadata(pruned),
                ),
                "summary": Artifact.of(ArtifactKind.METRICS, summary_path),
            },
            metrics={"prune": summary.model_dump(mode="json")},
            notes=_notes(report, data, config),
        )


class _Pruning:
    """One graph that is pruned in its torch form."""

    def __init__(
        self,
        context: StageContext,
        model: ir.Model,
        twin: TorchTwin,
        data: StatisticsData | None,
        config: PruneStageConfig,
    ) -> None:
        self._context = context
        self._model = model
        self._twin = twin
        self._data = data
        self._options = config.options
        self._tried = 0
        self._base: tuple[Session, float] | None = None
        self.errors: tuple[float, float] | None = None

    def run(self) -> PruneReport:
        """Prunes the twin; it then fits its graph again but for the channels."""
        from edgekit.training.estimated_norms import EstimatedNorms
        from edgekit.training.pruning.structured import prune_structured

        options = self._options
        norms = EstimatedNorms(self._twin, self._data)
        latency = options.allocation == "latency"
        self._context.progress.start("pruning", None)
        try:
            report = prune_structured(
                self._twin,
                self._example(),
                options.prune_config(),
                self._labelled() if options.importance == "taylor" else None,  # type: ignore[arg-type]
                measure=self._measure if latency else None,
            )
        finally:
            self._context.progress.finish()
            if self._base is not None:
                self._base[0].close()
        self.errors = norms.fold()
        return report

    def _labelled(self) -> QatSamples:
        if self._data is None or not self._data.labelled:
            raise ConfigError(
                "importance taylor computes gradients of the loss, which needs a labelled data "
                "set; add a section [data] (--data), or use importance magnitude"
            )
        return self._data.samples

    def _example(self) -> tuple[torch.Tensor, ...]:
        import torch

        from edgekit.graph.equivalence import random_feeds

        specs = self._twin.signature.inputs
        feeds = random_feeds(specs, seed=self._context.seed, batch=1)
        return tuple(torch.from_numpy(feeds[spec.name]) for spec in specs)

    def _measure(self, module: nn.Module) -> float:
        """Latency in ms of what the target makes of a pruned copy.

        All but the first network are timed in turn with the first.
        """
        from edgekit.measure.artifact_latency import timed_run
        from edgekit.measure.latency import measure_latency
        from edgekit.measure.latency_blocks import block_ratio

        runs = self._options.latency_runs
        session = self._lowered(module)
        if self._base is None:
            timings = measure_latency(timed_run(session), runs=runs)
            self._base = (session, timings.percentile_ms(50))
            latency_ms = self._base[1]
        else:
            base, base_ms = self._base
            latency_ms = base_ms * block_ratio(timed_run(session), timed_run(base), runs)
            session.close()
        self._context.progress.advance(0, f"network {self._tried}: {latency_ms:.3g} ms")
        return latency_ms

    def _lowered(self, module: nn.Module) -> Session:
        from edgekit.graph.io import save_onnx
        from edgekit.graph.torch_twin import TorchTwin
        from edgekit.training.pruning.write_pruned import write_pruned
        from edgekit.training.restored_norms import fold_norms

        target = self._target()
        twin = copy.deepcopy(module)
        assert isinstance(twin, TorchTwin)
        fold_norms(twin)
        self._tried += 1
        folder = self._context.workdir / f"tried-{self._tried}"
        folder.mkdir()
        save_onnx(write_pruned(twin, self._model), folder / "model.onnx")
        source = Artifact.of(ArtifactKind.ONNX, folder / "model.onnx")
        lowered = target.lower(source, LowerConfig().settled_for(target.info), folder)
        if isinstance(lowered, Unavailable):
            raise MissingToolError(lowered.reason)
        session = target.load(lowered.artifact.path, RuntimeConfig())
        if isinstance(session, Unavailable):
            raise MissingToolError(session.reason)
        return session

    def _target(self) -> Target:
        if self._context.target is None:
            raise ConfigError(
                "allocation latency measures on a target, and none is named; add a section "
                "[targets.NAME] (--target)"
            )
        return self._context.target


def _summary(
    config: PruneStageConfig,
    context: StageContext,
    report: PruneReport,
    data: StatisticsData | None,
    errors: tuple[float, float] | None,
) -> PruneSummary:
    measured = report.latency_ms is not None and context.target is not None
    return PruneSummary(
        step=config.step,
        importance=config.options.importance,
        allocation=config.options.allocation,
        goal=report.goal,
        macs=(report.before.macs, report.after.macs),
        parameters=(report.before.parameters, report.after.parameters),
        latency_ms=report.latency_ms,
        target=context.target.info.name if measured and context.target else "",
        channels=tuple(
            LayerWidth(layer=item.layer, before=item.before, after=item.after)
            for item in report.channels
        ),
        unpruned=tuple(
            UnprunedLayers(layers=item.layers, reason=item.reason) for item in report.kept_whole
        ),
        dataset="" if data is None or not data.order else data.name,
        samples=0 if data is None else len(data.order),
        output_error=errors,
    )


def _notes(
    report: PruneReport, data: StatisticsData | None, config: PruneStageConfig
) -> tuple[Note, ...]:
    notes = [
        Note(where=", ".join(item.layers), text=f"Not pruned: {item.reason}")
        for item in report.kept_whole
    ]
    if data is None and config.options.statistics_samples:
        text = (
            "There is no data set, so the statistics of the remaining channels were not "
            "estimated anew; the pruned network is further from its parent than it need be"
        )
        notes.append(Note(level="warning", text=text))
    return tuple(notes)
