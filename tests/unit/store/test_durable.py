"""What is written stands there whole, or what stood there before does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgekit.store import durable
from edgekit.store.durable import (
    TEMPORARY_PREFIX,
    copy_into_place,
    restore_moved_aside,
    write_bytes,
)
from edgekit.store.exchange import exchange


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
    monkeypatch.setattr(durable, "exchange", unable)
    with pytest.raises(OSError, match="no"):
        copy_into_place(source, out / "x")
    assert (out / "x" / "sub" / "a.txt").read_text() == "old"
    assert names(out) == ["x"]


def unable(first: Path, second: Path) -> bool:
    """Stands for `exchange` on a file system that cannot."""
    return False


def test_a_folder_is_never_missing_while_it_is_replaced(tmp_path: Path) -> None:
    new, place = folder(tmp_path / "new", "1"), folder(tmp_path / "out" / "x", "2")
    if not exchange(new, place):
        pytest.skip("this file system cannot exchange two folders in one step")
    assert (place / "sub" / "a.txt").read_text() == "1"
    missing, done = [], threading.Event()

    def watch() -> None:
        while not done.is_set():
            if not os.path.lexists(place):
                missing.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(60):
        (new / "sub" / "a.txt").write_text(str(number))
        copy_into_place(new, place)
        assert (place / "sub" / "a.txt").read_text() == str(number)
    done.set()
    watcher.join()
    assert missing == []
    assert names(place.parent) == ["x"]


def test_what_cannot_be_exchanged_is_told(tmp_path: Path) -> None:
    folder(tmp_path / "a", "old")
    with pytest.raises(FileNotFoundError, match="absent"):
        exchange(tmp_path / "a", tmp_path / "absent")
    assert names(tmp_path) == ["a"]


def test_without_exchange_a_kill_between_two_renames_loses_nothing(tmp_path: Path) -> None:
    source, out = folder(tmp_path / "source", "new"), tmp_path / "out"
    folder(out / "x", "old")
    killed = f"""
import os
from pathlib import Path
from edgekit.store import durable
durable.exchange = lambda first, second: False
rename = Path.rename
def dying(self, target):
    if self.name == "new":
        os._exit(9)
    return rename(self, target)
Path.rename = dying
durable.copy_into_place(Path({str(source)!r}), Path({str(out / "x")!r}))
"""
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == 9
    assert [name.startswith(TEMPORARY_PREFIX) for name in names(out)] == [True]
    restore_moved_aside(out)
    assert (out / "x" / "sub" / "a.txt").read_text() == "old"
    copy_into_place(source, out / "x")
    restore_moved_aside(out)
    assert (out / "x" / "sub" / "a.txt").read_text() == "new"


@pytest.mark.parametrize("kind", ["nothing", "file", "folder"])
def test_a_link_is_replaced_and_what_it_leads_to_is_not(tmp_path: Path, kind: str) -> None:
    source, aim, out = folder(tmp_path / "source", "new"), tmp_path / "aim", tmp_path / "out"
    out.mkdir()
    if kind == "file":
        aim.write_text("aim")
    elif kind == "folder":
        folder(aim, "aim")
    (out / "x").symlink_to(aim)
    copy_into_place(source, out / "x")
    assert not (out / "x").is_symlink()
    assert (out / "x" / "sub" / "a.txt").read_text() == "new"
    if kind == "file":
        assert aim.read_text() == "aim"
    elif kind == "folder":
        assert (aim / "sub" / "a.txt").read_text() == "aim"
