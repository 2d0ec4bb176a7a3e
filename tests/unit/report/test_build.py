"""Writing the report."""

from pathlib import Path

import pytest

from edgekit.core.run_summary import RunSummary
from edgekit.errors import UsageError
from edgekit.report.build import FILE_NAMES, write_report


def test_three_files_and_nothing_else(summary: RunSummary, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    paths = write_report(summary, folder)
    assert [path.name for path in paths] == list(FILE_NAMES)
    assert sorted(child.name for child in folder.iterdir()) == sorted(FILE_NAMES)
    assert RunSummary.model_validate_json(paths[0].read_text()) == summary


def test_writing_twice_gives_the_same_bytes(summary: RunSummary, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_report(summary, tmp_path)]
    second = [path.read_bytes() for path in write_report(summary, tmp_path)]
    assert first == second


def test_a_file_in_the_way_is_named(summary: RunSummary, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("occupied")
    with pytest.raises(UsageError, match=r"Cannot write the report to .*out"):
        write_report(summary, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "occupied"
