"""Read what can still be read of a damaged file."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from attrs import frozen

#: What is read in one go; where that fails, its rows are read one by one.
_AT_ONCE = 200
#: Rows in a row that cannot be read before the search goes on from the other end.
_GIVE_UP = 2_000


@frozen
class Remains:
    """One message of a damaged file, for those destinations that had not got it."""

    lane: int
    accepted_at: float
    message_id: str
    record: bytes
    names: tuple[str, ...]


def salvage(path: Path, keep: Callable[[Remains], None]) -> int:
    """Hand every message that can be read to ``keep``, in order; return how many are lost, as far as one can tell."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    except sqlite3.Error:
        return 1
    try:
        names = _names(connection)
        low, high = _ends(connection)
        if low is None or high is None:
            return 1 if path.stat().st_size else 0
        found = 0
        for remains in _rows(connection, low, high, names):
            keep(remains)
            found += 1
        # Numbers are given out one after the other, but some of them were delivered: so this is the most it can be.
        return max(0, high - low + 1 - found)
    finally:
        with suppress(sqlite3.Error):
            connection.close()


def _names(connection: sqlite3.Connection) -> dict[int, str]:
    with suppress(sqlite3.Error):
        return {bit: name for name, bit in connection.execute("SELECT name, bit FROM destinations")}
    return {}


def _ends(connection: sqlite3.Connection) -> tuple[int | None, int | None]:
    ends = []
    for order in ("ASC", "DESC"):
        try:
            [(seq,)] = connection.execute(f"SELECT seq FROM messages ORDER BY seq {order} LIMIT 1").fetchall()  # noqa: S608
        except (sqlite3.Error, ValueError):
            seq = None
        ends.append(seq)
    return ends[0] if ends[0] is not None else ends[1], ends[1] if ends[1] is not None else ends[0]


def _rows(connection: sqlite3.Connection, low: int, high: int, names: dict[int, str]) -> Iterator[Remains]:
    several = "SELECT waiting, lane, accepted_at, message_id, record FROM messages WHERE seq BETWEEN ? AND ?"
    seq, unreadable = low, 0
    while seq <= high and unreadable < _GIVE_UP:
        last = min(seq + _AT_ONCE - 1, high)
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
        for waiting, lane, accepted_at, message_id, record in rows:
            sound = isinstance(waiting, int) and isinstance(message_id, str) and isinstance(record, bytes)
            if sound and isinstance(lane, int) and isinstance(accepted_at, float):
                meant = tuple(name for bit, name in names.items() if waiting >> bit & 1)
                yield Remains(lane, accepted_at, message_id, record, meant)
