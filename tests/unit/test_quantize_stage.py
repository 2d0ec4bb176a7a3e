"""Post-training quantization as a stage, on the real digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.core.run_summary import QuantizationSummary
from edgekit.core.stage import StageContext
from edgekit.data.datasets import DataSpec
from edgekit.errors import ConfigError, InputError
from edgekit.graph.io import load_onnx, read_metadata, save_onnx, write_metadata
from edgekit.graph.reference import ReferenceSession
from edgekit.quantization.options import QuantizeOptions
from edgekit.stages.quantize import QuantizeConfig, QuantizeStage, calibration_positions

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


def summary_of(model: Artifact, folder: Path, config: QuantizeConfig) -> QuantizationSummary:
    folder.mkdir()
    result = QuantizeStage().run(StageContext(workdir=folder), {"model": model}, config)
    path = result.artifacts["summary"].path
    return QuantizationSummary.model_validate_json(path.read_text())


def labelled(path: Path, count: int = 40) -> DataSpec:
    rng = np.random.default_rng(5)
    images = rng.uniform(0, 1, (count, 1, 8, 8)).astype(np.float32)
    np.savez(path, x=images, y=np.arange(count) % 3)
    return DataSpec(set=f"npz:{path}", split="train")


def test_accuracy_is_measured_on_samples_that_were_not_calibrated_with(
    model: Artifact, tmp_path: Path
) -> None:
    chosen, others = calibration_positions(40, 16)
    assert (len(chosen), len(others)) == (16, 24)
    assert not set(chosen) & set(others)
    options = QuantizeOptions(samples=16, batch=4, method="minmax", accuracy_samples=100)
    config = QuantizeConfig(calibration=labelled(tmp_path / "own.npz"), options=options)
    summary = summary_of(model, tmp_path / "out", config)
    assert (summary.samples, summary.accuracy_samples) == (16, 24)
    assert summary.float_accuracy is not None
    shares = [summary.float_accuracy, *(trial.metric or 0.0 for trial in summary.trials)]
    assert all(share * 24 == pytest.approx(round(share * 24)) for share in shares)


def test_max_drop_leaves_layers_in_float(model: Artifact, tmp_path: Path) -> None:
    """No drop at all is accepted, on labels that the float graph itself gives."""
    rng = np.random.default_rng(5)
    images = rng.uniform(0, 1, (200, 1, 1, 8, 8)).astype(np.float32)
    session = ReferenceSession(model.path)
    labels = [int(session.run({"image": image})["scores"].argmax()) for image in images]
    np.savez(tmp_path / "own.npz", x=images, y=np.array(labels))
    options = QuantizeOptions(samples=8, batch=1, method="minmax", max_drop=0.0)
    data = DataSpec(set=f"npz:{tmp_path / 'own.npz'}")
    summary = summary_of(
        model, tmp_path / "out", QuantizeConfig(calibration=data, options=options)
    )
    assert summary.float_accuracy == 1.0
    assert summary.trials[0].metric is not None
    assert summary.trials[0].metric < 1.0
    assert summary.fallback_layers
    assert set(summary.fallback_layers) <= set(summary.float_nodes)
    assert summary.sensitivity


@pytest.mark.parametrize(
    ("arrays", "samples", "message"),
    [
        ({"x": np.ones((9, 1, 8, 8), np.float32)}, 4, "'own.npz' has no labels"),
        (
            {"x": np.ones((9, 1, 8, 8), np.float32), "y": np.zeros(9, np.int64)},
            9,
            "no samples are left",
        ),
    ],
)
def test_max_drop_needs_labelled_samples(
    model: Artifact, tmp_path: Path, arrays: dict[str, Any], samples: int, message: str
) -> None:
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(ConfigError, match=f"max_drop limits the loss .*but {message}"):
        run(
            model, tmp_path / "out", DataSpec(set=f"npz:{tmp_path / 'own.npz'}"),
            max_drop=1.0, samples=samples,
        )  # fmt: skip


def test_activations_need_data_and_weights_do_not(model: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Scheme 'int8' quantizes activations, .*--calibrate"):
        summary_of(model, tmp_path / "int8", QuantizeConfig())
    summary = summary_of(model, tmp_path / "weights", QuantizeConfig(scheme="int8-weights"))
    assert (summary.scheme, summary.dataset, summary.samples) == ("int8-weights", "", 0)


def test_a_quantized_graph_is_kept_and_needs_no_data(model: Artifact, tmp_path: Path) -> None:
    made = run(model, tmp_path / "first", DataSpec(set="digits", split="train"))
    folder = tmp_path / "second"
    folder.mkdir()
    result = QuantizeStage().run(StageContext(workdir=folder), {"model": made}, QuantizeConfig())
    assert result.artifacts["model"].digest == made.digest
    assert "The graph is quantized already" in result.notes[0].text
