"""The contract between a stage and the runner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.model_base import FrozenModel
from edgekit.core.progress import Progress, SilentProgress
from edgekit.core.target import Target


class Note(FrozenModel):
    """A reason kept for the report: something was skipped, left or could not be done.

    Attributes:
        level: ``"info"`` for a fact, ``"warning"`` for what the user should look at.
        where: Node, tensor or part concerned; empty for the whole.
        text: One sentence with the reason.
    """

    level: Literal["info", "warning"] = "info"
    where: str = ""
    text: str


class StageConfig(FrozenModel):
    """Base of every stage's options; the fields are part of the cache key."""


@dataclass(frozen=True, slots=True)
class FinishedStep:
    """A step of the same run that has ended, for a stage that tells of the whole run.

    Attributes:
        id: Name within the plan.
        key: Key of its record in the store, hex.
        reused: True when the store already held the result.
        duration_s: Time the work took when it was done, also for a reused step.
        notes: Reasons that the stage gave.
        tools: Version of each distribution that the result depends on, by name.
        files: Name and digest of each file outside the store that the result depends on.
    """

    id: str
    key: str
    reused: bool
    duration_s: float
    notes: tuple[Note, ...]
    tools: Mapping[str, str]
    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class StageContext:
    """What the runner hands to a stage besides its inputs and options.

    Attributes:
        workdir: Empty scratch folder; outputs are written here and moved into the store.
        checkpoints: Folder for what a run that was interrupted goes on from; it is kept, unlike
            ``workdir``, until a run of the same step has ended. It may not be there yet. None
            where nothing is kept.
        seed: Seed for everything random.
        progress: Receives the advance.
        target: The target that the stage works for, where it has one.
        history: Steps of this run that came before; empty for stages that do not ask for
            everything (input slot ``"*"``).
    """

    workdir: Path
    checkpoints: Path | None = None
    seed: int = 0
    progress: Progress = field(default_factory=SilentProgress)
    target: Target | None = None
    history: tuple[FinishedStep, ...] = ()


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage gives back.

    Attributes:
        artifacts: By output slot; the paths lie in the context's ``workdir``.
        metrics: JSON values to show and to keep.
        notes: Reasons for the report.
    """

    artifacts: Mapping[str, Artifact]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


class Stage[ConfigT: StageConfig](Protocol):
    """One step of a pipeline: inputs and options to artifacts, and nothing else.

    Attributes:
        name: Registered name, the same as the file's.
        version: Raised whenever the result for the same inputs changes; part of the cache key.
        config_type: Type of the options.
        consumes: Kinds accepted by each input slot. The slot ``"*"`` stands for any number of
            inputs, freely named.
        optional: Input slots that may be left open.
        produces: Kind given by each output slot; ``None`` means that the target decides.
        tools: Distributions whose versions enter the cache key, for example ``("torch",)``.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]]
    optional: ClassVar[frozenset[str]]
    produces: ClassVar[Mapping[str, ArtifactKind | None]]
    tools: ClassVar[tuple[str, ...]]

    @property
    def config_type(self) -> type[ConfigT]:
        """Type of the options."""

    def external_files(self, config: ConfigT) -> tuple[Path, ...]:
        """Files and folders outside the store that the result depends on.

        Their content enters the cache key.

        Raises:
            InputError: If one is missing.
        """

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: ConfigT
    ) -> StageResult:
        """Does the work; writes only below ``context.workdir`` and ``context.checkpoints``."""
