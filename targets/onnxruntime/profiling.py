"""Time of single operators in ONNX Runtime, by its own profiler."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from edgekit.core.op_profile import LoadDone, OpFacts, OpProfile, ProfileConfig
from edgekit.core.target import RuntimeConfig
from edgekit.errors import UnsupportedError
from edgekit.measure.artifact_latency import SEED
from edgekit.measure.feeds import random_feeds
from edgekit.measure.latency import garbage_collector_off, timed_us, warm_up
from edgekit.measure.op_times import Conditions, OpTimes, restore_cut, summarize
from edgekit.targets.onnxruntime import INFO
from edgekit.targets.onnxruntime.optimized_graph import OptimizedGraph, with_named_nodes
from edgekit.targets.onnxruntime.runtime import OrtSession, one_line, start_quietly

_RESOLUTION_US = 1.0
_SUFFIX = "_kernel_time"
_DTYPES = {"float": "float32", "double": "float64"}
_METHOD = (
    "ONNX Runtime's own profiler (node events) on the graph as the runtime rewrites it; the whole "
    "latency is that of a session without profiler"
)


@dataclass(frozen=True, slots=True)
class _Event:
    """A node in one run."""

    node: str
    op: str
    provider: str
    shapes: Any
    elapsed_us: int


def profile_file(path: Path, config: ProfileConfig, done: LoadDone | None = None) -> OpProfile:
    """See `edgekit.core.op_profile.ProfilingTarget.profile`."""
    with closing(OrtSession(path, RuntimeConfig(threads=config.threads))) as session:
        runtime = session.runtime
    loads: list[OpTimes] = []
    first: list[_Event] = []
    with tempfile.TemporaryDirectory(prefix="edgekit-ort-") as folder:
        path = with_named_nodes(path, Path(folder))
        graph = OptimizedGraph(path, _optimized(path, config, Path(folder)))
        for _ in range(config.loads):
            times, events = _load(path, config, Path(folder), graph.nested)
            first = first or events
            if _keys(graph, events) != _keys(graph, first):
                raise UnsupportedError(
                    f"ONNX Runtime ran {path.name} in another way at each load."
                )
            loads.append(times)
            if done is not None:
                done()
    keys = _keys(graph, first)
    facts = [
        _facts(graph, event, key, place)
        for place, (event, key) in enumerate(zip(first, keys, strict=True))
    ]
    conditions = Conditions(
        target=INFO.name,
        runtime=runtime,
        method=_METHOD,
        resolution_us=_RESOLUTION_US,
        notes=graph.notes(),
    )
    return summarize(facts, loads, conditions, config)


def _load(
    path: Path, config: ProfileConfig, folder: Path, nested: frozenset[str]
) -> tuple[OpTimes, list[_Event]]:
    """One load: runs without the profiler, then runs with it."""
    with closing(OrtSession(path, RuntimeConfig(threads=config.threads))) as session:
        feeds = random_feeds(session.signature, SEED)
        run = session.prepare(feeds)
        with garbage_collector_off():
            warm_up(run, config.warmup_runs)
            latency_us = [timed_us(run) for _ in range(config.runs)]
        names = [spec.name for spec in session.signature.outputs]

    def with_profiler(options: Any) -> None:
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")

    profiled = start_quietly(str(path), config.threads, adjust=with_profiler)
    try:
        with garbage_collector_off():
            warm_up(lambda: profiled.run(names, feeds), config.warmup_runs)
            profiled_us = [
                timed_us(lambda: profiled.run(names, feeds)) for _ in range(config.runs)
            ]
    except Exception as error:
        # ONNX Runtime's exceptions have no common base but Exception.
        raise UnsupportedError(
            f"ONNX Runtime {onnxruntime.__version__} cannot run {path.name}: {one_line(error)}"
        ) from error
    finally:
        written = Path(profiled.end_profiling())
    runs = read_runs(json.loads(written.read_bytes()), nested)[-config.runs :]
    written.unlink()
    if any([item.node for item in run] != [item.node for item in runs[0]] for run in runs):
        raise UnsupportedError(
            f"{path.name} does not run the same operators each time, so they have no profile."
        )
    readings = np.array([[item.elapsed_us for item in run] for run in runs], np.float64)
    times, unsure_us = restore_cut(readings, _RESOLUTION_US)
    return OpTimes(
        ops_us=times,
        profiled_us=np.asarray(profiled_us),
        latency_us=np.asarray(latency_us),
        unsure_us=unsure_us,
    ), runs[0]


def read_runs(
    events: Sequence[dict[str, Any]], nested: frozenset[str] = frozenset()
) -> list[list[_Event]]:
    """Nodes of each run of the main graph, in order, from the JSON of the profiler.

    The profiler writes an event when it ends, so a run's own event follows those of its nodes.

    Args:
        events: What the profiler wrote.
        nested: Nodes within the branches of others, whose time holds theirs.
    """
    runs: list[list[_Event]] = []
    nodes: list[_Event] = []
    for event in events:
        name = str(event.get("name", ""))
        if name == "model_run":
            runs.append(nodes)
            nodes = []
        elif event.get("cat") == "Node" and name.endswith(_SUFFIX):
            node = name.removesuffix(_SUFFIX)
            if node not in nested:
                nodes.append(_event(node, event))
    return runs


def _event(node: str, event: dict[str, Any]) -> _Event:
    details = event["args"]
    return _Event(
        node=node,
        op=str(details.get("op_name", "")),
        provider=str(details.get("provider", "")),
        shapes=details.get("output_type_shape", []),
        elapsed_us=int(event["dur"]),
    )


def _keys(graph: OptimizedGraph, events: Sequence[_Event]) -> list[str]:
    return graph.keys([(event.node, event.op) for event in events])


def _facts(graph: OptimizedGraph, event: _Event, key: str, place: int) -> OpFacts:
    dtype, shape = next(iter(event.shapes[0].items())) if event.shapes else ("", ())
    known = graph.facts(key, event.op)
    return OpFacts(
        index=place,
        op=known.op,
        name=known.value,
        shape=tuple(int(size) for size in shape),
        dtype=_DTYPES.get(dtype, dtype),
        partition=event.provider,
        kernels=(event.op,),
        macs=known.macs,
        float_island=known.reason is not None,
        reason=known.reason or "",
    )


def _optimized(path: Path, config: ProfileConfig, folder: Path) -> Path:
    """The graph that the runtime runs, written by it."""
    written = folder / "optimized.onnx"

    def keep(options: Any) -> None:
        options.optimized_model_filepath = str(written)

    start_quietly(str(path), config.threads, adjust=keep)
    return written
