"""What can be the matter with a file, in the words of a ledger."""

import sqlite3

from ..errors import QueueError


class Damaged(Exception):
    """The file, or a part of it, cannot be read."""


class Newer(Exception):
    """A later version of unitrack wrote the file."""


def translated(error: sqlite3.Error) -> QueueError:
    """Say what is the matter in the words of a ledger."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    match primary:
        case sqlite3.SQLITE_FULL:
            return QueueError("the disk is full", "disk_full")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return QueueError("another process locks the file", "locked")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return QueueError(f"the file is damaged: {error}", "damaged")
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN:
            return QueueError(f"the disk failed: {error}", "disk_error")
        case _:
            return QueueError(f"SQLite: {error}")
