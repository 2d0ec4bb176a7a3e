from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.quant import (
    HARD_SIGMOID_SCALE,
    FixedParameters,
    LayerOverride,
    QuantConstraints,
    QuantScheme,
    named_scheme,
)
from edgekit.errors import ConfigError
from edgekit.quantization.place import place
from edgekit.quantization.placement import Placement, ValueGroup
from tests.unit.quantization.graph_builder import GraphBuilder
from tests.unit.quantization.graphs import residual_net

INT8 = named_scheme("int8")


def _members(placement: Placement) -> list[set[str]]:
    return [set(group.members) for group in placement.groups]


def _group(placement: Placement, value: str) -> ValueGroup:
    return placement.group_of()[value]


def test_residual_net_is_integer_throughout() -> None:
    placement = place(residual_net(), INT8)
    assert placement.float_reasons == ()
    assert placement.integer_units == ("conv1", "conv2", "conv3", "add", "pool", "flat", "fc")
    # Nothing between a kernel and the activation that it applies.
    assert _members(placement) == [
        {"image"}, {"relu1"}, {"relu2"}, {"conv3"}, {"relu3"}, {"pool", "flat"}, {"fc"},
    ]  # fmt: skip


def test_layers_name_weights_bias_axis_and_input() -> None:
    placement = place(residual_net(), INT8)
    layer = placement.layers[-1]
    assert (layer.layer, layer.weight, layer.axis, layer.input_group) == (
        "fc", "fc.weight", 0, "pool",
    )  # fmt: skip
    assert layer.bias is not None
    assert (layer.bias.value, layer.bias.reader.node, layer.bias.reader.index) == (
        "fc.bias", "fc", 2,
    )  # fmt: skip


def test_movement_and_pooling_share_parameters_along_a_chain() -> None:
    b = GraphBuilder()
    x = b.relu("act", b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4))
    x = b.node("MaxPool", "pool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = b.node("Transpose", "turn", x, perm=[0, 2, 3, 1])
    x = b.node("Reshape", "flat", x, b.constant("shape", np.array([1, 64])))
    b.node("Split", "parts", x, outputs=["left", "right"], axis=1, num_outputs=2)
    placement = place(b.build("left", "right"), INT8)
    assert _members(placement) == [
        {"x"}, {"act", "pool", "turn", "flat", "left", "right"},
    ]  # fmt: skip
    assert _group(placement, "left").sources == ("act",)


def _shuffle_block(b: GraphBuilder, name: str, source: str) -> str:
    b.node("Split", f"{name}.split", source, outputs=[f"{name}.a", f"{name}.b"], axis=1,
           num_outputs=2)  # fmt: skip
    branch = b.relu(f"{name}.relu", b.conv(f"{name}.conv", f"{name}.b", 4, 4))
    joined = b.node("Concat", f"{name}.cat", f"{name}.a", branch, axis=1)
    shape = b.constant(f"{name}.shape", np.array([1, 2, 4, 8, 8]))
    folded = b.node("Reshape", f"{name}.fold", joined, shape)
    turned = b.node("Transpose", f"{name}.turn", folded, perm=[0, 2, 1, 3, 4])
    back = b.constant(f"{name}.back", np.array([1, 8, 8, 8]))
    return b.node("Reshape", f"{name}.out", turned, back)


def test_channel_shuffle_shares_parameters_through_the_whole_stage() -> None:
    b = GraphBuilder()
    x = b.relu("stem", b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 8))
    x = _shuffle_block(b, "two", _shuffle_block(b, "one", x))
    b.conv("head", x, 8, 4)
    placement = place(b.build("head"), INT8)
    assert placement.float_reasons == ()
    group = _group(placement, "two.cat")
    assert set(group.sources) == {"stem", "one.relu", "two.relu"}
    assert {"one.a", "one.b", "one.out", "two.a", "two.b", "two.out"} <= set(group.members)
    assert len(placement.groups) == 3


