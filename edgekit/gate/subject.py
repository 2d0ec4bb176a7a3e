"""An artifact under the gate, and what is measured of it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgekit.core.artifact import size_on_disk
from edgekit.core.hashing import digest_path, digest_value
from edgekit.core.metadata import ModelMetadata
from edgekit.core.metrics import Unavailable
from edgekit.core.progress import Progress
from edgekit.core.target import BenchConfig, Inspection, RuntimeConfig, Session, Target
from edgekit.data.contract import DataSpec
from edgekit.data.datasets import data_files, open_dataset
from edgekit.errors import (
    EdgekitError,
    MissingToolError,
    UnsupportedError,
    VerificationError,
)
from edgekit.measure.accuracy import classify, predictions_digest
from edgekit.measure.artifact_latency import session_loader
from edgekit.measure.latency_loads import Loader
from edgekit.pipeline.registry import get_target


@dataclass(frozen=True, slots=True)
class Subject:
    """One artifact.

    Attributes:
        name: Name of its file.
        path: Where it lies.
        target: What runs it.
        facts: What its file says.
        digest: sha256 of its content.
        size_bytes: Its size.
        runtime: Runtime and version, or why it cannot be run here.
    """

    name: str
    path: Path
    target: Target
    facts: Inspection
    digest: str
    size_bytes: int
    runtime: str | Unavailable

    @property
    def quantized(self) -> bool:
        """Whether it computes on integers."""
        return self.facts.integer_ops > 0

    @property
    def model(self) -> str:
        """Name of the model; empty where the file says none."""
        return self.facts.metadata.name if self.facts.metadata else ""


@dataclass(frozen=True, slots=True)
class Predictions:
    """What an artifact predicted for the samples of a set.

    Attributes:
        classes: Best class of each sample.
        targets: True class of each.
    """

    classes: tuple[int, ...]
    targets: tuple[int, ...]

    @property
    def targets_digest(self) -> str:
        """sha256 over the true classes."""
        return predictions_digest(self.targets)


def open_subject(path: Path, target_name: str, threads: int) -> Subject:
    """Reads the file and tries whether it runs.

    Raises:
        InputError: If the file is damaged.
        ConfigError: If there is no such target.
    """
    target = get_target(target_name)
    facts = target.inspect(path)
    session = target.load(path, RuntimeConfig(threads=threads))
    runtime: str | Unavailable
    if isinstance(session, Unavailable):
        runtime = session
    else:
        with closing(session):
            runtime = session.runtime
    return Subject(
        name=path.name,
        path=path,
        target=target,
        facts=facts,
        digest=digest_path(path),
        size_bytes=size_on_disk(path),
        runtime=runtime,
    )


def predict(
    subject: Subject, path: Path, spec: DataSpec, threads: int, progress: Progress | None
) -> Predictions | Unavailable:
    """Runs an artifact over a set.

    Args:
        subject: Gives the target.
        path: The artifact: the subject's, or that of the baseline.
        spec: The samples.
        threads: Given to the runtime.
        progress: Receives the advance.

    Returns:
        The predictions, or why there are none: no runtime, or no data.

    Raises:
        VerificationError: If an output holds NaN.
        UnsupportedError: If the runtime fails.
    """
    session = subject.target.load(path, RuntimeConfig(threads=threads))
    if isinstance(session, Unavailable):
        return session
    with closing(session):
        try:
            # Each file has its own preprocessing: that of the baseline's may be the right one.
            facts = subject.facts if path == subject.path else subject.target.inspect(path)
            metadata = facts.metadata or ModelMetadata()
            found = classify(
                session,
                open_dataset(spec),
                metadata.preprocessing,
                model_labels=metadata.labels,
                progress=progress,
            )
        except (UnsupportedError, VerificationError):
            raise
        except EdgekitError as error:
            return Unavailable(reason=str(error))
    return Predictions(tuple(found.predictions.tolist()), tuple(found.targets.tolist()))


def files_digest(spec: DataSpec) -> str:
    """Digest over names and content of a set's files; empty for embedded data.

    Raises:
        ConfigError: If there is no such set.
        InputError: If files are missing.
    """
    files = data_files(spec)
    if not files:
        return ""
    return digest_value(
        sorted((path.name, digest_path(path, follow_links=True)) for path in files)
    )


def samples_in(spec: DataSpec) -> int:
    """Number of samples that a spec stands for.

    Raises:
        EdgekitError: If the set cannot be opened.
    """
    return len(open_dataset(spec))


def loader_of(target: Target, path: Path, threads: int) -> Loader:
    """Loads an artifact of a target that can run here, for `edgekit.gate.latency`."""
    return session_loader(partial(_load, target, path, threads))


def measurable(target: Target) -> Unavailable | None:
    """None where this machine can measure what the target runs."""
    abilities = target.capabilities()
    return abilities.runnable or abilities.measurable


def peak_memory_of(target: Target, path: Path, threads: int) -> int | Unavailable:
    """Peak memory of one run in a fresh process, in bytes."""
    config = BenchConfig(threads=threads, warmup_runs=0, runs=1, memory=True)
    stats = target.measure(path, config)
    if isinstance(stats, Unavailable):
        return stats
    if stats.peak_memory_bytes is None:
        return Unavailable(reason="; ".join(stats.notes) or "peak memory was not measured")
    return stats.peak_memory_bytes


def _load(target: Target, path: Path, threads: int) -> Session:
    session = target.load(path, RuntimeConfig(threads=threads))
    if isinstance(session, Unavailable):
        raise MissingToolError(session.reason)
    return session
