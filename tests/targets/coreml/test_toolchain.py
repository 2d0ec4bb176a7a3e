"""coremltools is imported without tensorflow, in one process with torch."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
import torch
from edgekit.targets.coreml.toolchain import coremltools, mb
assert "tensorflow" not in sys.modules, "tensorflow was imported"
assert mb.relu
print("imported", coremltools.__version__)
{more}
"""


def run(script: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    code = script if path is None else f"import sys; sys.path.insert(0, {str(path)!r})\n{script}"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )


def test_a_tensorflow_that_kills_the_process_is_not_imported(tmp_path: Path) -> None:
    package = tmp_path / "tensorflow"
    package.mkdir()
    (package / "__init__.py").write_text("import os\nos._exit(139)\n")
    done = run(SCRIPT.format(more=""), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "imported 9" in done.stdout


def test_tensorflow_can_be_imported_afterwards(tmp_path: Path) -> None:
    package = tmp_path / "tensorflow"
    package.mkdir()
    (package / "__init__.py").write_text("here = 1\n")
    done = run(SCRIPT.format(more="import tensorflow\nassert tensorflow.here == 1"), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="tensorflow is not installed (extra tensorflow)",
)
def test_with_torch_and_the_real_tensorflow_in_one_process() -> None:
    more = "import tensorflow, torchvision\nprint(tensorflow.constant([1, 2]).numpy().sum())"
    done = run(SCRIPT.format(more=more))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("3")


def test_nothing_is_printed() -> None:
    done = run("from edgekit.targets.coreml.toolchain import coremltools")
    assert (done.stdout, done.stderr) == ("", "")
