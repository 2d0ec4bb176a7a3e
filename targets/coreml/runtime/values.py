"""How values lie in memory while a program runs.

Floats of any width are float32 tensors; one of float16 is rounded to that after each operator,
which is what storing it does. Integers of 8 bits and booleans keep their type, all others are
int32, and text is text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from edgekit.errors import UnsupportedError
from edgekit.targets.coreml.package.types import TensorType

type Tensor = torch.Tensor

_CARRIERS = {
    "float16": torch.float32, "float32": torch.float32, "float64": torch.float64,
    "bool": torch.bool, "int8": torch.int8, "uint8": torch.uint8,
}  # fmt: skip
_INTEGERS = {"int16", "uint16", "int32", "uint32", "int64", "uint64", "int4", "uint4",
             "uint1", "uint2", "uint3", "uint6"}  # fmt: skip


def carrier(dtype: str) -> torch.dtype:
    """Type of the tensors that hold elements of ``dtype``.

    Raises:
        UnsupportedError: For an element type that the runtime does not compute on.
    """
    if dtype in _CARRIERS:
        return _CARRIERS[dtype]
    if dtype in _INTEGERS:
        return torch.int64 if dtype in {"int64", "uint64", "uint32"} else torch.int32
    raise UnsupportedError(f"The edgekit MIL runtime does not compute on {dtype}.")


def to_tensor(array: Any, dtype: str) -> Tensor:
    """An array as the runtime holds it; the array is not modified."""
    made = np.array(array, copy=True)
    if dtype in {"uint16", "uint32", "uint64"}:
        made = made.astype(np.int64)
    return stored(torch.from_numpy(np.ascontiguousarray(made).reshape(made.shape)), dtype)


def stored(tensor: Tensor, dtype: str) -> Tensor:
    """A result as it is when its storage has type ``dtype``."""
    if dtype == "float16":
        return tensor.to(torch.float16).to(torch.float32)
    kind = carrier(dtype)
    return tensor if tensor.dtype == kind else tensor.to(kind)


def to_numpy(tensor: Tensor, kind: TensorType) -> Any:
    """The array of a value, in the type that the program declares."""
    array = tensor.detach().cpu().numpy()
    return np.array(array.astype(_numpy_name(kind.dtype)), copy=True)


def _numpy_name(dtype: str) -> str:
    return {"int4": "int8"}.get(dtype, dtype if dtype in _NUMPY else "uint8")


_NUMPY = {"bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8",
          "uint16", "uint32", "uint64"}  # fmt: skip
