"""Where the shared data lies; tests that need it skip with a reason where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[2]


def shared_file(name: str) -> Path:
    """A file below EDGEKIT_DATA (default: shared/data beside the repository)."""
    root = Path(os.environ.get("EDGEKIT_DATA", _REPOSITORY.parent / "shared" / "data"))
    path = root / name
    if not path.exists():
        pytest.skip(f"{name} is not in EDGEKIT_DATA ({root})")
    return path
