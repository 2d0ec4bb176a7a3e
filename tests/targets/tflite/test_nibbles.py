"""4-bit integers in bytes and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgekit.targets.tflite.nibbles import pack_nibbles, unpack_nibbles


@given(arrays(np.int8, array_shapes(max_side=5), elements=st.integers(-8, 7)))
def test_unpacking_reverses_packing(integers: npt.NDArray[np.int8]) -> None:
    packed = pack_nibbles(integers)
    assert packed.size == (integers.size + 1) // 2
    restored = unpack_nibbles(packed.tobytes(), integers.size)
    np.testing.assert_array_equal(restored, integers.reshape(-1))


def test_the_first_integer_lies_in_the_lower_half() -> None:
    assert pack_nibbles(np.array([1, -1, -8])).tolist() == [0xF1, 0x08]
    assert unpack_nibbles(b"\xf1\x08", 3).tolist() == [1, -1, -8]


def test_too_few_bytes() -> None:
    with pytest.raises(ValueError, match="2 bytes hold fewer than 5 4-bit integers"):
        unpack_nibbles(b"ab", 5)
