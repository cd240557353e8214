"""Read what can still be read of a damaged file."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from ._sqlite_rows import is_bit

#: What is read in one go; where that fails, its rows are read one by one.
_AT_ONCE = 200
#: Rows in a row that cannot be read before the search goes on from the other end.
_GIVE_UP = 2_000
#: Bytes; a damaged header may say anything.
_LARGEST = 1 << 36


@frozen
class Remains:
    """One message of a damaged file, for those destinations that had not got it."""

    seq: int
    lane: int
    accepted_at: float
    message_id: str
    record: bytes
    names: tuple[str, ...]


def salvage(path: Path, keep: Callable[[Remains], None]) -> int:
    """Hand every message that can be read to ``keep``, in order; return how many are lost, as far as one can tell."""
    _fill_up(path)
    try:
        connection = sqlite3.connect(path)  # not read-only: that cannot read a log without its index
    except sqlite3.Error:
        return 1
    try:
        names = _names(connection)
        low, high = _ends(connection)
        if low is None and high is None:
            return 1 if path.stat().st_size else 0
        found = 0
        for remains in _rows(connection, low or 1, high, names):
            keep(remains)
            found += 1
        if low is None or high is None:
            return 1  # at least; the end that would tell how many is gone
        # Numbers are given out one after the other, but some of them were delivered: so this is the most it can be.
        return max(0, high - low + 1 - found)
    finally:
        with suppress(sqlite3.Error):
            connection.close()


def _fill_up(path: Path) -> None:
    """Make a file that was cut off as long as it says it is; else SQLite reads nothing of it."""
    with suppress(OSError), path.open("r+b") as file:
        header = file.read(100)
        size, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
        if path.stat().st_size < size * pages <= _LARGEST:
            file.truncate(size * pages)


def _names(connection: sqlite3.Connection) -> dict[int, str]:
    with suppress(sqlite3.Error):
        found = connection.execute("SELECT name, bit FROM destinations").fetchall()
        return {bit: name for name, bit in found if isinstance(name, str) and is_bit(bit)}
    return {}


def _ends(connection: sqlite3.Connection) -> tuple[int | None, int | None]:
    ends = []
    for order in ("ASC", "DESC"):
        try:
            [(seq,)] = connection.execute(f"SELECT seq FROM messages ORDER BY seq {order} LIMIT 1").fetchall()  # noqa: S608
        except (sqlite3.Error, ValueError):
            seq = None
        ends.append(seq)
    return ends[0], ends[1]


def _rows(connection: sqlite3.Connection, low: int, high: int | None, names: dict[int, str]) -> Iterator[Remains]:
    several = "SELECT seq, waiting, lane, accepted_at, message_id, record FROM messages WHERE seq BETWEEN ? AND ?"
    seq, unreadable = low, 0
    while (high is None or seq <= high) and unreadable < _GIVE_UP:
        last = seq + _AT_ONCE - 1 if high is None else min(seq + _AT_ONCE - 1, high)
        try:
            rows = connection.execute(several, (seq, last)).fetchall()
        except sqlite3.Error:
            rows = []
            for one in range(seq, last + 1):
                try:
                    rows += connection.execute(several, (one, one)).fetchall()
                    unreadable = 0
                except sqlite3.Error:
                    unreadable += 1
        seq = last + 1
        if high is None and not rows:
            unreadable += _AT_ONCE  # behind the last one, perhaps
        for number, waiting, lane, accepted_at, message_id, record in rows:
            sound = isinstance(waiting, int) and isinstance(message_id, str) and isinstance(record, bytes)
            if sound and isinstance(lane, int) and isinstance(accepted_at, float):
                meant = tuple(name for bit, name in names.items() if waiting >> bit & 1)
                yield Remains(number, lane, accepted_at, message_id, record, meant)