def test_squeeze_and_excite() -> None:
    b = GraphBuilder()
    x = b.node("HardSwish", "act", b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4))
    gate = b.node("GlobalAveragePool", "squeeze", x)
    gate = b.relu("reduce.act", b.conv("reduce", gate, 4, 2, 1))
    gate = b.node("HardSigmoid", "gate", b.conv("expand", gate, 2, 4, 1), alpha=1 / 6, beta=0.5)
    b.node("Mul", "scaled", x, gate)
    placement = place(b.build("scaled"), INT8)
    assert placement.float_reasons == ()
    assert _group(placement, "gate").fixed == FixedParameters(
        scale=HARD_SIGMOID_SCALE, zero_point=-128
    )
    assert _group(placement, "act").fixed is None


def _attention() -> ir.Model:
    b = GraphBuilder()
    x = b.input("tokens", "batch", 6, 8)
    scale, shift = b.random("norm.scale", 8), b.random("norm.shift", 8)
    x = b.node("LayerNormalization", "norm", x, scale, shift, axis=-1)
    parts = []
    for name in ("query", "key", "value"):
        product = b.node("MatMul", name, x, b.random(f"{name}.w", 8, 8))
        parts.append(b.node("Add", f"{name}.add", product, b.random(f"{name}.bias", 8)))
    query, key, value = parts
    turned = b.node("Transpose", "turned", key, perm=[0, 2, 1])
    scores = b.node("MatMul", "scores", query, turned)
    scores = b.node("Mul", "scaled", scores, b.constant("factor", 0.35))
    weights = b.node("Softmax", "weights", scores, axis=-1)
    mixed = b.node("MatMul", "mixed", weights, value)
    b.node("Gelu", "gelu", mixed)
    return b.build("gelu")


def test_attention_is_integer_with_its_normalization() -> None:
    placement = place(_attention(), INT8)
    assert placement.float_reasons == ()
    assert placement.notes == ()
    assert placement.integer_units == (
        "norm", "query", "key", "value", "turned", "scores", "scaled", "weights", "mixed", "gelu",
    )  # fmt: skip
    assert _group(placement, "weights").fixed == FixedParameters(scale=1 / 256, zero_point=-128)
    assert "query" not in placement.group_of()
    assert _group(placement, "tokens").members == ("tokens",)
    assert _group(placement, "norm").members == ("norm",)
    assert [constant.value for constant in placement.constants] == ["factor"]


def test_an_input_that_float_ops_alone_read_stays_float_and_that_is_told() -> None:
    scheme = INT8.model_copy(update={"keep_float": ("norm",)})
    placement = place(_attention(), scheme)
    assert placement.float_reasons == (("norm", "kept in float by the pattern 'norm'"),)
    assert "tokens" not in placement.group_of()
    assert [(note.where, note.text) for note in placement.notes] == [
        ("tokens", "The input stays float32, since it is only read by ops in float")
    ]


def test_the_normalization_of_16_bit_activations_computes_in_float() -> None:
    placement = place(_attention(), named_scheme("int16x8"))
    reason = "LayerNormalization has no kernel on 16-bit activations"
    assert placement.float_reasons == (("norm", reason),)


@pytest.mark.parametrize(
    ("axis", "constant", "reason"),
    [
        (1, True, "LayerNormalization over more than the last axis has no"),
        (-1, False, "the scale or bias of LayerNormalization is not constant"),
    ],
)
def test_forms_of_layer_normalization_without_an_integer_kernel(
    axis: int, constant: bool, reason: str
) -> None:
    b = GraphBuilder()
    x = b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4)
    size = (4, 8, 8) if axis == 1 else (8,)
    scale = b.random("scale", *size) if constant else b.input("scale", *size)
    b.node("LayerNormalization", "norm", x, scale, axis=axis)
    ((name, text),) = place(b.build("norm"), INT8).float_reasons
    assert (name, text.startswith(reason)) == ("norm", True)


def test_concat_converts_an_input_with_fixed_parameters() -> None:
    b = GraphBuilder()
    x = b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4)
    gate = b.node("Reshape", "same", b.node("Sigmoid", "gate", x),
                  b.constant("shape", np.array([1, 4, 8, 8])))  # fmt: skip
    b.node("Concat", "cat", x, gate, axis=1)
    placement = place(b.build("cat"), INT8)
    (conversion,) = placement.conversions
    assert conversion.value == "same"
    assert [(reader.node, reader.index) for reader in conversion.readers] == [("cat", 1)]
    group = _group(placement, "cat")
    assert set(group.members) == {"conv", "cat", conversion.name}
    assert group.sources == ("conv", "same")
    assert group.fixed is None
    fixed = _group(placement, "same")
    assert set(fixed.members) == {"gate", "same"}
    assert fixed.fixed is not None


