"""Axis orders of files by other converters, also where the shapes leave them open."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.errors import UnsupportedError
from edgekit.targets.tflite.engines.axis_matching import Match, match_signature
from tests.targets.tflite.file_builder import Array, FileBuilder, weights

CHANNELS_LAST = (0, 2, 3, 1)


class _Graph:
    """A graph whose result is computed by NumPy; stands for ONNX Runtime."""

    runtime = "NumPy"

    def __init__(self, signature: ModelSignature) -> None:
        self.signature = signature

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """``out = feeds[0] * kernel over the channels``, in NCHW."""
        (image,) = feeds.values()
        mixed = np.einsum("nchw,oc->nohw", image, weights(4, 4, seed=7))
        return {self.signature.outputs[0].name: mixed.astype(np.float32)}

    def close(self) -> None:
        """Nothing is held."""


def _square(shape: tuple[int | str, ...] = (1, 4, 4, 4)) -> ModelSignature:
    return ModelSignature(
        inputs=(TensorSpec(name="image", shape=shape),),
        outputs=(TensorSpec(name="out", shape=shape),),
    )


def _file(folder: Path, *, nhwc_output: bool, name: str = "image", batch: int = 1) -> Path:
    """1x1 CONV_2D over a 4x4 image of 4 channels, its output in NHWC or NCHW."""
    file = FileBuilder()
    x, y = file.tensor(name, (batch, 4, 4, 4)), file.tensor("out", (batch, 4, 4, 4))
    kernel = file.constant("kernel", weights(4, 4, seed=7).reshape(4, 1, 1, 4))
    bias = file.constant("bias", np.zeros(4, np.float32))
    options = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    file.op("CONV_2D", (x, kernel, bias), (y,), options, options_type="Conv2DOptions")
    last = y
    if not nhwc_output:
        file.graph.tensors[y].name = "inner"
        order = file.constant("order", np.array([0, 3, 1, 2], np.int32))
        last = file.tensor("out", (batch, 4, 4, 4))
        file.op("TRANSPOSE", (y, order), (last,), options_type="TransposeOptions")
    path = folder / "m.tflite"
    path.write_bytes(file.finish((x,), (last,)))
    return path


@pytest.mark.parametrize("nhwc_output", [True, False])
def test_a_square_image_is_decided_by_running(tmp_path: Path, nhwc_output: bool) -> None:
    found = match_signature(
        _file(tmp_path, nhwc_output=nhwc_output), _Graph(_square()), "the file"
    )
    assert found.signature.inputs[0].stored_axes == CHANNELS_LAST
    assert found.signature.outputs[0].stored_axes == (CHANNELS_LAST if nhwc_output else None)
    (note,) = found.notes
    assert note == (
        "The axis order of 'image', 'out' does not follow from the shapes; it was found by "
        "comparison with ONNX Runtime."
    )


def test_renamed_tensors_are_matched_by_position_and_told(tmp_path: Path) -> None:
    path = _file(tmp_path, nhwc_output=True, name="serving_default_image")
    found = match_signature(path, _Graph(_square()), "the file")
    assert found.signature.inputs[0].name == "image"
    assert found.inputs == (0,)
    assert (
        "renamed tensors; matched by position: 'serving_default_image' is 'image'."
        in (found.notes[0])
    )


def _match(folder: Path, wanted: TensorSpec, stored: tuple[int, ...], dtype: str) -> Match:
    """Matches a file of one ABS; only usable where no run is needed."""
    file = FileBuilder()
    x, y = file.tensor("x", stored, dtype), file.tensor("y", stored, dtype)
    file.op("ABS", (x,), (y,))
    path = folder / "m.tflite"
    path.write_bytes(file.finish((x,), (y,)))
    signature = ModelSignature(
        inputs=(wanted,), outputs=(wanted.model_copy(update={"name": "y"}),)
    )
    return match_signature(path, _Graph(signature), "the file")


@pytest.mark.parametrize(
    ("shape", "stored", "axes"),
    [
        ((1, 3, 8, 9), (1, 8, 9, 3), CHANNELS_LAST),
        ((1, 3, 8, 9), (1, 3, 8, 9), None),
        ((1, 1, 8, 9), (1, 8, 9, 1), CHANNELS_LAST),
        ((1, 1, 8, 9), (1, 1, 8, 9), None),
        ((1, 7, 1, 1), (1, 1, 1, 7), CHANNELS_LAST),
        ((1, 1, 1, 1), (1, 1, 1, 1), None),
        ((2, 5, 6), (2, 6, 5), (0, 2, 1)),
        ((2, 5), (2, 5), None),
        ((1, 3, 4, 5, 6), (1, 4, 5, 6, 3), (0, 2, 3, 4, 1)),
    ],
)
def test_orders_that_follow_from_the_shapes(
    tmp_path: Path, shape: tuple[int, ...], stored: tuple[int, ...], axes: tuple[int, ...] | None
) -> None:
    found = _match(tmp_path, TensorSpec(name="x", shape=shape), stored, "float32")
    assert found.signature.inputs[0].stored_axes == axes
    assert found.notes == ()


def test_a_batch_that_the_file_fixes_is_fixed_in_the_signature(tmp_path: Path) -> None:
    wanted = TensorSpec(name="x", shape=("batch", 3, 8, 9))
    found = _match(tmp_path, wanted, (1, 8, 9, 3), "float32")
    assert found.signature.inputs[0].shape == (1, 3, 8, 9)
    kept = _match(tmp_path, wanted, (-1, 8, 9, 3), "float32")
    assert kept.signature.inputs[0].shape == ("batch", 3, 8, 9)


def test_shapes_that_fit_in_no_order_are_refused(tmp_path: Path) -> None:
    wanted = TensorSpec(name="x", shape=(1, 3, 8, 9))
    with pytest.raises(UnsupportedError, match=r"\[1, 3, 8, 9\], but \[1, 9, 8, 3\] in the file"):
        _match(tmp_path, wanted, (1, 9, 8, 3), "float32")


def test_other_element_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"'x' is float32, but int32 in the file\."):
        _match(tmp_path, TensorSpec(name="x", shape=(2,)), (2,), "int32")


def test_another_number_of_outputs_is_refused(tmp_path: Path) -> None:
    signature = _square()
    more = signature.model_copy(
        update={"outputs": (*signature.outputs, TensorSpec(name="more", shape=(1,)))}
    )
    with pytest.raises(
        UnsupportedError, match=r"has 2 outputs \(out, more\), but the outputs of the file are 1"
    ):
        match_signature(_file(tmp_path, nhwc_output=True), _Graph(more), "the file")
