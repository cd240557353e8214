"""Fault rows D: what stands in a file is damaged, planted, or of a later version."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.disk import Disk, left_behind
from tests.faults.world import FaultServer

DAMAGE = {
    "header": (0, 100),
    "the schema": (100, 400),
    "second page": (4096, 4096),
    "a page in the middle": (4096 * 12, 4096),
    "the end of a page": (4096 * 13 - 600, 600),
    "many pages": (4096 * 8, 4096 * 6),
}


@pytest.mark.parametrize("where", [*DAMAGE, "cut in the middle", "nothing left"])
def test_D5_a_damaged_file(where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged file never stops the program: it is moved aside, what can be read of it is sent, and the rest is
    counted and told."""
    disk = Disk(tmp_path)
    path = left_behind(disk)
    data = bytearray(path.read_bytes())
    if where in DAMAGE:
        at, length = DAMAGE[where]
        data[at : at + length] = b"\xa5" * length
    else:
        del data[len(data) // 2 if where == "cut in the middle" else 0 :]
    path.write_bytes(data)
    with FaultServer() as server:
        with disk.client(server) as client:
            assert client.track("new", "E", {"i": 0}, message_id="new")
            assert client.flush(20)
            ledger = client.stats()["cdp"]
            assert ledger.balanced
            assert ledger.pending == 0
        assert "new" in server.oracle.delivered
        arrived = len(server.oracle.delivered) - 1
        assert server.oracle.duplicates == 0
        if where not in ("header", "the schema", "nothing left", "second page"):
            assert arrived > 50, "what can be read is sent"
        if arrived < 300 and where != "nothing left":
            assert ledger.dead.get("damaged", 0) > 0, "the rest is counted"
            assert "damaged" in caplog.text


def test_D15_a_file_of_a_newer_version(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that a later version wrote is left as it is, and the log says so; it is sent by whoever can read it."""
    disk = Disk(tmp_path)
    path = left_behind(disk, 3)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    with FaultServer() as server:
        assert disk.drain(server).accepted == 0
        assert "version 99" in caplog.text
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM messages").fetchall() == [(3,)]
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("PRAGMA user_version = 1")
        assert disk.drain(server).delivered == 3


def test_D19_planted_rows(tmp_path: Path) -> None:
    """Rows that somebody planted are never run nor sent: junk is a dead letter, a huge one is not even read, one for
    nobody is left alone, and the others arrive."""
    disk = Disk(tmp_path)
    path = left_behind(disk, 3)
    planted = [
        (1001, 1, 1, 1.7e9, "pickle", b"\x80\x04cos\nsystem\n(S'true'\ntR."),
        (1002, 1, 2, 1.7e9, "future", b'{"v":99,"kind":"track"}\n{}'),
        (1003, 1, 3, 1.7e9, "huge", bytes(9 * 1024 * 1024)),
        (1004, 1 << 40, 4, 1.7e9, "for nobody", b"{}"),
        (1005, 1, "lane", "soon", 7, "text"),
        (-5, 1, 5, 1.7e9, "below", b"{}"),
    ]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?)", planted)
    with FaultServer() as server:
        ledger = disk.drain(server, delivery_deadline=1e9)
        assert ledger.delivered == 3
        assert ledger.dead == {"unreadable": 4}
        assert server.oracle.delivered == {"m0", "m1", "m2"}
