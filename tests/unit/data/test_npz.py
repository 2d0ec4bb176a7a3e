"""Arrays from an .npz file, fed as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.metadata import Preprocessing
from edgekit.core.signature import TensorSpec
from edgekit.data.datasets import DataSpec, data_files, open_dataset
from edgekit.errors import InputError

X = np.random.default_rng(0).standard_normal((6, 3, 2)).astype(np.float32)
Y = np.array([0, 2, 1, 0, 2, 1])
SPEC = TensorSpec(name="signal", shape=("batch", 3, 2))


def save(path: Path, **arrays: Any) -> DataSpec:
    np.savez(path, **arrays)
    return DataSpec(set=str(path))


def test_samples_are_fed_unchanged(tmp_path: Path) -> None:
    spec = save(tmp_path / "own.npz", x=X, y=Y)
    dataset = open_dataset(spec)
    assert (dataset.name, dataset.split, dataset.labels) == ("own.npz", "all", ("0", "1", "2"))
    assert dataset.fed_raw
    assert data_files(spec) == (tmp_path / "own.npz",)
    batches = list(dataset.batches(Preprocessing(mean=(9.0,)), SPEC, 4))
    np.testing.assert_array_equal(np.concatenate([batch.inputs for batch in batches]), X)
    np.testing.assert_array_equal(np.concatenate([batch.labels for batch in batches]), Y)
    (batch,) = dataset.batches(None, SPEC, 4, order=[5, 1])
    np.testing.assert_array_equal(batch.inputs, X[[5, 1]])


def test_inputs_are_found_by_name_and_npz_prefix_works(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", signal=X, other=X[:, 0], labels=Y, classes=["a", "b", "c", "d"])
    dataset = open_dataset(DataSpec(set="npz:own.npz", root=tmp_path, limit=3))
    assert dataset.labels == ("a", "b", "c", "d")
    (batch,) = dataset.batches(None, SPEC, 4)
    np.testing.assert_array_equal(batch.inputs, X[[0, 2, 4]])
    (batch,) = dataset.batches(None, TensorSpec(name="other", shape=("n", 2)), 4)
    np.testing.assert_array_equal(batch.inputs, X[[0, 2, 4], 0])
    with pytest.raises(
        InputError, match=r"no array for input y: .*expected key 'y' or 'x', found"
    ):
        dataset.batches(None, TensorSpec(name="y", shape=("n", 2)), 4)


def test_a_wrong_shape_names_expected_and_got(tmp_path: Path) -> None:
    dataset = open_dataset(save(tmp_path / "own.npz", x=X, y=Y))
    for shape in (("n", 3, 4), ("n", 6)):
        with pytest.raises(InputError, match=r"samples of \[3, 2\], but input .* expects \["):
            dataset.batches(None, TensorSpec(name="x", shape=shape), 4)


def test_values_that_the_dtype_cannot_hold_are_refused(tmp_path: Path) -> None:
    tokens = open_dataset(save(tmp_path / "a.npz", x=np.array([[1, 300]]), y=[0]))
    (batch,) = tokens.batches(None, TensorSpec(name="x", shape=(1, 2), dtype="int64"), 1)
    assert batch.inputs.dtype == np.int64
    for values, dtype in (
        (np.array([[1, 300]]), "uint8"),
        (np.array([[0.5, 1.0]]), "int64"),
        (np.array([[1e6, 1.0]]), "float16"),
        (np.array([[2**24 + 1, 0]]), "float32"),
        (np.array([[1, 2]]), "string"),
    ):
        dataset = open_dataset(save(tmp_path / "b.npz", x=values, y=[0]))
        spec = TensorSpec.model_validate({"name": "x", "shape": (1, 2), "dtype": dtype})
        with pytest.raises(InputError, match="cannot take unchanged"):
            dataset.batches(None, spec, 1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "exactly one of the keys y and labels .*found x"),
        ({"x": X, "y": Y, "labels": Y}, "exactly one of the keys y and labels"),
        ({"y": Y}, "holds labels but no inputs"),
        ({"x": X, "y": Y[:5]}, "'x' holds 6 samples but there are 5 labels"),
        ({"x": X, "y": Y[:, None]}, r"'y' must be whole numbers of rank 1.*int64 \[6, 1\]"),
        ({"x": X, "y": Y / 2}, r"'y' must be whole numbers of rank 1.*float64 \[6\]"),
        ({"x": X, "y": Y - 1}, "'y' holds a negative class index, -1"),
        ({"x": X[:0], "y": Y[:0]}, "is empty: it holds no samples"),
        ({"x": X[:, 0, 0], "y": Y}, r"'x' has shape \[6\]; expected rank 2 or more"),
        ({"x": np.where(X[4] == X, np.nan, X), "y": Y}, "'x' holds NaN or infinity.* sample 4"),
        ({"x": np.where(X[2] == X, np.inf, X), "y": Y}, "'x' holds NaN or infinity.* sample 2"),
        ({"x": X.astype(str), "y": Y}, "'x' holds <U32, expected numbers"),
        ({"x": X, "y": Y, "classes": ["a", "b"]}, "names of at least 3 classes"),
        ({"x": X, "y": Y, "classes": [1, 2, 3]}, "names of at least 3 classes"),
    ],
)
def test_each_fault_is_named(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"own\.npz.*{message}"):
        open_dataset(save(tmp_path / "own.npz", **arrays))


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    spec = save(tmp_path / "own.npz", x=np.array([{}, {}], dtype=object), y=[0, 1])
    with pytest.raises(
        InputError, match=r"cannot be read as \.npz: Object arrays cannot be loaded"
    ):
        open_dataset(spec)


def test_a_single_array_and_a_text_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(InputError, match=r"single \.npy array"):
        open_dataset(DataSpec(set=str(tmp_path / "a.npz")))
    (tmp_path / "b.npz").write_text("hello")
    with pytest.raises(InputError, match=r"cannot be read as \.npz"):
        open_dataset(DataSpec(set=str(tmp_path / "b.npz")))
    (tmp_path / "c.npz").mkdir()
    with pytest.raises(InputError, match=r"must be an \.npz file, not a folder"):
        open_dataset(DataSpec(set=str(tmp_path / "c.npz")))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_gives_a_data_set_or_an_input_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("npz") / "own.npz"
    spec = save(path, x=X, y=Y)
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(position, len(content)))])
    try:
        assert len(open_dataset(spec)) == 6
    except InputError as error:
        assert "own.npz" in str(error)  # noqa: PT017  # either outcome is right, no other is
