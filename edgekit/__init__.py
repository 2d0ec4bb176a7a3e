"""edgekit: a trained model goes in, a checked edge artifact and a report come out.

Importing this package loads no framework: `convert` and the other names are resolved on
first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = ["__version__", "compare", "convert"]

if TYPE_CHECKING:
    from edgekit.api import compare, convert


def __getattr__(name: str) -> object:
    """Resolves the public names lazily (PEP 562)."""
    if name in {"compare", "convert"}:
        # By name: the layer check would see every `import edgekit` as an import of the API.
        return getattr(import_module("edgekit.api"), name)
    raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
