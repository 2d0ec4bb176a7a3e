"""The process that profiles a .tflite file; see `edgekit.targets.tflite.profiling.profile`.

It reads a `WorkRequest` from stdin and writes lines of JSON to stdout: a `Start`, then a `Load`
for each load, or else a `Failure`.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from edgekit.core.model_base import FrozenModel
from edgekit.core.op_profile import ProfileConfig
from edgekit.core.target import RuntimeConfig
from edgekit.errors import EdgekitError
from edgekit.measure.artifact_latency import SEED
from edgekit.measure.feeds import random_feeds
from edgekit.measure.latency import garbage_collector_off, timed_us, warm_up
from edgekit.targets.tflite.model_file import ModelFile, read_model_file
from edgekit.targets.tflite.profiling.native import (
    DELEGATE_EVENTS,
    KERNEL_EVENT,
    Event,
    NativeModel,
)
from edgekit.targets.tflite.runtime import LiteRTSession


class WorkRequest(FrozenModel):
    """What the process is told."""

    artifact: Path
    config: ProfileConfig


class Start(FrozenModel):
    """What is known before the first load.

    Attributes:
        runtime: Runtime, version and kernels.
        version: Version alone.
        parts: Operators of the file in each part that the delegate took, in order.
    """

    runtime: str
    version: str
    parts: tuple[tuple[int, ...], ...]


class Step(FrozenModel):
    """An operator that the profiler tells of.

    Attributes:
        kernel: What LiteRT calls it.
        delegated: Whether a delegate ran it.
        index: In the file, or within the delegate's part.
    """

    kernel: str
    delegated: bool
    index: int


class Load(FrozenModel):
    """One load of the file.

    Attributes:
        steps: Operators in order; the same in all runs.
        times_us: Their times in each run, as the profiler gives them.
        profiled_us: Whole time of each of these runs.
        latency_us: Whole time of each run in the interpreter, without profiler.
        equal_outputs: Whether both gave the same outputs, bit for bit.
    """

    steps: tuple[Step, ...]
    times_us: tuple[tuple[int, ...], ...]
    profiled_us: tuple[float, ...]
    latency_us: tuple[float, ...]
    equal_outputs: bool


class Failure(FrozenModel):
    """An error that edgekit knows: the name of its class, and its message."""

    error: str
    message: str


def main() -> None:
    """Entry of the process."""
    # Native code may print; what it prints must not reach the answer.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = WorkRequest.model_validate_json(sys.stdin.read())
    try:
        for answer in _answers(request):
            replies.write(answer.model_dump_json() + "\n")
            replies.flush()
    except EdgekitError as error:
        failure = Failure(error=type(error).__name__, message=str(error))
        replies.write(failure.model_dump_json() + "\n")
    replies.close()


def _answers(request: WorkRequest) -> Any:
    import ai_edge_litert

    file = read_model_file(request.artifact)
    with closing(_open(request)) as session:
        yield Start(
            runtime=session.runtime,
            version=str(ai_edge_litert.__version__),
            parts=session.delegation.parts,
        )
    for _ in range(request.config.loads):
        yield _load(request, file)


def _open(request: WorkRequest) -> LiteRTSession:
    return LiteRTSession(request.artifact, RuntimeConfig(threads=request.config.threads))


def _load(request: WorkRequest, file: ModelFile) -> Load:
    config = request.config
    with closing(_open(request)) as session:
        feeds = random_feeds(session.signature, SEED)
        run = session.prepare(feeds)
        stored = session.stored_feeds(feeds)
        with garbage_collector_off():
            warm_up(run, config.warmup_runs)
            latency_us = [timed_us(run) for _ in range(config.runs)]
        expected = [array.tobytes() for array in run()]
    native = NativeModel(request.artifact, config.threads)
    native.set_inputs(
        {name: stored[place] for place, (name, _) in enumerate(file.named_inputs())}, stored
    )
    steps: tuple[Step, ...] | None = None
    times_us, profiled_us = [], []
    with garbage_collector_off():
        warm_up(native.run, config.warmup_runs)
        for _ in range(config.runs):
            native.start()
            profiled_us.append(timed_us(native.run))
            events = [event for event in native.stop() if _is_operator(event)]
            steps = steps or tuple(_step(event) for event in events)
            times_us.append(tuple(event.elapsed_us for event in events))
    named = native.output_bytes()
    found = [named.get(name) for name, _ in file.named_outputs()]
    if None in found:
        found = list(named.values())
    return Load(
        steps=steps or (),
        times_us=tuple(times_us),
        profiled_us=tuple(profiled_us),
        latency_us=tuple(latency_us),
        equal_outputs=found == expected,
    )


def _is_operator(event: Event) -> bool:
    # Delegates leave the second number open.
    kernel = event.type == KERNEL_EVENT and event.subgraph == 0
    return kernel or event.type in DELEGATE_EVENTS


def _step(event: Event) -> Step:
    return Step(
        kernel=event.tag.strip(), delegated=event.type in DELEGATE_EVENTS, index=event.index
    )


if __name__ == "__main__":
    main()
