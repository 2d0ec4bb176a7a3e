"""Finished runs as the history keeps them: what was measured, when, and from which commit.

These records are apart from `RunSummary`, which changes with the report: a history outlives
versions of edgekit, so its fields are few and plain, and each is a column of the database.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from edgekit.core.metrics import Unavailable
from edgekit.core.model_base import FrozenModel


class GitState(FrozenModel):
    """The commit that a project's folder stood at when a run began.

    Attributes:
        commit: Full name of the commit, hex.
        dirty: True when files that git tracks differed from it. Untracked files do not count,
            as for ``git describe --dirty``: what edgekit makes is untracked itself.
    """

    commit: str
    dirty: bool


class HistoryAccuracy(FrozenModel):
    """A share of right answers.

    Attributes:
        metric: What was counted.
        value: Share, 0..1.
        n: Samples.
        dataset: Data set with its split.
        runtime: Runtime and version that computed it.
    """

    metric: Literal["top1"] = "top1"
    value: float = Field(ge=0, le=1)
    n: int
    dataset: str
    runtime: str


class HistoryLatency(FrozenModel):
    """Latency with its conditions; see `edgekit.core.metrics.LatencyStats`.

    Attributes:
        p50_ms: Median, in milliseconds.
        p90_ms: 90th percentile, in milliseconds.
        runs: Measured runs.
        warmup_runs: Runs before them that were not counted.
        threads: Threads given to the runtime.
        batch: Samples in one run.
        runtime: Runtime and version.
        device: Processor.
        peak_memory_bytes: Memory that loading and running takes; None: not measured.
        notes: What a reader must know besides.
    """

    p50_ms: float = Field(allow_inf_nan=False)
    p90_ms: float = Field(allow_inf_nan=False)
    runs: int
    warmup_runs: int
    threads: int
    batch: int
    runtime: str
    device: str
    peak_memory_bytes: int | None = None
    notes: tuple[str, ...] = ()


class Figures(FrozenModel):
    """What was measured of one model file; a figure that is not there has its reason.

    Attributes:
        form: Numeric form, such as ``"int8"``.
        target: Target that the file belongs to; of a stage without a file empty.
        accuracy: On the evaluation set.
        latency: On the run's device.
        size_bytes: Size of the file, or of all files of a folder.
        macs: Multiply-accumulates of one inference at batch 1; None: unknown.
        parameters: Constant weights; None: unknown.
    """

    form: str
    target: str = ""
    accuracy: HistoryAccuracy | Unavailable
    latency: HistoryLatency | Unavailable
    size_bytes: int | Unavailable
    macs: int | None = None
    parameters: int | None = None


class HistoryArtifact(Figures):
    """What a target was given.

    Attributes:
        engine: Lowering engine that wrote it.
        compute: Precision of floating point; empty where there is no choice.
        deployment_target: Oldest system it was made for; empty where there is no choice.
        file_name: Name in the output folder; empty where nothing could be made.
        digest: sha256 of the content, hex; empty where nothing could be made.
    """

    engine: str = ""
    compute: str = ""
    deployment_target: str = ""
    file_name: str = ""
    digest: str = ""


class HistoryStage(Figures):
    """The model after one stage: a row of the ledger.

    Attributes:
        stage: What made it, for example ``"pruned"`` or ``"QAT"``.
        step: Step of the plan that made it.
        parent: Step that made what it was made from; empty for the first.
    """

    stage: str
    step: str
    parent: str = ""


class FinishedRun(FrozenModel):
    """One run, as it is recorded.

    Attributes:
        project: Name of the project.
        command: What was called: ``"run"``, ``"convert"``, ...
        finished: When it ended.
        duration_s: How long it took, in seconds.
        git: Commit of the project's folder; `Unavailable` where there is none.
        edgekit_version: Version that ran.
        device: Processor.
        system: Operating system and architecture.
        seed: Seed of everything random.
        steps: Steps of the plan.
        steps_reused: Those of them whose results the store held already. Where it is all of
            them, every figure was measured by an earlier run.
        artifacts: One for each target and form, in the order of the project.
        stages: The ledger, in its order.
    """

    project: str
    command: str
    finished: AwareDatetime
    duration_s: float = Field(allow_inf_nan=False)
    git: GitState | Unavailable
    edgekit_version: str
    device: str
    system: str
    seed: int
    steps: int
    steps_reused: int
    artifacts: tuple[HistoryArtifact, ...] = ()
    stages: tuple[HistoryStage, ...] = ()


class RecordedRun(FinishedRun):
    """A run that the history holds.

    Attributes:
        id: Number of the run, rising in the order in which runs were recorded, from 1.
    """

    id: int
