"""Planted faults in an int8 ONNX file are found, and a right file is found right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.exactness import ExactnessReport
from edgekit.core.target import LowerConfig, Lowered
from edgekit.targets.onnxruntime.target import create_target
from tests.targets.tflite.lowering.single_op import Array, Case, build
from tests.targets.tflite.lowering.test_quantized import Quantized, qdq

NETWORK = Quantized(
    "network",
    "c = Conv <pads = [1,1,1,1]> (x, w, b)\nr = Relu(c)\n"
    "ri = QuantizeLinear(r, out_scale, out_zero)\nrd = DequantizeLinear(ri, out_scale, out_zero)\n"
    "v = MaxPool <kernel_shape = [2,2], strides = [2,2]> (rd)",
    {"x": (1, 4, 8, 8)},
    ((6, 4, 3, 3), 0, 6),
    output=(12 / 255, -128),
)

type Change = Callable[[onnx.GraphProto], None]


def network() -> onnx.ModelProto:
    return build(qdq(NETWORK))


@pytest.fixture
def verify(tmp_path: Path) -> Callable[..., ExactnessReport]:
    """Lowers a QDQ graph, spoils the artifact and compares it."""

    def run(model: onnx.ModelProto, change: Change | None = None) -> ExactnessReport:
        graph = tmp_path / "network.qdq.onnx"
        onnx.save(model, graph)
        target, source = create_target(), Artifact.of(ArtifactKind.QDQ_ONNX, graph)
        lowered = target.lower(source, LowerConfig(precision="int8"), tmp_path)
        assert isinstance(lowered, Lowered)
        path = lowered.artifact.path
        if change is not None:
            made = onnx.load(path)
            change(made.graph)
            onnx.save(made, path)
        report = target.verify(path, graph, ())
        assert isinstance(report, ExactnessReport)
        return report

    return run


def edit(graph: onnx.GraphProto, name: str, change: Callable[[Array], Array]) -> None:
    (tensor,) = (item for item in graph.initializer if item.name == name)
    array = change(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(array, name))


def constant_read_by(graph: onnx.GraphProto, output: str, index: int) -> str:
    (node,) = (node for node in graph.node if output in node.output)
    return str(node.input[index])


def found(report: ExactnessReport) -> set[tuple[str, str]]:
    return {(item.value, item.what) for item in report.mismatches}


def test_a_right_file_is_exact(verify: Callable[..., ExactnessReport]) -> None:
    report = verify(network())
    assert (report.mismatches, report.float_ops, report.custom_ops) == ((), (), ())
    # Two pairs and the input's, with the weights and the bias.
    assert report.compared_tensors == 8
    assert len(report.forced) == 3
    assert report.max_lsb is not None
    assert report.max_lsb <= 1
    assert (report.agreement, report.samples, report.weights_only) == (1.0, 2, False)


def flip(array: Array) -> Array:
    array.reshape(-1)[5] ^= 1
    return array


def nudge(array: Array) -> Array:
    result: Array = np.nextafter(array, np.float32(1))
    return result


@pytest.mark.parametrize(
    ("index", "change", "what", "detail"),
    [
        (0, flip, "integers", "1 of 216 elements differ"),
        (1, nudge, "scale", " elements differ"),
    ],
)
def test_wrong_weights_are_found(
    verify: Callable[..., ExactnessReport],
    index: int, change: Callable[[Array], Array], what: str, detail: str,
) -> None:  # fmt: skip
    model = network()
    weights = next(
        node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        and any(reader.op_type == "Conv" and reader.input[1] == node.output[0]
                for reader in model.graph.node)
    )  # fmt: skip
    report = verify(
        model, lambda graph: edit(graph, constant_read_by(graph, weights, index), change)
    )
    (mismatch,) = report.mismatches
    assert (mismatch.value, mismatch.what) == (weights, what)
    assert detail in mismatch.detail


def test_a_wrong_zero_point_is_found(verify: Callable[..., ExactnessReport]) -> None:
    def change(graph: onnx.GraphProto) -> None:
        edit(graph, constant_read_by(graph, "ri", 2), lambda array: array + array.dtype.type(1))

    report = verify(network(), change)
    assert {("ri", "zero point"), ("rd", "zero point")} <= found(report)


def test_a_missing_pair_is_found(verify: Callable[..., ExactnessReport]) -> None:
    def change(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            if "rd" in node.input:
                node.input[list(node.input).index("rd")] = "r"
        kept = [node for node in graph.node if not {"ri", "rd"} & set(node.output)]
        del graph.node[:]
        graph.node.extend(kept)

    report = verify(network(), change)
    assert found(report) == {("ri", "missing"), ("rd", "missing")}


def test_a_wrong_operator_is_found_by_teacher_forcing(
    verify: Callable[..., ExactnessReport],
) -> None:
    def change(graph: onnx.GraphProto) -> None:
        (relu,) = (node for node in graph.node if node.op_type == "Relu")
        relu.op_type = "Abs"

    report = verify(network(), change)
    assert report.differing_tensors == 0
    assert report.forced[0].tensor == "ri"
    assert report.forced[0].lsb > 1
    assert [item.lsb for item in report.forced[1:]] == [0, 0]


def test_operators_that_the_runtime_leaves_in_float_are_named(
    verify: Callable[..., ExactnessReport],
) -> None:
    case = Quantized("tanh", "v = Tanh(x)", {"x": (1, 4, 8, 8)}, output=(1 / 128, 0))
    report = verify(build(qdq(case)))
    (name,) = report.float_ops
    assert name.startswith("Tanh -> ")
    assert "computes Tanh in float here" in report.float_reasons[name]
    assert report.hidden_float_ops == ()


def test_a_graph_of_uint8_activations_is_compared(
    verify: Callable[..., ExactnessReport],
) -> None:
    case = Case(
        "uint8",
        "q = QuantizeLinear(x, s, p)\nd = DequantizeLinear(q, s, p)\nr = MaxPool <kernel_shape = "
        "[2,2]> (d)\nqr = QuantizeLinear(r, s, p)\ny = DequantizeLinear(qr, s, p)",
        {"x": (1, 2, 4, 4)},
        {"s": np.array(0.05, np.float32), "p": np.array(140, np.uint8)},
    )
    report = verify(build(case))
    assert report.mismatches == ()
    assert (report.compared_tensors, report.max_lsb) == (4, 0)
