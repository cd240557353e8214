"""Look at a queue on disk from outside, also while its processes run: read only, and through SQLite alone."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ..errors import ConfigError
from ..queue import QueueView

_WAITING = """
SELECT count(*), coalesce(sum(length(m.record)), 0), min(m.accepted_at), count(DISTINCT m.lane),
    count(CASE WHEN t.due > :now AND NOT t.out THEN 1 END),
    count(DISTINCT CASE WHEN t.due > :now AND NOT t.out THEN m.lane END),
    count(CASE WHEN t.abandoned > 0 THEN 1 END)
FROM messages AS m LEFT JOIN tries AS t ON t.seq = m.seq AND t.bit = :bit
WHERE m.waiting & (1 << :bit)
"""


def stands(directory: Path) -> bool:
    """Tell whether there is a directory to look at.

    Raises:
        ConfigError: it is a file, or this user may not look.
    """
    try:
        mode = directory.stat().st_mode
    except FileNotFoundError:
        return False
    except PermissionError:
        raise _closed(directory) from None
    except OSError as error:
        raise ConfigError(f"queue: {directory} cannot be looked at: {error.strerror}") from None
    if not stat.S_ISDIR(mode):
        raise ConfigError(f"queue: {directory} is a file; name a directory that belongs to unitrack alone")
    if not os.access(directory, os.R_OK | os.X_OK):
        raise _closed(directory)
    return True


def _closed(directory: Path) -> ConfigError:
    return ConfigError(f"queue: {directory} must be readable by this user; run it as the user that owns it")


def view(directory: Path, now: float) -> tuple[list[QueueView], list[str]]:
    """Return what waits for each destination, and sentences about files that could not be read.

    Raises:
        ConfigError: as in :func:`stands`.
    """
    if not stands(directory):
        return [], []
    found: dict[str, QueueView] = {}
    unread: list[str] = []
    for path in sorted(directory.glob("spool-*.db")):
        try:
            with closing(_opened(path)) as connection:
                for name, bit in connection.execute("SELECT name, bit FROM destinations").fetchall():
                    [row] = connection.execute(_WAITING, {"bit": bit, "now": now}).fetchall()
                    messages, size, oldest, lanes, delayed, delayed_lanes, abandoned = row
                    one = QueueView(name, messages, size, oldest, lanes, delayed, delayed_lanes, abandoned)
                    found[name] = found[name].plus(one) if name in found else one
        except sqlite3.Error as error:
            if path.exists():  # else its process emptied it meanwhile
                unread.append(f"{path.name} cannot be read: {error}")
    try:
        for name, reason, count in _dead(directory / "dead.db"):
            found.setdefault(name, QueueView(name)).dead[reason] = count
    except sqlite3.Error as error:
        unread.append(f"dead.db cannot be read: {error}")
    damaged = [path.name for path in directory.glob("damaged-*.db")]
    return [found[name] for name in sorted(found)], [*unread, *(f"{name} was damaged" for name in damaged)]


def _dead(path: Path) -> Iterator[tuple[str, str, int]]:
    if path.exists():
        with closing(_opened(path)) as connection:
            yield from connection.execute("SELECT destination, reason, count(*) FROM letters GROUP BY 1, 2").fetchall()


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1.0)
