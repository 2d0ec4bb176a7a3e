"""Layers that a quantized graph has in float are computed in float by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.target import LowerConfig, Lowered
from edgekit.graph.io import load_onnx, save_onnx, signature_of
from edgekit.graph.values import add_initializer
from edgekit.targets.onnxruntime.exactness import compare_integers
from edgekit.targets.onnxruntime.float_layers import keep_float_layers
from edgekit.targets.onnxruntime.target import OnnxRuntimeTarget

GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[{shape}] x) => (float[{result}] y)
<float s = {{0.02}}, int8 z = {{3}}, float t = {{0.03}}, int8 u = {{-128}},
 float[{weights}] w = {{{numbers}}}, float[{units}] b = {{{bias}}}>
{{
  q0 = QuantizeLinear (x, s, z)
  d0 = DequantizeLinear (q0, s, z)
  [layer] a = {layer}
  r = Relu (a)
  q1 = QuantizeLinear (r, t, u)
  y = DequantizeLinear (q1, t, u)
}}
"""
LAYERS = {
    "conv": ("Conv (d0, w, b)", (6, 4, 3, 3), 6, "2, 4, 8, 8", "2, 6, 6, 6"),
    "no bias": ("Conv (d0, w)", (6, 4, 3, 3), 6, "2, 4, 8, 8", "2, 6, 6, 6"),
    "one channel": ("Conv (d0, w, b)", (6, 1, 3, 3), 6, "2, 1, 8, 8", "2, 6, 6, 6"),
    "one feature": ("Gemm (d0, w, b)", (1, 5), 5, "3, 1", "3, 5"),
    "groups": ("Conv <group = 2> (d0, w, b)", (6, 2, 1, 1), 6, "2, 4, 8, 8", "2, 6, 8, 8"),
    "transposed": ("ConvTranspose <strides = [2, 2]> (d0, w, b)", (4, 6, 2, 2), 6, "2, 4, 8, 8",
                   "2, 6, 16, 16"),
    "gemm": ("Gemm (d0, w, b)", (12, 5), 5, "3, 12", "3, 5"),
    "gemm of columns": ("Gemm <transA = 1, transB = 1> (d0, w, b)", (5, 12), 5, "12, 3", "3, 5"),
}  # fmt: skip


def graph(name: str) -> ir.Model:
    """A float layer between integers; one of its weights is far larger than the others."""
    layer, weights, units, shape, result = LAYERS[name]
    rng = np.random.default_rng(2)
    numbers = 0.1 * rng.standard_normal(weights)
    numbers.reshape(-1)[0] = 4.0  # one scale for all of them leaves little of the others
    return ir.from_onnx_text(
        GRAPH.format(
            layer=layer,
            shape=shape,
            result=result,
            weights=_listed(weights),
            numbers=_listed(numbers.reshape(-1)),
            units=units,
            bias=_listed(0.1 * rng.standard_normal(units)),
        )
    )


def _listed(values: Iterable[float]) -> str:
    return ", ".join(map(str, values))


def lowered(model: ir.Model, folder: Path) -> tuple[Path, Path]:
    source = folder / "source.onnx"
    save_onnx(model, source)
    made = OnnxRuntimeTarget().lower(
        Artifact.of(ArtifactKind.QDQ_ONNX, source, signature=signature_of(model)),
        LowerConfig(precision="int8"),
        folder,
    )
    assert isinstance(made, Lowered)
    return made.artifact.path, source


@pytest.mark.parametrize("name", LAYERS)
def test_the_runtime_computes_it_in_float(name: str, tmp_path: Path) -> None:
    report = compare_integers(*lowered(graph(name), tmp_path))
    assert report.mismatches == ()
    assert report.max_lsb is not None
    assert report.max_lsb <= 1


def test_without_it_the_runtime_quantizes_the_weights(tmp_path: Path) -> None:
    """Should a new runtime no longer do so, the rewriting has lost its reason."""
    _, source = lowered(graph("conv"), tmp_path)
    plain = tmp_path / "plain.onnx"
    save_onnx(load_onnx(source), plain)
    worst = compare_integers(plain, source).max_lsb
    assert worst is not None
    assert worst > 1


def test_the_name_of_what_it_read_stays() -> None:
    model = graph("conv")
    assert keep_float_layers(model) == 1
    (reader,) = [item for item in model.graph if item.name and "of_layer" in item.name]
    assert reader.outputs[0].name == "d0"
    assert len([item for item in model.graph if item.op_type == "DequantizeLinear"]) == 2


def test_other_readers_keep_theirs() -> None:
    model = graph("conv")
    reader = next(item for item in model.graph if item.op_type == "DequantizeLinear")
    other = ir.Node("", "Relu", [reader.outputs[0]], num_outputs=1, name="other")
    model.graph.insert_after(reader, other)
    assert keep_float_layers(model) == 1
    assert reader.outputs[0].name == "d0"
    assert other.inputs[0] is reader.outputs[0]
    layer = next(item for item in model.graph if item.op_type == "Conv")
    assert layer.inputs[0] is not None
    assert layer.inputs[0].name == "d0/of_layer"


def test_quantized_layers_are_left_alone() -> None:
    model = graph("conv")
    layer = next(item for item in model.graph if item.op_type == "Conv")
    integers = add_initializer(model.graph, "wq", np.ones((6, 4, 3, 3), np.int8))
    scale = add_initializer(model.graph, "ws", np.array(0.1, np.float32))
    made = ir.Node("", "DequantizeLinear", [integers, scale], num_outputs=1, name="dw")
    model.graph.insert_before(layer, made)
    layer.replace_input_with(1, made.outputs[0])
    assert keep_float_layers(model) == 0