def test_concat_of_equally_fixed_inputs_needs_no_conversion() -> None:
    b = GraphBuilder()
    x, y = b.input("x", 1, 4), b.input("y", 1, 4)
    left, right = b.node("Sigmoid", "left", x), b.node("Softmax", "right", y)
    b.node("Concat", "cat", left, right, axis=1)
    placement = place(b.build("cat"), INT8)
    assert placement.conversions == ()
    assert set(_group(placement, "cat").members) == {"left", "right", "cat"}
    assert _group(placement, "cat").fixed == FixedParameters(scale=1 / 256, zero_point=-128)


def test_constants_share_where_the_kernel_demands_it_and_stand_alone_elsewhere() -> None:
    b = GraphBuilder()
    x = b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4)
    x = b.node("Max", "floor", x, b.constant("limit", np.full((1, 4, 1, 1), -7.5)))
    b.node("Mul", "scaled", x, b.random("factor", 4, 1, 1))
    placement = place(b.build("scaled"), INT8)
    by_name = {constant.value: constant for constant in placement.constants}
    assert by_name["limit"].group == "conv"
    assert by_name["factor"].group == ""
    group = _group(placement, "floor")
    # The limit saturates; whether it is ever reached shows in the result.
    assert (group.sources, group.constants) == (("conv", "floor"), ())


def test_padding_by_a_number_widens_the_range() -> None:
    b = GraphBuilder()
    x = b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4)
    pads = b.constant("pads", np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    b.node("Pad", "padded", x, pads, b.constant("fill", -9.0))
    assert _group(place(b.build("padded"), INT8), "padded").numbers == (-9.0,)


def test_gather_from_a_constant_table() -> None:
    b = GraphBuilder()
    rows = b.node("Gather", "rows", b.random("table", 10, 8),
                  b.constant("index", np.array([1, 3])))  # fmt: skip
    b.node("MatMul", "product", rows, b.random("w", 8, 4))
    placement = place(b.build("product"), INT8)
    assert _group(placement, "rows").constants == ("table",)
    assert _group(placement, "rows").sources == ()
    assert placement.constants[0].group == "rows"


@pytest.mark.parametrize(
    ("op_type", "attributes", "reason"),
    [
        ("Sin", {}, "Sin has no integer kernel"),
        ("ThresholdedRelu", {"alpha": 2.0}, "ThresholdedRelu has no integer kernel"),
    ],
)
def test_float_ops_give_their_reason(
    op_type: str, attributes: dict[str, Any], reason: str
) -> None:
    b = GraphBuilder()
    x = b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4)
    b.conv("tail", b.node(op_type, "op", x, **attributes), 4, 4)
    placement = place(b.build("tail"), INT8)
    assert placement.float_reasons == (("op", reason),)
    assert {"conv", "op", "tail"} <= set(placement.group_of())


def _normalized() -> GraphBuilder:
    """``x / sum(exp(x))`` between two convolutions."""
    b = GraphBuilder()
    x = b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4)
    axes = b.constant("axes", np.array([1]))
    total = b.node("ReduceSum", "total", b.node("Exp", "exp", x), axes, keepdims=1)
    b.conv("tail", b.node("Div", "quotient", x, total), 4, 4)
    return b


def test_division_computes_on_16_bits_in_an_8_bit_graph() -> None:
    placement = place(_normalized().build("tail"), INT8)
    assert placement.float_reasons == ()
    bits = {name: group.scheme.bits for name, group in placement.group_of().items()}
    assert {name: bits[name] for name in ("conv", "exp", "total", "quotient", "tail")} == {
        "conv": 8, "exp": 8, "total": 8, "quotient": 16, "tail": 8,
    }  # fmt: skip
    converted = {item.value: bits[item.name] for item in placement.conversions}
    assert converted == {"conv": 16, "total": 16, "quotient": 8}


def test_an_override_cannot_ask_for_bits_without_a_kernel() -> None:
    override = LayerOverride(pattern="quotient", activation_bits=8)
    scheme = QuantScheme(overrides=(override,))
    placement = place(_normalized().build("tail"), scheme)
    assert _group(placement, "quotient").scheme.bits == 16


