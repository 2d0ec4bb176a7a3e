"""Random inputs that are the same on every machine and for every target."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.errors import InputError


def random_feeds(
    signature: ModelSignature, seed: int, batch: int = 1
) -> dict[str, npt.NDArray[Any]]:
    """One value for every input of a model.

    Floating point is standard normal. 8-bit integers take their whole range, as pixels do;
    wider integers are 0 or 1, because they mostly index tables of unknown length. The stream
    of an input depends on ``seed`` and its name alone, not on the order of inputs.

    Args:
        signature: The inputs.
        seed: Seed.
        batch: Size put for every symbolic dim.

    Raises:
        InputError: If an input holds strings.
    """
    return {spec.name: _random_array(spec, seed, batch) for spec in signature.inputs}


def _random_array(spec: TensorSpec, seed: int, batch: int) -> npt.NDArray[Any]:
    rng = np.random.default_rng([seed, zlib.crc32(spec.name.encode())])
    shape = spec.concrete_shape(batch)
    if spec.dtype == "string":
        raise InputError(f"No random values can be made for input {spec}: it holds strings.")
    if spec.dtype == "bfloat16":
        import ml_dtypes

        return rng.standard_normal(shape).astype(ml_dtypes.bfloat16)
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.itemsize == 1:
        low = 0 if dtype.kind == "u" else -128
        return rng.integers(low, low + 256, shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)
