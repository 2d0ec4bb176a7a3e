"""A run whose trainings are divided among the processes that torchrun started.

``torchrun --nproc-per-node 2 -m edgekit run edgekit.toml`` starts the same command twice. The
first process does the run as ever. The others wait for what it is about to train, take part in
that, and write nothing. So a result that the store holds already is reused without them, and
only one process writes.
"""

from __future__ import annotations

import atexit
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.artifact import Artifact
from edgekit.core.stage import Note, StageConfig, StageContext, StageResult
from edgekit.errors import EdgekitError
from edgekit.pipeline.steps import Step

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

_TRAININGS = frozenset({"train", "distill"})
"""Stages that `edgekit.training.trainer.train` does the work of."""
_POLL_S = 0.2
_GRACE_S = 10.0
"""The first process most likely fails alike, and has to be able to say so before torchrun ends
it because another one failed."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One stage that all processes run."""

    stage: str
    config: StageConfig
    inputs: Mapping[str, Artifact]
    seed: int
    target: str | None


class _Line:
    """Jobs on their way from the first process to the others, in torchrun's own store."""

    def __init__(self) -> None:
        self._store = _open_store()
        self._number = 0

    def send(self, job: _Job | None) -> None:
        # Torch declares its store to hold text.
        self._store.set(self._next(), pickle.dumps(job).hex())

    def receive(self) -> _Job | None:
        from torch.distributed import DistNetworkError

        key = self._next()
        try:
            while not self._store.check([key]):
                # The first process may do something else for as long as it takes; waiting in
                # the store itself would end with a warning again and again.
                time.sleep(_POLL_S)
            sent = self._store.get(key)
        except DistNetworkError:
            # The store went away with the process that served it: nothing more comes.
            return None
        job: _Job | None = pickle.loads(bytes.fromhex(sent.decode()))
        return job

    def _next(self) -> str:
        self._number += 1
        return f"job-{self._number}"


_leading: list[_Line] = []
"""The line to the processes that follow; empty where there are none."""


def is_follower() -> bool:
    """Whether torchrun started this process beside a first one."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and os.environ.get("RANK", "0") != "0"


def lead() -> None:
    """Announces every training of this process to those that follow, until it ends."""
    line = _Line()
    _leading[:] = [line]
    atexit.register(line.send, None)


def run_stage(step: Step, context: StageContext, inputs: Mapping[str, Artifact]) -> StageResult:
    """Runs a step's stage; a training together with the processes that follow.

    Raises:
        EdgekitError: Whatever the stage raises.
    """
    if not _leading or step.stage.name not in _TRAININGS:
        result: StageResult = step.stage.run(context, inputs, step.config)
        return result
    from edgekit.training.distributed import joined

    target = None if step.target is None else step.target.info.name
    _leading[0].send(_Job(step.stage.name, step.config, dict(inputs), context.seed, target))
    with joined(_device(step.config)) as processes:
        result = step.stage.run(context, inputs, step.config)
    text = (
        f"Trained by {processes.count} processes, each with its share of every batch. Sums in "
        "another order give weights that differ in the last bits from those of one process; on "
        "CPUs, normalisations over the batch see the share of one process alone."
    )
    return replace(result, notes=(*result.notes, Note(text=text)))


def follow() -> int:
    """Takes part in the trainings of the first process; gives the exit code."""
    line = _Line()
    while (job := line.receive()) is not None:
        try:
            _take_part(job)
        except EdgekitError as error:
            time.sleep(_GRACE_S)
            print(f"process {os.environ['RANK']}: {error}", file=sys.stderr)  # noqa: T201
            return error.exit_code
    return 0


def _take_part(job: _Job) -> None:
    from edgekit.pipeline.registry import get_stage, get_target
    from edgekit.training.distributed import joined

    target = None if job.target is None else get_target(job.target)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder, joined(_device(job.config)):
        context = StageContext(workdir=Path(folder), seed=job.seed, target=target)
        get_stage(job.stage).run(context, job.inputs, job.config)


def _device(config: StageConfig) -> str:
    device: str = config.options.device  # type: ignore[attr-defined]
    return device


def _open_store() -> Store:
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    env = os.environ
    served = env.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = TCPStore(
        env["MASTER_ADDR"],
        int(env["MASTER_PORT"]),
        int(env["WORLD_SIZE"]),
        is_master=not served and env["RANK"] == "0",
        multi_tenant=True,
        wait_for_workers=False,
    )
    return PrefixStore(f"edgekit-{env.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
