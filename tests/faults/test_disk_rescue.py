"""Fault rows P7, D1, D5, D6, D19: taking over a file that is damaged or tampered with, while still more goes wrong."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.disk import DISK, Disk
from tests.faults.processes import run
from tests.faults.world import FaultServer, assert_conserved, until
from unitrack.errors import QueueError
from unitrack.queues import _sqlite_files


def left_damaged(disk: Disk) -> None:
    """Have a process leave 300 messages in a file of which a page in the middle is damaged then."""
    path = left_whole(disk, 300)
    data = bytearray(path.read_bytes())
    data[4096 * 8 : 4096 * 9] = b"\xa5" * 4096
    path.write_bytes(data)


def left_whole(disk: Disk, count: int) -> Path:
    """Have a process leave messages, and return their file."""
    script = f"client = durable(linger=60.0); accept(client, 0, {count}); client.close(0)"
    run(script, "http://127.0.0.1:9", head=DISK, env=disk.env)
    [path] = disk.spools
    return path


RESCUE = {
    "before anything is read": "_sqlite_files.salvage = die",
    "in the middle": "insert = Spool.insert; Spool.insert = lambda s, row: (insert(s, row), row.seq == 100 and die())",
    "before it is moved aside": "Directory.set_aside = die",
    "after it was moved aside": "Directory.finish_rescue = die",
    "after the new one was named": (
        "name = Directory.finish_rescue; Directory.finish_rescue = lambda *given: (name(*given), die())"
    ),
}


@pytest.mark.parametrize("point", RESCUE)
def test_P7_killed_while_a_damaged_file_is_read(point: str, tmp_path: Path) -> None:
    """A kill at any step of saving what a damaged file still has loses nothing of it: another process begins again."""
    disk = Disk(tmp_path)
    left_damaged(disk)
    script = f"""
        from unitrack.queues import _sqlite_files
        from unitrack.queues._sqlite_directory import Directory
        from unitrack.queues._sqlite_spool import Spool
        def at_the_point():
            {RESCUE[point]}
            durable(linger=0.0).flush(10)
        assert killed_by(at_the_point) == -9, "that point was never reached"
    """
    with FaultServer() as server:
        run(script, server.url, head=DISK, env=disk.env)
        disk.drain(server)
        assert len(server.oracle.delivered) > 250
        assert server.oracle.delivered < disk.accepted
        assert server.oracle.duplicates <= 100
    assert not list(disk.path.glob("*spool-*.db-*"))
    assert len(list(disk.path.glob("*spool-*.db"))) == 1, "the damaged one, moved aside"


def test_D1_the_disk_is_full_while_a_damaged_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file that cannot be saved for lack of room stays where it is, and is saved when there is some."""
    disk = Disk(tmp_path)
    left_damaged(disk)
    monkeypatch.setattr("unitrack.queues.sqlite.SCAN_EVERY", 0.05)
    insert, full = _sqlite_files.Spool.insert, [True]

    def no_room(spool: _sqlite_files.Spool, row: _sqlite_files.Row) -> None:
        if full[0] and spool.path.name.startswith("saved-") and row.seq > 50:
            raise QueueError("the disk is full", "disk_full")
        insert(spool, row)

    monkeypatch.setattr(_sqlite_files.Spool, "insert", no_room)
    with FaultServer() as server, disk.client(server) as client:
        assert client.track("u", "E", message_id="new")
        assert client.flush(10)
        assert server.oracle.delivered == {"new"}
        full[0] = False
        until(lambda: len(server.oracle.delivered) > 250)
        assert client.flush(10)
        assert server.oracle.duplicates == 0
        assert client.stats()["cdp"].balanced


def test_D6_another_process_locks_a_file_that_was_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be taken over because somebody else locks it is taken over when that is over."""
    disk = Disk(tmp_path)
    path = left_whole(disk, 20)
    monkeypatch.setattr("unitrack.queues.sqlite.SCAN_EVERY", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other, FaultServer() as server:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with disk.client(server) as client:
            assert client.track("u", "E", message_id="new")
            assert client.flush(10)
            assert server.oracle.delivered == {"new"}
            other.close()
            until(lambda: disk.accepted <= server.oracle.delivered)
            assert client.flush(10)
            assert_conserved(client, server.oracle, accepted=21)
            assert server.oracle.duplicates == 0


@pytest.mark.parametrize("missing", ["-wal", "-shm"])
def test_D5_a_part_of_the_file_is_missing(missing: str, tmp_path: Path) -> None:
    """Where the log beside a file is gone, what the file itself has is sent and the program goes on; the index of the
    log is made anew."""
    disk = Disk(tmp_path)
    script = """
        client = durable(linger=60.0)
        accept(client, 0, 100)
        spool = client._process.engine().queue._files.own.spool
        with spool._lock:  # a sender may be writing at this moment
            spool._connection.execute("PRAGMA wal_checkpoint").fetchall()
        accept(client, 100, 50)
        die()
    """
    run(script, "http://127.0.0.1:9", head=DISK, env=disk.env, code=-9)
    [path] = disk.spools
    path.with_name(path.name + missing).unlink()
    with FaultServer() as server:
        disk.drain(server)
        assert len(disk.accepted) == 150
        if missing == "-shm":
            assert server.oracle.delivered == disk.accepted
        assert {f"m{i}" for i in range(100)} <= server.oracle.delivered


PLANTED = {
    "a bit that is text": "UPDATE destinations SET bit = 'x'",
    "a negative bit": "UPDATE destinations SET bit = -1",
    "a bit without end": "UPDATE destinations SET bit = 1000000000000",
    "a bit too many": "INSERT INTO destinations VALUES ('other', 63)",
    "a name that is none": "INSERT INTO destinations VALUES (x'00ff', 3)",
    "a wait without end": "REPLACE INTO tries SELECT seq, 0, 1, 0, 9e999, 0, 0 FROM messages",
    "a wait that is text": "REPLACE INTO tries SELECT seq, 0, 'a', 'b', 'soon', 'x', 'y' FROM messages",
    "attempts without end": "REPLACE INTO tries SELECT seq, 0, 9223372036854775807, 0, 0.0, 1, 0 FROM messages",
    "a time that is none": "UPDATE messages SET accepted_at = 9e999",
    "a time before all": "UPDATE messages SET accepted_at = -9e999",
    "for all and more": "UPDATE messages SET waiting = -1",
    "a column is missing": "ALTER TABLE messages DROP COLUMN lane",
    "no table": "DROP TABLE tries",
    "a trigger": "CREATE TRIGGER t AFTER DELETE ON messages BEGIN SELECT RAISE(ABORT, 'never'); END",
}


@pytest.mark.parametrize("what", PLANTED)
def test_D19_planted_values(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was planted in the tables of a file, the program goes on and sends its own."""
    disk = Disk(tmp_path)
    path = left_whole(disk, 3)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(PLANTED[what])
    monkeypatch.setattr("unitrack.queues.sqlite.SCAN_EVERY", 0.05)
    with FaultServer() as server:
        client = disk.client(server, linger=0.0)
        assert client.track("u", "E", message_id="new")
        client.flush(0.5)
        assert client.track("u", "E", message_id="newer")
        until(lambda: {"new", "newer"} <= server.oracle.delivered)
        ledger = client.stats()["cdp"]
        assert ledger.balanced
        assert ledger.accepted >= 2
        assert server.oracle.duplicates == 0
        client.close(0.0)  # some of it waits for ever
