"""Conversion of arrays between the canonical graph's axis order and that of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core.signature import ModelSignature, StoredIntegers, TensorSpec
from edgekit.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    type Array = npt.NDArray[Any]


def check_feeds(signature: ModelSignature, feeds: Mapping[str, Array]) -> None:
    """Compares feeds with a signature: names, element types, shapes, equal symbolic dims.

    Raises:
        InputError: With everything that is wrong.
    """
    problems = []
    expected = {spec.name for spec in signature.inputs}
    if unknown := sorted(set(feeds) - expected):
        problems.append(f"there is no input called {', '.join(map(repr, unknown))}")
    sizes: dict[str, int] = {}
    for spec in signature.inputs:
        if spec.name not in feeds:
            problems.append(f"input {spec.name!r} is missing")
            continue
        array = feeds[spec.name]
        if array.dtype.name != spec.dtype:
            problems.append(f"input {spec.name!r} is {array.dtype.name} instead of {spec.dtype}")
        if not _shape_fits(spec, array.shape, sizes):
            problems.append(
                f"input {spec.name!r} has the shape {list(array.shape)}, which does not fit "
                f"{list(spec.shape)}"
            )
    if problems:
        inputs = ", ".join(map(str, signature.inputs))
        raise InputError(f"Wrong feeds: {'; '.join(problems)}. The model takes {inputs}.")


def _shape_fits(spec: TensorSpec, shape: tuple[int, ...], sizes: dict[str, int]) -> bool:
    """Whether ``shape`` fits; symbolic dims are bound in ``sizes`` at their first use."""
    if len(shape) != len(spec.shape):
        return False
    return all(
        size > 0 and size == sizes.setdefault(dim, size) if isinstance(dim, str) else size == dim
        for dim, size in zip(spec.shape, shape, strict=True)
    )


def to_stored(spec: TensorSpec, array: Array, dtype: np.dtype[np.generic]) -> Array:
    """The array in the stored axis order and element type, contiguous.

    Raises:
        InputError: If a value does not fit the smaller integer type of the file.
    """
    if spec.stored_axes is not None:
        array = array.transpose(spec.stored_axes)
    if spec.stored_integers is not None:
        return np.ascontiguousarray(_quantized(spec.stored_integers, array))
    if array.dtype != dtype:
        bounds = np.iinfo(dtype.name)
        if array.size and (array.min() < bounds.min or array.max() > bounds.max):
            raise InputError(
                f"Input {spec.name!r} holds values outside {bounds.min}..{bounds.max}; "
                f"the file stores it as {dtype.name}."
            )
        array = array.astype(dtype)
    return np.ascontiguousarray(array)


def from_stored(spec: TensorSpec, array: Array) -> Array:
    """The array in the canonical axis order and element type, contiguous."""
    if spec.stored_axes is not None:
        array = array.transpose(np.argsort(spec.stored_axes))
    if spec.stored_integers is not None:
        form = spec.stored_integers
        array = (array.astype(np.float32) - form.zero_point) * np.float32(form.scale)
    return np.ascontiguousarray(array).astype(spec.dtype, copy=False)


def _quantized(form: StoredIntegers, array: Array) -> Array:
    """As ONNX's QuantizeLinear does it: to nearest, halves to even, saturating."""
    bounds = np.iinfo(form.dtype)
    integers = np.rint(array / np.float32(form.scale)) + form.zero_point
    return np.clip(integers, bounds.min, bounds.max).astype(form.dtype)
