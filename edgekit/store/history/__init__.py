"""Past runs in a SQLite file beside the store."""

from edgekit.store.history.database import history_file, read_history, record_run

__all__ = ["history_file", "read_history", "record_run"]
