from __future__ import annotations

from collections import Counter

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.core.quant import LayerOverride, QuantScheme, custom_scheme, named_scheme
from edgekit.errors import UnsupportedError
from edgekit.quantization.affine import AffineParameters
from edgekit.quantization.insertion import insert_qdq
from edgekit.quantization.parameters import QuantParameters, ValueRange, compute_parameters
from edgekit.quantization.place import place
from edgekit.quantization.placement import Placement
from tests.unit.quantization.graph_builder import GraphBuilder
from tests.unit.quantization.graphs import batches, constant, residual_net, run

INT8 = named_scheme("int8")

type Quantized = tuple[ir.Model, Placement, QuantParameters]


def _quantize(
    model: ir.Model, scheme: QuantScheme = INT8, low: float = -2.0, high: float = 3.0
) -> Quantized:
    """With the same range for every group, which is enough to look at the graph."""
    placement = place(model, scheme)
    ranges = {group.name: ValueRange(low, high) for group in placement.calibrated_groups()}
    parameters = compute_parameters(model, placement, ranges)
    return insert_qdq(model, placement, parameters), placement, parameters


def _node(model: ir.Model, name: str) -> ir.Node:
    return next(node for node in model.graph if node.name == name)


def test_one_pair_a_value_with_the_agreed_names() -> None:
    model, placement, _ = _quantize(residual_net())
    values = [value for value in placement.group_of() if value != "fc"]
    for value in values:
        quantize, dequantize = (
            _node(model, f"{value}/quantize"),
            _node(model, f"{value}/dequantize"),
        )
        assert quantize.inputs[0] is not None
        assert quantize.inputs[0].name == value
        assert quantize.outputs[0].name == f"{value}/int8"
        assert dequantize.inputs[0] is quantize.outputs[0]
        assert dequantize.outputs[0].name == f"{value}/dequantized"
        # All readers of the value read it behind the pair.
        assert [use.node.name for use in quantize.inputs[0].uses()] == [f"{value}/quantize"]
    counts = Counter(node.op_type for node in model.graph)
    assert counts["QuantizeLinear"] == len(values) + 1
    assert counts["DequantizeLinear"] == len(values) + 1 + 4 * 2


def test_interface_keeps_its_names() -> None:
    model, _, _ = _quantize(residual_net())
    assert [value.name for value in model.graph.inputs] == ["image"]
    assert [value.name for value in model.graph.outputs] == ["fc"]
    assert _node(model, "fc").outputs[0].name == "fc/result"
    assert _node(model, "fc/dequantize").outputs[0] is model.graph.outputs[0]


def test_values_of_a_group_read_the_same_parameters() -> None:
    model, _, _ = _quantize(residual_net())
    pool, flat = _node(model, "pool/quantize"), _node(model, "flat/quantize")
    assert pool.inputs[1] is flat.inputs[1]
    assert pool.inputs[2] is flat.inputs[2]
    assert pool.inputs[1] is not None
    assert pool.inputs[1].name == "pool/scale"
    assert constant(model, "pool/scale").shape == ()
    assert constant(model, "pool/zero_point").dtype == np.int8


def test_nothing_stands_between_a_kernel_and_its_activation() -> None:
    model, _, _ = _quantize(residual_net())
    (reader,) = _node(model, "conv1").outputs[0].uses()
    assert reader.node.name == "relu1"


def test_float_weights_are_gone() -> None:
    model, _, _ = _quantize(residual_net())
    left = [
        name
        for name, value in model.graph.initializers.items()
        if value.dtype == ir.DataType.FLOAT
    ]
    assert all(name.endswith("/scale") for name in left)


def test_weights_are_nearest_integers_per_channel_without_the_lowest() -> None:
    source = residual_net()
    model, _, _ = _quantize(source)
    weights = constant(source, "conv2.weight").astype(np.float64)
    integers = constant(model, "conv2.weight/int8")
    scale = constant(model, "conv2.weight/scale").astype(np.float64).reshape(-1, 1, 1, 1)
    assert integers.dtype == np.int8
    np.testing.assert_allclose(
        scale.reshape(-1), np.abs(weights).max(axis=(1, 2, 3)) / 127, rtol=1e-6
    )
    assert integers.min() >= -127
    assert np.all(np.abs(integers.astype(np.float64)).max(axis=(1, 2, 3)) == 127)
    assert np.all(np.abs(integers * scale - weights) <= scale * 0.5001)
    node = _node(model, "conv2.weight/dequantize")
    assert node.attributes["axis"].as_int() == 0


def test_bias_has_exactly_the_product_of_the_scales() -> None:
    source = residual_net()
    model, _, _ = _quantize(source)
    product = constant(model, "pool/scale").astype(np.float32) * constant(model, "fc.weight/scale")
    scale = constant(model, "fc.bias/scale")
    assert scale.dtype == np.float32
    np.testing.assert_array_equal(scale, product)
    integers = constant(model, "fc.bias/int32")
    assert integers.dtype == np.int32
    expected = np.rint(constant(source, "fc.bias").astype(np.float64) / scale)
    np.testing.assert_array_equal(integers, expected)
    assert _node(model, "fc.bias/dequantize").attributes["axis"].as_int() == 0


