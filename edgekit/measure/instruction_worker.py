"""The process that is counted; valgrind runs it for `edgekit.measure.instructions`.

It reads a `CountRequest` from stdin and writes a `CountAnswer` as the last line of stdout; the
counts themselves lie in the dumps of valgrind.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from contextlib import closing
from importlib import import_module

from edgekit.core.metrics import Unavailable
from edgekit.core.target import RuntimeConfig, Target
from edgekit.errors import EdgekitError
from edgekit.measure.artifact_latency import timed_run
from edgekit.measure.callgrind import Callgrind
from edgekit.measure.instructions import EMPTY, CountAnswer, CountRequest, label_of


def main() -> None:
    """Loads the artifact, counts, and writes the answer."""
    request = CountRequest.model_validate_json(sys.stdin.read())
    try:
        answer = count(request)
    except EdgekitError as error:
        answer = CountAnswer(error=type(error).__name__, message=str(error))
    sys.stdout.write(f"\n{answer.model_dump_json()}\n")


def count(request: CountRequest) -> CountAnswer:
    """Counts an empty call and ``request.runs`` inferences."""
    callgrind = Callgrind()
    module_name, _, function = request.target_factory.partition(":")
    target: Target = getattr(import_module(module_name), function)()
    session = target.load(request.artifact, RuntimeConfig(threads=1))
    if isinstance(session, Unavailable):
        return CountAnswer(error="MissingToolError", message=session.reason)
    with closing(session):
        run = timed_run(session)
        for _ in range(request.warmup_runs):
            run()
        gc.collect()
        gc.disable()
        callgrind.start()
        # The first call of each kind resolves what the loader left open.
        callgrind.count(_nothing, "warm-up")
        callgrind.count(run, "warm-up")
        _count_all(callgrind, run, request.runs)
        callgrind.stop()
        return CountAnswer(runtime=session.runtime, simulated=callgrind.running)


def _count_all(callgrind: Callgrind, run: Callable[[], object], runs: int) -> None:
    callgrind.count(_nothing, EMPTY)
    for number in range(runs):
        callgrind.count(run, label_of(number))


def _nothing() -> None:
    """The empty call."""


if __name__ == "__main__":
    main()
