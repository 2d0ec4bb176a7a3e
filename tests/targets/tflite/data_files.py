"""Real .tflite files that lie outside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[3]


def dtln(name: str) -> Path:
    """A file of the DTLN noise suppressor (github.com/breizhn/DTLN); skips without it."""
    root = Path(os.environ.get("EDGEKIT_DATA", _REPOSITORY.parent / "shared" / "data"))
    path = root / "models" / "dtln" / name
    if not path.is_file():
        pytest.skip(f"{name} of DTLN is not in EDGEKIT_DATA")
    return path