def _fake_quantize(
    array: npt.NDArray[np.float32], affine: AffineParameters
) -> npt.NDArray[np.float32]:
    return affine.dequantize(affine.quantize(array))


def test_graph_computes_what_numpy_computes_with_the_parameters() -> None:
    b = GraphBuilder()
    x = b.input("x", 2, 6)
    hidden = b.relu("act", b.node("Gemm", "one", x, b.random("w1", 6, 5), b.random("b1", 5)))
    b.node("MatMul", "two", hidden, b.random("w2", 5, 3))
    model, placement, parameters = _quantize(b.build("two"))
    values = np.random.default_rng(1).standard_normal((2, 6)).astype(np.float32)
    group = {name: parameters.groups[item.name] for name, item in placement.group_of().items()}
    first = parameters.layers["one"]
    assert first.bias is not None
    bias = first.bias.integers * first.bias.scale
    inner = _fake_quantize(values, group["x"]) @ first.weight.dequantize() + bias
    inner = _fake_quantize(np.maximum(inner, 0).astype(np.float32), group["act"])
    second = parameters.layers["two"].weight
    assert (second.axis, first.weight.axis) == (1, 1)
    expected = _fake_quantize(inner @ second.dequantize(), group["two"])
    (result,) = run(model, {"x": values}).values()
    np.testing.assert_allclose(result, expected, atol=group["two"].scale * 1.01)
    assert np.mean(np.abs(result - expected) > 1e-5) < 0.2


def test_transposed_convolution_in_groups() -> None:
    b = GraphBuilder()
    x = b.input("x", 1, 4, 5, 5)
    weight, bias = b.random("w", 4, 3, 2, 2), b.random("bias", 6)
    b.node("ConvTranspose", "up", x, weight, bias, group=2, strides=[2, 2])
    model, _, _ = _quantize(b.build("up"))
    assert _node(model, "w/dequantize").attributes["axis"].as_int() == 1
    assert constant(model, "w/scale").shape == (3,)
    expected = np.tile(
        constant(model, "x/scale").astype(np.float32) * constant(model, "w/scale"), 2
    )
    np.testing.assert_array_equal(constant(model, "bias/scale"), expected)
    run(model, {"x": np.zeros((1, 4, 5, 5), np.float32)})


def test_channel_without_weights_keeps_its_bias() -> None:
    b = GraphBuilder()
    weights = np.random.default_rng(0).standard_normal((3, 4))
    weights[1] = 1e-12
    b.node("Gemm", "fc", b.input("x", 1, 4), b.constant("w", weights),
           b.constant("bias", np.array([1.0, 5.0, -2.0])), transB=1)  # fmt: skip
    model, _, _ = _quantize(b.build("fc"), low=-6.0, high=6.0)
    (result,) = run(model, {"x": np.zeros((1, 4), np.float32)}).values()
    np.testing.assert_allclose(result, [[1.0, 5.0, -2.0]], atol=12 / 255)


def test_constants_have_their_own_parameters_or_those_of_their_group() -> None:
    b = GraphBuilder()
    x = b.input("x", 1, 4)
    x = b.node("Mul", "scaled", x, b.constant("factor", np.array([0.5, 1.0, 1.5, 2.0])))
    b.node("Max", "floored", x, b.constant("limit", -1.0))
    model, _, _ = _quantize(b.build("floored"))
    np.testing.assert_allclose(constant(model, "factor/scale"), 2.0 / 255, rtol=1e-6)
    assert constant(model, "factor/zero_point") == -128
    node = _node(model, "limit/dequantize")
    pair = _node(model, "scaled/quantize")
    assert node.inputs[1] is pair.inputs[1]
    (result,) = run(model, {"x": np.array([[-9.0, 0.0, 1.0, 1.0]], np.float32)}).values()
    np.testing.assert_allclose(result, [[-1.0, 0.0, 1.5, 2.0]], atol=0.03)


def test_value_that_is_converted_for_one_reader() -> None:
    b = GraphBuilder()
    x = b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4)
    b.node("Concat", "cat", x, b.node("Sigmoid", "gate", x), axis=1)
    model, placement, _ = _quantize(b.build("cat"))
    name = placement.conversions[0].name
    pair = _node(model, f"{name}/quantize")
    assert pair.inputs[0] is _node(model, "gate/dequantize").outputs[0]
    assert _node(model, "cat").inputs[1] is _node(model, f"{name}/dequantize").outputs[0]
    assert constant(model, "gate/scale") == np.float32(1 / 256)
    assert pair.inputs[1] is _node(model, "conv/quantize").inputs[1]


