"""What is written stands there whole, or what stood there before does."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.store.durable import copy_into_place, write_bytes


def folder(root: Path, text: str) -> Path:
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.txt").write_text(text)
    return root


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_file_is_replaced_and_nothing_is_left(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"one")
    write_bytes(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(tmp_path / "a", b"one")

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("before", ["nothing", "file", "folder"])
@pytest.mark.parametrize("what", ["file", "folder"])
def test_copy_takes_the_place_of_whatever_was_there(
    tmp_path: Path, what: str, before: str
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    out.mkdir()
    if what == "file":
        source.write_text("new")
        source.chmod(0o444)
    else:
        folder(source, "new")
    if before == "file":
        (out / "x").write_text("old")
    elif before == "folder":
        folder(out / "x", "old")
        (out / "x" / "stale").touch()
    copy_into_place(source, out / "x")
    found = out / "x" if what == "file" else out / "x" / "sub" / "a.txt"
    assert found.read_text() == "new"
    assert names(out) == ["x"]
    if what == "file":
        assert (out / "x").stat().st_mode & 0o200
    else:
        assert names(out / "x") == ["sub"]
    assert source.exists()


def test_folder_that_cannot_be_put_in_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = folder(tmp_path / "source", "new"), tmp_path / "out"
    folder(out / "x", "old")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no"):
        copy_into_place(source, out / "x")
    assert (out / "x" / "sub" / "a.txt").read_text() == "old"
    assert names(out) == ["x"]
