"""Whether a recorded signature can describe a file."""

from __future__ import annotations

import pytest

from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.targets.tflite.model_file import parse_model
from edgekit.targets.tflite.stored_signature import misfit, stored_signature
from tests.targets.tflite.file_builder import FileBuilder


def _one(spec: TensorSpec) -> ModelSignature:
    return ModelSignature(inputs=(spec,), outputs=())


@pytest.mark.parametrize(
    ("spec", "stored", "reason"),
    [
        (TensorSpec(name="x", shape=(1, 2)), TensorSpec(name="x", shape=(1, 2)), ""),
        (TensorSpec(name="x", shape=("batch", 2)), TensorSpec(name="x", shape=("n", 2)), ""),
        # A dynamic dim that the file fixes is refused when it is fed, not here.
        (TensorSpec(name="x", shape=("batch", 2)), TensorSpec(name="x", shape=(1, 2)), ""),
        (
            TensorSpec(name="x", shape=(1, 3, 4, 5), stored_axes=(0, 2, 3, 1)),
            TensorSpec(name="x", shape=(1, 4, 5, 3)),
            "",
        ),
        (
            TensorSpec(name="x", shape=(2,), dtype="int64"),
            TensorSpec(name="x", shape=(2,), dtype="int32"),
            "",
        ),
        (
            TensorSpec(name="x", shape=(2,)),
            TensorSpec(name="y", shape=(2,)),
            "its inputs are ['x'], but the file has ['y']",
        ),
        (
            TensorSpec(name="x", shape=(2,)),
            TensorSpec(name="x", shape=(2,), dtype="float16"),
            "'x' is float32, but the file has float16",
        ),
        (
            TensorSpec(name="x", shape=(2, 3), stored_axes=(0, 0)),
            TensorSpec(name="x", shape=(2, 2)),
            "'x' has 2 axes, but the stored order [0, 0]",
        ),
        (
            TensorSpec(name="x", shape=(1, 2)),
            TensorSpec(name="x", shape=("batch", 2)),
            "'x' is stored as [1, 2], but the file has ['batch', 2]",
        ),
        (
            TensorSpec(name="x", shape=(1, 2)),
            TensorSpec(name="x", shape=(1, 2, 1)),
            "'x' is stored as [1, 2], but the file has [1, 2, 1]",
        ),
    ],
)
def test_misfit(spec: TensorSpec, stored: TensorSpec, reason: str) -> None:
    assert misfit(_one(spec), _one(stored)) == reason


def test_dynamic_axes_are_named() -> None:
    file = FileBuilder()
    x = file.tensor("x", (-1, -1, 3))
    found = stored_signature(parse_model(file.finish((x,), ()), "m.tflite"))
    assert found.inputs[0].shape == ("batch", "x_dim1", 3)