def test_a_target_may_divide_on_8_bits() -> None:
    constraints = QuantConstraints(forced_bits={})
    placement = place(_normalized().build("tail"), INT8, constraints)
    assert placement.conversions == ()
    assert _group(placement, "quotient").scheme.bits == 8


def test_forms_without_a_kernel() -> None:
    b = GraphBuilder()
    x = b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4)
    b.node("Pow", "power", x, b.node("Sigmoid", "gate", x))
    b.node("Div", "by_zero", x, b.constant("zeros", np.array([1, 0, 1, 1]).reshape(4, 1, 1) * 1.0))
    b.node("Pow", "root", b.node("Abs", "size", x), b.constant("half", 0.5))
    b.node("Max", "highest", b.constant("one", 1.0), b.constant("two", 2.0))
    placement = place(b.build("power", "by_zero", "root", "highest"), INT8)
    assert dict(placement.float_reasons) == {
        "power": "the exponent of Pow is not one constant number",
        "by_zero": "it divides by a constant 0",
        "highest": "it computes on constants only",
    }
    assert "half" not in {item.value for item in placement.constants}


def test_second_factor_of_a_product_is_symmetric() -> None:
    placement = place(_attention(), INT8)
    symmetric = {name for name, group in placement.group_of().items() if group.scheme.symmetric}
    assert symmetric == {"key.add", "turned", "value.add"}
    assert not _group(placement, "query.add").scheme.symmetric


def test_second_factor_with_fixed_parameters_is_converted() -> None:
    b = GraphBuilder()
    x = b.input("x", 2, 4, 4)
    left = b.node("MatMul", "left", x, b.random("w", 4, 4))
    gate = b.node("Sigmoid", "gate", left)
    b.node("MatMul", "by_gate", left, gate)
    b.node("MatMul", "by_tanh", left, b.node("Tanh", "tanh", left))
    b.node("MatMul", "by_gate_again", x, gate)
    placement = place(b.build("by_gate", "by_tanh", "by_gate_again"), INT8)
    (conversion,) = placement.conversions
    assert (conversion.value, conversion.name) == ("gate", "gate/symmetric")
    assert [reader.node for reader in conversion.readers] == ["by_gate", "by_gate_again"]
    group = _group(placement, conversion.name)
    assert (group.scheme.symmetric, group.fixed) == (True, None)
    assert _group(placement, "gate").fixed is not None


def test_constant_second_factor_of_higher_rank_is_symmetric() -> None:
    b = GraphBuilder()
    b.node("MatMul", "batched", b.input("x", 2, 4, 4), b.random("w", 2, 4, 4))
    (constant,) = place(b.build("batched"), INT8).constants
    assert (constant.value, constant.scheme.symmetric) == ("w", True)


def test_no_input_is_symmetric_with_16_bits_for_another_reason() -> None:
    placement = place(_attention(), named_scheme("int16x8"))
    assert placement.conversions == ()
    assert all(group.scheme.symmetric for group in placement.groups)


def test_convolution_reasons() -> None:
    b = GraphBuilder()
    x = b.input("x", 1, 3, 8, 8)
    b.node("Conv", "free", x, b.input("w", 4, 3, 3, 3))
    y = b.input("y", 1, 2, 4, 4, 4)
    b.node("Conv", "deep", y, b.random("w3", 2, 2, 3, 3, 3))
    assert dict(place(b.build("free", "deep"), INT8).float_reasons) == {
        "free": "its weights are not constant",
        "deep": "there is no integer kernel for 3 spatial axes",
    }


