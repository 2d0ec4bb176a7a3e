from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.errors import UnsupportedError
from edgekit.graph.canonicalize import canonicalize
from edgekit.graph.passes.convert_opset import CANONICAL_OPSET, ConvertOpset
from tests.unit.graph.onnx_text import apply, ops, proto_at, random

type Weights = dict[str, npt.NDArray[Any]]

_TWICE = np.array([1, 1, 2, 2], np.float32)
_STATISTICS: Weights = {
    "a": random(3), "b": random(3), "m": random(3), "v": np.abs(random(3)) + 0.1,
}  # fmt: skip
_RECURRENT: Weights = {"w": random(1, 20, 4), "r": random(1, 20, 5)}

_CASES: tuple[tuple[int, str, str, str, Weights], ...] = (
    (7, "2,3,4,4", "2,3,4,4", "BatchNormalization (x, a, b, m, v)", _STATISTICS),
    (7, "1,3,4,4", "1,3,8,8", 'Upsample <mode = "nearest", scales = [1.0,1.0,2.0,2.0]> (x)', {}),
    (9, "1,3,4,4", "1,3,8,8", 'Upsample <mode = "linear"> (x, s)', {"s": _TWICE}),
    (9, "1,3,4,4", "1,3,8,8", 'Upsample <mode = "nearest"> (x, s)', {"s": _TWICE}),
    (9, "1,3,9,9", "1,3,15,15", 'Upsample <mode = "nearest"> (x, s)',
     {"s": np.array([1, 1, 1.7, 1.7], np.float32)}),
    (10, "1,3,4,4", "1,3,8,8", 'Resize <mode = "linear"> (x, s)', {"s": _TWICE}),
    (10, "1,3,9,9", "1,3,4,4", 'Resize <mode = "nearest"> (x, s)', {"s": 1 / _TWICE}),
    (11, "1,3,4,4", "1,3,8,8",
     'Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, e, s)',
     {"s": _TWICE, "e": np.zeros(0, np.float32)}),
    (7, "2,3,4", "2,3,4", "Softmax <axis = 1> (x)", {}),
    (11, "2,3,4", "2,3,4", "Softmax <axis = -1> (x)", {}),
    (9, "2,3", "2,3", "LogSoftmax (x)", {}),
    (7, "2,30", "2,30", "Clip <min = 0.0, max = 0.5> (x)", {}),
    (10, "2,30", "2,30", "Clip <max = 0.5> (x)", {}),
    (9, "2,3", "3,5", 'Pad <mode = "constant", pads = [0,1,1,1], value = 1.5> (x)', {}),
    (9, "2,3", "2,5", 'Pad <mode = "reflect", pads = [0,1,0,1]> (x)', {}),
    (9, "4,5", "2,4", "Slice <axes = [0,1], starts = [1,0], ends = [3,-1]> (x)", {}),
    (9, "4,1,5", "4,5", "Squeeze <axes = [1]> (x)", {}),
    (9, "4,5", "4,1,5", "Unsqueeze <axes = [1]> (x)", {}),
    (11, "2,3,4,5", "2,3,1,1", "ReduceMean <axes = [2,3]> (x)", {}),
    (11, "2,3,4", "2,3", "ReduceSum <axes = [2], keepdims = 0> (x)", {}),
    (12, "2,3,4", "2,1,4", "ReduceMax <axes = [1]> (x)", {}),
    (7, "2,3", "2,4", "Gemm <transB = 1> (x, w, b)", {"w": random(4, 3), "b": random(4)}),
    (7, "1,3,8,8", "1,3,4,4",
     "AveragePool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]> (x)", {}),
    (11, "1,3,8,8", "1,3,h,w",
     "AveragePool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1> (x)", {}),
    (9, "3,1,4", "3,1,1,5", "LSTM <hidden_size = 5> (x, w, r)", _RECURRENT),
    (9, "1,8,4,4", "1,2,8,8", "DepthToSpace <blocksize = 2> (x)", {}),
    (22, "1,3,4,4", "1,2,4,4", "Conv (x, w)", {"w": random(2, 3, 1, 1)}),
    (24, "2,9", "2,9", "Swish (x)", {}),
    (24, "2,9", "2,9", "Swish <alpha = 2.0> (x)", {}),
    (23, "2,3,9", "2,3,9", "RMSNormalization (x, s)", {"s": random(9)}),
    (23, "2,3,9", "2,3,9", "RMSNormalization <axis = 1, epsilon = 0.1> (x, s)",
     {"s": random(3, 9)}),
    (21, "2,6,4,3", "2,6,4,3", "GroupNormalization <num_groups = 3> (x, s, b)",
     {"s": random(6), "b": random(6, seed=1)}),
    (22, "2,6", "2,6", "GroupNormalization <num_groups = 2, epsilon = 0.1> (x, s, b)",
     {"s": random(6), "b": random(6, seed=1)}),
)  # fmt: skip


