"""Each rule on an op that it names and on the nearest one that it does not."""

from __future__ import annotations

import pytest

from edgekit.targets.coreml.estimate import OpFacts, TensorFacts, leaves_neural_engine
from edgekit.targets.coreml.estimate.neural_engine_rules import RULES
from edgekit.targets.coreml.estimate.op_facts import Attribute


def half(*shape: int | None) -> TensorFacts:
    return TensorFacts("float16", shape)


def stored(*shape: int | None) -> TensorFacts:
    return TensorFacts("float16", shape, constant=True)


def integers(*shape: int | None) -> TensorFacts:
    return TensorFacts("int32", shape)


IMAGE = half(1, 8, 32, 32)


def op(
    kind: str,
    x: TensorFacts = IMAGE,
    y: TensorFacts = IMAGE,
    weight: TensorFacts | None = None,
    **attributes: Attribute,
) -> OpFacts:
    inputs = {"x": x} if weight is None else {"x": x, "weight": weight}
    return OpFacts(type=kind, name=f"{kind}_0", inputs=inputs, outputs=(y,), attributes=attributes)


def conv(
    x: TensorFacts = IMAGE,
    weight: TensorFacts | None = None,
    kind: str = "conv",
    **attributes: Attribute,
) -> OpFacts:
    return op(kind, x, IMAGE, weight or stored(8, 8, 3, 3), **attributes)


CASES: dict[str, tuple[list[OpFacts], list[OpFacts]]] = {
    "float32": (
        [
            op("relu", y=TensorFacts("float32", (1, 8))),
            op("add", x=TensorFacts("float32", (1, 8))),
        ],
        [
            op("relu"),
            op("cast", x=TensorFacts("float32", (1, 8)), y=half(1, 8)),
            conv(weight=TensorFacts("float32", (8, 8, 3, 3), constant=True)),
        ],
    ),
    "wide integers": (
        [op("add", x=integers(4), y=integers(4)), op("floor_div", y=integers(4))],
        [op("reduce_argmax", y=integers(1)), op("quantize", y=TensorFacts("int8", (1, 8)))],
    ),
    "dynamic shape": ([op("relu", x=half(1, 8, None, 32))], [op("relu")]),
    "rank above five": (
        [op("reshape", y=half(1, 1, 2, 2, 2, 2))],
        [op("reshape", y=half(1, 1, 2, 2, 2))],
    ),
    "three-dimensional convolution": (
        [
            conv(half(1, 8, 4, 4, 4), stored(8, 8, 3, 3, 3)),
            conv(half(1, 8, 4, 4, 4), stored(8, 8, 3, 3, 3), kind="conv_transpose"),
        ],
        [conv(), op("add", x=half(1, 8, 4, 4, 4)), conv(half(1, 8, 4), stored(8, 8, 3))],
    ),
    "matrix product of rank five": (
        [op("matmul", x=half(1, 2, 2, 4, 4)), op("linear", x=half(1, 2, 2, 4, 4))],
        [op("matmul", x=half(1, 2, 4, 4)), op("transpose", x=half(1, 2, 2, 4, 4))],
    ),
    "extent": (
        [
            op("relu", x=half(1, 16385)),
            op("relu", x=half(1, 65537, 1, 1)),
            op("relu", x=half(1, 8, 16385, 1)),
        ],
        [
            op("relu", x=half(1, 16384)),
            op("relu", x=half(1, 65536, 1, 1)),
            conv(weight=stored(20000, 20000)),
        ],
    ),
    "empty tensor": ([op("relu", x=half(0, 8))], [op("relu", x=half(1, 8)), op("relu", x=half())]),
    "wide kernel": (
        [conv(weight=stored(8, 8, 3, 17)), conv(half(1, 8, 64), stored(8, 8, 31))],
        [conv(weight=stored(8, 8, 17, 16)), op("matmul", weight=stored(32, 32))],
    ),
    "dilation": (
        [conv(dilations=(2, 2)), conv(dilations=(1, 2))],
        [conv(dilations=(1, 1)), conv(), op("relu", dilations=(2, 2))],
    ),
    "computed weights": (
        [conv(weight=half(8, 8, 3, 3))],
        [conv(), op("matmul", weight=half(32, 32))],
    ),
    "pooling window": (
        [op("avg_pool", kernel_sizes=(14, 14)), op("max_pool", kernel_sizes=(1, 14))],
        [op("avg_pool", kernel_sizes=(13, 13)), op("reduce_mean", kernel_sizes=(14, 14))],
    ),
    "pooling stride": (
        [op("max_pool", kernel_sizes=(3, 3), strides=(3, 3))],
        [op("max_pool", kernel_sizes=(3, 3), strides=(2, 2)), conv(strides=(4, 4))],
    ),
    "upsampling factor": (
        [
            op("upsample_nearest_neighbor", scale_factor_height=4, scale_factor_width=4),
            op("upsample_bilinear", scale_factor_height=2.0, scale_factor_width=2.5),
            op("resize_bilinear", y=half(1, 8, 64, 96)),
        ],
        [
            op("upsample_nearest_neighbor", scale_factor_height=2, scale_factor_width=2),
            op("upsample_bilinear", scale_factor_height=2.0, scale_factor_width=2.0),
            op("resize_bilinear", y=half(1, 8, 64, 64)),
            op("resize_nearest_neighbor", y=half(1, 8, 16, 16)),
        ],
    ),
    "recurrent": ([op("lstm"), op("gru"), op("rnn")], [op("matmul")]),
    "control flow": ([op("cond"), op("while_loop")], [op("select")]),
    "lists": ([op("make_list"), op("list_read"), op("list_write")], [op("concat")]),
    "gather": (
        [op("gather"), op("gather_along_axis"), op("gather_nd")],
        [op("slice_by_index"), op("split")],
    ),
    "ranking": ([op("topk"), op("argsort")], [op("reduce_max")]),
    "scatter": ([op("scatter"), op("scatter_along_axis"), op("scatter_nd")], [op("concat")]),
    "indexing": ([op("one_hot"), op("non_zero"), op("shape"), op("band_part")], [op("reshape")]),
    "logic": (
        [op("logical_and"), op("logical_or"), op("logical_xor")],
        [op("logical_not"), op("minimum")],
    ),
    "remainder and product": ([op("mod"), op("reduce_prod")], [op("reduce_sum"), op("real_div")]),
    "inverse and hyperbolic functions": (
        [op("tan"), op("acos"), op("sinh")],
        [op("tanh"), op("atan")],
    ),
    "from the A15": (
        [op("sin"), op("cos"), op("reduce_argmin")],
        [op("exp"), op("reduce_argmax")],
    ),
    "random numbers": ([op("random_normal"), op("random_uniform")], [op("fill")]),
    "running sum": ([op("cumsum")], [op("reduce_sum")]),
    "custom op": ([op("custom_layer"), op("custom_nms")], [op("conv")]),
}


