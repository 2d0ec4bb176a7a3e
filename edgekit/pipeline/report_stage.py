"""Stage report: a summary as JSON, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.run_summary import RunSummary
from edgekit.core.stage import StageConfig, StageContext, StageResult

_WRITER = "edgekit.report.build:write_report"
"""Loaded by name: pipeline and report lie side by side and do not import each other."""


class ReportStage:
    """Writes the report of a run."""

    name: ClassVar[str] = "report"
    version: ClassVar[int] = 2
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {
        "summary": frozenset({ArtifactKind.METRICS})
    }
    optional: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {"report": ArtifactKind.REPORT}
    tools: ClassVar[tuple[str, ...]] = ("jinja2", "vl-convert-python")

    @property
    def config_type(self) -> type[StageConfig]:
        """Type of the options: there are none."""
        return StageConfig

    def external_files(self, config: StageConfig) -> tuple[Path, ...]:
        """None: all comes from the store."""
        return ()

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: StageConfig
    ) -> StageResult:
        """Writes report.json, report.md and report.html."""
        from edgekit.pipeline.registry import load

        summary = RunSummary.model_validate_json(inputs["summary"].path.read_bytes())
        folder = context.workdir / "report"
        folder.mkdir()
        load(_WRITER)(summary, folder)
        return StageResult({"report": Artifact.of(ArtifactKind.REPORT, folder)})
