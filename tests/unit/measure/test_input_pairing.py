"""Feeds of a reference become feeds of an artifact."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.core.signature import Dim, DType, ModelSignature, TensorSpec
from edgekit.errors import InputError
from edgekit.measure.input_pairing import pair_inputs


def takes(*specs: tuple[str, tuple[Dim, ...], DType]) -> ModelSignature:
    inputs = tuple(TensorSpec(name=name, shape=shape, dtype=kind) for name, shape, kind in specs)
    return ModelSignature(inputs=inputs, outputs=())


def test_by_name() -> None:
    both = takes(("a", ("batch", 3), "float32"), ("b", (1, 2), "int64"))
    pairing = pair_inputs(("reference", both), ("artifact", both))
    feeds: dict[str, npt.NDArray[Any]] = {
        "a": np.ones((1, 3), np.float32),
        "b": np.ones((1, 2), np.int64),
    }
    found = pairing.feeds(feeds)
    assert found.keys() == feeds.keys()
    assert pairing.notes == ()


def test_by_place_with_the_channels_last() -> None:
    reference = takes(("image", (1, 3, 4, 5), "float32"))
    artifact = takes(("serving_default_x", (1, 4, 5, 3), "float32"))
    pairing = pair_inputs(("model.onnx", reference), ("foreign.tflite", artifact))
    image = np.arange(60, dtype=np.float32).reshape(1, 3, 4, 5)
    np.testing.assert_array_equal(
        pairing.feeds({"image": image})["serving_default_x"], image.transpose(0, 2, 3, 1)
    )
    assert pairing.notes == (
        "input 'serving_default_x' is fed what 'image' is: it is in its place",
        "input 'serving_default_x' has the axes of 'image' as [0, 2, 3, 1]",
    )


@pytest.mark.parametrize(
    "artifact",
    [
        takes(("image", (1, 3, 8, 8), "float32")),
        takes(("image", (1, 3, 4), "float32")),
        takes(("image", (1, 3, 4, 5), "int64")),
        takes(("image", (1, 3, 4, 5), "float32"), ("more", (1,), "float32")),
        takes(),
    ],
)
def test_another_model(artifact: ModelSignature) -> None:
    reference = takes(("image", (1, 3, 4, 5), "float32"))
    with pytest.raises(InputError, match=r"b\.tflite takes .*, but a\.onnx takes image: float32"):
        pair_inputs(("a.onnx", reference), ("b.tflite", artifact))
