"""Writes the report of a run in its three forms."""

from __future__ import annotations

from pathlib import Path

from edgekit.core.run_summary import RunSummary
from edgekit.report.render_html import render_html
from edgekit.report.render_json import render_json
from edgekit.report.render_markdown import render_markdown
from edgekit.store.durable import write_bytes
from edgekit.store.os_errors import os_errors_explained

REPORT_PAGE = "report.html"
FILE_NAMES = ("report.json", "report.md", REPORT_PAGE)


def write_report(summary: RunSummary, folder: Path) -> tuple[Path, ...]:
    """Writes report.json, report.md and report.html into ``folder``, which is made if need be.

    The same summary gives the same bytes. All three are rendered before the first is written,
    and each replaces its predecessor at once, so no reader sees half a file.

    Returns:
        The three files.

    Raises:
        UsageError: If the folder cannot be written.
    """
    rendered = (render_json(summary), render_markdown(summary), render_html(summary))
    paths = tuple(folder / name for name in FILE_NAMES)
    with os_errors_explained("write the report to", folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, rendered, strict=True):
            write_bytes(path, text.encode())
    return paths
