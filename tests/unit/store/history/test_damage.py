"""Files that are no history, damaged ones, and places that cannot be written."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgekit.errors import InputError, UsageError
from edgekit.store.history import database, read_history, record_run
from tests.unit.store.history.runs import finished

ROOT = Path(__file__).resolve().parents[4]


def text_file(file: Path) -> None:
    file.write_text("I am no database, though I am long enough to be looked at. " * 20)


def cut_short(file: Path) -> None:
    record_run(file, finished())
    file.write_bytes(file.read_bytes()[:5000])


def overwritten(file: Path) -> None:
    """The pages behind the first are noise."""
    record_run(file, finished())
    content = bytearray(file.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    file.write_bytes(content)


def wrong_value(file: Path) -> None:
    record_run(file, finished())
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE artifacts SET accuracy = 17")


def table_missing(file: Path) -> None:
    record_run(file, finished())
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("DROP TABLE artifacts")


def column_missing(file: Path) -> None:
    record_run(file, finished())
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("ALTER TABLE artifacts DROP COLUMN latency_notes")


@pytest.mark.parametrize(
    "damage", [text_file, cut_short, overwritten, wrong_value, table_missing, column_missing]
)
def test_a_damaged_file_is_named_with_the_remedy(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    file = tmp_path / "h.sqlite"
    damage(file)
    before = file.read_bytes()
    with pytest.raises(InputError, match=rf"The history {file} is damaged \(.+\)\. Move it away"):
        read_history(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("damage", [text_file, cut_short, overwritten])
def test_a_damaged_file_is_not_written_to(damage: Callable[[Path], None], tmp_path: Path) -> None:
    file = tmp_path / "h.sqlite"
    damage(file)
    with pytest.raises(InputError, match=r"is damaged .* Move it away \(mv "):
        record_run(file, finished())


@pytest.mark.parametrize("act", [read_history, lambda file: record_run(file, finished())])
def test_another_database_is_left_alone(act: Callable[[Path], object], tmp_path: Path) -> None:
    file = tmp_path / "h.sqlite"
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("CREATE TABLE songs (name TEXT)")
    before = file.read_bytes()
    with pytest.raises(InputError, match=r"is a SQLite database, but no history of edgekit"):
        act(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("act", [read_history, lambda file: record_run(file, finished())])
def test_a_newer_schema_is_refused_and_left_alone(
    act: Callable[[Path], object], tmp_path: Path
) -> None:
    file = tmp_path / "h.sqlite"
    record_run(file, finished())
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("PRAGMA user_version = 9")
    before = file.read_bytes()
    with pytest.raises(
        InputError, match=r"has schema 9, .* up to 1: a newer edgekit wrote it\. Up"
    ):
        act(file)
    assert file.read_bytes() == before


def test_no_file_and_a_file_without_runs_say_how_runs_come_into_it(tmp_path: Path) -> None:
    file = tmp_path / "h.sqlite"
    with pytest.raises(
        InputError, match=r"no history yet: .*h\.sqlite holds no runs.*--store DIR"
    ):
        read_history(file)
    file.touch()
    with pytest.raises(InputError, match="no history yet"):
        read_history(file)
    record_run(file, finished())
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("DELETE FROM runs")
    with pytest.raises(InputError, match="no history yet"):
        read_history(file)


def test_a_folder_in_the_way_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "h.sqlite").mkdir()
    for file in (tmp_path / "h.sqlite", tmp_path / "absent" / "h.sqlite"):
        with pytest.raises(
            UsageError, match=r"Cannot write the history .*cannot be opened; its f"
        ):
            record_run(file, finished())


def test_a_writer_that_never_ends_is_not_waited_for_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "h.sqlite"
    record_run(file, finished())
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.2)
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(UsageError, match=r"another process has kept it locked for 0 s"):
            record_run(file, finished())
        assert len(read_history(file)) == 1


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder whose parents everybody may enter, unlike those of ``tmp_path``."""
    folder = Path(tempfile.mkdtemp(prefix="edgekit-history-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


AS_NOBODY = """
import os, sys
from pathlib import Path
from edgekit.errors import UsageError
from edgekit.store.history import read_history, record_run
from tests.unit.store.history.runs import finished
if os.getuid() == 0:
    os.setuid(65534)
file = Path(sys.argv[1])
print(len(read_history(file)))
try:
    record_run(file, finished())
except UsageError as error:
    print(error)
"""


def test_what_may_not_be_written_can_be_read(open_folder: Path) -> None:
    file = open_folder / "h.sqlite"
    record_run(file, finished())
    file.chmod(0o444)
    open_folder.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(file)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    count, message = done.stdout.splitlines()
    assert count == "1"
    assert message.startswith(f"Cannot write the history {file}: it or its folder may not be")
    assert "choose a store elsewhere" in message


ON_A_FULL_DISK = """
import sys
from pathlib import Path
from edgekit.errors import UsageError
from edgekit.store.history import read_history, record_run
from tests.unit.store.history.runs import finished
file, recorded = Path("/mnt/h.sqlite"), 0
try:
    while recorded < 1000:
        record_run(file, finished())
        recorded += 1
except UsageError as error:
    print(error)
print(recorded, len(read_history(file)))
"""


def test_a_full_disk_is_named_and_loses_nothing() -> None:
    mount = "mount -t tmpfs -o size=192k none /mnt"
    try:
        can = subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if can.returncode:
        pytest.skip("this system lets no process mount a small disk of its own")
    line = ("unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh")
    done = subprocess.run(
        [*line, sys.executable, "-c", ON_A_FULL_DISK],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    message, counts = done.stdout.splitlines()
    assert message == (
        "Cannot write the history /mnt/h.sqlite: the disk is full. Free some space."
    )
    recorded, found = counts.split()
    assert recorded == found
    assert int(recorded) > 10