def reasons(facts: OpFacts) -> list[str]:
    return [departure.reason for departure in leaves_neural_engine([facts])]


def test_every_rule_has_its_cases() -> None:
    assert sorted(CASES) == sorted(rule.name for rule in RULES)


@pytest.mark.parametrize("name", CASES)
def test_rule_names_its_ops_and_leaves_others(name: str) -> None:
    (rule,) = (rule for rule in RULES if rule.name == name)
    leave, stay = CASES[name]
    for facts in leave:
        assert rule.reason in reasons(facts), facts
    for facts in stay:
        assert rule.reason not in reasons(facts), facts


def test_an_ordinary_network_stays() -> None:
    ops = [
        op("cast", x=TensorFacts("float32", (1, 3, 32, 32)), y=half(1, 3, 32, 32)),
        op("const", y=TensorFacts("int32", (2,))),
        op("constexpr_affine_dequantize", y=stored(8, 3, 3, 3)),
        conv(strides=(2, 2), dilations=(1, 1)),
        op("relu"),
        op("add"),
        op("max_pool", kernel_sizes=(3, 3), strides=(2, 2)),
        op("reduce_mean", y=half(1, 8, 1, 1)),
        op("reshape", y=half(1, 8)),
        op("linear", x=half(1, 8), y=half(1, 10), weight=stored(10, 8)),
        op("softmax", x=half(1, 10), y=half(1, 10)),
    ]
    assert leaves_neural_engine(ops) == ()


def test_departures_follow_the_ops_and_name_them() -> None:
    found = leaves_neural_engine([op("topk"), op("relu"), op("lstm", x=half(1, None, 8))])
    assert [(item.op, item.name) for item in found] == [
        ("topk", "topk_0"),
        ("lstm", "lstm_0"),
        ("lstm", "lstm_0"),
    ]
    for item in found:
        assert item.source.url.startswith("https://")
        words = item.in_words()
        assert words.startswith(f"{item.op} '{item.name}' is likely to leave the Neural Engine")
        assert item.reason in words
        assert item.source.url in words


def test_attributes_are_read_by_their_kind() -> None:
    facts = OpFacts(
        type="t", name="n", attributes={"one": 3, "text": "same", "mixed": (1.5, 2.0), "yes": True}
    )
    assert facts.integers("one") == (3,)
    assert facts.integers("text") == facts.integers("mixed") == facts.integers("none") == ()
    assert facts.numbers("mixed") == (1.5, 2.0)
    assert facts.numbers("text") == ()
