"""Instructions of one inference, counted by valgrind's tool callgrind."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from pydantic import ValidationError

from edgekit import errors
from edgekit.core.instruction_count import InstructionCount
from edgekit.core.metrics import Unavailable
from edgekit.core.model_base import FrozenModel
from edgekit.measure.callgrind import unsupported_machine
from edgekit.measure.callgrind_dump import read_dumps
from edgekit.measure.worker_process import (
    how_it_ended,
    last_words,
    module_command,
    module_environment,
)

TOOL = "valgrind"
RUNS = 3
WARMUP_RUNS = 2
TIMEOUT_S = 3600.0
EMPTY = "empty"
"""Label of the dump of an empty call."""

PROCESSOR = "x86-64 with AVX2 and FMA, as valgrind presents it"
"""Valgrind 3 translates no AVX-512, and says so to who asks for the processor's extensions."""

_WORKER = "edgekit.measure.instruction_worker"
_PREFIX = "callgrind"


class CountRequest(FrozenModel):
    """What the counted process is told.

    Attributes:
        target_factory: ``"module:function"`` that gives the `Target`.
        artifact: The file to load and run.
        warmup_runs: Inferences before counting.
        runs: Counted inferences.
    """

    target_factory: str
    artifact: Path
    warmup_runs: int = WARMUP_RUNS
    runs: int = RUNS


class CountAnswer(FrozenModel):
    """Answer of the counted process.

    Attributes:
        runtime: Runtime and version.
        simulated: Whether it ran under valgrind.
        error: Name of the class of an error that edgekit knows; empty without one.
        message: Its message.
    """

    runtime: str = ""
    simulated: bool = False
    error: str = ""
    message: str = ""


def label_of(number: int) -> str:
    """Label of the dump of an inference."""
    return f"run {number}"


def counting_missing() -> Unavailable | None:
    """Why this machine cannot count instructions; None where it can."""
    if reason := unsupported_machine():
        return Unavailable(reason=reason)
    if shutil.which(TOOL) is None:
        return Unavailable(
            reason="valgrind is not installed, which counts instructions. Install it with the "
            "system's packages: apt-get install valgrind, or dnf install valgrind"
        )
    return None


def count_instructions(
    target_name: str,
    target_factory: str,
    artifact: Path,
    arithmetic: str,
    *,
    timeout_s: float = TIMEOUT_S,
) -> InstructionCount | Unavailable:
    """Counts the inferences of an artifact in a fresh process under callgrind.

    The process loads the artifact and runs it at full speed of the simulator; counting is
    switched on around each of the counted calls only, and what an empty call takes is subtracted.

    Args:
        target_name: Of the target.
        target_factory: ``"module:function"`` that gives it in the counted process.
        artifact: A file that its runtime loads.
        arithmetic: See `InstructionCount.arithmetic`.
        timeout_s: Limit for the process, in seconds.

    Raises:
        EdgekitError: As the target's runtime raises it.
        UnsupportedError: If the process dies or does not end in time.
    """
    missing = counting_missing()
    if missing is not None:
        return missing
    request = CountRequest(target_factory=target_factory, artifact=artifact.resolve())
    with tempfile.TemporaryDirectory(prefix="edgekit-callgrind-") as folder:
        answer = _run(request, Path(folder), timeout_s)
        dumps = read_dumps(Path(folder), _PREFIX)
    if answer.error:
        raise getattr(errors, answer.error)(answer.message)
    labels = [label_of(number) for number in range(request.runs)]
    if not answer.simulated or any(label not in dumps for label in (EMPTY, *labels)):
        raise errors.UnsupportedError(
            f"Valgrind gave no counts of {artifact.name}: {len(dumps)} dumps of "
            f"{request.runs + 1}. Check `valgrind --tool=callgrind true`."
        )
    return InstructionCount(
        runs=tuple(dumps[label] - dumps[EMPTY] for label in labels),
        target=target_name,
        runtime=answer.runtime,
        arithmetic=arithmetic,
        processor=PROCESSOR,
        tool=_version(),
    )


def _run(request: CountRequest, folder: Path, timeout_s: float) -> CountAnswer:
    name = request.artifact.name
    command = [
        TOOL,
        "--tool=callgrind",
        "--quiet",
        "--instr-atstart=no",
        f"--callgrind-out-file={folder / _PREFIX}",
        *module_command(_WORKER),
    ]
    # Threads that wait, and an order of sets that differs from process to process, would count.
    environment = module_environment(PYTHONHASHSEED="0", OMP_NUM_THREADS="1")
    try:
        done = subprocess.run(
            command,
            input=request.model_dump_json(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise errors.UnsupportedError(
            f"Counting the instructions of {name} did not end within {timeout_s:g} s; valgrind "
            "runs about 50 times slower than the processor. Count a smaller model."
        ) from None
    except OSError as error:
        raise errors.MissingToolError(f"valgrind cannot be started: {error}.") from error
    try:
        return CountAnswer.model_validate_json(done.stdout.strip().rpartition("\n")[2])
    except ValidationError:
        raise _death(name, done.returncode, done.stderr) from None


def _death(name: str, code: int, said: str) -> errors.UnsupportedError:
    return errors.UnsupportedError(
        f"The process that counts the instructions of {name} under valgrind ended with "
        f"{how_it_ended(code)}.{last_words(said)} Measure the latency instead, which needs no "
        "valgrind."
    )


def _version() -> str:
    done = subprocess.run([TOOL, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or TOOL
