"""Whole networks quantized, lowered and compared operator by operator with their QDQ graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.exactness import ExactnessReport
from edgekit.core.metadata import ModelMetadata
from edgekit.core.quant import LayerOverride, QuantScheme, named_scheme
from edgekit.core.target import LowerConfig, Lowered
from edgekit.graph.canonicalize import canonicalize
from edgekit.graph.io import load_onnx, save_onnx, write_metadata
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.values import Array
from edgekit.quantization.ptq import PtqOptions, quantize_ptq
from edgekit.targets.tflite.exactness.compare import compare_with_graph
from edgekit.targets.tflite.target import create_target
from tests.end_to_end.shared_data import shared_file
from tests.unit.quantization.graph_builder import GraphBuilder
from tests.unit.quantization.graphs import residual_net

_SAMPLES = 2


def compared(model: ir.Model, scheme: QuantScheme, folder: Path) -> ExactnessReport:
    """The report on a network that was calibrated with noise."""
    with ReferenceSession(model) as session:
        specs = session.signature.inputs
    random = np.random.default_rng(0)
    feeds: list[dict[str, Array]] = [
        {
            spec.name: random.standard_normal(spec.concrete_shape(1)).astype(np.float32)
            for spec in specs
        }
        for _ in range(_SAMPLES)
    ]
    options = PtqOptions(method="minmax")
    result = quantize_ptq(model, lambda: iter(feeds), scheme, options)
    assert result.placement.float_reasons == ()
    write_metadata(result.model, ModelMetadata(name="network", source="test"))
    path = folder / "network.qdq.onnx"
    save_onnx(result.model, path)
    source = Artifact.of(ArtifactKind.QDQ_ONNX, path)
    lowered = create_target().lower(source, LowerConfig(precision="int8"), folder)
    assert isinstance(lowered, Lowered)
    return compare_with_graph(lowered.artifact.path, path, feeds)


def require_exact(report: ExactnessReport) -> None:
    assert report.mismatches == ()
    assert report.beyond() == ()
    assert (report.float_ops, report.custom_ops) == ((), ())


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
def test_residual_network(scheme: str, tmp_path: Path) -> None:
    report = compared(residual_net(), named_scheme(scheme), tmp_path)
    require_exact(report)
    assert {item.bits for item in report.forced} == {8 if scheme == "int8" else 16}
    assert len(report.forced) == 7
    assert report.compared_tensors >= 14


def test_one_layer_on_16_bits(tmp_path: Path) -> None:
    override = LayerOverride(pattern="conv3", activation_bits=16)
    report = compared(residual_net(), QuantScheme(overrides=(override,)), tmp_path)
    require_exact(report)
    by_tensor = {item.operators: item.bits for item in report.forced}
    assert by_tensor[("CAST", "ADD")] == 16
    assert by_tensor[("QUANTIZE",)] == 8


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
def test_functions_and_a_division(scheme: str, tmp_path: Path) -> None:
    b = GraphBuilder()
    x = b.conv("conv", b.input("image", "batch", 3, 8, 8), 3, 4)
    axes = b.constant("axes", np.array([1]))
    total = b.node("ReduceSum", "total", b.node("Exp", "exp", x), axes, keepdims=1)
    x = b.node("Div", "quotient", x, total)
    x = b.node("Neg", "negative", b.node("Abs", "size", x))
    x = b.node("Clip", "clip", x, b.constant("low", -0.1), b.constant("high", 0.3))
    x = b.node("Max", "bounded", x, b.constant("bound", np.full((4, 1, 1), -0.02)))
    b.conv("tail", x, 4, 4)
    report = compared(b.build("tail"), named_scheme(scheme), tmp_path)
    require_exact(report)
    assert {item.bits for item in report.forced} == ({8, 16} if scheme == "int8" else {16})


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
def test_ultraface(scheme: str, tmp_path: Path) -> None:
    path = shared_file("models/ultraface/version-RFB-320.onnx")
    model = canonicalize(load_onnx(path), verify=False).model
    report = compared(model, named_scheme(scheme), tmp_path)
    require_exact(report)
    assert len(report.forced) >= 80


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
@pytest.mark.parametrize(
    "name",
    [
        "shufflenet_v2_x1_0", "ghostnet_100", "efficientnet_lite0", "mnasnet1_0",
        "mobilenetv3_small_100", "unet", "repvit_m0_9",
    ],
)  # fmt: skip
def test_zoo(name: str, scheme: str, tmp_path: Path) -> None:
    from tests.zoo_models import export_zoo_onnx

    path = tmp_path / "model.onnx"
    export_zoo_onnx(name, path, 64)
    require_exact(compared(load_onnx(path), named_scheme(scheme), tmp_path))
