"""Counting instructions: what can go wrong, and that real counts repeat."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.core.instruction_count import InstructionCount, not_comparable
from edgekit.core.metrics import Unavailable
from edgekit.errors import EdgekitError, InputError, UnsupportedError
from edgekit.measure import instructions
from edgekit.measure.callgrind import unsupported_machine
from edgekit.measure.instructions import count_instructions, counting_missing
from edgekit.targets.onnxruntime.target import create_target

FACTORY = "edgekit.targets.onnxruntime.target:create_target"
FEATURES = 64


def write_network(path: Path, hidden: int, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    weights = {"v": (FEATURES, hidden), "w": (hidden, 10)}
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["a"], name="a"),
        helper.make_node("Relu", ["a"], ["b"], name="b"),
        helper.make_node("MatMul", ["b", "w"], ["y"], name="y"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 10])],
        [
            numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
            for name, shape in weights.items()
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_network(tmp_path / "net.onnx", 512)


def count(path: Path, timeout_s: float = 60) -> InstructionCount | Unavailable:
    return count_instructions("onnxruntime", FACTORY, path, "float32", timeout_s=timeout_s)


def put_in_place(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program under the name of valgrind."""
    program = folder / "bin" / "valgrind"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


pytestmark = pytest.mark.skipif(bool(unsupported_machine()), reason=unsupported_machine())


def test_without_valgrind(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = count(network)
    assert isinstance(found, Unavailable)
    assert "apt-get install valgrind" in found.reason


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -SEGV $$", "ended with signal SIGSEGV"),
        ("echo 'cannot map' >&2; exit 3", "ended with exit code 3. Its last words: cannot map"),
        ("echo hello", "ended with exit code 0"),
        # Runs what it is given, but counts nothing.
        ('shift 4; exec "$@"', "gave no counts of net.onnx: 0 dumps of 4"),
    ],
)
def test_a_process_that_dies_or_counts_nothing(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    put_in_place(tmp_path, script, monkeypatch)
    with pytest.raises(UnsupportedError, match=message):
        count(network)


def test_a_process_that_does_not_end(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_place(tmp_path, "exec sleep 60", monkeypatch)
    with pytest.raises(UnsupportedError, match=r"did not end within 0\.5 s"):
        count(network, timeout_s=0.5)


def test_an_error_of_the_runtime_is_raised_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_place(tmp_path, 'shift 4; exec "$@"', monkeypatch)
    with pytest.raises(InputError, match=r"absent\.onnx"):
        count(tmp_path / "absent.onnx")


def test_what_is_not_comparable() -> None:
    one = InstructionCount(
        runs=(10, 11), target="tflite", runtime="LiteRT 2", arithmetic="int8 x int8",
        processor="AVX2", tool="valgrind-3.19.0",
    )  # fmt: skip
    assert one.instructions == 10
    assert one.spread == pytest.approx(0.1)
    assert not_comparable(one, one) == ""
    for field, value in (
        ("target", "onnxruntime"),
        ("arithmetic", "float32 x float32"),
        ("runtime", "LiteRT 3"),
        ("processor", "SSE"),
        ("tool", "valgrind-3.25.0"),
    ):
        other = one.model_copy(update={field: value})
        assert value in not_comparable(one, other)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_counts_repeat_and_tell_more_work(tmp_path: Path) -> None:
    """Each count is a fresh process; together about a minute."""
    target = create_target()

    def counted(path: Path) -> int:
        found = target.count_instructions(path)
        assert isinstance(found, InstructionCount)
        assert found.arithmetic == "float32 x float32"
        assert found.spread < 5e-3
        return found.instructions

    first = counted(write_network(tmp_path / "a.onnx", 512))
    again = counted(tmp_path / "a.onnx")
    assert again == pytest.approx(first, rel=1e-3)
    others_weights = counted(write_network(tmp_path / "b.onnx", 512, seed=1))
    assert others_weights == pytest.approx(first, rel=1e-3)
    wider = counted(write_network(tmp_path / "c.onnx", 640))
    assert wider > 1.05 * first


def test_valgrind_is_found_where_it_is() -> None:
    assert (counting_missing() is None) == (shutil.which("valgrind") is not None)
    assert issubclass(UnsupportedError, EdgekitError)
    assert instructions.RUNS >= 3
