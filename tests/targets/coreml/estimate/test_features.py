"""Counts against figures worked out by hand."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from edgekit.errors import InputError
from edgekit.graph.passes.infer_shapes import InferShapes
from edgekit.targets.coreml.estimate import Features, features_of_graph


def graph(text: str) -> ir.Model:
    """A graph in ONNX's own notation, with inferred shapes."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 22]> {text}')
    model = ir.from_proto(proto)
    InferShapes()(model)
    return model


def test_a_convolution_with_its_activation_is_written_once() -> None:
    weights = ",".join(["1"] * 216)
    model = graph(
        f"""net (float[1,4,8,8] x) => (float[1,6,8,8] y)
            <float[6,4,3,3] w = {{{weights}}}, float[6] b = {{0,0,0,0,0,0}}> {{
            c = Conv <pads = [1,1,1,1]> (x, w, b)
            y = Relu(c)
        }}"""
    )
    assert features_of_graph(model) == Features(
        macs=6 * 8 * 8 * 4 * 9,
        activation_bytes=2 * 6 * 64,
        weight_bytes=2 * (216 + 6),
    )


def body(nodes: str, outputs: str = "float[1,4,8,8] y") -> ir.Model:
    return graph(f"net (float[1,4,8,8] x) => ({outputs}) {{ {nodes} }}")


MAP = 2 * 4 * 8 * 8
"""Bytes of one feature map of the small graphs."""


@pytest.mark.parametrize(
    ("nodes", "maps"),
    [
        ("a = Exp(x) y = Exp(a)", 2),
        ("a = Exp(x) y = Relu(a)", 1),
        ("a = Exp(x) b = Relu(a) y = Add(a, b)", 3),
        ("y = Relu(x)", 1),
        ("a = Exp(x) g = Sigmoid(a) y = Mul(a, g)", 1),
        ("a = Exp(x) g = Sigmoid(a) y = Mul(g, a)", 1),
        ("a = Exp(x) g = Sigmoid(a) b = Mul(a, g) y = Add(a, b)", 4),
        ("a = Exp(x) g = Sigmoid(a) b = Mul(a, g) y = Add(g, b)", 4),
        ("a = Exp(x) b = Identity(a) y = Exp(b)", 2),
    ],
    ids=[
        "two ops", "fused", "activation of a tensor read twice", "activation of the input",
        "SiLU", "SiLU, other order", "SiLU of a tensor read elsewhere",
        "Sigmoid read elsewhere", "view",
    ],
)  # fmt: skip
def test_what_is_written(nodes: str, maps: int) -> None:
    assert features_of_graph(body(nodes)).activation_bytes == maps * MAP


def test_an_activation_of_an_output_is_written_beside_it() -> None:
    model = body("a = Exp(x) y = Relu(a)", "float[1,4,8,8] y, float[1,4,8,8] a")
    assert features_of_graph(model).activation_bytes == 2 * MAP


def test_constants_that_are_added_to_products_are_biases() -> None:
    text = """net (float[2,3] x) => (float[2,2] y)
        <float[3,2] w = {1,2,3,4,5,6}, float[2] b = {1,2}> {
        p = MatMul(x, w)
        y = OP(p, b)
    }"""
    bias, factor = (features_of_graph(graph(text.replace("OP", op))) for op in ("Add", "Mul"))
    assert bias == Features(macs=2 * 2 * 3, activation_bytes=2 * 4, weight_bytes=2 * 8)
    assert factor.activation_bytes == 2 * 8


def test_reshape_and_its_shape_count_nothing() -> None:
    model = graph(
        """net (float[1,4,8,8] x) => (float[4,64] y) <int64[2] s = {4,64}> {
            a = Exp(x)
            y = Reshape(a, s)
        }"""
    )
    assert features_of_graph(model) == Features(macs=0, activation_bytes=MAP, weight_bytes=0)


def test_unused_constants_are_no_weights() -> None:
    model = graph(
        """net (float[2] x) => (float[2] y) <float[2] a = {1,2}, float[2] b = {1,2}> {
            y = Mul(x, a)
        }"""
    )
    assert features_of_graph(model).weight_bytes == 2 * 2


def test_quantized_graphs_count_as_the_float16_network() -> None:
    text = """net (float[2,3] x) => (float[2,2] y)
        <int8[3,2] w = {1,2,3,4,5,6}, float[2] sw = {0.5,0.5}, int8[2] zw = {0,0},
         float s = {0.1}, uint8 z = {128}> {
        q = QuantizeLinear(x, s, z)
        d = DequantizeLinear(q, s, z)
        v = DequantizeLinear <axis = 1> (w, sw, zw)
        p = MatMul(d, v)
        r = Relu(p)
        t = QuantizeLinear(r, s, z)
        y = DequantizeLinear(t, s, z)
    }"""
    assert features_of_graph(graph(text)) == Features(
        macs=12, activation_bytes=2 * 4, weight_bytes=2 * 6
    )


def test_an_open_batch_is_one() -> None:
    model = graph("net (float[N,4,8,8] x) => (float[N,4,8,8] y) { y = Exp(x) }")
    assert features_of_graph(model).activation_bytes == MAP


def test_other_open_sizes_are_refused_by_name() -> None:
    model = graph("net (float[1,4,H,8] x) => (float[1,4,H,8] y) { y = Exp(x) }")
    with pytest.raises(InputError, match=r"'y' of Exp.*fixed input shapes"):
        features_of_graph(model)


def test_products_of_open_sizes_are_refused() -> None:
    model = graph("net (float[1,4,T] x, float[1,T,4] z) => (float[1,4,4] y) { y = MatMul(x, z) }")
    with pytest.raises(InputError, match="open size besides the batch"):
        features_of_graph(model)


def test_control_flow_is_refused() -> None:
    model = graph(
        """net (bool c, float[2] x) => (float[2] y) {
            y = If (c) <
                then_branch = yes () => (float[2] a) { a = Exp(x) },
                else_branch = no () => (float[2] b) { b = Neg(x) }
            >
        }"""
    )
    with pytest.raises(InputError, match=r"If .*cannot be counted"):
        features_of_graph(model)
