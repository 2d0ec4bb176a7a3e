"""Names that Core ML accepts; imports no toolchain."""

from __future__ import annotations

import re


def identifier(wanted: str) -> str:
    """``wanted`` in letters, digits and underscores, beginning with no digit.

    >>> identifier("/features.0/Conv:0"), identifier("7")
    ('_features_0_Conv_0', 'v_7')
    """
    base = re.sub(r"[^a-zA-Z0-9_]", "_", wanted) or "value"
    return f"v_{base}" if base[0].isdigit() else base


class Names:
    """Identifiers, each given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def unique(self, wanted: str) -> str:
        """The identifier of ``wanted``, with a number where it is taken."""
        base = identifier(wanted)
        name, count = base, 1
        while name in self._taken:
            name, count = f"{base}_{count}", count + 1
        self._taken.add(name)
        return name
