"""Sizes that an artifact's open batch can have: a range, or some sizes."""

from __future__ import annotations

import re

from edgekit.core.model_base import FrozenModel
from edgekit.errors import ConfigError

_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_LIST = re.compile(r"\d+(,\d+)*")


class BatchSizes(FrozenModel):
    """A range of sizes, or a list of them.

    Attributes:
        low: Smallest size.
        high: Largest size.
        sizes: The sizes, ascending, where only some are allowed; empty for the whole range.
    """

    low: int
    high: int
    sizes: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> BatchSizes:
        """Reads ``"1..16"`` or ``"1,4,8"``.

        Raises:
            ConfigError: If it is neither, holds a 0, or its range is empty.
        """
        given = text.replace(" ", "")
        if found := _RANGE.fullmatch(given):
            low, high = int(found[1]), int(found[2])
            if 1 <= low <= high:
                return cls(low=low, high=high)
        elif _LIST.fullmatch(given):
            sizes = tuple(sorted({int(item) for item in given.split(",")}))
            if sizes[0] >= 1:
                return cls(low=sizes[0], high=sizes[-1], sizes=sizes)
        raise ConfigError(
            f"Batch sizes {text!r} are none; write a range such as 1..16 or a list such as 1,4,8."
        )
