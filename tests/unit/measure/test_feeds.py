"""Random inputs: the right type, and the same every time."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from edgekit.core.signature import DType, ModelSignature, TensorSpec
from edgekit.errors import InputError
from edgekit.measure.difference import random_feeds

ALL_TYPES = [name for name in get_args(DType) if name != "string"]


def signature(*specs: TensorSpec) -> ModelSignature:
    return ModelSignature(inputs=specs, outputs=())


@pytest.mark.parametrize("dtype", ALL_TYPES)
def test_every_dtype_is_made_as_named(dtype: DType) -> None:
    spec = TensorSpec(name="x", shape=("batch", 500), dtype=dtype)
    values = random_feeds(signature(spec), seed=1, batch=2)["x"]
    assert values.dtype.name == dtype
    assert values.shape == (2, 500)
    distinct = len(np.unique(values.astype(np.float64)))
    assert distinct > 100 if dtype in ("int8", "uint8") or "float" in dtype else distinct == 2


def test_8_bit_integers_take_their_whole_range() -> None:
    for dtype, low, high in (("uint8", 0, 255), ("int8", -128, 127)):
        spec = TensorSpec.model_validate({"name": "x", "shape": (20_000,), "dtype": dtype})
        values = random_feeds(signature(spec), seed=0)["x"]
        assert (values.min(), values.max()) == (low, high)


def test_seed_and_name_decide_the_values() -> None:
    a, b = (TensorSpec(name=name, shape=(1, 9)) for name in "ab")
    first = random_feeds(signature(a, b), seed=0)
    again = random_feeds(signature(b, a), seed=0)
    np.testing.assert_array_equal(first["a"], again["a"])
    np.testing.assert_array_equal(first["b"], again["b"])
    assert not np.array_equal(first["a"], first["b"])
    assert not np.array_equal(first["a"], random_feeds(signature(a), seed=1)["a"])
    # The values are part of what other figures rest on.
    assert first["a"][0, 0] == pytest.approx(-0.18676839768886566)


def test_strings_cannot_be_made() -> None:
    spec = TensorSpec(name="text", shape=(1,), dtype="string")
    with pytest.raises(InputError, match=r"for input text: string\[1\]: it holds strings"):
        random_feeds(signature(spec), seed=0)
