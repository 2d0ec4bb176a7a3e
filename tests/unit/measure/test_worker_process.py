"""A worker imports what its parent imports, and its end is told in words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.measure.worker_process import (
    how_it_ended,
    last_words,
    module_command,
    module_environment,
)


def test_a_worker_imports_what_this_process_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "only_here.py").write_text("import os\nprint(os.environ['ALSO'])\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "json.py").write_text("raise SystemExit('the wrong json')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "here"), *sys.path])
    done = subprocess.run(
        module_command("only_here"),
        env=module_environment(ALSO="this"),
        cwd=tmp_path / "elsewhere",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "this\n"
    assert os.environ.get("ALSO") is None


def test_an_end_is_told_in_words() -> None:
    assert how_it_ended(-signal.SIGSEGV) == "signal SIGSEGV"
    assert how_it_ended(3) == "exit code 3"
    assert last_words("first\nand last\n\n") == " Its last words: and last"
    assert last_words(" \n") == ""
