"""Which layers stay as they are, as names or patterns; importing this loads no framework."""

from __future__ import annotations

from fnmatch import fnmatchcase


def check_keep(keep: tuple[str, ...]) -> None:
    """Refuses patterns that can be no one's intention, for the validator of an option model.

    Raises:
        ValueError: If one is empty, or names every layer.
    """
    if any(not pattern.strip() for pattern in keep):
        raise ValueError("keep has an empty pattern; name a layer, or leave it out")
    if any(pattern == "*" for pattern in keep):
        raise ValueError("keep has the pattern '*', with which no layer is pruned")


def keeps(keep: tuple[str, ...], layer: str) -> bool:
    """True for a layer that one of the patterns names."""
    return any(fnmatchcase(layer, pattern) for pattern in keep)
