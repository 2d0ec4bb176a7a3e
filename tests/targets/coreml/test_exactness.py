"""Packages against their QDQ graphs: exact as they are, and every planted fault is found."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.errors import ConfigError, InputError
from edgekit.graph.io import load_onnx, save_onnx, signature_of
from edgekit.graph.values import constant_array
from edgekit.targets.coreml.exactness import compare_with_graph
from edgekit.targets.coreml.exactness.stored_parameters import stored_parameters
from edgekit.targets.coreml.package import read_package
from tests.targets.coreml.mil_packages import build
from tests.targets.coreml.quantized_packages import package_of, quantized


@pytest.mark.parametrize("compute", ["float16", "float32"])
@pytest.mark.parametrize("deployment", ["iOS17", "iOS18", "iOS26"])
def test_w8a8_is_exact(compute: str, deployment: str, tmp_path: Path) -> None:
    source = quantized(tmp_path)
    lowered = package_of(source, tmp_path, compute=compute, deployment_target=deployment)
    report = compare_with_graph(lowered.artifact.path, source.path)
    nodes = [n for n in load_onnx(source.path).graph if "Linear" in n.op_type]
    assert report.compared_tensors == len(nodes) - 3  # biases become constants of floats
    assert (report.differing_tensors, report.mismatches) == (0, ())
    assert report.max_lsb is not None
    assert report.max_lsb <= 1
    assert report.agreement == 1.0
    assert report.hidden_float_ops == ()


def test_weights_are_stored_as_the_system_takes_them(tmp_path: Path) -> None:
    source = quantized(tmp_path)
    forms = {"iOS17": ("constexpr_affine_dequantize", "uint8"),
             "iOS18": ("constexpr_blockwise_shift_scale", "int8")}  # fmt: skip
    for deployment, (operator, dtype) in forms.items():
        path = package_of(source, tmp_path, deployment_target=deployment).artifact.path
        held = [
            p for p in stored_parameters(read_package(path)).values() if p.integers is not None
        ]
        assert len(held) == 3
        assert {item.type for item in held} == {operator}
        assert {item.dtype for item in held} == {dtype}
        if dtype == "uint8":
            assert all((item.zero_point == 128).all() for item in held)


@pytest.mark.parametrize(
    ("precision", "deployment"),
    [("int8-weights", "iOS16"), ("int8-weights", "iOS18"), ("int4-weights", "iOS18")],
)
def test_weights_alone(precision: str, deployment: str, tmp_path: Path) -> None:
    source = quantized(tmp_path, precision)
    lowered = package_of(
        source, tmp_path, precision=precision, deployment_target=deployment, compute="float32"
    )
    report = compare_with_graph(lowered.artifact.path, source.path)
    assert report.weights_only
    assert report.compared_tensors == 3 if precision == "int8-weights" else report.compared_tensors
    assert report.differing_tensors == 0


@pytest.mark.parametrize(
    ("precision", "deployment", "needs"),
    [("int8", "iOS16", "iOS17"), ("int8-weights", "iOS15", "iOS16"),
     ("int4-weights", "iOS17", "iOS18")],
)  # fmt: skip
def test_older_systems_are_refused(
    precision: str, deployment: str, needs: str, tmp_path: Path
) -> None:
    source = quantized(tmp_path, precision)
    with pytest.raises(ConfigError, match=f"operators of {needs}"):
        package_of(source, tmp_path, precision=precision, deployment_target=deployment)


def test_scales_that_float16_does_not_hold_are_computed_in_float32(tmp_path: Path) -> None:
    source = quantized(tmp_path, scale_format="float32")
    lowered = package_of(source, tmp_path, compute="float16")
    assert any("computes in float32, since float16" in note for note in lowered.notes)
    report = compare_with_graph(lowered.artifact.path, source.path)
    assert (report.differing_tensors, report.hidden_float_ops) == (0, ())


def test_a_layer_kept_in_float_is_told_with_its_reason(tmp_path: Path) -> None:
    source = quantized(tmp_path, keep_float=["stem"])
    lowered = package_of(source, tmp_path)
    report = compare_with_graph(lowered.artifact.path, source.path)
    assert any(name.startswith("conv") for name in report.float_ops)
    assert report.hidden_float_ops == ()
    assert any("stem" in reason for reason in report.float_reasons.values())


TWICE = """
<ir_version: 10, opset_import: ["" : 20]>
twice (float[2, 4] x) => (float[2, 4] y)
<float s = {0.03125}, int8 z = {3}, int8[2, 4] a = {1, 2, 3, 4, 5, 6, 7, 8},
 int8[2, 4] b = {1, 2, 3, 4, 5, 6, 7, 8}, int8 n = {0}> {
  q = QuantizeLinear (x, s, z)
  d = DequantizeLinear (q, s, z)
  e = DequantizeLinear (q, s, z)
  k = DequantizeLinear (a, s, n)
  l = DequantizeLinear (b, s, n)
  m = Mul (d, k)
  o = Mul (e, l)
  t = Sub (m, o)
  u = QuantizeLinear (t, s, z)
  y = DequantizeLinear (u, s, z)
}
"""


def test_equal_constants_and_operators_that_were_merged(tmp_path: Path) -> None:
    model = ir.from_onnx_text(TWICE)
    path = tmp_path / "twice.qdq.onnx"
    save_onnx(model, path)
    source = Artifact.of(ArtifactKind.QDQ_ONNX, path, signature=signature_of(model))
    lowered = package_of(source, tmp_path)
    held = stored_parameters(read_package(lowered.artifact.path))
    assert len(held) < 7
    report = compare_with_graph(lowered.artifact.path, path)
    assert (report.compared_tensors, report.mismatches) == (7, ())


def changed_graph(source: Path, folder: Path, index: int, change: Any) -> Path:
    """A copy of a QDQ graph whose first quantizer has another constant."""
    model = load_onnx(source)
    node = next(n for n in model.graph if n.op_type == "DequantizeLinear" and "k1" in str(n.name))
    value = node.inputs[index]
    assert value is not None
    array = np.array(constant_array(value))
    value.const_value = ir.tensor(change(array), name=value.name)
    path = folder / "changed.onnx"
    save_onnx(model, path)
    return path


@pytest.mark.parametrize(
    ("index", "change", "what"),
    [
        (0, lambda q: np.where(np.arange(q.size).reshape(q.shape) == 5, q + 1, q).astype(q.dtype),
         "integers"),
        (1, lambda s: s * np.float32(2), "scale"),
        (2, lambda z: z + np.array(1, z.dtype), "zero point"),
    ],
)  # fmt: skip
def test_another_graph_differs(index: int, change: Any, what: str, tmp_path: Path) -> None:
    source = quantized(tmp_path)
    lowered = package_of(source, tmp_path)
    other = changed_graph(source.path, tmp_path, index, change)
    report = compare_with_graph(lowered.artifact.path, other)
    assert what in {item.what for item in report.mismatches}
    assert report.differing_tensors >= 1


def test_a_changed_activation_scale_is_found(tmp_path: Path) -> None:
    source = quantized(tmp_path)
    lowered = package_of(source, tmp_path, compute="float32", deployment_target="iOS17")
    model = lowered.artifact.path / "Data/com.apple.CoreML/model.mlmodel"
    data = model.read_bytes()
    graph = load_onnx(source.path)
    node = [n for n in graph.graph if n.op_type == "QuantizeLinear"][2]
    scale = constant_array(node.inputs[1])
    assert scale is not None
    packed = struct.pack("<f", float(scale))
    assert packed in data
    model.write_bytes(data.replace(packed, struct.pack("<f", float(scale) * 2)))
    report = compare_with_graph(lowered.artifact.path, source.path)
    assert "scale" in {item.what for item in report.mismatches}
    assert report.max_lsb is not None
    assert report.max_lsb > 1


def test_a_package_of_another_tool_cannot_be_compared(tmp_path: Path) -> None:
    from edgekit.targets.coreml.toolchain import mb

    source = quantized(tmp_path)
    path = build(lambda x: mb.relu(x=x), {"x": (2,)}, tmp_path / "other.mlpackage")
    with pytest.raises(InputError, match="Only packages of edgekit do"):
        compare_with_graph(path, source.path)