def test_resize_and_pad_modes() -> None:
    b = GraphBuilder()
    x = b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4)
    scales = b.constant("scales", np.array([1, 1, 2, 2], np.float32))
    b.node("Resize", "linear", x, "", scales, mode="linear")
    b.node("Resize", "cubic", x, "", scales, mode="cubic")
    pads = b.constant("pads", np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    b.node("Pad", "edge", x, pads, mode="edge")
    b.node("Pad", "wrap", x, pads, mode="wrap")
    placement = place(b.build("linear", "cubic", "edge", "wrap"), INT8)
    assert dict(placement.float_reasons) == {
        "cubic": "Resize 'cubic' has no integer kernel",
        "wrap": "Pad in mode 'wrap' has no integer kernel",
    }
    assert set(_group(placement, "linear").members) == {"conv", "linear", "edge"}
    assert [note.where for note in placement.notes] == ["cubic", "wrap"]


def test_movement_between_float_ops_stays_float() -> None:
    b = GraphBuilder()
    x = b.node("Sin", "first", b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4))
    x = b.node("Transpose", "turned", x, perm=[0, 2, 3, 1])
    b.node("Cos", "last", b.node("Flatten", "flat", x))
    placement = place(b.build("last"), INT8)
    between = "it only moves data between ops in float"
    assert dict(placement.float_reasons)["turned"] == between
    assert dict(placement.float_reasons)["flat"] == between
    assert set(placement.group_of()) == {"x", "conv"}


def test_keep_float_by_pattern_takes_the_fused_activation_along() -> None:
    scheme = QuantScheme(keep_float=("relu2",))
    placement = place(residual_net(), scheme)
    assert placement.float_reasons == (("conv2", "kept in float by the pattern 'relu2'"),)
    assert "conv2" not in {layer.layer for layer in placement.layers}
    assert "relu2" in placement.group_of()


def test_pattern_that_matches_nothing_suggests_a_name() -> None:
    with pytest.raises(ConfigError, match=r"'conv_2' matches no node.*Did you mean 'conv2'"):
        place(residual_net(), QuantScheme(keep_float=("conv_2",)))
    override = LayerOverride(pattern="block*", weight_bits=4)
    with pytest.raises(ConfigError, match="matches no node"):
        place(residual_net(), QuantScheme(overrides=(override,)))


def test_sixteen_bits_for_one_layer_convert_at_its_borders() -> None:
    scheme = QuantScheme(overrides=(LayerOverride(pattern="conv3", activation_bits=16),))
    placement = place(residual_net(), scheme)
    values = {conversion.value: conversion for conversion in placement.conversions}
    assert set(values) == {"relu2", "conv3"}
    bits = {name: group.scheme.bits for name, group in placement.group_of().items()}
    assert bits["conv3"] == 16
    assert bits["relu2"] == 8
    assert bits[values["relu2"].name] == 16
    assert bits[values["conv3"].name] == 8
    assert [reader.node for reader in values["conv3"].readers] == ["add"]


def test_sixteen_bits_need_a_kernel() -> None:
    b = GraphBuilder()
    x = b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4)
    x = b.node("LogSoftmax", "log", x)
    slope = b.constant("slope", np.array([0.5, 2, 0, -1], np.float32).reshape(4, 1, 1))
    b.node("Softmax", "soft", b.node("PRelu", "act", x, slope))
    placement = place(b.build("soft"), named_scheme("int16x8"))
    assert placement.float_reasons == (
        ("log", "LogSoftmax has no kernel on 16-bit activations"),
        ("act", "PRelu with a slope above 1 has no kernel on 16-bit activations"),
    )
    assert _group(placement, "soft").fixed == FixedParameters(scale=1 / 32768, zero_point=0)


def test_constraints_of_a_target_decide() -> None:
    constraints = QuantConstraints(
        integer_ops=QuantConstraints().integer_ops - {"Add"}, fused_ranges=()
    )
    placement = place(residual_net(), INT8, constraints)
    assert dict(placement.float_reasons) == {"add": "Add has no integer kernel"}
    assert {"conv1", "relu1"} <= set(placement.group_of())


def test_weights_alone() -> None:
    placement = place(residual_net(), named_scheme("int8-weights"))
    assert placement.groups == ()
    assert [layer.layer for layer in placement.layers] == ["conv1", "conv2", "conv3", "fc"]
    assert {layer.input_group for layer in placement.layers} == {""}


def test_blockwise_weights_where_there_are_kernels() -> None:
    b = GraphBuilder()
    x = b.node("MatMul", "wide", b.input("x", 4, 64), b.random("w1", 64, 40))
    b.node("MatMul", "narrow", x, b.random("w2", 40, 5))
    placement = place(b.build("narrow"), named_scheme("int4-weights"))
    assert [(item.scheme.bits, item.scheme.granularity) for item in placement.layers] == [
        (4, "blockwise"),
        (8, "per-channel"),
    ]
    assert [(note.where, note.text) for note in placement.notes] == [
        ("narrow", "8-bit weights per channel: 40 inputs are no multiple of the block of 32")
    ]


