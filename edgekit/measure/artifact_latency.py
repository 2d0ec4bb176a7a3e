"""Measures artifacts through their targets: latency with peak memory, and one against another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edgekit.core.load_plan import LoadPlan
from edgekit.core.metrics import LatencyStats, Unavailable
from edgekit.core.progress import Progress
from edgekit.core.target import BenchConfig, RuntimeConfig, Session, Target
from edgekit.measure.feeds import random_feeds
from edgekit.measure.latency import LatencyRatio, measure_latency
from edgekit.measure.latency_loads import Loader, compare_loads
from edgekit.measure.memory import peak_memory

if TYPE_CHECKING:
    from edgekit.core.target import Array

SEED = 0

type Opener = Callable[[], Session]
"""Loads an artifact into its runtime; whoever calls it closes the session."""


@runtime_checkable
class PreparingSession(Protocol):
    """A session that can take the checks and conversions of its feeds out of the timing."""

    def prepare(self, feeds: Mapping[str, Array]) -> Callable[[], object]:
        """Checks and converts feeds once; the call given back runs once with them."""


def measure_artifact(
    target: Target,
    artifact: Path,
    config: BenchConfig,
    *,
    target_factory: str,
    preload: Sequence[str] = (),
) -> LatencyStats | Unavailable:
    """What a target does for `Target.measure`.

    A dynamic batch is measured at 1.

    Args:
        target: Loads the artifact.
        artifact: The file.
        config: Threads, warm-up, runs, and whether memory is measured.
        target_factory: ``"module:function"`` that gives the target in the memory process.
        preload: Modules of the runtime, imported before the memory baseline.

    Raises:
        InputError: If the file is missing or damaged.
    """
    session = target.load(artifact, RuntimeConfig(threads=config.threads))
    if isinstance(session, Unavailable):
        return session
    try:
        timings = measure_latency(
            timed_run(session), runs=config.runs, warmup_runs=config.warmup_runs
        )
        runtime, batch = session.runtime, _batch(session)
    finally:
        session.close()
    memory = None
    if config.memory:
        memory = peak_memory(target_factory, artifact, preload=preload, threads=config.threads)
    missing = (f"peak memory was not measured: {memory.note}",) if memory and memory.note else ()
    return timings.stats(
        threads=config.threads,
        runtime=runtime,
        batch=batch,
        peak_memory_bytes=memory.peak_bytes if memory else None,
        notes=missing,
    )


def compare_latency(
    a: Opener, b: Opener, plan: LoadPlan | None = None, progress: Progress | None = None
) -> LatencyRatio:
    """Latency of one artifact over another's, over fresh loads of both in one process.

    Inputs of the same name, shape and dtype are fed the same values.

    Args:
        a: Loads the numerator into its runtime; called for each load.
        b: Loads the denominator.
        plan: Loads, pairs, warm-up and seed.
        progress: Receives the advance, in loads.
    """
    return compare_loads(session_loader(a), session_loader(b), plan, progress)


def session_loader(opener: Opener) -> Loader:
    """What `edgekit.measure.latency_loads` times of sessions that are opened and closed anew."""

    @contextmanager
    def loaded() -> Iterator[Callable[[], object]]:
        with closing(opener()) as session:
            yield timed_run(session)

    return loaded


def timed_run(session: Session) -> Callable[[], object]:
    """One inference on fixed random inputs, without what an application would do but once."""
    feeds = random_feeds(session.signature, SEED)
    if isinstance(session, PreparingSession):
        return session.prepare(feeds)
    return lambda: session.run(feeds)


def _batch(session: Session) -> int:
    """Samples in a run: the first axis of the first input."""
    shapes = [spec.concrete_shape() for spec in session.signature.inputs]
    return shapes[0][0] if shapes and shapes[0] else 1
