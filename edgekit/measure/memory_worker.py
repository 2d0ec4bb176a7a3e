"""The process that `edgekit.measure.memory.peak_memory` starts; reads stdin, writes stdout."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from edgekit.core.metrics import Unavailable
from edgekit.core.target import RuntimeConfig, Target
from edgekit.measure.feeds import random_feeds
from edgekit.measure.memory import MemoryRequest, PeakMemory

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def main() -> None:
    """Measures and writes a `PeakMemory` as the last line of stdout."""
    request = MemoryRequest.model_validate_json(sys.stdin.read())
    try:
        answer = measure(request)
    except Exception as error:  # any failure becomes the note
        answer = PeakMemory(note=f"{type(error).__name__}: {error}")
    sys.stdout.write(f"\n{answer.model_dump_json()}\n")


def measure(request: MemoryRequest) -> PeakMemory:
    """Loads and runs the artifact and reads the peak before and after."""
    for module in request.preload:
        import_module(module)
    module_name, _, function = request.target_factory.partition(":")
    target: Target = getattr(import_module(module_name), function)()
    _reset_peak()
    baseline = peak_bytes()
    session = target.load(request.artifact, RuntimeConfig(threads=request.threads))
    if isinstance(session, Unavailable):
        return PeakMemory(note=session.reason)
    feeds = random_feeds(session.signature, seed=0)
    for _ in range(request.runs):
        session.run(feeds)
    peak = peak_bytes()
    session.close()
    return PeakMemory(peak_bytes=max(0, peak - baseline), baseline_bytes=baseline)


def peak_bytes() -> int:
    """Highest resident memory of this process so far.

    Linux's ``ru_maxrss`` survives ``exec``: a child of a large process starts with its
    parent's peak. VmHWM belongs to the program alone, so it is preferred.
    """
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # no /proc: not Linux
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _reset_peak() -> None:
    """Brings the peak down to the present size, so that a peak of the imports hides nothing."""
    # Not Linux, or not permitted: the baseline is then the peak of the imports.
    with suppress(OSError):
        _CLEAR_REFS.write_text(_RESET_PEAK)


if __name__ == "__main__":
    main()