@pytest.mark.parametrize(
    ("opset", "given", "made", "body", "weights"),
    _CASES,
    ids=[f"{case[3].split()[0]}-{case[0]}-{index}" for index, case in enumerate(_CASES)],
)
def test_the_canonical_opset_computes_the_same(
    opset: int, given: str, made: str, body: str, weights: Weights
) -> None:
    model = ir.from_proto(
        proto_at(opset, f"(float[{given}] x) => (float[{made}] y) {{ y = {body} }}", **weights)
    )
    assert apply(model, ConvertOpset())
    assert model.opset_imports[""] == CANONICAL_OPSET


@pytest.mark.parametrize("sizes", [", split = [2,4]", ""])
def test_split_takes_its_sizes_along(sizes: str) -> None:
    model = ir.from_proto(
        proto_at(
            11,
            "(float[4,6] x) => (float[4,k] y, float[4,l] z) "
            f"{{ y, z = Split <axis = 1{sizes}> (x) }}",
        )
    )
    assert apply(model, ConvertOpset())


def test_the_canonical_opset_is_left() -> None:
    model = ir.from_proto(proto_at(20, "(float[2] x) => (float[2] y) { y = Gelu (x) }"))
    assert not apply(model, ConvertOpset())


def test_opset_6_is_refused_with_the_range() -> None:
    model = ir.from_proto(proto_at(6, "(float[2] x) => (float[2] y) { y = Relu (x) }"))
    with pytest.raises(UnsupportedError, match="uses opset 6; edgekit reads opset 7 and later"):
        ConvertOpset()(model)


def test_a_newer_op_without_older_form_is_refused_by_name() -> None:
    model = ir.from_proto(
        proto_at(23, "(float[1,2,3,4] x) => (float[1,2,3,4] y) { y = Attention (x, x, x) }")
    )
    with pytest.raises(
        UnsupportedError,
        match=r"from opset 23 to 20: Attention does not exist in opset 20\. Export it with",
    ):
        ConvertOpset()(model)


def test_a_changed_meaning_is_found_by_running_both() -> None:
    # Windows beyond the padding were counted until opset 18 and are not since.
    model = ir.from_proto(
        proto_at(
            11,
            "(float[1,3,8,8] x) => (float[1,3,h,w] y) { y = AveragePool <kernel_shape = [3,3], "
            "strides = [2,2], ceil_mode = 1, count_include_pad = 1> (x) }",
        )
    )
    with pytest.raises(UnsupportedError, match=r"opset 20 changed output 'y' by .* means someth"):
        canonicalize(model)


def test_the_forms_of_opset_7_reach_the_canonical_ops() -> None:
    model = ir.from_proto(
        proto_at(
            7,
            "(float[1,3,8,8] x) => (float[1,4] y) { c = Conv (x, k) "
            "n = BatchNormalization (c, a, b, m, v) r = Clip <min = 0.0, max = 6.0> (n) "
            "d = Dropout (r) p = ReduceMean <axes = [2,3]> (d) f = Flatten (p) "
            "g = MatMul (f, w) h = Add (g, u) y = Softmax (h) }",
            k=random(3, 3, 3, 3),
            w=random(3, 4),
            u=random(4),
            **_STATISTICS,
        )
    )
    assert ops(canonicalize(model).model) == {
        "Conv": 1, "Clip": 1, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1, "Softmax": 1,
    }  # fmt: skip
