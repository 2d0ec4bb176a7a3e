"""The digits that scikit-learn carries: 1,797 real 8x8 images, no download.

They are the test part of the UCI "Optical Recognition of Handwritten Digits" set (Alpaydin,
Kaynak, 1998; 13 writers). The division below is by image, not by writer, so that test
accuracy here says nothing of unseen writers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.data.contract import Dataset, DataSpec, Labels
from edgekit.data.image_set import ImageSet, ImagesInMemory, spread
from edgekit.errors import InternalError

TEST_SAMPLES = 500
_SPLIT_SEED = 1797
_HIGHEST_VALUE = 16


def set_files(spec: DataSpec) -> tuple[Path, ...]:
    """No files: the images come with scikit-learn."""
    return ()


def open_set(spec: DataSpec) -> Dataset:
    """1,297 training or 500 test images, stratified by class, always the same.

    The values 0..16 become 8-bit pixels by ``round(value * 255 / 16)``.
    """
    from sklearn.datasets import load_digits

    values, targets = load_digits(return_X_y=True)
    if values.shape != (1797, 64) or values.min() < 0 or values.max() > _HIGHEST_VALUE:
        raise InternalError(f"scikit-learn's digits are not as known: {values.shape}")
    images = np.rint(values * 255 / _HIGHEST_VALUE).astype(np.uint8).reshape(-1, 8, 8)
    targets = targets.astype(np.int64)
    train, test = stratified_split(targets, TEST_SAMPLES, _SPLIT_SEED)
    part = test if spec.split == "test" else train
    return ImageSet(
        name="digits",
        split=spec.split,
        labels=tuple("0123456789"),
        files=(),
        source=ImagesInMemory(images),
        targets=targets,
        chosen=part[spread(len(part), spec.limit)],
    )


def stratified_split(
    targets: Labels | npt.NDArray[np.int64], test_samples: int, seed: int
) -> tuple[Labels, Labels]:
    """Divides samples so that both parts have the classes in the same proportion.

    Written out here because the division is part of the data set: a change of a library's
    sampling must not change it.

    Args:
        targets: Class of each sample.
        test_samples: Size of the test part.
        seed: Seed of the choice within each class.

    Returns:
        Positions of the training and of the test part, each in ascending order.
    """
    classes, counts = np.unique(targets, return_counts=True)
    quotas = counts * test_samples / len(targets)
    taken = np.floor(quotas).astype(np.int64)
    # Largest remainders get the places that rounding down left over.
    remainders = np.argsort(taken - quotas, kind="stable")
    taken[remainders[: test_samples - taken.sum()]] += 1
    rng = np.random.default_rng(seed)
    in_test = np.zeros(len(targets), dtype=bool)
    for label, count in zip(classes, taken, strict=True):
        members = np.flatnonzero(targets == label)
        in_test[rng.permutation(members)[:count]] = True
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)
