"""Digests of values, files and folders: the identity of everything in the store."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel

from edgekit.errors import InputError

_CHUNK_BYTES = 1 << 20


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces, so that equal values give equal text.

    Raises:
        TypeError: If the value holds something JSON cannot express.
        ValueError: If the value holds NaN or infinity.
    """

    def encode(item: object) -> object:
        if isinstance(item, BaseModel):
            return item.model_dump(mode="json")
        if isinstance(item, Path):
            return item.as_posix()
        if isinstance(item, (set, frozenset)):
            return sorted(item)
        raise TypeError(f"{type(item).__name__} has no canonical JSON form")

    return json.dumps(
        value, default=encode, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def digest_value(value: object) -> str:
    """sha256 (hex) of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()


def digest_path(path: Path, *, follow_links: bool = False) -> str:
    """sha256 (hex) of a file, or of a folder's relative names and contents.

    Order of writing, dates and permissions do not matter; an empty folder within counts.

    Args:
        path: File or folder; it may itself be a link.
        follow_links: Take what a link within a folder leads to for its content, as data sets
            may have it. A folder that is copied or stored must hold none: what they lead to
            would not come along.

    Raises:
        FileNotFoundError: If nothing stands at ``path``.
        InputError: If a folder holds links, or what is neither file nor folder.
    """
    if path.is_file():
        return digest_file(path)
    if not path.is_dir():
        raise FileNotFoundError(path)
    sha = hashlib.sha256(b"folder\0")
    for child in sorted(path.rglob("*"), key=lambda item: item.relative_to(path).as_posix()):
        name = child.relative_to(path).as_posix()
        if child.is_symlink() and not follow_links:
            raise InputError(
                f"The folder {path} holds a link, {name}, and what it leads to is no part of the "
                "folder. Put a copy in its place."
            )
        if child.is_file():
            sha.update(name.encode() + b"\0" + digest_file(child).encode() + b"\0")
        elif not child.is_dir():
            raise InputError(f"The folder {path} holds {name}, which is neither file nor folder.")
        elif next(child.iterdir(), None) is None:
            sha.update(name.encode() + b"/\0")
    return sha.hexdigest()


def has_digest(path: Path, digest: str) -> bool:
    """Whether a file or folder stands at ``path`` whose digest is that."""
    try:
        return digest_path(path) == digest
    except (FileNotFoundError, InputError):
        return False
