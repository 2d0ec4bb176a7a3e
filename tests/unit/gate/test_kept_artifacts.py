"""The folder of a baseline's artifacts."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.hashing import digest_path
from edgekit.core.metrics import Unavailable
from edgekit.errors import InputError
from edgekit.gate.kept_artifacts import KeptArtifacts


@pytest.fixture
def kept(tmp_path: Path) -> KeptArtifacts:
    return KeptArtifacts.beside(tmp_path / "ci" / "baseline.json")


def write(path: Path, content: bytes = b"weights") -> tuple[Path, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path, digest_path(path)


def test_files_and_folders_are_kept_by_content(kept: KeptArtifacts, tmp_path: Path) -> None:
    file, digest = write(tmp_path / "net.tflite")
    place = kept.keep("net.tflite", digest, file)
    assert place == tmp_path / "ci" / "baseline.artifacts" / f"{digest}.tflite"
    assert kept.find("net.tflite", digest) == place
    write(tmp_path / "net.mlpackage" / "Data" / "weight.bin")
    folder = tmp_path / "net.mlpackage"
    package = kept.keep("net.mlpackage", digest_path(folder), folder)
    assert (package / "Data" / "weight.bin").read_bytes() == b"weights"
    assert kept.find("net.mlpackage", digest_path(folder)) == package


def test_what_is_there_is_not_written_again(kept: KeptArtifacts, tmp_path: Path) -> None:
    file, digest = write(tmp_path / "net.tflite")
    place = kept.keep("net.tflite", digest, file)
    before = place.stat().st_mtime_ns
    kept.keep("net.tflite", digest, file)
    assert place.stat().st_mtime_ns == before
    place.write_bytes(b"damaged")
    kept.keep("net.tflite", digest, file)
    assert place.read_bytes() == b"weights"


def test_absent_damaged_and_not_fetched(kept: KeptArtifacts, tmp_path: Path) -> None:
    file, digest = write(tmp_path / "net.tflite")
    absent = kept.find("net.tflite", digest)
    assert isinstance(absent, Unavailable)
    assert "the baseline's artifact is not here" in absent.reason
    place = kept.keep("net.tflite", digest, file)
    place.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n")
    pointer = kept.find("net.tflite", digest)
    assert isinstance(pointer, Unavailable)
    assert "Fetch it with: git lfs pull" in pointer.reason
    place.write_bytes(b"Weights")
    with pytest.raises(InputError, match="is damaged: its content has the digest"):
        kept.find("net.tflite", digest)


def test_only_own_leftovers_are_removed(kept: KeptArtifacts, tmp_path: Path) -> None:
    assert kept.drop_others(()) == ()
    file, digest = write(tmp_path / "net.tflite")
    old, old_digest = write(tmp_path / "old.tflite", b"older")
    kept.keep("net.tflite", digest, file)
    kept.keep("old.tflite", old_digest, old)
    notes, _ = write(kept.folder / "README.md", b"ours")
    assert kept.drop_others({digest}) == (f"{old_digest}.tflite",)
    assert notes.exists()
    assert sorted(path.name for path in kept.folder.iterdir()) == sorted(
        ["README.md", f"{digest}.tflite"]
    )
