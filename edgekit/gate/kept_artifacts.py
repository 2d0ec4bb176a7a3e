"""The folder beside a baseline that keeps its artifacts, named by their content."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path

from edgekit.core.hashing import digest_path
from edgekit.core.metrics import Unavailable
from edgekit.errors import InputError
from edgekit.store.durable import copy_into_place
from edgekit.store.os_errors import os_errors_explained

_OWN_NAME = re.compile(r"[0-9a-f]{64}(\.[A-Za-z0-9]+)?")
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class KeptArtifacts:
    """Artifacts as ``DIGEST.SUFFIX``, for git, git LFS, or a cache that CI brings along."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def beside(cls, baseline: Path) -> KeptArtifacts:
        """``NAME.artifacts`` for ``NAME.json``."""
        return cls(baseline.with_name(f"{baseline.stem}.artifacts"))

    def place(self, name: str, digest: str) -> Path:
        """Where the artifact called ``name`` lies."""
        return self.folder / f"{digest}{Path(name).suffix}"

    def find(self, name: str, digest: str) -> Path | Unavailable:
        """The artifact, or why it is not there.

        Raises:
            InputError: If what lies there is something else.
        """
        path = self.place(name, digest)
        if not path.exists():
            return Unavailable(
                reason=f"the baseline's artifact is not here: {path} is missing. Bring the folder "
                "along, or check where it is kept"
            )
        if path.is_file() and _is_pointer(path):
            return Unavailable(
                reason=f"{path} is a pointer of git LFS, not the artifact. Fetch it with: git lfs "
                "pull"
            )
        found = digest_path(path)
        if found != digest:
            raise InputError(
                f"{path} is damaged: its content has the digest {found[:12]}..., not that of its "
                "name. Restore it from version control."
            )
        return path

    def keep(self, name: str, digest: str, source: Path) -> Path:
        """Copies an artifact there, unless it is there already.

        Raises:
            UsageError: If it cannot be written.
        """
        path = self.place(name, digest)
        with os_errors_explained("keep the baseline's artifacts in", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (path.exists() and digest_path(path) == digest):
                copy_into_place(source, path)
        return path

    def drop_others(self, wanted: Collection[str]) -> tuple[str, ...]:
        """Removes artifacts whose digest is not among ``wanted``; other files stay.

        Returns:
            The names of what was removed.
        """
        if not self.folder.is_dir():
            return ()
        gone = []
        for path in sorted(self.folder.iterdir()):
            if _OWN_NAME.fullmatch(path.name) and path.name[:64] not in wanted:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                gone.append(path.name)
        return tuple(gone)


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_LFS_POINTER)) == _LFS_POINTER
