"""Lists of tensors of one shape."""

from __future__ import annotations

from typing import Any

import torch

from edgekit.errors import InternalError
from edgekit.targets.coreml.runtime.registry import Tensor, operator


@operator("make_list")
def make_list(
    *,
    elem_shape: Any = None,
    init_length: int = 1,
    dynamic_length: bool = True,
    dtype: str = "fp32",
) -> Any:
    """A list without content: None at every place."""
    return [None] * init_length


@operator("list_length")
def list_length(*, ls: Any) -> Tensor:
    """Number of places."""
    return torch.tensor(len(ls), dtype=torch.int32)


@operator("list_write")
def list_write(*, ls: Any, index: int, value: Tensor) -> Any:
    """A copy with one place written; it grows as far as is needed."""
    made = list(ls)
    made += [None] * (index + 1 - len(made))
    made[index] = value
    return made


@operator("list_read")
def list_read(*, ls: Any, index: int) -> Tensor:
    """What is at a place."""
    if not -len(ls) <= index < len(ls) or ls[index] is None:
        raise InternalError(f"place {index} of a list was never written")
    found: Tensor = ls[index]
    return found


@operator("list_gather")
def list_gather(*, ls: Any, indices: Tensor) -> Tensor:
    """Several places, stacked."""
    return torch.stack([list_read(ls=ls, index=int(index)) for index in indices])


@operator("list_scatter")
def list_scatter(*, ls: Any, indices: Tensor, value: Tensor) -> Any:
    """A copy with several places written."""
    made = ls
    for index, item in zip(indices.tolist(), value, strict=True):
        made = list_write(ls=made, index=index, value=item)
    return made
