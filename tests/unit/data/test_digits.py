"""scikit-learn's digits as an 8-bit image set."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from edgekit.core.metadata import Preprocessing
from edgekit.core.signature import TensorSpec
from edgekit.data.datasets import Dataset, DataSpec, data_files, open_dataset
from edgekit.data.digits import stratified_split

SPEC = TensorSpec(name="image", shape=("batch", 1, 8, 8))


def all_of(dataset: Dataset) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    declared = Preprocessing(channels="gray")
    batches = list(dataset.batches(declared, SPEC, 100))
    return (
        np.concatenate([batch.inputs for batch in batches]),
        np.concatenate([batch.labels for batch in batches]),
    )


def test_both_parts_together_are_all_images_once() -> None:
    train = open_dataset(DataSpec(set="digits", split="train"))
    test = open_dataset(DataSpec(set="digits", split="test"))
    assert (len(train), len(test)) == (1297, 500)
    assert train.labels == tuple("0123456789")
    assert (train.name, train.split, train.files, train.fed_raw) == ("digits", "train", (), False)
    images = np.concatenate([all_of(train)[0], all_of(test)[0]]).reshape(-1, 64)
    values, targets = load_digits(return_X_y=True)
    # 0..16 as 8-bit pixels times 1/255 is 0..1 within half a pixel value.
    original = np.sort(values / 16, axis=0)
    np.testing.assert_allclose(np.sort(images, axis=0), original, atol=0.5 / 255)
    labels = np.concatenate([all_of(train)[1], all_of(test)[1]])
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(targets))


def test_the_parts_have_the_classes_in_proportion() -> None:
    _, labels = all_of(open_dataset(DataSpec(set="digits", split="test")))
    _, targets = load_digits(return_X_y=True)
    expected = np.bincount(targets) * 500 / 1797
    assert np.abs(np.bincount(labels) - expected).max() < 1


def test_the_division_never_changes() -> None:
    dataset = open_dataset(DataSpec(set="digits"))
    images, labels = all_of(dataset)
    digest = hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "fdc440b2c52da503"
    pixels = np.rint(images * 255).astype(np.uint8)
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == "acc229405bd27ae1"


def test_it_needs_no_files_and_takes_a_limit() -> None:
    assert data_files(DataSpec(set="digits")) == ()
    assert len(open_dataset(DataSpec(set="digits", limit=40))) == 40


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_a_stratified_split_is_a_partition_of_the_asked_size(
    counts: list[int], share: float, seed: int
) -> None:
    targets = np.repeat(np.arange(len(counts)), counts)
    wanted = round(share * len(targets))
    train, test = stratified_split(targets, wanted, seed)
    assert len(test) == wanted
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(targets)))
    in_test = np.bincount(targets[test], minlength=len(counts))
    quotas = np.array(counts) * wanted / len(targets)
    assert (np.abs(in_test - quotas) < 1 + 1e-9).all()


@pytest.mark.parametrize("batch_size", [1, 7, 500])
def test_the_batch_size_changes_nothing_but_the_batches(batch_size: int) -> None:
    dataset = open_dataset(DataSpec(set="digits", limit=20))
    batches = list(dataset.batches(Preprocessing(channels="gray"), SPEC, batch_size))
    images = np.concatenate([batch.inputs for batch in batches])
    np.testing.assert_array_equal(images, all_of(dataset)[0])
