"""Brings arguments to the form in which a function wants them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from edgekit.errors import UnsupportedError


def _single(value: Any) -> Any:
    if isinstance(value, list):
        if len(value) != 1:
            raise UnsupportedError(f"one value is wanted, {len(value)} are given")
        return _single(value[0])
    return value.item() if isinstance(value, torch.Tensor) else value


def _list(value: Any) -> list[Any]:
    if isinstance(value, torch.Tensor):
        found: list[Any] = value.reshape(-1).tolist()
        return found
    if isinstance(value, list):
        return [_single(item) for item in value]
    return [value]


def _tensor(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _tensors(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "tensor": _tensor,
    "tensors": _tensors,
    "int": lambda value: int(_single(value)),
    "float": lambda value: float(_single(value)),
    "bool": lambda value: bool(_single(value)),
    "str": lambda value: str(_single(value)),
    "ints": lambda value: [int(item) for item in _list(value)],
    "bools": lambda value: [bool(item) for item in _list(value)],
    "any": lambda value: value,
}
"""How to convert an argument, by the kind of its parameter."""
