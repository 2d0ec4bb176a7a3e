"""What is read from the events of ONNX Runtime's profiler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from edgekit.core.op_profile import OpProfile, ProfileConfig
from edgekit.targets.onnxruntime.profiling import profile_file, read_runs
from edgekit.targets.onnxruntime.target import create_target
from tests.cli.test_profile import network

CONFIG = ProfileConfig(loads=2, runs=5, warmup_runs=2)


def event(name: str, us: int, category: str = "Node") -> dict[str, Any]:
    details = {"op_name": name.title(), "provider": "CPU", "output_type_shape": [{"float": [1]}]}
    suffix = "_kernel_time" if category == "Node" else ""
    return {"cat": category, "name": name + suffix, "ts": 7, "dur": us, "args": details}


def test_runs_end_with_their_own_event() -> None:
    whole = event("model_run", 9, "Session")
    events = [
        event("session_initialization", 3, "Session"),
        event("conv", 0), event("gemm", 4), whole,
        event("conv", 1), event("inner", 2), event("gemm", 5), whole,
    ]  # fmt: skip
    runs = read_runs(events, frozenset({"inner"}))
    assert [[(item.node, item.elapsed_us) for item in run] for run in runs] == [
        [("conv", 0), ("gemm", 4)],
        [("conv", 1), ("gemm", 5)],
    ]
    assert (runs[0][1].op, runs[0][1].provider) == ("Gemm", "CPU")


LOOPING = """
<ir_version: 10, opset_import: ["" : 17]>
looping (float[4, 4] x) => (float[4, 4] y) {
  times = Constant <value = int64 {3}> ()
  yes = Constant <value = bool {1}> ()
  y = Loop (times, yes, x) <body = inside (int64 i, bool more, float[4, 4] state)
    => (bool again, float[4, 4] after) {
      again = Identity (more)
      [product] after = MatMul (state, state)
  }>
}
"""


def test_nodes_within_a_loop_are_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "looping.onnx"
    onnx.save(onnx.parser.parse_model(LOOPING), path)
    profile = profile_file(path, CONFIG)
    assert [item.op for item in profile.operators] == ["Loop"]


def test_two_threads(tmp_path: Path) -> None:
    path = tmp_path / "product.onnx"
    text = """
        <ir_version: 10, opset_import: ["" : 17]>
        product (float[batch, 8] x) => (float[batch, 8] y) { y = Relu (x) }
    """
    onnx.save(onnx.parser.parse_model(text), path)
    profile = create_target().profile(path, CONFIG.model_copy(update={"threads": 2}))
    assert isinstance(profile, OpProfile)
    assert profile.threads == 2
    assert [(item.op, item.shape, item.macs) for item in profile.operators] == [
        ("Relu", (1, 8), 0)
    ]
    assert profile.sum_us.value == pytest.approx(profile.operators[0].time_us.value)


def test_nodes_that_the_runtime_names_anew_in_each_load(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(network(), path)
    config = ProfileConfig(loads=12, runs=2, warmup_runs=0)
    profile = profile_file(path, config)
    assert [item.name for item in profile.operators if item.macs] == ["b", "d", "f", "scores"]
    assert not profile.notes or "too coarse" in profile.notes[0]
