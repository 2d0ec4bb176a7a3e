"""Names of values that a QDQ graph adds to those of the float graph it is made of."""

from __future__ import annotations

import re

RESULT = "/result"
"""What the result of an operator is called behind whose Q/DQ pair an output of the model lies."""

_ADDED = re.compile(r"/(int8|int16|uint8|uint16|dequantized|result)$")


def float_value_of(name: str) -> str:
    """Name of the float graph's value that a value of a QDQ graph stands for.

    >>> float_value_of("conv/int8"), float_value_of("conv/dequantized"), float_value_of("conv")
    ('conv', 'conv', 'conv')
    """
    return _ADDED.sub("", name)
