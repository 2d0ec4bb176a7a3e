"""The history of runs: one SQLite file beside the store.

Not within it: a store holds only what can be made again and may be deleted, which past runs
cannot be. Several processes may record at the same time (write-ahead log, one transaction a
run), and a kill at any moment leaves the runs that were recorded before.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edgekit.core.run_history import (
    FinishedRun,
    HistoryArtifact,
    HistoryStage,
    RecordedRun,
)
from edgekit.errors import InputError, UsageError
from edgekit.store.history.rows import (
    Row,
    artifact_of,
    artifact_row,
    run_of,
    run_row,
    stage_of,
    stage_row,
)
from edgekit.store.history.schema import check_kind, migrate

SUFFIX = ".history.sqlite"
BUSY_TIMEOUT_S = 20.0
"""So long one process waits for others to finish writing."""
_RETRY_S = 0.05
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def history_file(store: Path) -> Path:
    """Where the runs of a store are recorded: ``.edgekit`` has ``.edgekit.history.sqlite``."""
    place = Path(os.path.abspath(store))
    return place.with_name(place.name + SUFFIX) if place.name else place / f"edgekit{SUFFIX}"


def record_run(file: Path, run: FinishedRun) -> int:
    """Adds a run, all of it or nothing, and gives its number; the file is made if need be.

    A file of an older schema is brought to the newest first.

    Raises:
        InputError: If the file is damaged, another program's, or of a newer schema.
        UsageError: If it cannot be written.
    """
    with _explained("write", file), closing(_connect(file, "rwc")) as db:
        check_kind(db, file)
        _use_write_ahead_log(db)
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("BEGIN IMMEDIATE")
        # Without COMMIT, closing the connection takes everything back.
        migrate(db, file)
        number = _insert(db, "runs", run_row(run))
        for position, artifact in enumerate(run.artifacts):
            place = {"run": number, "position": position}
            _insert(db, "artifacts", place | artifact_row(artifact))
        for position, stage in enumerate(run.stages):
            place = {"run": number, "position": position}
            _insert(db, "stages", place | stage_row(stage))
        db.execute("COMMIT")
    return number


def read_history(file: Path, project: str | None = None) -> tuple[RecordedRun, ...]:
    """The recorded runs in the order in which they were recorded; the file is not changed.

    Args:
        file: See `history_file`.
        project: Name of a project, to leave others out.

    Raises:
        InputError: If there is no such file or no run in it, no run of that project (the known
            projects are listed), or if the file is damaged, another program's, or of a newer
            schema.
        UsageError: If it cannot be read.
    """
    if not file.exists():
        raise _no_history(file)
    with _explained("read", file), closing(sqlite3.connect(":memory:")) as db:
        # A copy in memory is one moment of the file, and of the newest schema whatever the
        # file's is, also where that may not be written.
        _copy(file, db)
        _check_pages(db)
        if check_kind(db, file) == 0:
            raise _no_history(file)
        migrate(db, file)
        runs = _select_runs(db)
    if not runs:
        raise _no_history(file)
    if project is None:
        return runs
    chosen = tuple(run for run in runs if run.project == project)
    if not chosen:
        known = ", ".join(sorted({run.project for run in runs}))
        raise InputError(
            f"The history {file} has no run of a project {project!r}. It has runs of: {known}."
        )
    return chosen


def _no_history(file: Path) -> InputError:
    return InputError(
        f"There is no history yet: {file} holds no runs. Each edgekit run, convert, quantize, "
        "train, prune, sparsify and distill that ends records itself; runs with another store are "
        "beside that one: edgekit history --store DIR, or edgekit history path/to/edgekit.toml."
    )


def _select_runs(db: sqlite3.Connection) -> tuple[RecordedRun, ...]:
    db.row_factory = sqlite3.Row
    artifacts: dict[int, list[HistoryArtifact]] = {}
    for row in db.execute("SELECT * FROM artifacts ORDER BY run, position"):
        artifacts.setdefault(row["run"], []).append(artifact_of(row))
    stages: dict[int, list[HistoryStage]] = {}
    for row in db.execute("SELECT * FROM stages ORDER BY run, position"):
        stages.setdefault(row["run"], []).append(stage_of(row))
    return tuple(
        run_of(row, tuple(artifacts.get(row["id"], ())), tuple(stages.get(row["id"], ())))
        for row in db.execute("SELECT * FROM runs ORDER BY id")
    )


def _insert(db: sqlite3.Connection, table: str, row: Row) -> int:
    """Adds a row, whose columns are named by edgekit's own code, and gives its number."""
    values = ", ".join(f":{name}" for name in row)
    done = db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})", row)
    return int(done.lastrowid or 0)


