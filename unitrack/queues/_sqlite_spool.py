"""One file of a queue on disk, and the one connection to it that writes."""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from errno import ENOENT, ENOTDIR
from pathlib import Path
from typing import Any

from ..errors import QueueError
from ..position import SUSPICIOUS
from ..queue import MAX_RECORD, Entry
from ._sqlite_errors import Damaged, Newer, translated
from ._sqlite_group import OF_THE_DISK, Group, Work
from ._sqlite_rows import VERSION, Loaded, Row, is_bit, make, sound

#: Why nothing is written any more.
CLOSED = "closed"
#: Milliseconds that a write may wait where somebody else locks the file; nobody should. A call may have to wait twice.
PATIENCE = 120
#: Deaths while waiting for an answer that count as one other: perhaps it is the answer that kills.
WAITED = 20
_AT_ONCE = 500

_INSERT = """
INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (seq) DO UPDATE SET waiting = waiting | excluded.waiting
"""
_TRIED = """
INSERT INTO tries (seq, bit, attempts, abandoned, due, out) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET attempts = excluded.attempts, abandoned = excluded.abandoned, due = excluded.due,
    out = excluded.out
"""


class Spool:
    """One file. Each call is one transaction, shared with whatever else waits to be written at that moment.

    A write comes back when the operating system has it (it survives the end of the process), or the disk
    (``power=True``). In between others queue up, and the next transaction takes all of them: the more threads write,
    the fewer times the disk is waited for.
    """

    def __init__(self, path: Path, names: Sequence[str] = (), *, power: bool = False) -> None:
        """Open a file, or make it, with a bit for each of these destinations.

        Raises:
            Damaged, Newer: an existing file cannot be used.
            QueueError: the disk refuses.
        """
        self.path = path
        self._power = power
        self._lock = threading.RLock()
        self._group = Group(self._lock, self._write_all)
        self._owed: list[Work] = []
        self._connection: sqlite3.Connection | None = None
        #: The disk failed, and the connection must be made anew.
        self.broken = False
        self._inode = 0
        self.indexed = False
        #: Bits and numbers of messages that are settled, though the file does not know yet.
        self.unwritten: set[tuple[int, int]] = set()
        is_new = not path.exists()
        if is_new:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        try:
            self._connect()
            if is_new or not self._version():
                self.write(lambda connection: make(connection, names))
            self.bits = self._destinations()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        try:
            inode = self.path.stat().st_ino
            if self._inode and self._inode != inode:
                raise QueueError(f"{self.path.name} is not the file that it was", "disk_error")
            # Not made where it is missing: it would be another one, with nothing in it.
            url = f"{self.path.as_uri()}?mode=rw"
            connection = sqlite3.connect(url, uri=True, isolation_level=None, check_same_thread=False, timeout=0)
            self._connection = connection
            connection.execute(f"PRAGMA busy_timeout = {PATIENCE}")
            if not self._inode:  # it is written into the file
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._power else 'NORMAL'}")
            connection.execute("PRAGMA trusted_schema = OFF")
            self._inode = inode
            self.broken = False
        except OSError as error:
            raise QueueError(f"the disk failed: {error.strerror}", "disk_error") from None
        except sqlite3.Error as error:
            raise translated(error) from None

    def _usable(self) -> sqlite3.Connection:
        """Return the connection; called with the lock.

        Raises:
            QueueError: the file is closed, or cannot be opened again after the disk failed.
        """
        if self._connection is None:
            raise QueueError(f"{self.path.name} is closed", CLOSED)
        if self.broken:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connect()
        return self._connection

    def _version(self) -> int:
        [(version,)] = self._read("PRAGMA user_version")
        if version > VERSION:
            raise Newer(f"{self.path.name} is of version {version}; this is version {VERSION}")
        return int(version)

    def _destinations(self) -> dict[str, int]:
        found = self._read("SELECT name, bit FROM destinations")
        if not all(isinstance(name, str) and is_bit(bit) for name, bit in found):
            raise Damaged("its destinations are not what anybody would write")
        return dict(found)

    # -- writing

    def write(self, work: Work) -> None:
        """Do some work in a transaction, with whatever others wait to do.

        Raises:
            QueueError: it is not written.
        """
        self._group.write(work)

    def write_later(self, work: Work) -> bool:
        """Do some work that must not fail: where it cannot be written now, it is tried again with the next write."""
        try:
            self.write(work)
        except QueueError as error:
            if error.reason in OF_THE_DISK:  # else it would fail each time, and the others with it
                with self._lock:
                    self._owed.append(work)
            return False
        return True

    def repay(self) -> bool:
        """Write what could not be written before; tell whether nothing is owed any more."""
        if self._owed or self._group.owes:
            with suppress(QueueError):
                self.write(lambda _: None)
                self.unwritten.clear()
        return not (self._owed or self._group.owes)

    @property
    def writing(self) -> bool:
        """Whether this thread is in the middle of a write, so that it is a signal handler that asks."""
        return self._group.writing

    def _write_all(self, works: Sequence[Work]) -> BaseException | None:
        if not self._owed:
            return self._transact(works)
        owed = self._owed.copy()
        late = self._transact([*owed, *works])
        del self._owed[: len(owed)]
        return late

    def _transact(self, works: Sequence[Work]) -> BaseException | None:
        connection = self._connection
        if connection is None or self.broken:
            connection = self._usable()
        ends = False
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")  # whoever was to do that was interrupted
            connection.execute("BEGIN IMMEDIATE")
            for work in works:
                work(connection)
            ends = True
            connection.execute("COMMIT")
        except BaseException as error:
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                elif ends and not isinstance(error, sqlite3.Error):
                    return error  # it came after the commit
            if not isinstance(error, Exception) or isinstance(error, QueueError):
                raise
            if not isinstance(error, sqlite3.Error):
                raise QueueError(f"it cannot be written: {error}") from None
            said = translated(error)
            # After a failed fsync nobody knows what the disk has; what is read from here on is what is there.
            self.broken = said.reason == "disk_error" or isinstance(error, sqlite3.ProgrammingError)
            raise said from None
        return None

    def insert(self, row: Row) -> None:
        """Store a message, or add destinations to one that is stored.

        Raises:
            QueueError: it is not stored.
        """
        values = (row.seq, row.waiting, row.lane, row.accepted_at, row.message_id, row.record)
        self._group.write(lambda c: c.execute(_INSERT, values))

    def tried(self, bit: int, entries: Sequence[Entry], offset: int) -> None:
        """Note that entries are about to be sent."""
        rows = [(entry.seq - offset, bit, entry.attempts, entry.abandoned, 0.0, 1) for entry in entries]
        self.write_later(lambda c: c.executemany(_TRIED, rows))

    def absolve(self, bit: int, entries: Sequence[Entry], offset: int) -> None:
        """Note that only the answer is waited for; they stay as suspicious as it takes to travel alone."""
        rows = [(SUSPICIOUS, entry.seq - offset, bit) for entry in entries]
        work = "UPDATE tries SET out = 2, abandoned = min(abandoned, ?) WHERE seq = ? AND bit = ?"
        self.write_later(lambda c: c.executemany(work, rows))

    def back(self, bit: int, entries: Sequence[Entry], offset: int, due: float, *, counted: bool) -> None:
        """Note that entries wait again, not before ``due``."""
        rows = [(entry.seq - offset, bit, *entry.put_back(counted=counted), due, 0) for entry in entries]
        self.write_later(lambda c: c.executemany(_TRIED, rows))

    def settle(self, bit: int, seqs: Sequence[int]) -> bool:
        """Forget messages for one destination; the last one to forget it removes it. Tell whether it is written."""
        alone = [(seq, 1 << bit) for seq in seqs]
        tries = [(seq, bit) for seq in seqs]

        def work(connection: sqlite3.Connection) -> None:
            removed = connection.executemany("DELETE FROM messages WHERE seq = ? AND waiting = ?", alone).rowcount
            if removed < len(alone):
                others = [(1 << bit, seq) for seq in seqs]
                connection.executemany("UPDATE messages SET waiting = waiting & ~? WHERE seq = ?", others)
            connection.executemany("DELETE FROM tries WHERE seq = ? AND bit = ?", tries)

        if self.write_later(work):
            return True
        self.unwritten.update((bit, seq) for seq in seqs)
        return False

    def nobody_sends(self, *, vanished: bool) -> None:
        """Note that what was out is out no more, because its senders ended in order, or because they vanished."""
        said = "out = 0, abandoned = abandoned + (out = 1), waited = waited + (out = 2)" if vanished else "out = 0"
        self.write_later(lambda c: c.execute(f"UPDATE tries SET {said} WHERE out") and None)  # noqa: S608

    def index_ids(self) -> None:
        """Make :meth:`knows` fast. Not from the start: while all is in memory, it would only cost."""
        self.write_later(lambda c: c.execute("CREATE INDEX IF NOT EXISTS by_id ON messages (message_id)"))
        self.indexed = True

    def shrink(self) -> None:
        """Give space back to the disk, and the index with it."""
        self.indexed = False
        self.write_later(lambda c: c.execute("DROP INDEX IF EXISTS by_id"))
        with self._lock, suppress(sqlite3.Error):
            if self._connection is not None and not self._group.writing:
                self._connection.executescript("PRAGMA incremental_vacuum")  # execute() would free one page
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    # -- reading

    def knows(self, message_id: str, bit: int) -> bool:
        """Tell whether a message with this id waits for a destination."""
        return bool(self._read("SELECT 1 FROM messages WHERE message_id = ? AND waiting & ?", message_id, 1 << bit))

    def count(self, bit: int, below: int) -> int:
        """Count what waits for one destination, with numbers below another one."""
        [(count,)] = self._read(
            "SELECT count(*) FROM messages WHERE waiting & ? AND seq > 0 AND seq < ?", 1 << bit, below
        )
        return int(count)

    def weigh(self, bit: int) -> int:
        """Return the bytes of what waits for one destination."""
        [(size,)] = self._read("SELECT coalesce(sum(length(record)), 0) FROM messages WHERE waiting & ?", 1 << bit)
        return int(size)

    def waiting(self, bit: int, below: int) -> Iterator[tuple[int, int]]:
        """Return number and lane of all that, in order."""
        after = 0
        while rows := self._read(
            "SELECT seq, CASE typeof(lane) WHEN 'integer' THEN lane ELSE 0 END FROM messages "
            "WHERE waiting & ? AND seq > ? AND seq < ? ORDER BY seq LIMIT 10000",
            1 << bit, after, below,
        ):  # fmt: skip
            yield from rows
            after = rows[-1][0]

    def load(self, bit: int, seqs: Sequence[int]) -> Iterator[Loaded]:
        """Read messages.

        Raises:
            Damaged: here the file cannot be read.
        """
        for start in range(0, len(seqs), _AT_ONCE):
            some = seqs[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            for row in self._read(
                f"""
                SELECT m.seq, m.message_id, m.lane,
                    -- nobody's message; what was planted must not be read into memory
                    CASE WHEN length(m.record) > {MAX_RECORD} THEN x'' ELSE m.record END,
                    m.accepted_at, t.attempts, t.abandoned + t.waited / {WAITED}, t.due
                FROM messages AS m LEFT JOIN tries AS t ON t.seq = m.seq AND t.bit = ?
                WHERE m.seq IN ({marks}) AND m.waiting & ? ORDER BY m.seq
                """,  # noqa: S608  numbers only
                bit, *some, 1 << bit,
            ):  # fmt: skip
                yield sound(row)

    def has_vanished(self) -> bool:
        """Tell whether what is open here is not what stands under its name any more."""
        try:
            return (found := self.path.stat(follow_symlinks=False)).st_ino != self._inode or not found.st_nlink
        except OSError as error:
            return error.errno in (ENOENT, ENOTDIR)  # else the disk is away, and may come back

    def move_to(self, path: Path) -> bool:
        """Write all of it into another file, and go on with that: what vanished can be read while it is open.

        Raises:
            QueueError: it cannot be written; nothing has changed.
        """
        with self._lock:
            if self._connection is None or self._group.writing:
                return False  # it was handed over at this moment
            connection = self._usable()
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
            try:
                connection.execute("VACUUM INTO ?", (str(path),))
            except sqlite3.Error as error:
                path.unlink()
                raise translated(error) from None
            self.path, self._inode, self.broken = path, path.stat().st_ino, True
        return True

    def is_sound(self) -> bool:
        """Look through the whole file."""
        try:
            return self._read("PRAGMA quick_check(1)") == [("ok",)]
        except (Damaged, QueueError):
            return False

    def is_empty(self) -> bool:
        """Tell whether no message waits for anybody.

        Raises:
            Damaged, QueueError: that cannot be seen, because the file is closed, for example.
        """
        return not self._group.owes and not self._read("SELECT 1 FROM messages LIMIT 1")

    def _read(self, statement: str, *values: object) -> list[Any]:
        with self._lock:
            connection = self._usable()
            try:
                return connection.execute(statement, values).fetchall()
            except sqlite3.DatabaseError as error:
                self.broken = self.broken or isinstance(error, sqlite3.ProgrammingError)
                if translated(error).reason == "damaged":
                    raise Damaged(str(error)) from None
                raise translated(error) from None

    # -- the end

    def close(self) -> bool:
        """Close the file; tell whether nothing waits in it. Only the first who closes it can hear that."""
        with self._lock:
            if self._connection is None:
                return False
            if self._group.writing:
                # A signal handler in the middle of a write of its own thread, which will find the file closed.
                with suppress(QueueError):
                    self._group.write_unattended()
            empty = False
            with suppress(Damaged, QueueError):
                empty = self.is_empty()
            connection, self._connection = self._connection, None
            with suppress(sqlite3.Error):
                connection.close()
        return empty

    def abandon(self) -> sqlite3.Connection | None:
        """Let go without touching the file: it belongs to the process that forked this one.

        The connection must be kept for ever. Closing it might write to a file that is not ours.
        """
        connection, self._connection = self._connection, None
        return connection
