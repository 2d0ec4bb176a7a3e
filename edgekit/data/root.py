"""Where data sets lie on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgekit.data.contract import DataSpec
from edgekit.errors import InputError

ROOT_VARIABLE = "EDGEKIT_DATA"

_CHECKOUT = Path(__file__).resolve().parents[2]


def search_roots(spec: DataSpec) -> tuple[Path, ...]:
    """Folders that may hold data sets, the first that has the set wins.

    ``spec.root`` alone if given, else the variable ``EDGEKIT_DATA`` alone, else ``data``
    in the current folder and ``../shared/data`` beside a source checkout.
    """
    if spec.root is not None:
        return (spec.root,)
    if chosen := os.environ.get(ROOT_VARIABLE):
        return (Path(chosen),)
    here = Path("data")
    # An installed package has no checkout around it, and nothing beside it to look in.
    in_checkout = (_CHECKOUT / "pyproject.toml").is_file()
    return (here, _CHECKOUT.parent / "shared" / "data") if in_checkout else (here,)


def find_folder(spec: DataSpec, names: Sequence[str]) -> Path:
    """The folder of a data set: the first of ``names`` that exists below a search root.

    Args:
        spec: The data set asked for.
        names: Relative folder names under which it may lie, the preferred one first.

    Raises:
        InputError: If there is none; names every folder that was looked in.
    """
    candidates = [root / name for root in search_roots(spec) for name in names]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise InputError(f"Data set {spec.set!r} was not found; looked in {looked}. {root_remedy()}")


def find_path(spec: DataSpec, path: str) -> Path:
    """The file or folder that the user named, relative to here or to a search root.

    Raises:
        InputError: If it does not exist; names every place that was looked in.
    """
    given = Path(path).expanduser()
    candidates = [given]
    if not given.is_absolute():
        candidates += [root / given for root in search_roots(spec)]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise InputError(f"Data set {spec.set!r} was not found; looked at {looked}. {root_remedy()}")


def root_remedy() -> str:
    """The sentence that says how to point edgekit at the data."""
    return f"Give the folder that holds the data sets with --data-root or {ROOT_VARIABLE}."
