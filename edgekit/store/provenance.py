"""The record of one stage run: what came out, of what, made how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from edgekit.core.artifact import ArtifactKind
from edgekit.core.hashing import digest_value
from edgekit.core.metadata import ModelMetadata
from edgekit.core.model_base import FrozenModel
from edgekit.core.signature import ModelSignature
from edgekit.core.stage import Note


class ExternalFile(FrozenModel):
    """A file or folder outside the store that a result depends on.

    Attributes:
        path: Where it lay when it was read; not part of the key.
        digest: sha256 of its content, hex.
    """

    path: str
    digest: str


class Provenance(FrozenModel):
    """All that decides a stage's result; equal provenance has equal results.

    Attributes:
        stage: Name of the stage.
        stage_version: Version of the stage.
        config: Options as JSON.
        inputs: Digest of the artifact in each input slot.
        external_files: Files outside the store, sorted by content.
        tools: Version of each distribution that the result depends on, by name.
        seed: Seed of everything random.
        target: Name and version of the target the stage works for; empty without one.
        scope: What else the result holds for, such as the processor of a measurement.
    """

    stage: str
    stage_version: int
    config: dict[str, Any]
    inputs: dict[str, str]
    external_files: tuple[ExternalFile, ...]
    tools: dict[str, str]
    seed: int
    target: str = ""
    scope: dict[str, str] = Field(default_factory=dict)

    def key(self) -> str:
        """sha256 (hex) of everything here except the places of external files."""
        document = self.model_dump(mode="json")
        document["external_files"] = [item.digest for item in self.external_files]
        return digest_value(document)


class OutputRecord(FrozenModel):
    """One artifact in the store, as a record refers to it.

    Attributes:
        kind: What it is.
        digest: sha256 of its content, hex; also its name in the store.
        suffix: File suffix it is stored under, with the dot: some runtimes go by it.
        signature: See `Artifact`.
        metadata: See `Artifact`.
        precision: See `Artifact`.
    """

    kind: ArtifactKind
    digest: str
    suffix: str
    signature: ModelSignature | None
    metadata: ModelMetadata | None
    precision: str


class Record(FrozenModel):
    """A finished stage run. Its file is written last, so what it names is complete.

    ``started`` and ``duration_s`` stand only here: nothing that is hashed or exported holds
    them, so that the same work gives the same bytes.

    Attributes:
        schema_version: Version of this schema.
        key: `Provenance.key` of ``provenance``.
        provenance: What the result was made from.
        outputs: By output slot.
        metrics: JSON values that the stage gave.
        notes: Reasons that the stage gave.
        edgekit_version: Version that ran the stage.
        started: Start of the run, ISO 8601 in UTC.
        duration_s: Time the stage took, in seconds.
    """

    schema_version: Literal[1] = 1
    key: str
    provenance: Provenance
    outputs: dict[str, OutputRecord]
    metrics: dict[str, Any]
    notes: tuple[Note, ...]
    edgekit_version: str
    started: str
    duration_s: float


class Timing(FrozenModel):
    """When a stage ran and for how long; see `Record`."""

    started: str
    duration_s: float


def tool_versions(distributions: tuple[str, ...]) -> Mapping[str, str]:
    """Installed version of each distribution; ``"not installed"`` where there is none."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in sorted(set(distributions)):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions
