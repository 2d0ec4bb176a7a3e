"""Tables of the history, and the way from each older schema to the newest."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edgekit.errors import InputError

APPLICATION_ID = 0x656B6874
"""Marks a SQLite file as a history of edgekit (``ekht``), so that no other is written to."""

_FIGURES = """
    accuracy_metric TEXT, accuracy REAL, accuracy_n INTEGER, accuracy_dataset TEXT,
    accuracy_runtime TEXT, accuracy_missing TEXT,
    p50_ms REAL, p90_ms REAL, latency_runs INTEGER, warmup_runs INTEGER, threads INTEGER,
    batch INTEGER, latency_runtime TEXT, latency_device TEXT, peak_memory_bytes INTEGER,
    latency_notes TEXT, latency_missing TEXT,
    size_bytes INTEGER, size_missing TEXT, macs INTEGER, parameters INTEGER,
    PRIMARY KEY (run, position)
"""

_VERSION_1 = (
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL, command TEXT NOT NULL,
        finished TEXT NOT NULL, duration_s REAL NOT NULL,
        git_commit TEXT, git_dirty INTEGER, git_missing TEXT,
        edgekit_version TEXT NOT NULL, device TEXT NOT NULL, system TEXT NOT NULL,
        seed INTEGER NOT NULL, steps INTEGER NOT NULL, steps_reused INTEGER NOT NULL
    )
    """,
    "CREATE INDEX runs_of_project ON runs (project, id)",
    f"""
    CREATE TABLE artifacts (
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE, position INTEGER NOT NULL,
        form TEXT NOT NULL, target TEXT NOT NULL, engine TEXT NOT NULL, compute TEXT NOT NULL,
        deployment_target TEXT NOT NULL, file_name TEXT NOT NULL, digest TEXT NOT NULL,
        {_FIGURES}
    )
    """,
    f"""
    CREATE TABLE stages (
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE, position INTEGER NOT NULL,
        form TEXT NOT NULL, target TEXT NOT NULL, stage TEXT NOT NULL, step TEXT NOT NULL,
        parent TEXT NOT NULL,
        {_FIGURES}
    )
    """,
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1,)
"""Statements that lead from schema ``i`` to ``i + 1``; the first ones make an empty file one.

A released entry is never changed: a new column or table is a new entry.
"""


def check_kind(db: sqlite3.Connection, file: Path) -> int:
    """Gives the schema version of a history, 0 for an empty database; nothing is changed.

    Raises:
        InputError: If it is another program's database, or newer than this edgekit.
        sqlite3.Error: If it cannot be read.
    """
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise InputError(
            f"{file} is a SQLite database, but no history of edgekit. Move it away, or choose "
            "another store."
        )
    if version > len(MIGRATIONS):
        raise InputError(
            f"The history {file} has schema {version}, and this edgekit knows schemas up to "
            f"{len(MIGRATIONS)}: a newer edgekit wrote it. Update edgekit, or choose another "
            "store, which has a history of its own."
        )
    return int(version)


def migrate(db: sqlite3.Connection, file: Path) -> None:
    """Brings a database to the newest schema, within the caller's transaction.

    Raises:
        InputError: See `check_kind`.
        sqlite3.Error: If it cannot be written.
    """
    for statements in MIGRATIONS[check_kind(db, file) :]:
        for statement in statements:
            db.execute(statement)
    # Pragmas take no parameters; both are part of the transaction.
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
