"""The Python files that a torch module is made from, found without running them."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

from edgekit.errors import InputError

_ZOOS = ("timm", "torchvision")
"""``timm:NAME`` looks like ``package:factory``, but is a name in a model zoo."""


def module_sources(source: str) -> tuple[Path, ...]:
    """Files whose change may change the module: the factory's, and those that it imports.

    Imports are followed as far as they lead to files beside the factory's file, or inside
    the factory's own package. Other packages are not followed: they are installed, and have a
    version.

    Args:
        source: ``path/to/file.py:factory`` or ``package.module:factory``; any other source
            has no Python files.

    Returns:
        Sorted by path.

    Raises:
        InputError: If the factory's file does not exist.
    """
    place, colon, _ = source.rpartition(":")
    if not colon or place in _ZOOS:
        return ()
    if place.endswith(".py"):
        start = Path(place)
        if not start.is_file():
            raise InputError(f"No Python file at {start}")
        return _reachable([start], start.parent, "")
    if not all(part.isidentifier() for part in place.split(".")):
        return ()
    package = place.partition(".")[0]
    root = _root_of(package)
    if root is None:
        return ()
    if "site-packages" in root.parts:
        return tuple(sorted((*_files_of(place, root), *_version_files(package))))
    return _reachable(list(_files_of(place, root)), root, package)


def _root_of(package: str) -> Path | None:
    """Folder that holds a top-level package, looked for as ``import`` does."""
    spec = importlib.machinery.PathFinder.find_spec(package, [str(Path.cwd()), *sys.path])
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    origin = Path(spec.origin)
    return origin.parent.parent if origin.name == "__init__.py" else origin.parent


def _version_files(package: str) -> Iterator[Path]:
    """The ``METADATA`` of the distribution that an installed package comes from."""
    for name in importlib.metadata.packages_distributions().get(package, []):
        for file in importlib.metadata.files(name) or []:
            if file.name == "METADATA":
                yield Path(str(file.locate()))


def _reachable(start: list[Path], root: Path, within: str) -> tuple[Path, ...]:
    """All files that ``start`` leads to by imports that end below ``root``.

    Args:
        start: Files to begin with.
        root: Folder from which absolute imports are looked up.
        within: Top-level package that absolute imports must begin with; empty for any.
    """
    found: set[Path] = set()
    waiting = list(start)
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        for name in _imported_names(file, root):
            if not within or name.partition(".")[0] == within:
                waiting.extend(_files_of(name, root))
    return tuple(sorted(found))


def _imported_names(file: Path, root: Path) -> Iterator[str]:
    """Dotted names, from ``root``, of all that a file may import."""
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:
        return  # importing it will say so, with the line
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                folder = file.parents[node.level - 1]
                if not folder.is_relative_to(root):
                    continue
                base = ".".join([*folder.relative_to(root).parts, *base.split(".")]).strip(".")
            yield from (f"{base}.{alias.name}".strip(".") for alias in node.names)


def _files_of(name: str, root: Path) -> Iterator[Path]:
    """Files that importing a dotted name runs: packages on the way, and the module."""
    folder = root
    for part in name.split("."):
        if (folder / f"{part}.py").is_file():
            yield folder / f"{part}.py"
            return
        folder /= part
        if (folder / "__init__.py").is_file():
            yield folder / "__init__.py"