def test_weights_that_two_layers_share_are_stored_once() -> None:
    b = GraphBuilder()
    weight = b.random("w", 4, 4)
    x = b.node("MatMul", "one", b.input("x", 2, 4), weight)
    b.node("MatMul", "two", x, weight)
    model, _, _ = _quantize(b.build("two"))
    assert _node(model, "one").inputs[1] is _node(model, "two").inputs[1]
    assert [name for name in model.graph.initializers if "w/" in name] == [
        "w/int8", "w/scale", "w/zero_point",
    ]  # fmt: skip


def test_input_that_is_read_twice_has_one_pair() -> None:
    b = GraphBuilder()
    x = b.input("x", 1, 4)
    b.node("Add", "sum", x, b.node("Sigmoid", "gate", x))
    model, _, _ = _quantize(b.build("sum"))
    assert [use.node.name for use in model.graph.inputs[0].uses()] == ["x/quantize"]


@pytest.mark.parametrize("name", ["int16x8", "int4-weights", "int8-weights"])
def test_other_schemes_run_in_onnx_runtime(name: str) -> None:
    b = GraphBuilder()
    x = b.relu("act", b.node("MatMul", "one", b.input("x", 2, 64), b.random("w1", 64, 32)))
    b.node("MatMul", "two", x, b.random("w2", 32, 3))
    source = b.build("two")
    model, _, _ = _quantize(source, named_scheme(name), low=-90.0, high=90.0)
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32)}
    assert model.opset_imports[""] == (20 if name == "int8-weights" else 21)
    (expected,) = run(source, feeds).values()
    (result,) = run(model, feeds).values()
    noise = np.linalg.norm(result - expected) / np.linalg.norm(expected)
    assert noise < (0.25 if name == "int4-weights" else 0.02)


def test_blocks_of_four_bits() -> None:
    b = GraphBuilder()
    b.node("MatMul", "fc", b.input("x", 2, 64), b.random("w", 64, 3))
    source = b.build("fc")
    model, _, _ = _quantize(source, custom_scheme("int4-weights", weight_fit="largest"))
    node = _node(model, "w/dequantize")
    assert node.attributes["block_size"].as_int() == 32
    assert node.attributes["axis"].as_int() == 0
    assert model.graph.initializers["w/int4"].dtype == ir.DataType.INT4
    integers, scale = constant(model, "w/int4").astype(np.int32), constant(model, "w/scale")
    assert scale.shape == (2, 3)
    blocks = np.abs(constant(source, "w")).astype(np.float64).reshape(2, 32, 3).max(axis=1)
    # Rounded up to 8 binary digits, which float16 and bfloat16 both hold.
    assert (scale >= (blocks / 7).astype(np.float32)).all()
    np.testing.assert_allclose(scale, blocks / 7, rtol=2.0**-7)
    np.testing.assert_array_equal(scale, scale.astype(ml_dtypes.bfloat16).astype(np.float32))
    np.testing.assert_array_equal(scale, scale.astype(np.float16).astype(np.float32))
    assert integers.min() >= -7


def test_four_bits_of_one_layer_beside_eight() -> None:
    scheme = QuantScheme(overrides=(LayerOverride(pattern="fc", weight_bits=4),))
    model, _, _ = _quantize(residual_net(), scheme)
    assert model.graph.initializers["fc.weight/int4"].dtype == ir.DataType.INT4
    assert model.graph.initializers["conv1.weight/int8"].dtype == ir.DataType.INT8
    run(model, next(batches()))


def test_per_tensor_weights() -> None:
    scheme = QuantScheme(overrides=(LayerOverride(pattern="fc", granularity="per-tensor"),))
    model, _, _ = _quantize(residual_net(), scheme)
    assert constant(model, "fc.weight/scale").shape == ()
    assert constant(model, "fc.bias/scale").shape == ()
    run(model, next(batches()))


def test_float16_scales() -> None:
    model, _, _ = _quantize(residual_net(), QuantScheme(scale_format="float16"))
    stored = [
        constant(model, name)
        for name in model.graph.initializers
        if name.endswith("/scale") and "bias" not in name
    ]
    assert len(stored) == 7 + 4
    for scale in stored:
        np.testing.assert_array_equal(scale.astype(np.float16).astype(np.float32), scale)


def test_wide_integers_beside_an_op_that_opset_21_changed() -> None:
    b = GraphBuilder()
    x = b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4)
    b.node("GroupNormalization", "norm", x, b.random("s", 2), b.random("o", 2), num_groups=2)
    with pytest.raises(UnsupportedError, match=r"'norm'.*changed its meaning in opset 21"):
        _quantize(b.build("norm"), named_scheme("int16x8"))


def test_source_is_not_modified() -> None:
    source = residual_net()
    before = ir.to_proto(source).SerializeToString(deterministic=True)
    _quantize(source)
    assert ir.to_proto(source).SerializeToString(deterministic=True) == before
