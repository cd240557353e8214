"""The dead letters of all processes that share a directory, in one file that any of them may write."""

import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import QueueError
from ..queue import DeadLetter

VERSION = 1
MAX_LETTERS = 100_000
MAX_BYTES = 256 * 1024 * 1024
#: Letters that are added before anybody looks whether there are too many.
LOOK_EVERY = 500
#: Seconds to wait for another process that writes a letter at the same moment.
PATIENCE = 5.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS letters (
    id INTEGER PRIMARY KEY,
    destination TEXT NOT NULL,
    message_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    accepted_at REAL NOT NULL,
    buried_at REAL NOT NULL,
    record BLOB NOT NULL,
    UNIQUE (destination, message_id)
)
"""
_COLUMNS = "destination, message_id, reason, detail, attempts, accepted_at, buried_at, record"


class Letters:
    """Dead letters, the newest 100,000 or 256 MiB of them.

    With a rollback journal, not a write-ahead log: SQLite before 3.51.3 can damage the latter where two processes
    write and checkpoint at the same moment.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._stays_open = True
        self._added = 0

    def keep(self, letter: DeadLetter) -> None:
        """Keep a letter, in the place of an older one about the same message.

        Raises:
            QueueError: it is not kept.
        """
        values = (
            letter.destination, letter.message_id, letter.reason, letter.detail, letter.attempts, letter.accepted_at,
            letter.buried_at, letter.record,
        )  # fmt: skip
        self._run(f"REPLACE INTO letters ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *values)  # noqa: S608
        self._added += 1
        if self._added % LOOK_EVERY == 1:
            self._bound()

    def all(self, destination: str | None = None, since: float = 0.0) -> Sequence[DeadLetter]:
        """Return the letters that were buried since then, oldest first."""
        if not self.path.exists():
            return []
        rows = self._run(
            f"SELECT {_COLUMNS} FROM letters "  # noqa: S608
            "WHERE buried_at >= ? AND (destination = ? OR ? IS NULL) ORDER BY id",
            since, destination, destination,
        )  # fmt: skip
        return [DeadLetter(*row) for row in rows]

    def discard(self, letter: DeadLetter) -> bool:
        """Forget a letter; False if it is not there any more."""
        if not self.path.exists():
            return False
        found = self._run(
            "DELETE FROM letters WHERE destination = ? AND message_id = ? AND buried_at = ? RETURNING id",
            letter.destination, letter.message_id, letter.buried_at,
        )  # fmt: skip
        return bool(found)

    def close(self) -> None:
        """Close the file; who asks later, such as for a last report, opens it for that one question."""
        with self._lock:
            self._stays_open = False
            self._let_go()

    def abandon(self) -> sqlite3.Connection | None:
        """Let go without touching the file, in a forked child. The connection must be kept for ever."""
        connection, self._connection = self._connection, None
        return connection

    def _bound(self) -> None:
        [(count, size)] = self._run("SELECT count(*), coalesce(sum(length(record)), 0) FROM letters")
        while count > MAX_LETTERS or size > MAX_BYTES:
            gone = self._run(
                "DELETE FROM letters WHERE id IN (SELECT id FROM letters ORDER BY id LIMIT ?) RETURNING length(record)",
                max(count - MAX_LETTERS, 100),
            )
            if not gone:
                return
            count, size = count - len(gone), size - sum(length for (length,) in gone)

    def _run(self, statement: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
        with self._lock:
            try:
                return self._try(statement, values)
            finally:
                if not self._stays_open:
                    self._let_go()

    def _try(self, statement: str, values: Sequence[object]) -> list[tuple]:  # type: ignore[type-arg]
        try:
            return self._opened().execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            self._let_go()
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_DBMOVED:
                return self._opened().execute(statement, values).fetchall()  # somebody removed the file
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                word = "disk_full" if code == sqlite3.SQLITE_FULL else "disk_error"
                raise QueueError(f"dead letters: {error}", word) from None
            # The letters are lost to us, but neither the program nor those that come may suffer from that.
            self.path.rename(self.path.with_name(f"damaged-{time.time_ns()}-{self.path.name}"))
            return self._opened().execute(statement, values).fetchall()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=PATIENCE)
            try:
                connection.execute("PRAGMA journal_mode = TRUNCATE")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA trusted_schema = OFF")
                connection.execute(_SCHEMA)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection
