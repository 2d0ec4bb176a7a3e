"""Profiles .tflite files: LiteRT's profiler in a process of its own, told by the file's names."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from pydantic import TypeAdapter, ValidationError

from edgekit import errors
from edgekit.core.metrics import Unavailable
from edgekit.core.op_profile import LoadDone, OpFacts, OpProfile, ProfileConfig
from edgekit.measure.op_times import Conditions, OpTimes, restore_cut, summarize
from edgekit.measure.worker_process import (
    how_it_ended,
    last_words,
    module_command,
    module_environment,
)
from edgekit.targets.tflite import INFO
from edgekit.targets.tflite.model_file import ModelFile, read_model_file
from edgekit.targets.tflite.profiling.alignment import align
from edgekit.targets.tflite.profiling.facts import FileFacts
from edgekit.targets.tflite.profiling.native import VERIFIED
from edgekit.targets.tflite.profiling.worker import Failure, Load, Start, Step, WorkRequest

_WORKER = "edgekit.targets.tflite.profiling.worker"
_RESOLUTION_US = 1.0
_CONTROL_FLOW = frozenset({"IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_WHILE"})
_METHOD = (
    "LiteRT's own profiler (events of its kernels and of XNNPACK's operators) in the compiled "
    "model of the C interface; the whole latency is that of the interpreter without profiler"
)
_ANSWERS: TypeAdapter[Start | Load | Failure] = TypeAdapter(Start | Load | Failure)


@dataclass(slots=True)
class _Row:
    """An operator and the steps of the profiler that make up its time."""

    facts: OpFacts
    steps: list[int] = field(default_factory=list)


def profile_file(
    path: Path, config: ProfileConfig, done: LoadDone | None = None
) -> OpProfile | Unavailable:
    """See `edgekit.core.op_profile.ProfilingTarget.profile`."""
    file = read_model_file(path)
    flow = sorted(_CONTROL_FLOW & {op.name for op in file.main.operators})
    if flow:
        return Unavailable(
            reason=f"{path.name} branches or loops while it runs ({', '.join(flow)}); a profile "
            "by operator is offered for files that run the same operators each time."
        )
    answers = _answers(WorkRequest(artifact=path.resolve(), config=config))
    start = next(answers)
    assert isinstance(start, Start)
    loads: list[Load] = []
    for answer in answers:
        assert isinstance(answer, Load)
        loads.append(answer)
        if done is not None:
            done()
    if any(load.steps != loads[0].steps for load in loads):
        raise errors.UnsupportedError(f"LiteRT ran {path.name} in another way at each load.")
    rows, notes = _rows(file, start, loads[0].steps)
    if not all(load.equal_outputs for load in loads):
        notes.append(
            "the outputs of the profiled runs are not those of the interpreter bit for bit, so "
            "it may take other kernels"
        )
    if not start.version.startswith(VERIFIED):
        notes.append(
            f"the form of the profiler's events is that of LiteRT {VERIFIED}; this is "
            f"{start.version}"
        )
    return summarize(
        [row.facts for row in rows],
        [_times(rows, load) for load in loads],
        Conditions(
            target=INFO.name,
            runtime=start.runtime,
            method=_METHOD,
            resolution_us=_RESOLUTION_US,
            notes=tuple(notes),
        ),
        config,
    )


def _rows(file: ModelFile, start: Start, steps: Sequence[Step]) -> tuple[list[_Row], list[str]]:
    """All operators in the order in which they run, and what could not be told apart."""
    facts = FileFacts(file)
    parts = _delegated_parts(steps)
    known = len(parts) == len(start.parts)
    notes = []
    if not known:
        notes.append(
            f"the compiled model has {len(parts)} delegated partitions and the interpreter "
            f"{len(start.parts)}, so XNNPACK's operators are listed by its own names"
        )
    rows: list[_Row] = []
    number = 0
    for place, step in enumerate(steps):
        if not step.delegated:
            rows.append(_Row(facts.of(step.index, "LiteRT kernel", (step.kernel,)), [place]))
        elif parts and place == parts[0][0]:
            part = parts.pop(0)
            members = start.parts[number] if known else ()
            number += 1
            rows += _part(facts, members, [steps[item] for item in part], part, number, notes)
    return rows, notes


def _part(
    facts: FileFacts,
    members: Sequence[int],
    steps: Sequence[Step],
    places: Sequence[int],
    number: int,
    notes: list[str],
) -> list[_Row]:
    """The operators of one part of XNNPACK's."""
    partition = f"XNNPACK {number}"
    kernels = [step.kernel for step in steps]
    found = align([facts.type_of(index) for index in members], kernels) if members else None
    if found is None:
        if members:
            notes.append(
                f"XNNPACK's operators of partition {number} cannot be told apart by the file's "
                "operators, so they are listed by its own names"
            )
        return [
            _Row(OpFacts(index=None, op=name, name="", partition=partition, kernels=(name,)), [at])
            for name, at in zip(kernels, places, strict=True)
        ]
    held: dict[int, list[int]] = {}
    for kernel, operator in enumerate(found):
        held.setdefault(operator, []).append(kernel)
    return [
        _Row(
            facts.of(index, partition, tuple(kernels[item] for item in held.get(operator, []))),
            [places[item] for item in held.get(operator, [])],
        )
        for operator, index in enumerate(members)
    ]


def _delegated_parts(steps: Sequence[Step]) -> list[list[int]]:
    """Places of the steps of each delegated part; its numbers begin anew at 0."""
    parts: list[list[int]] = []
    before: Step | None = None
    for place, step in enumerate(steps):
        if step.delegated:
            if before is None or not before.delegated or step.index <= before.index:
                parts.append([])
            parts[-1].append(place)
        before = step
    return parts


def _times(rows: Sequence[_Row], load: Load) -> OpTimes:
    readings = np.asarray(load.times_us, np.float64)
    # XNNPACK cuts the length to whole microseconds, the kernels' is a difference of two cut times.
    cut = np.array([step.delegated for step in load.steps], bool)
    restored, unsure = restore_cut(readings, _RESOLUTION_US)
    times, unsure = np.where(cut, restored, readings), np.where(cut, unsure, 0.0)
    return OpTimes(
        ops_us=np.stack([times[:, row.steps].sum(axis=1) for row in rows], axis=1),
        profiled_us=np.asarray(load.profiled_us),
        latency_us=np.asarray(load.latency_us),
        unsure_us=np.array([unsure[row.steps].sum() for row in rows]),
    )


def _answers(request: WorkRequest) -> Iterator[Start | Load]:
    """What the worker sends; an error that it knows is raised here."""
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            module_command(_WORKER),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=module_environment(),
        ) as worker,
    ):
        assert worker.stdin is not None
        assert worker.stdout is not None
        count = 0
        code = 0
        try:
            worker.stdin.write(request.model_dump_json())
            worker.stdin.close()
            for line in worker.stdout:
                try:
                    answer = _ANSWERS.validate_json(line)
                except ValidationError:
                    break
                if isinstance(answer, Failure):
                    raise getattr(errors, answer.error)(answer.message)
                count += 1
                yield answer
            worker.stdout.close()
            code = worker.wait()
        finally:
            worker.kill()
        if count != request.config.loads + 1:
            raise _death(code, said, request.artifact.name)


def _death(code: int, said: IO[bytes], name: str) -> errors.UnsupportedError:
    said.seek(0)
    words = last_words(said.read().decode(errors="replace"))
    return errors.UnsupportedError(
        f"LiteRT's profiler ended its process ({how_it_ended(code)}) while running {name}.{words} "
        "Measure the whole with `edgekit bench`, which is not affected."
    )
