"""What is to be checked: the artifacts of an output folder, or single ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.core.hashing import digest_path
from edgekit.core.precision import Precision
from edgekit.core.target import TargetInfo
from edgekit.errors import InputError
from edgekit.pipeline.registry import target_info, target_names

REPORT = Path("report") / "report.json"
_GRAPH_SUFFIX = ".qdq.onnx"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One artifact to check.

    Attributes:
        path: The file or folder.
        target: Name of the target that runs it.
    """

    path: Path
    target: str

    @property
    def name(self) -> str:
        """Its name in the baseline."""
        return self.path.name


@dataclass(frozen=True, slots=True)
class Candidates:
    """All that is to be checked.

    Attributes:
        artifacts: In the order of their names.
        folder: The output folder; None when single artifacts were given.
        missing: Why an artifact was not made, by target and file name as far as it is known.
        notes: What a reader should know.
    """

    artifacts: tuple[Candidate, ...]
    folder: Path | None = None
    missing: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_candidates(paths: Sequence[Path]) -> Candidates:
    """The artifacts of one output folder of ``edgekit run`` or ``convert``, or those given.

    Raises:
        InputError: If nothing stands at a path, or no artifact is found in the folder.
    """
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder.")
    names = [path.name for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"Several artifacts are called {twice[0]}, but a baseline knows them by their names; "
            "check them one at a time, each with a baseline of its own."
        )
    folders = [path for path in paths if path.is_dir() and _target_by_suffix(path) is None]
    if not folders:
        return Candidates(tuple(_single(path) for path in paths))
    if len(paths) > 1:
        raise InputError(
            f"{folders[0]} is an output folder; check one such folder at a time, or name its "
            "artifacts one by one."
        )
    folder = folders[0]
    if (folder / REPORT).is_file():
        return _reported(folder)
    found = [
        Candidate(path, info.name)
        for path in sorted(folder.iterdir())
        if (info := _target_by_suffix(path)) and not path.name.endswith(_GRAPH_SUFFIX)
    ]
    if not found:
        suffixes = sorted({target_info(name).suffix for name in target_names()})
        raise InputError(
            f"{folder} holds no artifact: neither {REPORT} nor a file that ends with "
            f"{', '.join(suffixes)}. Give the output folder of edgekit run or convert."
        )
    return Candidates(tuple(found), folder)


def precision_of(name: str) -> str:
    """Numeric form of an artifact called ``MODEL.int8.tflite``, or ``MODEL.tflite`` in float32."""
    stem = name.removesuffix(Path(name).suffix)
    middle = stem.rpartition(".")[2]
    return middle if middle != stem and middle in get_args(Precision) else "float32"


class _Made(BaseModel):
    model_config = ConfigDict(extra="ignore")
    file_name: str
    digest: str


class _NotMade(BaseModel):
    model_config = ConfigDict(extra="ignore")
    reason: str


class _Target(BaseModel):
    model_config = ConfigDict(extra="ignore")
    target: str
    precision: str
    artifact: _Made | _NotMade


class _Report(BaseModel):
    """The part of report.json that is needed, so that other versions of it can be read."""

    model_config = ConfigDict(extra="ignore")
    targets: tuple[_Target, ...]


def _reported(folder: Path) -> Candidates:
    path = folder / REPORT
    try:
        report = _Report.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(
            f"{path} is damaged or of another version; run edgekit again to write it."
        ) from error
    found: dict[str, Candidate] = {}
    missing: dict[str, str] = {}
    notes: list[str] = []
    for item in report.targets:
        if isinstance(item.artifact, _NotMade):
            missing[f"{item.target} {item.precision}"] = item.artifact.reason
            continue
        name = item.artifact.file_name
        artifact = folder / name
        if not artifact.exists():
            missing[name] = f"{path.name} names it, but it is not in the folder"
            continue
        if digest_path(artifact) != item.artifact.digest:
            notes.append(f"{name} is not the file that {path.name} tells of; the file counts.")
        found[name] = Candidate(artifact, item.target)
    if not found and not missing:
        raise InputError(f"{path} names no artifact; the run made none.")
    return Candidates(tuple(found[name] for name in sorted(found)), folder, missing, tuple(notes))


def _single(path: Path) -> Candidate:
    info = _target_by_suffix(path)
    if info is None:
        suffixes = sorted({target_info(name).suffix for name in target_names()})
        raise InputError(
            f"{path}: the suffix {path.suffix!r} belongs to no target. Known: "
            f"{', '.join(suffixes)}."
        )
    return Candidate(path, info.name)


def _target_by_suffix(path: Path) -> TargetInfo | None:
    """The target whose artifacts end like this; the folder or file form must fit as well."""
    for name in target_names():
        info = target_info(name)
        if info.suffix == path.suffix and info.folder == path.is_dir():
            return info
    return None