def _connect(file: Path, mode: str) -> sqlite3.Connection:
    uri = f"{Path(os.path.abspath(file)).as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def _copy(file: Path, copy: sqlite3.Connection) -> None:
    """Copies the file's content into another database."""
    try:
        with closing(_connect(file, "rw")) as db:
            db.backup(copy)
    except sqlite3.OperationalError as error:
        log = file.with_name(f"{file.name}-wal")
        if _code(error) not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) or (
            log.exists() and log.stat().st_size
        ):
            raise
        # In a folder that may not be written SQLite cannot coordinate with writers; without a
        # log there are none.
        with closing(_connect(file, "ro&immutable=1")) as db:
            db.backup(copy)


def _check_pages(db: sqlite3.Connection) -> None:
    found = db.execute("PRAGMA quick_check(1)").fetchone()
    if found[0] != "ok":
        raise ValueError(str(found[0]))


def _use_write_ahead_log(db: sqlite3.Connection) -> None:
    """Readers and a writer do not wait for each other then."""
    # SQLite does not wait by itself here, though two processes may make the file at once.
    _retried(lambda: db.execute("PRAGMA journal_mode = WAL").fetchone())


def _retried(action: Callable[[], object]) -> None:
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            action()
        except sqlite3.OperationalError as error:
            if _code(error) not in _BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
        else:
            return


@contextmanager
def _explained(action: str, file: Path) -> Iterator[None]:
    """Turns what SQLite and the rows' models say into a message with a remedy."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explain(error, action, file) from error
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        # Pydantic's ValidationError too: a row or table does not hold what was written.
        if action == "write":
            raise UsageError(f"Cannot write the history {file}: {error}.") from error
        raise _damaged(file, " ".join(str(error).split())) from error


def _explain(error: sqlite3.Error, action: str, file: Path) -> UsageError:
    code = _code(error)
    if code in _DAMAGED or (code == sqlite3.SQLITE_ERROR and action == "read"):
        return _damaged(file, str(error))
    remedies = {
        sqlite3.SQLITE_FULL: "the disk is full. Free some space",
        sqlite3.SQLITE_READONLY: "it or its folder may not be written. Change the permissions, or "
        "choose a store elsewhere, beside which the history then lies",
        sqlite3.SQLITE_CANTOPEN: "it cannot be opened; its folder is missing or may not be "
        "written, or a folder of that name is in the way. Choose a store elsewhere",
        sqlite3.SQLITE_PERM: "permission is denied. Change the permissions",
        sqlite3.SQLITE_IOERR: f"the disk reports an error ({error}). Check the disk and its "
        "free space",
    } | dict.fromkeys(
        _BUSY,
        f"another process has kept it locked for {BUSY_TIMEOUT_S:.0f} s. See what that is, and "
        "try again",
    )
    why = remedies.get(code, f"SQLite says: {error}")
    return UsageError(f"Cannot {action} the history {file}: {why}.")


def _damaged(file: Path, why: str) -> InputError:
    return InputError(
        f"The history {file} is damaged ({why}). Move it away (mv {file} {file}.damaged): the "
        "next run begins a new one. sqlite3's .recover may save rows of the old."
    )


def _code(error: sqlite3.Error) -> int:
    """The primary result code; some errors of the module itself have none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
