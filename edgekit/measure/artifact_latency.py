"""Measures one artifact through its target: latency and peak memory together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.core.metrics import LatencyStats, Unavailable
from edgekit.core.target import BenchConfig, RuntimeConfig, Target
from edgekit.measure.feeds import random_feeds
from edgekit.measure.latency import measure_latency
from edgekit.measure.memory import peak_memory


def measure_artifact(
    target: Target,
    artifact: Path,
    config: BenchConfig,
    *,
    target_factory: str,
    preload: Sequence[str] = (),
) -> LatencyStats | Unavailable:
    """What most targets do for `Target.measure`.

    A run is `Session.run`: it includes the checks of the feeds and the copies of the
    outputs, the same for every target. A dynamic batch is measured at 1.

    Args:
        target: Loads the artifact.
        artifact: The file.
        config: Threads, warm-up, runs, and whether memory is measured.
        target_factory: ``"module:function"`` that gives the target in the memory process.
        preload: Modules of the runtime, imported before the memory baseline.
    """
    session = target.load(artifact, RuntimeConfig(threads=config.threads))
    if isinstance(session, Unavailable):
        return session
    try:
        feeds = random_feeds(session.signature, seed=0)
        timings = measure_latency(
            lambda: session.run(feeds), runs=config.runs, warmup_runs=config.warmup_runs
        )
        shapes = [values.shape for values in feeds.values()]
        runtime = session.runtime
    finally:
        session.close()
    memory = None
    if config.memory:
        memory = peak_memory(target_factory, artifact, preload=preload, threads=config.threads)
    missing = (f"peak memory was not measured: {memory.note}",) if memory and memory.note else ()
    return timings.stats(
        threads=config.threads,
        runtime=runtime,
        batch=shapes[0][0] if shapes and shapes[0] else 1,
        peak_memory_bytes=memory.peak_bytes if memory else None,
        notes=missing,
    )
