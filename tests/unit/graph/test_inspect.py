from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgekit.errors import InputError
from edgekit.graph.inspect import count_macs, inspect_onnx
from edgekit.graph.io import save_onnx
from tests.unit.graph.onnx_text import graph, proto, proto_at, random


@pytest.mark.parametrize(
    ("text", "weights", "macs"),
    [
        # 5 output channels x 4 x 4 pixels, each of 3 inputs x 3 x 3.
        (
            "(float[1,3,6,6] x) => (float[1,5,4,4] y) { y = Conv (x, w) }",
            (5, 3, 3, 3),
            5 * 16 * 27,
        ),
        (
            "(float[N,4,6,6] x) => (float[N,4,4,4] y) { y = Conv <group = 4> (x, w) }",
            (4, 1, 3, 3),
            4 * 16 * 9,
        ),
        # Each of 3 x 4 x 4 inputs is spread over 2 x 2 pixels of 5 channels.
        (
            "(float[1,3,4,4] x) => (float[1,5,8,8] y) { y = ConvTranspose <strides=[2,2]> (x,w) }",
            (3, 5, 2, 2),
            3 * 16 * 5 * 4,
        ),
        ("(float[2,7] x) => (float[2,5] y) { y = Gemm (x, w) }", (7, 5), 2 * 7 * 5),
        ("(float[7,2] x) => (float[2,5] y) { y = Gemm <transA = 1> (x, w) }", (7, 5), 2 * 7 * 5),
        ("(float[N,3,7] x) => (float[N,3,5] y) { y = MatMul (x, w) }", (7, 5), 3 * 7 * 5),
        ("(float[1,3,7] x) => (float[1,3,7] y) { y = Mul (x, w) }", (7,), 0),
    ],
)
def test_macs_by_hand(text: str, weights: tuple[int, ...], macs: int) -> None:
    assert count_macs(graph(text, w=random(*weights))) == macs


def test_macs_are_unknown_where_a_shape_is() -> None:
    model = graph(
        "(float[N,length,7] x) => (float[N,length,5] y) { y = MatMul (x, w) }", w=random(7, 5)
    )
    assert count_macs(model) is None


def _write(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def test_the_facts_of_a_file_of_old_opset(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "a.onnx",
        proto_at(
            9,
            "(float[1,3,6,6] x) => (float[1,80] y) { c = Conv (x, w, b) r = Relu (c) "
            "s = Shape (r) i = Constant <value = int64 {0}> () n = Gather (s, i) "
            "m = Constant <value = int64[1] {-1}> () u = Unsqueeze <axes = [0]> (n) "
            "t = Concat <axis = 0> (u, m) f = Reshape (r, t) y = Relu (f) }",
            w=random(5, 3, 3, 3),
            b=random(5),
        ),
    )
    found = inspect_onnx(path)
    assert found.format == "onnx"
    assert found.details["opset"] == "9"
    assert found.macs == 5 * 16 * 27
    assert found.parameters == 5 * 27 + 5
    assert found.size_bytes == path.stat().st_size
    assert (found.ops[0].op, found.ops[0].count) == ("Constant", 2)
    assert {item.op: item.count for item in found.ops}["Relu"] == 2
    assert str(found.signature.inputs[0]) == "x: float32[1, 3, 6, 6]"
    # Inspecting says what is in the file, folded or not, but needs the shapes behind it.
    assert found.float_ops == 4


def test_integer_and_float_operators(tmp_path: Path) -> None:
    constants: dict[str, npt.NDArray[Any]] = {
        "s": np.asarray(0.1, np.float32),
        "z": np.asarray(0, np.int8),
        "w": np.ones((3, 3), np.int8),
    }
    path = _write(
        tmp_path / "a.onnx",
        proto(
            "(float[1,3] x) => (float[1,3] y) { q = QuantizeLinear (x, s, z) "
            "i = MatMulInteger (q, w) c = Cast <to = 1> (i) y = Mul (c, s) }",
            **constants,
        ),
    )
    found = inspect_onnx(path)
    assert (found.integer_ops, found.float_ops) == (1, 3)
    assert found.parameters == 9


def test_external_data_counts_to_the_size(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    model = graph("(float[1,40] x) => (float[1,30] y) { y = MatMul (x, w) }", w=random(40, 30))
    save_onnx(model, path, external_above_bytes=0)
    found = inspect_onnx(path)
    assert found.size_bytes == path.stat().st_size + 4800
    assert found.details["external_data_files"] == "1"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No ONNX file at"):
        inspect_onnx(tmp_path / "absent.onnx")
