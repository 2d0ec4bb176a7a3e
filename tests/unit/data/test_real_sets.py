"""The real Fashion-MNIST and CIFAR-10, where this machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.metadata import Preprocessing
from edgekit.core.signature import TensorSpec
from edgekit.data.datasets import DataSpec, open_dataset

REPOSITORY = Path(__file__).parents[3]
ROOT = Path(os.environ.get("EDGEKIT_DATA") or REPOSITORY.parent / "shared" / "data")


def require(folder: str) -> None:
    if not (ROOT / folder).is_dir():
        pytest.skip(f"no {folder} in {ROOT}; set EDGEKIT_DATA")


@pytest.mark.parametrize(("split", "count"), [("train", 60_000), ("test", 10_000)])
def test_fashion_mnist_has_its_known_statistics(split: str, count: int) -> None:
    require("fashion-mnist")
    spec = DataSpec.model_validate({"set": "fashion-mnist", "root": ROOT, "split": split})
    dataset = open_dataset(spec)
    assert len(dataset) == count
    declared = Preprocessing(channels="gray")
    model_input = TensorSpec(name="x", shape=("batch", 1, 28, 28))
    sums, squares, labels = 0.0, 0.0, np.zeros(10, np.int64)
    for batch in dataset.batches(declared, model_input, 5000):
        sums += float(batch.inputs.sum(dtype=np.float64))
        squares += float(np.square(batch.inputs, dtype=np.float64).sum())
        labels += np.bincount(batch.labels, minlength=10)
    assert (labels == count // 10).all()
    mean = sums / (count * 784)
    assert mean == pytest.approx(0.2860, abs=1e-3)
    assert np.sqrt(squares / (count * 784) - mean**2) == pytest.approx(0.3530, abs=1e-3)


@pytest.mark.parametrize(("split", "count"), [("train", 10_000), ("test", 4_800)])
def test_the_cifar10_subset_is_whole_and_balanced(split: str, count: int) -> None:
    require("cifar10")
    spec = DataSpec.model_validate({"set": "cifar10", "root": ROOT, "split": split})
    dataset = open_dataset(spec)
    assert len(dataset) == count
    sample = open_dataset(spec.model_copy(update={"limit": 500}))
    batches = list(sample.batches(Preprocessing(), TensorSpec(name="x", shape=(1, 3, 32, 32)), 50))
    labels = np.concatenate([batch.labels for batch in batches])
    assert (np.bincount(labels) == 50).all()
    mean = np.mean([batch.inputs.mean(axis=(0, 2, 3)) for batch in batches], axis=0)
    # Published means of the whole training set: .4914 .4822 .4465.
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=0.02)
