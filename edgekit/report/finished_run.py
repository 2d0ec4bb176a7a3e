"""Reads the report of a finished run back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import edgekit
from edgekit.core.model_base import problems_of
from edgekit.core.run_summary import SUMMARY_SCHEMA_VERSION, RunSummary
from edgekit.errors import InputError
from edgekit.store.os_errors import explain_os_error

_FILE = "report.json"
_SHOWN_PROBLEMS = 3


@dataclass(frozen=True, slots=True)
class ReportedRun:
    """A run on disk.

    Attributes:
        name: What it is called beside others.
        path: Its report.json.
        summary: Its results.
    """

    name: str
    path: Path
    summary: RunSummary


def read_runs(places: Sequence[Path]) -> tuple[ReportedRun, ...]:
    """Reads runs, and names them so that they can be told apart.

    Args:
        places: Output folders of runs, their folders ``report``, or files report.json.

    Raises:
        InputError: If one has no report, or it is damaged or of another schema version.
    """
    found = [(place, *_read(place)) for place in places]
    projects = Counter(summary.project for _, _, summary in found)
    folders = Counter(place.name for place in places)
    names = [
        summary.project
        if projects[summary.project] == 1
        else f"{summary.project} ({place.name if folders[place.name] == 1 else place})"
        for place, _, summary in found
    ]
    twice = Counter(names)
    return tuple(
        ReportedRun(name if twice[name] == 1 else f"{name} {number}", path, summary)
        for number, (name, (_, path, summary)) in enumerate(zip(names, found, strict=True), 1)
    )


def _read(place: Path) -> tuple[Path, RunSummary]:
    path = _report_file(place)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise explain_os_error(error, "read the report", path) from error
    try:
        value = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path} is damaged: {error}. Run the project again (edgekit run), which writes it "
            "anew from the store."
        ) from error
    _require_version(path, value)
    try:
        return path, RunSummary.model_validate_json(text)
    except ValidationError as error:
        raise InputError(
            f"{path} was written by edgekit {value.get('edgekit_version', 'of unknown version')} "
            f"and does not fit edgekit {edgekit.__version__}: "
            f"{problems_of(error, _SHOWN_PROBLEMS)}. Run the project again, or use the edgekit "
            "that wrote it."
        ) from error


def _report_file(place: Path) -> Path:
    if place.is_file():
        return place
    if not place.is_dir():
        raise InputError(
            f"There is no run at {place}. Name the output folder of edgekit run or convert."
        )
    for path in (place / _FILE, place / "report" / _FILE):
        if path.is_file():
            return path
    raise InputError(
        f"{place} holds no report: neither {_FILE} nor report/{_FILE} is there. Name the output "
        "folder of a run that has ended and whose report was not switched off (report.enabled)."
    )


def _require_version(path: Path, value: Any) -> None:
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version is None:
        raise InputError(f"{path} is no report of edgekit: it names no schema_version.")
    if version != SUMMARY_SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {version}, and edgekit {edgekit.__version__} reads "
            f"version {SUMMARY_SCHEMA_VERSION}. Use the edgekit that wrote it, or run the project "
            "again."
        )
