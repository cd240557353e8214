"""What stands in a file of a queue on disk: its tables, and its rows as they should be."""

import sqlite3
from collections.abc import Sequence
from math import isfinite

from attrs import frozen

VERSION = 1
#: No message was tried as often.
_MANY = 1 << 31

_SCHEMA = """
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    waiting INTEGER NOT NULL,  -- a bit for each destination that has yet to get it
    lane INTEGER NOT NULL,
    accepted_at REAL NOT NULL,
    message_id TEXT NOT NULL,
    record BLOB NOT NULL
);
-- Only of what was tried: most messages are sent once and gone.
CREATE TABLE tries (
    seq INTEGER NOT NULL,
    bit INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    abandoned INTEGER NOT NULL,
    due REAL NOT NULL,
    out INTEGER NOT NULL,      -- somebody is sending it (1) or waits for the answer (2), or did when the process died
    waited INTEGER NOT NULL DEFAULT 0,  -- times that a process died while it waited for the answer
    PRIMARY KEY (seq, bit)
) WITHOUT ROWID;
CREATE TABLE destinations (name TEXT PRIMARY KEY, bit INTEGER NOT NULL) WITHOUT ROWID;
"""


@frozen
class Row:
    seq: int
    waiting: int
    lane: int
    accepted_at: float
    message_id: str
    record: bytes


@frozen
class Loaded:
    """A message that was read for one destination."""

    seq: int
    message_id: str
    lane: int
    record: bytes
    accepted_at: float
    attempts: int
    abandoned: int
    due: float


def is_bit(value: object) -> bool:
    """Tell whether this can be the bit of a destination; SQLite has 64 of them, one for the sign."""
    return isinstance(value, int) and 0 <= value < 63


def make(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    """Make the tables, for these destinations."""
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.executemany("INSERT INTO destinations VALUES (?, ?)", zip(names, range(len(names)), strict=True))
    connection.execute(f"PRAGMA user_version = {VERSION}")


def sound(row: tuple[object, ...]) -> Loaded:
    """Return a row whose columns are what they should be; whatever was planted there becomes something harmless."""
    seq, message_id, lane, record, accepted_at, attempts, abandoned, due = row
    return Loaded(
        seq if isinstance(seq, int) else 0,
        message_id if isinstance(message_id, str) else "",
        lane if isinstance(lane, int) else 0,
        record if isinstance(record, bytes) else b"",
        accepted_at if isinstance(accepted_at, float) and isfinite(accepted_at) else 0.0,
        attempts if isinstance(attempts, int) and 0 <= attempts < _MANY else 0,
        abandoned if isinstance(abandoned, int) and 0 <= abandoned < _MANY else 0,
        due if isinstance(due, float) else 0.0,
    )
