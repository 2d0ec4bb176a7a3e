from __future__ import annotations

import pytest

from edgekit.core.batch_sizes import BatchSizes
from edgekit.errors import ConfigError


def test_ranges_and_lists() -> None:
    assert BatchSizes.parse("1..16") == BatchSizes(low=1, high=16)
    assert BatchSizes.parse("8, 1,4,4") == BatchSizes(low=1, high=8, sizes=(1, 4, 8))
    assert BatchSizes.parse("3") == BatchSizes(low=3, high=3, sizes=(3,))


@pytest.mark.parametrize("text", ["", "0..4", "5..2", "0", "1,0", "1-4", "x", "1..", "1,,2", "-1"])
def test_others_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write a range such as"):
        BatchSizes.parse(text)
