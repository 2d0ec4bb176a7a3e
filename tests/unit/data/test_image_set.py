"""Selection, order and label checks shared by all image sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.signature import TensorSpec
from edgekit.data.image_set import ImageSet, ImagesInMemory, check_targets, spread
from edgekit.errors import InputError

SPEC = TensorSpec(name="image", shape=("batch", 1, 2, 2))


def small_set(count: int = 10) -> ImageSet:
    images = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    targets = np.arange(count, dtype=np.int64) % 3
    return ImageSet(
        name="small",
        split="test",
        labels=("a", "b", "c"),
        files=(),
        source=ImagesInMemory(images),
        targets=targets,
        chosen=np.arange(count),
    )


def test_batches_keep_the_order_and_give_the_rest_last() -> None:
    batches = list(small_set().batches(None, SPEC, 4))
    assert [len(batch.labels) for batch in batches] == [4, 4, 2]
    values = np.concatenate([batch.inputs[:, 0, 0, 0] for batch in batches])
    np.testing.assert_array_equal(values, np.arange(10))
    assert batches[0].inputs.dtype == np.float32
    labels = np.concatenate([batch.labels for batch in batches])
    np.testing.assert_array_equal(labels, np.arange(10) % 3)


def test_an_order_selects_and_shuffles() -> None:
    (batch,) = small_set().batches(None, SPEC, 4, order=[7, 0, 5])
    np.testing.assert_array_equal(batch.inputs[:, 0, 0, 0], [7, 0, 5])
    np.testing.assert_array_equal(batch.labels, [1, 0, 2])


def test_a_mismatch_is_told_before_the_first_batch_is_taken() -> None:
    with pytest.raises(InputError, match="takes no image"):
        small_set().batches(None, TensorSpec(name="x", shape=(1, 2, 2, 2, 2)), 4)
    with pytest.raises(InputError, match="at least 1 sample, not 0"):
        small_set().batches(None, SPEC, 0)


@given(count=st.integers(1, 500), limit=st.integers(1, 600))
def test_a_limit_takes_distinct_ascending_evenly_spaced_samples(count: int, limit: int) -> None:
    chosen = spread(count, limit)
    assert len(chosen) == min(count, limit)
    assert chosen[0] == 0
    assert chosen[-1] < count
    gaps = np.diff(chosen)
    assert (gaps >= 1).all()
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


def test_labels_are_checked_against_images_and_classes() -> None:
    targets = np.array([0, 1, 5, 9], dtype=np.int64)
    check_targets("set", targets, 4, 10)
    with pytest.raises(InputError, match="set holds 3 images but 4 labels"):
        check_targets("set", targets, 3, 10)
    with pytest.raises(
        InputError, match=r"5 classes, but 2 labels.*0\.\.4.*first is 5 at image 2"
    ):
        check_targets("set", targets, 4, 5)
    with pytest.raises(InputError, match="set is empty"):
        check_targets("set", targets[:0], 0, 5)


def test_a_set_reads_the_same_twice(tmp_path: Path) -> None:
    samples = small_set()
    first = [batch.inputs.tobytes() for batch in samples.batches(None, SPEC, 3)]
    assert first == [batch.inputs.tobytes() for batch in samples.batches(None, SPEC, 3)]
