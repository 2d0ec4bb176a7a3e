"""What the report shows is what the artifacts do: recomputed without edgekit's own measuring."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from edgekit.data.contract import DataSpec
from edgekit.data.datasets import open_dataset
from edgekit.data.image_set import ImageSet
from tests.end_to_end.report.conftest import SmallRun

type Floats = npt.NDArray[np.float32]

MEAN, STD = 0.305, 0.376


def pixels(split: str) -> npt.NDArray[np.uint8]:
    """Images of a split, whose content is checked against scikit-learn's own."""
    data = open_dataset(DataSpec(set="digits", split=split))
    assert isinstance(data, ImageSet)
    with data.source.reader() as read:
        images = np.stack([read(int(index)) for index in data.chosen])
    raw = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    known = {image.tobytes() for image in raw}
    assert all(image.tobytes() in known for image in images)
    return images


def feed(images: npt.NDArray[np.uint8]) -> Floats:
    scaled = (images[:, None].astype(np.float64) / 255 - MEAN) / STD
    return scaled.astype(np.float32)


def targets() -> npt.NDArray[np.int64]:
    data = open_dataset(DataSpec(set="digits", split="test"))
    assert isinstance(data, ImageSet)
    return data.targets[data.chosen]


def scores(run: SmallRun, name: str, inputs: Floats) -> Floats:
    """Outputs of a graph as it is written, without fused kernels."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(run.out / name, options)
    found: Floats = session.run(None, {"image": inputs})[0]
    return found


def test_the_confusion_matrix_is_that_of_the_float_graph(small_run: SmallRun) -> None:
    found = small_run.summary.predictions
    assert found is not None
    predicted, wanted = scores(small_run, "small.onnx", feed(pixels("test"))).argmax(1), targets()
    expected = np.zeros((10, 10), dtype=np.int64)
    np.add.at(expected, (wanted, predicted), 1)
    matrix = next(item for item in found.matrices if "reference (float graph)" in item.models)
    shown = np.zeros_like(expected)
    for entry in matrix.entries:
        shown[entry.target, entry.predicted] = entry.count
    np.testing.assert_array_equal(shown, expected)
    assert (matrix.right, found.samples) == (int((predicted == wanted).sum()), len(wanted))


def test_changed_samples_are_those_that_change_and_their_pictures_those_images(
    small_run: SmallRun,
) -> None:
    found = small_run.summary.predictions
    assert found is not None
    images, wanted = pixels("test"), targets()
    before = scores(small_run, "small.onnx", feed(images)).argmax(1)
    after = scores(small_run, "small.qdq.onnx", feed(images)).argmax(1)
    (row,) = (row for row in small_run.summary.ledger if row.stage == "QAT")
    assert row.accuracy.top1.hits == int((after == wanted).sum())  # type: ignore[union-attr]
    for item in found.flips:
        if item.before == "reference (float graph)":
            changed = {flip.sample: flip for flip in item.shown}
            assert all(before[index] == flip.before for index, flip in changed.items())
            assert all(wanted[index] == flip.target for index, flip in changed.items())
    shown = {flip.sample for item in found.flips for flip in item.shown}
    assert shown
    assert {picture.sample for picture in found.pictures} == shown
    for picture in found.pictures:
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.png))))
        np.testing.assert_array_equal(image, images[picture.sample])


def test_the_range_of_the_input_is_that_of_the_calibration_samples(small_run: SmallRun) -> None:
    (quantization,) = small_run.summary.quantization
    ranges = {item.tensor: item for item in quantization.ranges}
    images = feed(pixels("train"))
    chosen = images[np.arange(64) * len(images) // 64]
    image = ranges["image"]
    assert image.seen_low == pytest.approx(float(chosen.min()), rel=1e-6)
    assert image.seen_high == pytest.approx(float(chosen.max()), rel=1e-6)
    for item in ranges.values():
        assert item.low == pytest.approx(item.scale * (-128 - item.zero_point))
        assert item.high == pytest.approx(item.scale * (127 - item.zero_point))


def test_the_error_of_the_output_layer_is_that_of_both_graphs(small_run: SmallRun) -> None:
    (errors,) = small_run.summary.layer_errors
    images = feed(pixels("test"))
    chosen = images[np.arange(errors.samples) * len(images) // errors.samples]
    reference = scores(small_run, "small.onnx", chosen)
    noise = scores(small_run, "small.qdq.onnx", chosen) - reference
    expected = 10 * np.log10(np.square(reference).sum() / np.square(noise).sum())
    output = errors.layers[-1]
    assert output.cumulative_db == pytest.approx(float(expected), abs=0.05)
    assert output.max_abs == pytest.approx(float(np.abs(noise).max()), rel=1e-3)
    assert errors.step == "qat"


def test_markdown_and_json_tell_the_same(small_run: SmallRun) -> None:
    markdown = (small_run.out / "report" / "report.md").read_text()
    summary = small_run.summary
    for layer in summary.layer_errors[0].layers:
        assert re.sub(r"([_])", r"\\\1", layer.tensor) in markdown
    assert summary.predictions is not None
    for item in summary.predictions.flips:
        assert f"{item.changed} samples changed class: {item.gained} are right now" in markdown
    for title in ("Errors of layers", "Calibrated ranges", "What computes in float", "Trade-off"):
        assert f"## {title}\n" in markdown


def test_evidence_costs_little(small_run: SmallRun) -> None:
    took = {step.name: step.duration_s for step in small_run.summary.steps}
    evidence = took["predictions"] + took["layer-errors"]
    assert evidence < 0.25 * sum(took.values())
