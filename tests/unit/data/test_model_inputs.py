"""Feeds for all inputs of a model, with labels and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.metadata import Preprocessing
from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.data.datasets import DataSpec
from edgekit.data.model_inputs import open_inputs
from edgekit.errors import InputError
from tests.unit.data.conftest import encode

FRAME = np.random.default_rng(0).standard_normal((5, 1, 3)).astype(np.float32)
STATE = np.random.default_rng(1).standard_normal((5, 2, 4)).astype(np.float32)
Y = np.array([0, 1, 2, 1, 0])
RECURRENT = ModelSignature(
    inputs=(
        TensorSpec(name="frame", shape=(1, 1, 3)),
        TensorSpec(name="state", shape=(1, 2, 4)),
    ),
    outputs=(),
)
DYNAMIC = ModelSignature(inputs=(TensorSpec(name="frame", shape=("n", 1, 3)),), outputs=())


def save(path: Path, **arrays: Any) -> DataSpec:
    np.savez(path, **arrays)
    return DataSpec(set=f"npz:{path}")


def test_each_input_has_its_array_and_needs_no_labels(tmp_path: Path) -> None:
    data = save(tmp_path / "own.npz", frame=FRAME, state=STATE)
    inputs = open_inputs(data, RECURRENT, Preprocessing(mean=(9.0,)))
    assert (inputs.name, inputs.classes, len(inputs)) == ("own.npz", (), 5)
    found = list(inputs.batches(32))
    assert len(found) == 5
    for index, batch in enumerate(found):
        assert batch.labels is None
        np.testing.assert_array_equal(batch.feeds["frame"], FRAME[index : index + 1])
        np.testing.assert_array_equal(batch.feeds["state"], STATE[index : index + 1])


def test_arrays_may_count_samples_on_an_axis_of_their_own(tmp_path: Path) -> None:
    data = save(tmp_path / "own.npz", frame=FRAME[:, None], state=STATE[:, None])
    found = list(open_inputs(data, RECURRENT, None).batches(32, order=[3, 0]))
    np.testing.assert_array_equal([batch.feeds["state"][0] for batch in found], STATE[[3, 0]])
    assert found[0].feeds["frame"].shape == (1, 1, 3)


def test_labels_and_an_open_batch(tmp_path: Path) -> None:
    data = save(tmp_path / "own.npz", x=FRAME, y=Y)
    inputs = open_inputs(data.model_copy(update={"limit": 4}), DYNAMIC, None)
    assert (inputs.classes, len(inputs)) == (("0", "1", "2"), 4)
    first, second = inputs.batches(3)
    assert first.feeds["frame"].shape == (3, 1, 3)
    assert second.labels is not None
    assert second.labels.tolist() == [1]


def test_a_short_batch_is_filled_where_the_model_fixes_its_batch(tmp_path: Path) -> None:
    fixed = ModelSignature(inputs=(TensorSpec(name="frame", shape=(2, 1, 3)),), outputs=())
    data = save(tmp_path / "own.npz", frame=FRAME, labels=Y)
    *_, last = open_inputs(data, fixed, None).batches(32)
    assert (last.samples, last.feeds["frame"].shape) == (1, (2, 1, 3))
    np.testing.assert_array_equal(last.feeds["frame"][0], last.feeds["frame"][1])
    assert last.labels is not None
    assert last.labels.tolist() == [0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"frame": FRAME}, "no array for input state: .*expected key 'state', found frame"),
        ({"frame": FRAME, "state": STATE[:, :1]}, r"samples of \[1, 4\] for input 'state'"),
        ({"frame": FRAME, "state": STATE[:3]}, "'state' holds 3 samples but 'frame' holds 5"),
        ({"frame": FRAME[:0], "state": STATE[:0]}, "is empty: it holds no samples"),
        ({"frame": np.float32(1), "state": STATE}, "'frame' is a single number"),
        ({"frame": FRAME * np.nan, "state": STATE}, "NaN or infinity, first in sample 0"),
        ({"labels": Y}, "holds labels but no inputs"),
        ({}, "holds nothing"),
    ],
)
def test_what_does_not_fit_is_one_error(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_inputs(save(tmp_path / "own.npz", **arrays), RECURRENT, None)


def test_images_feed_one_input_only() -> None:
    with pytest.raises(InputError, match=r"2 inputs .*put one array for each input into an .npz"):
        open_inputs(DataSpec(set="digits"), RECURRENT, None)


def test_a_folder_without_class_folders_has_no_labels(tmp_path: Path) -> None:
    for value in range(3):
        (tmp_path / f"{value}.png").write_bytes(encode(value, 4, 4))
    signature = ModelSignature(inputs=(TensorSpec(name="x", shape=(1, 3, 4, 4)),), outputs=())
    inputs = open_inputs(DataSpec(set=f"folder:{tmp_path}"), signature, Preprocessing())
    assert (inputs.classes, len(inputs)) == ((), 3)
    found = list(inputs.batches(1))
    assert [batch.labels for batch in found] == [None] * 3
    values = [float(batch.feeds["x"].max()) for batch in found]
    assert values == sorted(values)
    assert len(set(values)) == 3


def test_labelled_sets_keep_their_classes() -> None:
    signature = ModelSignature(inputs=(TensorSpec(name="x", shape=("n", 1, 8, 8)),), outputs=())
    preprocessing = Preprocessing(channels="gray")
    inputs = open_inputs(DataSpec(set="digits", limit=5), signature, preprocessing)
    (batch,) = inputs.batches(8)
    assert inputs.classes == tuple("0123456789")
    assert batch.labels is not None
    assert len(batch.labels) == batch.samples == 5
