"""Placement and PTQ of real networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from sklearn.datasets import load_digits

from edgekit.core.quant import named_scheme
from edgekit.graph.canonicalize import canonicalize
from edgekit.graph.io import load_onnx
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.values import Array, constant_array
from edgekit.quantization.ptq import PtqOptions, PtqResult, quantize_ptq
from edgekit.quantization.quality import simulate
from tests.end_to_end.shared_data import shared_file

INT8 = named_scheme("int8")
_COMPUTE = (
    "Add", "AveragePool", "Concat", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool",
    "MatMul", "MaxPool", "Mul", "ReduceMean", "Sub",
)  # fmt: skip
_SAME_PARAMETERS = (
    "AveragePool", "Concat", "Flatten", "MaxPool", "Pad", "Reshape", "Resize", "Slice", "Split",
    "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip


def _noise(
    model: ir.Model, count: int, batch: int, scale: float = 1.0
) -> Iterator[dict[str, Array]]:
    with ReferenceSession(model) as session:
        specs = session.signature.inputs
    random = np.random.default_rng(0)
    for _ in range(count):
        yield {
            spec.name: (random.standard_normal(spec.concrete_shape(batch)) * scale).astype(
                np.float32
            )
            for spec in specs
        }


def _parameters(value: ir.Value | None) -> tuple[float, int] | None:
    """Scale and zero point of a value on either side of its pair; None where it has none."""
    if value is None:
        return None
    producer = value.producer()
    readers = [use.node for use in value.uses() if use.node.op_type == "QuantizeLinear"]
    node = producer if producer is not None and producer.op_type == "DequantizeLinear" else None
    node = node or (readers[0] if readers else None)
    if node is None:
        return None
    scale, zero_point = constant_array(node.inputs[1]), constant_array(node.inputs[2])
    assert scale is not None
    assert zero_point is not None
    return float(scale), int(zero_point)


def _check_structure(result: PtqResult) -> None:
    """What must hold for any network that was quantized to 8 bits."""
    integer = set(result.placement.integer_units)
    biases = {
        layer.bias.reader.node for layer in result.placement.layers if layer.bias is not None
    }
    for node in result.model.graph:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            output = node.outputs[0]
            assert output.uses() or output.is_graph_output(), f"nothing reads {node.name}"
            continue
        if node.outputs[0].dtype != ir.DataType.FLOAT:
            continue
        if node.op_type in _COMPUTE:
            assert node.name in integer | biases, f"{node.name} computes in float"
        if node.op_type in _SAME_PARAMETERS and node.name in integer:
            inputs = node.inputs if node.op_type == "Concat" else node.inputs[:1]
            used = [value for value in node.outputs if value.uses() or value.is_graph_output()]
            found = {_parameters(value) for value in (*inputs, *used)}
            assert len(found) == 1, f"{node.name} has parameters {found}"
            assert None not in found


def test_mnist() -> None:
    model = canonicalize(load_onnx(shared_file("models/mnist/mnist.onnx")), verify=False).model

    # Handwritten digits of 8x8 pixels, blown up to 28x28.
    images = np.kron(load_digits().images[:100] * (255 / 16), np.ones((3, 3)))
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None].astype(np.float32)
    name = model.graph.inputs[0].name or ""

    result = quantize_ptq(model, lambda: ({name: image[None]} for image in images), INT8)
    _check_structure(result)
    assert result.placement.float_reasons == ()
    assert len(result.placement.layers) == 3
    assert all(layer.bias is not None for layer in result.placement.layers)
    assert max(row.sqnr_db or 0.0 for row in result.table) > 22


def test_ultraface() -> None:
    path = shared_file("models/ultraface/version-RFB-320.onnx")
    model = canonicalize(load_onnx(path), verify=False).model
    options = PtqOptions(method="minmax")
    result = quantize_ptq(model, lambda: _noise(model, 3, 1), INT8, options)
    _check_structure(result)
    assert result.placement.float_reasons == ()
    assert result.placement.group_of()["scores"].fixed is not None
    (row,) = result.table
    assert row.sqnr_db is not None
    assert row.sqnr_db > 35


def test_noise_suppressor_with_two_inputs() -> None:
    path = shared_file("models/dtln/model_2.onnx")
    model = canonicalize(load_onnx(path), verify=False).model
    options = PtqOptions(method="minmax")
    result = quantize_ptq(model, lambda: _noise(model, 4, 1), INT8, options)
    _check_structure(result)
    assert result.placement.float_reasons == ()
    assert not any(node.op_type == "LSTM" for node in result.model.graph)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v2", "mobilenetv3_small_100", "resnet18", "shufflenet_v2_x1_0",
        "efficientnet_lite0", "mnasnet1_0", "ghostnet_100", "unet", "squeezenet1_1",
        "regnetx_002", "repvit_m0_9",
    ],
)  # fmt: skip
def test_zoo_is_integer_throughout(name: str, tmp_path: Path) -> None:
    from tests.zoo_models import export_zoo_onnx

    path = tmp_path / "model.onnx"
    export_zoo_onnx(name, path, 64)
    model = load_onnx(path)
    options = PtqOptions(method="minmax")
    result = quantize_ptq(model, lambda: _noise(model, 2, 1), INT8, options)
    _check_structure(result)
    assert result.placement.float_reasons == ()
    assert result.placement.conversions == ()


@pytest.mark.slow
def test_resnet20_loses_at_most_half_a_point_on_cifar10() -> None:
    from edgekit.core.metadata import Preprocessing
    from edgekit.data.datasets import DataSpec, open_dataset
    from edgekit.graph.importers import ImportRequest, InputRequest, import_model

    images = shared_file("cifar10/dev_subset.zip")
    model_file = Path(__file__).resolve().parents[3] / "sample_models/resnet_cifar/model.py"
    preprocessing = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    model = import_model(
        ImportRequest(
            source=f"{model_file}:resnet20",
            weights=shared_file("models/resnet20-cifar10/resnet20-12fca82f.th"),
            inputs=(InputRequest(name="image", shape=(1, 3, 32, 32)),),
            dynamic_batch=True,
            preprocessing=preprocessing,
        )
    ).model
    with ReferenceSession(model) as session:
        (spec,) = session.signature.inputs
    root = images.parent.parent

    def calibration() -> Iterator[dict[str, Array]]:
        training = open_dataset(DataSpec(set="cifar10", root=root, split="train", limit=400))
        for batch in training.batches(preprocessing, spec, 50):
            yield {spec.name: batch.inputs}

    test = open_dataset(DataSpec(set="cifar10", root=root, split="test"))
    assert len(test) == 4800
    batches = list(test.batches(preprocessing, spec, 100))

    def accuracy(graph: ir.Model) -> float:
        with simulate(graph) as session:
            right = [
                int(
                    (
                        session.run({spec.name: item.inputs})["output"].argmax(1) == item.labels
                    ).sum()
                )
                for item in batches
            ]
        return 100 * sum(right) / len(test)

    baseline = accuracy(model)
    assert 91.5 < baseline < 92.1
    result = quantize_ptq(model, calibration, INT8)
    _check_structure(result)
    assert accuracy(result.model) >= baseline - 0.5
