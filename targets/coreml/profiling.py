"""Time of single operators of a package in the edgekit MIL runtime."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from edgekit.core.op_profile import LoadDone, OpFacts, OpProfile, ProfileConfig
from edgekit.core.target import RuntimeConfig
from edgekit.errors import UnsupportedError
from edgekit.graph.canonical_names import float_value_of
from edgekit.measure.artifact_latency import SEED
from edgekit.measure.feeds import random_feeds
from edgekit.measure.latency import garbage_collector_off, timed_us, warm_up
from edgekit.measure.op_times import Conditions, OpTimes, summarize
from edgekit.targets.coreml import INFO
from edgekit.targets.coreml.embedded import EmbeddedMetadata, decode
from edgekit.targets.coreml.exactness.float_operators import float_operators
from edgekit.targets.coreml.operator_costs import macs_of, shapes_of
from edgekit.targets.coreml.package import Package, read_package
from edgekit.targets.coreml.package.program import Function, Operation
from edgekit.targets.coreml.package.types import TensorType
from edgekit.targets.coreml.session import MilSession

_PARTITION = "edgekit MIL runtime"
_METHOD = "the edgekit MIL runtime, by a clock read after each operator"
_NOT_APPLE = (
    "not verified on this machine: how Core ML divides the program among CPU, GPU and Neural "
    "Engine, and how long each operator takes there, only Xcode on Apple's hardware tells. These "
    "are the times of edgekit's own runtime, which runs operator by operator on this CPU"
)


def profile_package(path: Path, config: ProfileConfig, done: LoadDone | None = None) -> OpProfile:
    """See `edgekit.core.op_profile.ProfilingTarget.profile`."""
    facts: list[OpFacts] = []
    loads: list[OpTimes] = []
    order: list[str] = []
    runtime = ""
    for _ in range(config.loads):
        with closing(MilSession(path, RuntimeConfig(threads=config.threads))) as session:
            runtime = session.runtime
            feeds = random_feeds(session.signature, SEED)
            package = read_package(path, "main")
            function = package.program.functions["main"]
            if not facts:
                order = _computed(session, feeds, function)
                facts = _facts(package, function, order)
            loads.append(_load(session, feeds, config, function, order))
        if done is not None:
            done()
    return summarize(
        facts,
        loads,
        Conditions(
            target=INFO.name,
            runtime=runtime,
            method=_METHOD,
            resolution_us=0.001,
            notes=(_NOT_APPLE,),
        ),
        config,
    )


def _computed(session: MilSession, feeds: Any, function: Function) -> list[str]:
    """First outputs of the operators that a run computes; others are computed while loading."""
    reached: list[str] = []
    session.marks(feeds, reached.append)
    known = set(reached)
    order = [
        operation.outputs[0].name
        for operation in function.block.operations
        if operation.outputs and operation.outputs[0].name in known
    ]
    if not order:
        raise UnsupportedError("The program computes nothing that depends on its inputs.")
    return order


def _load(
    session: MilSession,
    feeds: Any,
    config: ProfileConfig,
    function: Function,
    order: Sequence[str],
) -> OpTimes:
    place = {name: index for index, name in enumerate(order)}
    owner = {
        output.name: place[operation.outputs[0].name]
        for operation in function.block.operations
        if operation.outputs and operation.outputs[0].name in place
        for output in operation.outputs
    }

    def run() -> None:
        session.run(feeds)

    with garbage_collector_off():
        warm_up(run, config.warmup_runs)
        latency_us = [timed_us(run) for _ in range(config.runs)]
        times = np.zeros((config.runs, len(order)))
        profiled_us = []
        for row in times:
            marks: list[tuple[str, int]] = []

            def mark(name: str, marks: list[tuple[str, int]] = marks) -> None:
                marks.append((name, perf_counter_ns()))

            profiled_us.append(timed_us(partial(session.marks, feeds, mark)))
            before = marks[0][1]
            for name, now in marks[1:]:
                # Results within a loop or branch are part of the operator that holds it.
                if name in owner:
                    row[owner[name]] += (now - before) / 1e3
                    before = now
    return OpTimes(
        ops_us=times,
        profiled_us=np.asarray(profiled_us),
        latency_us=np.asarray(latency_us),
        unsure_us=np.zeros(len(order)),
    )


def _facts(package: Package, function: Function, order: Sequence[str]) -> list[OpFacts]:
    embedded = decode(dict(package.description.entries), str(package.path))
    origins = embedded.origins if embedded is not None else ()
    values = {origin.variable: float_value_of(origin.value) for origin in origins}
    floats = _float_reasons(function, embedded)
    shapes = shapes_of(function)
    found = {}
    for index, operation in enumerate(function.block.operations):
        if not operation.outputs:
            continue
        first = operation.outputs[0]
        kind = first.type
        found[first.name] = OpFacts(
            index=index,
            op=operation.type,
            name=values.get(first.name, first.name),
            shape=shapes.get(first.name, ()),
            dtype=kind.dtype if isinstance(kind, TensorType) else "",
            partition=_PARTITION,
            kernels=(operation.type,),
            macs=_macs(operation, shapes),
            float_island=first.name in floats,
            reason=floats.get(first.name, ""),
        )
    return [found[name] for name in order]


def _macs(operation: Operation, shapes: Any) -> int | None:
    if operation.blocks:
        return None
    return macs_of(operation, shapes)


def _float_reasons(function: Function, embedded: EmbeddedMetadata | None) -> dict[str, str]:
    """Why operators of a package with quantized activations compute in float, by variable."""
    if embedded is None or not any(item.role == "quantize" for item in embedded.origins):
        return {}
    found = float_operators(function.block, embedded.float_reasons)
    return {key.rpartition(" -> ")[2]: reason for key, reason in found.items()}
