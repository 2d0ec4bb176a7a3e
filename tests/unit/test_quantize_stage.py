"""Post-training quantization as a stage, on the real digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.core.stage import StageContext
from edgekit.data.datasets import DataSpec
from edgekit.errors import InputError
from edgekit.graph.io import load_onnx, read_metadata, save_onnx, write_metadata
from edgekit.graph.reference import ReferenceSession
from edgekit.quantization.options import QuantizeOptions
from edgekit.stages.quantize import QuantizeConfig, QuantizeStage

TEXT = """
    <ir_version: 10, opset_import: ["" : 20]>
    net (float[1, 1, 8, 8] image) => (float[1, 3] scores) {
        c = Conv <kernel_shape = [3, 3]> (image, w)
        r = Relu(c)
        g = GlobalAveragePool(r)
        f = Flatten(g)
        scores = Gemm(f, v)
    }
"""
METADATA = ModelMetadata(name="net", preprocessing=Preprocessing(channels="gray"))


@pytest.fixture
def model(tmp_path: Path) -> Artifact:
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(TEXT)
    for name, shape in (("w", (4, 1, 3, 3)), ("v", (4, 3))):
        array = rng.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    proto = onnx.shape_inference.infer_shapes(proto)
    for index, node in enumerate(proto.graph.node):
        node.name = f"n{index}"
    path = tmp_path / "net.onnx"
    onnx.save(proto, path)
    graph = load_onnx(path)
    write_metadata(graph, METADATA)
    save_onnx(graph, path)
    return Artifact.of(ArtifactKind.ONNX, path)


def run(model: Artifact, folder: Path, data: DataSpec, **options: object) -> Artifact:
    folder.mkdir()
    config = QuantizeConfig(
        calibration=data,
        options=QuantizeOptions.model_validate({"samples": 64, "method": "minmax", **options}),
    )
    result = QuantizeStage().run(StageContext(workdir=folder), {"model": model}, config)
    return result.artifacts["model"]


def test_the_qdq_graph_keeps_metadata_and_stays_close(model: Artifact, tmp_path: Path) -> None:
    made = run(model, tmp_path / "out", DataSpec(set="digits", split="train"))
    assert made.kind is ArtifactKind.QDQ_ONNX
    assert read_metadata(load_onnx(made.path)) == METADATA
    image = np.random.default_rng(1).uniform(0, 1, (1, 1, 8, 8)).astype(np.float32)
    expected = ReferenceSession(model.path).run({"image": image})["scores"]
    actual = ReferenceSession(made.path, optimization="disabled").run({"image": image})["scores"]
    error = np.abs(np.subtract(actual, expected)).max()
    assert 0 < error < 0.05 * float(np.ptp(expected))


def test_equal_inputs_give_equal_bytes(model: Artifact, tmp_path: Path) -> None:
    data = DataSpec(set="digits", split="train")
    first = run(model, tmp_path / "one", data)
    assert run(model, tmp_path / "two", data).digest == first.digest


def test_kept_layers_stay_float_with_their_reason(model: Artifact, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    config = QuantizeConfig(
        calibration=DataSpec(set="digits", split="train"),
        options=QuantizeOptions(samples=32, method="minmax", keep_float=("n4",)),
    )
    result = QuantizeStage().run(StageContext(workdir=folder), {"model": model}, config)
    assert "n4" in result.metrics["quantization"]["float_nodes"]
    assert any(note.where == "n4" and "kept in float" in note.text for note in result.notes)


def test_nan_in_the_calibration_set_is_one_error(model: Artifact, tmp_path: Path) -> None:
    images = np.zeros((4, 1, 8, 8), np.float32)
    images[2, 0, 3, 3] = np.nan
    np.savez(tmp_path / "bad.npz", x=images, y=np.zeros(4, np.int64))
    with pytest.raises(InputError, match="NaN"):
        run(model, tmp_path / "out", DataSpec(set=f"npz:{tmp_path / 'bad.npz'}", split="train"))


def test_wrong_shapes_in_the_calibration_set_are_one_error(
    model: Artifact, tmp_path: Path
) -> None:
    np.savez(tmp_path / "bad.npz", x=np.zeros((4, 1, 9, 9), np.float32), y=np.zeros(4, np.int64))
    with pytest.raises(InputError, match="9"):
        run(model, tmp_path / "out", DataSpec(set=f"npz:{tmp_path / 'bad.npz'}", split="train"))
