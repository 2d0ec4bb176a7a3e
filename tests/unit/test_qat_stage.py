"""Quantization-aware training as a stage: data sets in, fine-tuned graphs and reasons out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.core.run_summary import QatSummary
from edgekit.core.stage import StageContext, StageResult
from edgekit.data.datasets import DataSpec
from edgekit.errors import GateError, InputError
from edgekit.graph.io import save_onnx, write_metadata
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.signature import signature_of
from edgekit.stages.qat import QatStage, QatStageConfig
from edgekit.training.qat.config import QatConfig
from tests.qat_models import badly_quantized, float_model, stripes
from tests.qdq_graphs import insert_qdq
from tests.twin_graphs import make_model, weights

OPTIONS: dict[str, Any] = {
    "epochs": 2, "batch_size": 32, "lr": 1e-3, "scale_lr": 2e-2, "threads": 1, "validation": 0.25,
}  # fmt: skip


def stored(
    model: ir.Model, path: Path, kind: ArtifactKind, metadata: ModelMetadata | None = None
) -> Artifact:
    model = ir.from_proto(ir.to_proto(model))
    metadata = metadata or ModelMetadata(name="net")
    write_metadata(model, metadata)
    save_onnx(model, path)
    signature = signature_of(model)
    return Artifact.of(kind, path, signature=signature, metadata=metadata, precision="int8")


def stripes_file(folder: Path, *, labels: bool = True, classes: int = 3) -> DataSpec:
    samples = stripes()
    arrays: dict[str, Any] = {"image": samples.inputs.numpy()}
    if labels:
        arrays["y"] = samples.labels.numpy().astype(np.int64)
        arrays["classes"] = np.array(["horizontal", "vertical", "none", "a", "b"][:classes])
    np.savez(folder / "stripes.npz", **arrays)
    return DataSpec(set=f"npz:{folder / 'stripes.npz'}", split="train")


def run(
    folder: Path,
    data: DataSpec,
    *,
    quantized: ir.Model | None = None,
    original: ir.Model | None = None,
    metadata: ModelMetadata | None = None,
    **options: Any,
) -> StageResult:
    work = folder / "work"
    work.mkdir()
    qdq = badly_quantized() if quantized is None else quantized
    plain = float_model() if original is None else original
    inputs = {
        "model": stored(qdq, folder / "net.qdq.onnx", ArtifactKind.QDQ_ONNX, metadata),
        "float": stored(plain, folder / "net.onnx", ArtifactKind.ONNX, metadata),
    }
    config = QatStageConfig(data=data, options=QatConfig.model_validate({**OPTIONS, **options}))
    return QatStage().run(StageContext(workdir=work, seed=1), inputs, config)


def summary_of(result: StageResult) -> QatSummary:
    return QatSummary.model_validate_json(result.artifacts["summary"].path.read_bytes())


def accuracy(model: Artifact, classes: tuple[int, ...] = (0, 1, 2)) -> float:
    samples = stripes()
    with ReferenceSession(model.path, optimization="disabled") as session:
        scores = session.run({"image": samples.inputs.numpy()})["logits"]
    return float((scores.argmax(1) == np.array(classes)[samples.labels.numpy()]).mean())


def texts(result: StageResult) -> str:
    return "\n".join(note.text for note in result.notes)


def test_labels_repair_a_bad_quantization(tmp_path: Path) -> None:
    result = run(tmp_path, stripes_file(tmp_path))
    made, summary = result.artifacts["model"], summary_of(result)
    assert made.kind is ArtifactKind.QDQ_ONNX
    assert made.precision == "int8"
    assert summary.task == "classify"
    assert (summary.samples, summary.held_out, summary.seed) == (192, 64, 1)
    assert summary.dataset == "stripes.npz"
    assert summary.teacher_score is not None
    assert summary.teacher_score > 0.95
    assert [point.epoch for point in summary.curve] == [0, 1, 2]
    assert accuracy(made) > summary.curve[0].score + 0.1
    assert result.metrics["qat"] == summary.model_dump(mode="json")
    assert "task = 'classify': stripes.npz has labels" in texts(result)
    assert "stripes.npz is not divided into training and test samples" in texts(result)


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    """The model's first class is the data set's last."""
    swapped = {}
    for name, model in (("quantized", badly_quantized()), ("original", float_model())):
        copy = ir.from_proto(ir.to_proto(model))
        node = next(node for node in copy.graph if node.op_type == "Gemm")
        # Rows of the last layer change places; in the QDQ graph they lie behind other nodes.
        for initializer in copy.graph.initializers.values():
            value = initializer.const_value
            assert value is not None
            if value.shape and value.shape[0] == 3 and node is not None:
                array = np.ascontiguousarray(value.numpy()[::-1])
                initializer.const_value = ir.tensor(array, name=value.name)
        swapped[name] = copy
    metadata = ModelMetadata(name="net", labels=("none", "vertical", "horizontal"))
    data = stripes_file(tmp_path)
    result = run(tmp_path, data, metadata=metadata, task="classify", **swapped)
    assert accuracy(result.artifacts["model"], (2, 1, 0)) > 0.9


def test_without_labels_the_float_model_is_imitated(tmp_path: Path) -> None:
    data = stripes_file(tmp_path, labels=False)
    result = run(tmp_path, data, observer_epochs=1, observer_momentum=0.3, epochs=3)
    summary = summary_of(result)
    assert summary.task == "imitate"
    assert summary.teacher_score is None
    assert summary.curve[summary.best_epoch].score > summary.curve[0].score + 6
    assert "task = 'imitate': stripes.npz has no labels" in texts(result)
    assert accuracy(result.artifacts["model"]) > 0.9


def test_a_folder_of_images_will_do(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, image in enumerate(stripes(40).inputs.numpy()):
        pixels = np.clip(image[0] * 40 + 100, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
    preprocessing = Preprocessing(channels="gray", scale=1 / 40, mean=(2.5,), std=(1.0,))
    metadata = ModelMetadata(name="net", preprocessing=preprocessing)
    result = run(tmp_path, DataSpec(set=f"folder:{folder}"), metadata=metadata, epochs=1)
    summary = summary_of(result)
    assert (summary.task, summary.dataset) == ("imitate", "folder:pictures/all")
    assert summary.samples + summary.held_out == 40


TWO_INPUTS = """
g (float[4, 3] left, float[4, 3] right) => (float[4, 2] out) {
  a = Gemm (left, wl)
  b = Gemm (right, wr)
  out = Add (a, b)
}
"""


def test_several_inputs_are_fed_by_name(tmp_path: Path) -> None:
    model = make_model(TWO_INPUTS, weights({"wl": (3, 2), "wr": (3, 2)}))
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal((30, 3)).astype(np.float32) for name in ("left", "right")}
    np.savez(tmp_path / "pairs.npz", **arrays)  # type: ignore[arg-type]
    quantized = insert_qdq(model, {name: 2 * array[:4] for name, array in arrays.items()})
    data = DataSpec(set=f"npz:{tmp_path / 'pairs.npz'}")
    result = run(tmp_path, data, quantized=quantized, original=model, epochs=1, keep="last")
    summary = summary_of(result)
    assert summary.task == "imitate"
    made = result.artifacts["model"].path
    feeds = {name: array[8:12] for name, array in arrays.items()}
    expected = ReferenceSession(model).run(feeds)["out"]
    actual = ReferenceSession(made, optimization="disabled").run(feeds)["out"]
    assert np.abs(np.subtract(actual, expected)).max() < 0.05 * float(np.ptp(expected))


def test_a_graph_that_was_quantized_before_is_its_own_teacher(tmp_path: Path) -> None:
    quantized = insert_qdq(float_model(), {"image": stripes().inputs.numpy()})
    result = run(tmp_path, stripes_file(tmp_path), quantized=quantized, original=quantized)
    assert summary_of(result).teacher_score is not None
    assert "The source is quantized already, so there is no float model" in texts(result)


def test_equal_inputs_give_equal_bytes_and_other_seeds_others(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        result = run(tmp_path / name, stripes_file(tmp_path), epochs=1)
        digests.append(result.artifacts["model"].digest)
    assert digests[0] == digests[1]


def test_training_for_nothing_is_told(tmp_path: Path) -> None:
    quantized = insert_qdq(float_model(), {"image": stripes().inputs.numpy()})
    result = run(
        tmp_path, stripes_file(tmp_path), quantized=quantized, lr=0.05, scale_lr=0.05, epochs=1
    )
    assert summary_of(result).best_epoch == 0
    assert "Training did not help: of 1 epochs none does better on the 64 samples" in texts(result)
    before = ReferenceSession(quantized, optimization="disabled")
    after = ReferenceSession(result.artifacts["model"].path, optimization="disabled")
    feeds = {"image": stripes(90).inputs.numpy()}
    assert np.array_equal(before.run(feeds)["logits"], after.run(feeds)["logits"])


def test_what_does_not_fit_is_one_error(tmp_path: Path) -> None:
    def refused(
        message: str, data: DataSpec, error: type[Exception] = InputError, **given: Any
    ) -> None:
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        place.mkdir()
        with pytest.raises(error, match=message):
            run(place, data, **given)

    unlabelled = stripes_file(tmp_path, labels=False)
    refused(r"cannot be trained: stripes\.npz has no labels", unlabelled, task="classify")
    five = stripes_file(tmp_path, classes=5)
    refused(r"scores for 3 classes, but stripes\.npz has 5", five, task="classify")
    labelled = stripes_file(tmp_path)
    refused("has no QuantizeLinear/DequantizeLinear pairs", labelled, quantized=float_model())
    refused(r"QAT diverged: .* in epoch 1", labelled, GateError, lr=1e3, scale_lr=1e3)
    images = stripes().inputs.numpy().copy()
    images[3, 0, 2, 2] = np.nan
    np.savez(tmp_path / "nan.npz", image=images)
    nan = DataSpec(set=f"npz:{tmp_path / 'nan.npz'}")
    refused(r"nan\.npz: 'image' holds NaN or infinity, first in sample 3", nan)
    np.savez(tmp_path / "empty.npz", image=images[:0])
    refused(r"empty\.npz is empty", DataSpec(set=f"npz:{tmp_path / 'empty.npz'}"))
    (tmp_path / "none").mkdir()
    refused(
        r"none is empty: it holds no class folders", DataSpec(set=f"folder:{tmp_path / 'none'}")
    )
    np.savez(tmp_path / "one.npz", image=images[:1])
    refused(
        "1 samples cannot be divided into a training set",
        DataSpec(set=f"npz:{tmp_path / 'one.npz'}"),
    )
