"""Integer inputs and outputs of a quantized file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgekit.core.metadata import ModelMetadata
from edgekit.core.target import IoType, RuntimeConfig
from edgekit.targets.tflite.lowering import LoweringOptions, lower_graph
from edgekit.targets.tflite.lowering.graph import LoweredGraph
from edgekit.targets.tflite.metadata import embed_metadata
from edgekit.targets.tflite.runtime import LiteRTSession
from tests.targets.tflite.lowering.single_op import Array, Case, build, scalar

IN, OUT = (np.float32(0.02), 3), (np.float32(0.05), -7)
CONSTANTS = {
    "is": scalar(0.02), "iz": np.array(3, np.int8),
    "os": scalar(0.05), "oz": np.array(-7, np.int8),
}  # fmt: skip
BODY = """
    q = QuantizeLinear(x, is, iz)
    d = DequantizeLinear(q, is, iz)
    r = LeakyRelu(d)
    p = QuantizeLinear(r, os, oz)
    y = DequantizeLinear(p, os, oz)
"""
IMAGE = {"x": (1, 2, 4, 4)}


def lower(io: IoType, body: str = BODY) -> LoweredGraph:
    model = ir.from_proto(build(Case("io", body, IMAGE, CONSTANTS)))
    return lower_graph(model, LoweringOptions(io=io))


def session(made: LoweredGraph, folder: Path) -> LiteRTSession:
    # LiteRT maps the file: a loaded one must not be written over.
    path = folder / f"{len(list(folder.iterdir()))}.tflite"
    path.write_bytes(embed_metadata(made.data, ModelMetadata(name="io"), made.signature, {}))
    return LiteRTSession(path, RuntimeConfig())


def image(seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-3, 3, IMAGE["x"]).astype(np.float32)


def operators(made: LoweredGraph) -> list[str]:
    interpreter = Interpreter(model_content=made.data)
    return [op["op_name"] for op in interpreter._get_ops_details()]


@pytest.mark.parametrize(
    ("io", "dtype", "points", "ops"),
    [
        ("float32", np.float32, (0, 0), ["QUANTIZE", "LEAKY_RELU", "DEQUANTIZE"]),
        ("int8", np.int8, (3, -7), ["LEAKY_RELU"]),
        ("uint8", np.uint8, (131, 121), ["QUANTIZE", "LEAKY_RELU", "QUANTIZE"]),
    ],
)
def test_the_file_states_type_scale_and_zero_point(
    io: IoType, dtype: type[np.generic], points: tuple[int, int], ops: list[str]
) -> None:
    made = lower(io)
    interpreter = Interpreter(model_content=made.data)
    (given,), (got,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (given["name"], got["name"]) == ("x", "y")
    assert given["dtype"] is got["dtype"] is dtype
    assert operators(made) == ops
    if io != "float32":
        assert given["quantization"] == (pytest.approx(0.02), points[0])
        assert got["quantization"] == (pytest.approx(0.05), points[1])
    signature = interpreter.get_signature_list()["serving_default"]
    assert signature == {"inputs": ["x"], "outputs": ["y"]}


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_a_session_takes_and_gives_the_same_real_values(io: IoType, tmp_path: Path) -> None:
    plain = session(lower("float32"), tmp_path)
    integer = session(lower(io), tmp_path)
    assert integer.signature.inputs[0].dtype == "float32"
    stored = integer.signature.inputs[0].stored_integers
    assert stored is not None
    assert (stored.dtype, stored.scale) == (io, float(np.float32(0.02)))
    for seed in range(3):
        feeds = {"x": image(seed)}
        np.testing.assert_array_equal(integer.run(feeds)["y"], plain.run(feeds)["y"])


def test_raw_integers_are_those_of_quantize_linear(tmp_path: Path) -> None:
    """What an application has to write: round(x / scale) + zero point, saturating."""
    made = lower("int8")
    interpreter = Interpreter(model_content=made.data)
    interpreter.allocate_tensors()
    (given,), (got,) = interpreter.get_input_details(), interpreter.get_output_details()
    x = image()
    integers = np.clip(np.rint(x / IN[0]) + IN[1], -128, 127).astype(np.int8)
    # No operator here looks at height and width, so the axes are those of the graph.
    interpreter.set_tensor(given["index"], integers)
    interpreter.invoke()
    real = (interpreter.get_tensor(got["index"]).astype(np.float32) - OUT[1]) * OUT[0]
    expected = session(lower("float32"), tmp_path).run({"x": x})["y"]
    np.testing.assert_array_equal(real, expected)


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_what_is_used_in_float_stays_float_with_a_reason(io: IoType) -> None:
    body = (
        BODY.replace("LeakyRelu(d)", "LeakyRelu(d)\n e = Exp(x)").replace("y = Deq", "f = Deq")
        + "y = Add(f, e)\n"
    )
    made = lower(io, body)
    assert [spec.stored_integers for spec in made.signature.inputs] == [None]
    assert [spec.stored_integers for spec in made.signature.outputs] == [None]
    assert made.notes[-2:] == (
        "input 'x' stays float32: operators compute with it in float",
        "output 'y' stays float32: it is computed in float",
    )


def test_an_input_quantized_twice_alike_is_one_input() -> None:
    body = BODY.replace(
        "r = LeakyRelu(d)",
        """
        q2 = QuantizeLinear(x, is, iz)
        d2 = DequantizeLinear(q2, is, iz)
        l = LeakyRelu(d)
        lq = QuantizeLinear(l, is, iz)
        ld = DequantizeLinear(lq, is, iz)
        r = Add(ld, d2)""",
    )
    made = lower("int8", body)
    assert operators(made) == ["LEAKY_RELU", "ADD"]
    interpreter = Interpreter(model_content=made.data)
    interpreter.allocate_tensors()
    interpreter.invoke()
