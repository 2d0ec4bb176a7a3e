"""The worker of a profile: what it is told by LiteRT, and how it may end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgekit.core.metrics import Unavailable
from edgekit.core.op_profile import OpProfile, ProfileConfig
from edgekit.errors import UnsupportedError
from edgekit.targets.tflite.profiling import profile as module
from edgekit.targets.tflite.profiling.native import Event, NativeModel
from edgekit.targets.tflite.profiling.profile import profile_file
from edgekit.targets.tflite.target import create_target
from tests.targets.tflite.data_files import dtln
from tests.targets.tflite.file_builder import classifier

CONFIG = ProfileConfig(loads=2, runs=5, warmup_runs=2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "classifier.tflite"
    path.write_bytes(classifier(size=32))
    return path


def test_another_tools_file_under_its_own_names(path: Path) -> None:
    loads: list[int] = []
    profile = create_target().profile(path, CONFIG, lambda: loads.append(1))
    assert isinstance(profile, OpProfile)
    assert len(loads) == CONFIG.loads
    assert (profile.loads, profile.runs, profile.threads) == (2, 5, 1)
    assert all(item.name for item in profile.operators)
    assert profile.runtime.startswith("LiteRT ")


def test_kernels_of_litert_beside_parts_of_xnnpack() -> None:
    path = dtln("model_1.tflite")
    profile = profile_file(path, CONFIG)
    assert isinstance(profile, OpProfile)
    parts = {item.key: item.operators for item in profile.by_partition}
    assert parts == {"XNNPACK 1": 15, "XNNPACK 2": 13, "XNNPACK 3": 4, "LiteRT kernel": 11}
    assert sorted(item.index or 0 for item in profile.operators) == list(range(43))
    products = [item for item in profile.operators if item.op == "FULLY_CONNECTED"]
    assert all("Fully Connected" in " ".join(item.kernels) for item in products)
    unpack = next(item for item in profile.operators if item.op == "UNPACK")
    assert unpack.kernels == ("UNPACK",)
    assert unpack.partition == "LiteRT kernel"


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that takes the worker's place."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(module, "_WORKER", "another_worker")
    return tmp_path / "another_worker.py"


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal SIGSEGV"),
        ("raise SystemExit('no more memory')", "exit code 1"),
        ("print('hello')", "exit code 0"),
    ],
)
def test_a_worker_that_dies_gives_one_error(path: Path, worker: Path, code: str, how: str) -> None:
    worker.write_text(code)
    with pytest.raises(UnsupportedError, match=f"ended its process \\({how}\\)") as caught:
        profile_file(path, CONFIG)
    assert "edgekit bench" in str(caught.value)


def test_an_error_of_the_worker_is_raised_here(path: Path, worker: Path) -> None:
    worker.write_text("""print('{"error": "UnsupportedError", "message": "too new"}')""")
    with pytest.raises(UnsupportedError, match="too new"):
        profile_file(path, CONFIG)


def test_files_that_branch_have_no_profile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CONTROL_FLOW", frozenset({"CONV_2D"}))
    found = profile_file(path, CONFIG)
    assert isinstance(found, Unavailable)
    assert "(CONV_2D)" in found.reason


def test_events_add_up_to_the_whole_invocation(path: Path) -> None:
    """LiteRT's own event of the whole is the reference for the operators' events."""
    model = NativeModel(path, 1)
    model.run()
    model.start()
    model.run()
    events = model.stop()
    whole = next(event for event in events if event.tag == "Invoke" and event.type == 1)
    inner = [event for event in events if event.type in (1 << 1, 1 << 2, 1 << 3)]
    assert inner
    assert sum(event.elapsed_us for event in inner) <= whole.elapsed_us + len(inner)
    assert all(isinstance(event, Event) for event in events)
