from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekit.quantization.histogram import HALF_BINS, StreamingHistogram

_values = arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
    | st.sampled_from([0.0, -1.0, -2.0, 1.0, 2.0, -0.5]),
)


def _of(*batches: npt.NDArray[np.float32]) -> StreamingHistogram:
    histogram = StreamingHistogram()
    for batch in batches:
        histogram.update(batch)
    return histogram


@given(_values)
def test_counts_are_those_of_numpy_on_the_same_edges(values: npt.NDArray[np.float32]) -> None:
    histogram = _of(values)
    # numpy's last bin is closed above, which no element reaches here.
    expected, _ = np.histogram(values.astype(np.float64), histogram.edges())
    np.testing.assert_array_equal(histogram.counts, expected)
    assert histogram.total == values.size


@given(_values)
def test_bins_are_as_narrow_as_the_largest_element_allows(
    values: npt.NDArray[np.float32],
) -> None:
    histogram = _of(values)
    largest = float(np.abs(values).max())
    if largest:
        assert largest <= HALF_BINS * histogram.width
        assert largest >= HALF_BINS * histogram.width / 2


@given(st.lists(_values, min_size=2, max_size=4))
def test_order_and_batches_make_no_difference(batches: list[npt.NDArray[np.float32]]) -> None:
    together = _of(np.concatenate(batches))
    apart = _of(*batches)
    backwards = _of(*reversed(batches))
    for other in (apart, backwards):
        assert other.exponent == together.exponent
        np.testing.assert_array_equal(other.counts, together.counts)


@given(_values, _values)
def test_adding_is_taking_in_the_same_elements(
    left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]
) -> None:
    added, other = _of(left), _of(right)
    before = other.counts.copy()
    added.add(other)
    together = _of(left, right)
    assert added.exponent == together.exponent
    np.testing.assert_array_equal(added.counts, together.counts)
    np.testing.assert_array_equal(other.counts, before)


def test_memory_does_not_grow_with_the_data() -> None:
    histogram = StreamingHistogram()
    for exponent in range(30):
        histogram.update(np.full(1000, 2.0**exponent, np.float32))
    assert histogram.counts.nbytes == 2 * HALF_BINS * 8
    assert histogram.total == 30_000
