"""Copies finished artifacts to the output folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgekit.core.artifact import Artifact
from edgekit.core.hashing import digest_value, has_digest
from edgekit.store.durable import TEMPORARY_PREFIX, copy_into_place, restore_moved_aside
from edgekit.store.os_errors import os_errors_explained
from edgekit.store.store import Store


def check_writable(folder: Path) -> None:
    """Makes the folder and tries it, so that a long run does not fail at its end.

    Raises:
        UsageError: If nothing can be written there.
    """
    with os_errors_explained("write to the output folder", folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=TEMPORARY_PREFIX, dir=folder) as stream:
            stream.write(b"x")


def publish(
    artifacts: Mapping[str, Artifact], folder: Path, store: Store
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Copies each artifact to ``folder / name``, in place at once; equal ones are left alone.

    Returns:
        All paths, and those of them that were written.

    Raises:
        UsageError: If the folder cannot be written or the disk is full.
    """
    written = []
    place = digest_value(str(folder.resolve()))
    with (
        store.lock(f"publish-{place}", lambda: None),
        os_errors_explained("write to the output folder", folder),
    ):
        restore_moved_aside(folder)
        for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for name, artifact in artifacts.items():
            destination = folder / name
            if has_digest(destination, artifact.digest):
                continue
            copy_into_place(artifact.path, destination)
            written.append(destination)
    return tuple(folder / name for name in artifacts), tuple(written)
