"""Peak memory of an artifact, measured in a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from edgekit.core.model_base import FrozenModel
from edgekit.measure.worker_process import module_command, module_environment

TIMEOUT_S = 300
_WORKER = "edgekit.measure.memory_worker"


class MemoryRequest(FrozenModel):
    """What the worker process is told.

    Attributes:
        target_factory: ``"module:function"`` that gives the `Target`.
        preload: Modules to import before the baseline, so that the size of the runtime's
            code is not counted as the artifact's.
        artifact: The file to load and run.
        threads: Threads given to the runtime.
        runs: Inferences before the peak is read.
    """

    target_factory: str
    preload: tuple[str, ...]
    artifact: Path
    threads: int = 1
    runs: int = 3


class PeakMemory(FrozenModel):
    """Answer of the worker process.

    Attributes:
        peak_bytes: Highest resident memory less the baseline; None when not measured.
        baseline_bytes: Resident memory after the imports, before loading.
        note: Why it was not measured; empty when it was.
    """

    peak_bytes: int | None = None
    baseline_bytes: int | None = None
    note: str = ""


def peak_memory(
    target_factory: str,
    artifact: Path,
    *,
    preload: Sequence[str] = (),
    threads: int = 1,
    timeout_s: float = TIMEOUT_S,
) -> PeakMemory:
    """Peak resident memory of a fresh process that loads and runs an artifact.

    The process imports the runtime, takes the baseline, then loads the artifact and runs it
    on random inputs. Nothing is raised: whatever fails leaves a note in place of the figure,
    because a missing memory figure must not cost the latency beside it.

    Args:
        target_factory: ``"module:function"`` that gives the `Target`, for example
            ``"edgekit.targets.onnxruntime.target:create_target"``.
        artifact: A file of that target's format.
        preload: Modules of the runtime.
        threads: Threads given to the runtime.
        timeout_s: Limit for the process, in seconds.
    """
    request = MemoryRequest(
        target_factory=target_factory,
        preload=tuple(preload),
        artifact=artifact.resolve(),
        threads=threads,
    )
    try:
        done = subprocess.run(
            module_command(_WORKER),
            input=request.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=module_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return PeakMemory(note=f"the process did not end within {timeout_s:g} s")
    except OSError as error:
        return PeakMemory(note=f"the process could not be started: {error}")
    answer = done.stdout.strip().rpartition("\n")[2]
    try:
        return PeakMemory.model_validate_json(answer)
    except ValidationError:
        last = done.stderr.strip().rpartition("\n")[2]
        return PeakMemory(note=f"the process ended with code {done.returncode}: {last}")
