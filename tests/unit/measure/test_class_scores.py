"""Ranks of classes against a sort."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekit.measure.class_scores import ranks


@given(
    scores=arrays(
        np.int8,
        st.tuples(st.integers(1, 5), st.integers(2, 9)),
        elements={
            "min_value": -2,
            "max_value": 2,
        },
    ),
    data=st.data(),
)
def test_ranks_are_places_in_a_stable_sort(
    scores: npt.NDArray[np.int8], data: st.DataObject
) -> None:
    count, classes = scores.shape
    targets = data.draw(arrays(np.int64, count, elements=st.integers(0, classes - 1)))
    order = np.argsort(-scores.astype(int), axis=1, kind="stable")
    expected = (order == targets[:, None]).argmax(axis=1).tolist()
    assert ranks(scores, targets).tolist() == expected
    np.testing.assert_array_equal(ranks(scores, scores.argmax(axis=1)), 0)
