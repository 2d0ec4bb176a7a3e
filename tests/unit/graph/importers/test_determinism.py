"""Importing in two processes gives the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.graph.importers import ImportRequest, import_model, parse_input
from edgekit.graph.io import save_onnx

MODELS = Path(__file__).with_name("models.py")
ROOT = Path(__file__).parents[4]

_CODE = """
import sys
from pathlib import Path
from tests.unit.graph.importers.test_determinism import write
write(Path(sys.argv[1]))
"""


def write(path: Path) -> None:
    """Imports ``models.py`` of the current folder, with its seeded random weights."""
    request = ImportRequest(
        source=str(Path("models.py").absolute()) + ":Small",
        inputs=(parse_input("image:1x3x8x8"),),
        dynamic_batch=True,
    )
    save_onnx(import_model(request).model, path)


def test_two_processes_in_two_folders_write_equal_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "models.py").write_text(MODELS.read_text())
    monkeypatch.chdir(tmp_path / "here")
    write(Path("out.onnx"))
    subprocess.run(
        [sys.executable, "-c", _CODE, "out.onnx"],
        cwd=tmp_path / "there",
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    content = (tmp_path / "here" / "out.onnx").read_bytes()
    assert content == (tmp_path / "there" / "out.onnx").read_bytes()
    assert str(tmp_path).encode() not in content
    assert b".py" not in content.replace(b"models.py:Small", b"")