def test_single_op_with_what_moves_its_data() -> None:
    placement = place(residual_net(), INT8, only={"fc"})
    assert placement.integer_units == ("flat", "fc")
    assert dict(placement.float_reasons)["conv1"] == "it was not selected"


def test_quantized_graph_is_kept() -> None:
    b = GraphBuilder()
    scale, zero = b.constant("scale", 0.1), b.constant("zero", np.array(0, np.int8))
    x = b.node("QuantizeLinear", "q", b.input("x", 1, 4), scale, zero)
    b.node("DequantizeLinear", "dq", x, scale, zero)
    placement = place(b.build("dq"), INT8)
    assert placement.already_quantized
    assert "quantized already (DequantizeLinear, QuantizeLinear)" in placement.notes[0].text


def test_shape_arithmetic_is_left_alone() -> None:
    b = GraphBuilder()
    x = b.conv("conv", b.input("x", "batch", 3, 8, 8), 3, 4)
    size = b.node("Shape", "size", x, end=1)
    target = b.node("Concat", "target", size, b.constant("rest", np.array([-1])), axis=0)
    b.node("Reshape", "flat", x, target)
    placement = place(b.build("flat"), INT8)
    assert placement.float_reasons == ()
    assert placement.integer_units == ("conv", "flat")


def test_scales_of_blocks_are_what_files_hold() -> None:
    b = GraphBuilder()
    x = b.node("MatMul", "wide", b.input("x", 4, 64), b.random("w1", 64, 40))
    b.node("MatMul", "narrow", x, b.random("w2", 40, 5))
    placement = place(b.build("narrow"), named_scheme("int4-weights"))
    assert [layer.scale_format for layer in placement.layers] == ["bfloat16", None]


def test_weights_that_stay_float_say_why() -> None:
    b = GraphBuilder()
    b.input("ids", 1, 3, 8)
    h = b.node("LSTM", "memory", "ids", b.random("w", 1, 16, 8), b.random("r", 1, 16, 4),
               hidden_size=4)  # fmt: skip
    h = b.node("Reshape", "flat", h, b.constant("shape", np.array([1, 12, 1, 1])))
    h = b.node("ConvTranspose", "up", h, b.random("k", 12, 2, 2, 2), group=4, strides=[2, 2])
    h = b.node("Reshape", "row", h, b.constant("shape2", np.array([1, 32])))
    h = b.node("MatMul", "batched", h, b.random("stack", 2, 32, 32))
    h = b.node("Mul", "scaled", h, b.random("grid", 2, 1, 32))
    h = b.node("Gemm", "twice", b.input("rows", 2, 4), b.random("g", 4, 4), alpha=2.0)
    b.node("Mul", "table", b.input("t", 40, 40), b.random("large", 40, 40))
    placement = place(b.build("scaled", "twice", "table"), named_scheme("int8-weights"))
    assert placement.layers == ()
    assert dict(placement.float_reasons) == {
        "memory": "LSTM: weights of recurrent layers are not quantized",
        "up": "a transposed convolution with groups has no kernel for integer weights",
        "batched": "its constant of 2048 numbers stays float: only matrices and convolution "
        "kernels are quantized as weights",
        "twice": "Gemm with alpha other than 1 has no kernel for integer weights",
        "table": "its constant of 1600 numbers stays float: Mul is no layer",
    }


@pytest.mark.parametrize(
    ("size", "blocks"), [(1e-4, False), (1e-2, True), (0.0, True), (1e5, True), (1e6, False)]
)
def test_blocks_need_weights_whose_scales_float16_holds(size: float, blocks: bool) -> None:
    b = GraphBuilder()
    b.node("MatMul", "fc", b.input("x", 4, 32), b.constant("w", np.full((32, 4), size)))
    placement = place(b.build("fc"), named_scheme("int4-weights"))
    (layer,) = placement.layers
    assert (layer.scheme.granularity == "blockwise") is blocks
    notes = [note.text for note in placement.notes]
    assert notes == (
        []
        if blocks
        else [f"8-bit weights per channel: weights of up to {size:.3g} need scales beyond float16"]
    )
