"""Fault rows D: what a disk can do to a queue: it is full, fails, is slow, or may not be written to."""

import ast
import os
import sqlite3
import stat
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.disk import DISK, Disk, left_behind, offline
from tests.faults.figures import figure
from tests.faults.processes import Process, run
from tests.faults.world import FaultServer, assert_conserved, until
from tests.pages import ROOT
from unitrack import Client, ConfigError
from unitrack.providers import Hightouch
from unitrack.queues import _sqlite_spool
from unitrack.testing import FakeTransport
from unitrack.wire import Response

CDP = Hightouch(write_key="k3y-0f-n0-v4lue")


def connection_of(client: Client) -> sqlite3.Connection:
    connection: sqlite3.Connection = client._process.engine().queue._files.own.spool._connection
    return connection


# D1, D2, D3: the disk is full, or fails


def test_D1_the_disk_is_full_when_a_message_is_accepted(tmp_path: Path) -> None:
    """A message that the disk has no room for is refused with the reason ``disk_full``, and counted; when there is
    room again, messages are taken again, and nothing that was accepted is lost."""
    disk = Disk(tmp_path)
    with FaultServer() as server:
        with disk.client(server, linger=60.0) as client:
            assert client.track("u", "E", {"i": 0})
            pages = connection_of(client).execute("PRAGMA page_count").fetchone()[0]
            connection_of(client).execute(f"PRAGMA max_page_count = {pages + 20}")
            receipts = [client.track("u", "E", {"i": i, "text": "x" * 1000}) for i in range(1, 200)]
            refused = [receipt for receipt in receipts if not receipt]
            assert {receipt.reason for receipt in refused} == {"disk_full"}
            assert 100 < len(refused) < 199
            connection_of(client).execute("PRAGMA max_page_count = 100000")
            assert client.track("u", "E", {"i": 1000})
            assert client.flush(10)
            ledgers = assert_conserved(client, server.oracle, accepted=201)
            assert ledgers["cdp"].dropped == {"disk_full": len(refused)}
        assert server.oracle.order_violations() == 0


def test_D2_the_disk_is_full_when_a_message_was_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was delivered is remembered while it cannot be written down, and written down later, so that nobody sends
    it again."""
    disk, full = Disk(tmp_path), threading.Event()
    transact = _sqlite_spool.Spool._transact

    def no_space(spool: _sqlite_spool.Spool, works: object) -> None:
        if full.is_set():
            raise _sqlite_spool.QueueError("the disk is full", "disk_full")
        transact(spool, works)  # type: ignore[arg-type]

    monkeypatch.setattr(_sqlite_spool.Spool, "_transact", no_space)
    with FaultServer() as server:
        client = disk.client(server, linger=60.0)
        for i in range(50):
            assert client.track("u", "E", {"i": i})
        full.set()
        assert client.flush(10)
        assert client.stats()["cdp"].delivered == 50
        assert not (disk.path / "ballast").exists(), "the space that was kept for this is given up"
        full.clear()
        assert client.track("u", "E", {"i": 50})  # the next write brings the others along
        assert client.flush(10)
        assert client.close().status == "success"
        assert not disk.spools
        assert server.oracle.duplicates == 0


def test_D3_fsync_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message whose write to the disk failed is refused with ``disk_error``; the file is opened anew, and what was
    accepted before and after is there."""
    disk, failing = Disk(tmp_path), threading.Event()

    class Failing:
        def __init__(self, connection: sqlite3.Connection) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> object:
            return getattr(self._connection, name)

        def execute(self, statement: str, *given: object) -> object:
            if statement == "COMMIT" and failing.is_set():
                failing.clear()
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
                raise error
            return self._connection.execute(statement, *given)  # type: ignore[arg-type]

    connect = _sqlite_spool.Spool._connect

    def connect_to_a_bad_disk(spool: _sqlite_spool.Spool) -> None:
        connect(spool)
        assert spool._connection is not None
        spool._connection = Failing(spool._connection)  # type: ignore[assignment]

    monkeypatch.setattr(_sqlite_spool.Spool, "_connect", connect_to_a_bad_disk)
    client = offline(disk, durability="power", linger=60.0)
    assert client.track("u", "E", message_id="before")
    failing.set()
    receipt = client.track("u", "E", message_id="during")
    assert (bool(receipt), receipt.reason) == (False, "disk_error")
    assert client.track("u", "E", message_id="after")
    client.close(0.0)
    with FaultServer() as server:
        disk.drain(server)
        assert server.oracle.stored == ["before", "after"]


# D4, D12: the directory


def test_D4_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    """A directory that is a file, cannot be made, cannot be written to or belongs to somebody else is a ConfigError
    when the client is made."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError):
            Client({"cdp": CDP}, queue=f"sqlite://{path}")
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    script = f"""
        import unitrack.queues.sqlite  # which this user may read, and the next one perhaps not
        os.setuid(65534)
        for path in ({str(theirs)!r}, "/proc/unitrack"):
            try:
                Client({{"cdp": Hightouch(write_key="k")}}, queue=f"sqlite://{{path}}")
            except Exception as error:
                say(f"raised {{type(error).__name__}}")
    """
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents[:2]):
            folder.chmod(0o755)
        assert run(script, "http://127.0.0.1:9").said("raised") == ["ConfigError", "ConfigError"]


def test_D12_who_may_read_the_files(tmp_path: Path) -> None:
    """Nobody but the user can read the directory or any file in it, whatever the umask."""
    disk = Disk(tmp_path)
    script = """
        os.umask(0)
        client = durable(linger=60.0)
        accept(client, 0, 5)
        client.track("u", "E", message_id="x" * 300, only=["cdp"])
        from unitrack.queue import DeadLetter
        client._process.engine().queue.keep_dead(DeadLetter("cdp", "m", "rejected", "", 1, 0.0, 0.0, b"{}"))
        from pathlib import Path
        modes = {path.name: oct(path.stat().st_mode & 0o777) for path in Path(QUEUE[9:]).iterdir()}
        say("modes " + json.dumps(modes))
        say("folder " + oct(os.stat(QUEUE[9:]).st_mode & 0o777))
        die()
    """
    ended = run(script, "http://127.0.0.1:9", head=DISK, env=disk.env, code=-9)
    assert ended.said("folder") == ["0o700"]
    modes = ended.said("modes")[0]
    assert modes.count("0o600") == modes.count("0o"), modes
    assert all(name in modes for name in (".db-wal", ".db-shm", ".lock", "dead.db", "ballast"))
    assert stat.S_IMODE(disk.path.stat().st_mode) == 0o700


# D13, D16, D17


def test_D13_nothing_but_sqlite_opens_the_files() -> None:
    """No code of ours opens a file of messages by other means than SQLite, for that would take SQLite's locks away;
    only their sizes are asked for."""
    openers = {"open", "read_bytes", "write_bytes", "read_text", "write_text", "fdopen"}
    allowed = {
        ("_sqlite_directory.py", "open"): 2,  # the lock beside the file, the ballast
        ("_sqlite_directory.py", "read_text"): 1,  # what is mounted
        ("_sqlite_spool.py", "open"): 2,  # made before SQLite sees it, with nobody else's right to read it
        ("_sqlite_letters.py", "open"): 1,
        ("_sqlite_salvage.py", "open"): 1,  # a damaged one that was moved aside
    }
    found: dict[tuple[str, str], int] = {}
    for path in (ROOT / "unitrack" / "queues").glob("*sqlite*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in openers:
                    found[path.name, name] = found.get((path.name, name), 0) + 1
    assert found == allowed


def test_D16_a_file_shrinks_when_it_was_drained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was large while a destination was away gives its space back once all of it was sent."""
    monkeypatch.setattr("unitrack.queues.sqlite.SCAN_EVERY", 0.05)
    disk, away = Disk(tmp_path), [True]
    transport = FakeTransport(lambda request: Response(status=503 if away[0] else 200))
    with Client({"cdp": CDP}, queue=disk.url, transport=transport, linger=0.0, probe_interval=0.1) as client:
        for i in range(3000):
            assert client.track(f"u{i}", "E", {"text": "x" * 2000})
        [path] = disk.spools
        whole = sum(one.stat().st_size for one in disk.path.glob("spool-*"))
        assert whole > 6_000_000
        away[0] = False
        assert client.flush(60)
        until(lambda: path.stat().st_size < 1_000_000, within=15)


def test_D17_a_slow_disk_is_waited_for_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``durability="power"`` and a disk that takes 50 ms for each write, many threads share the wait."""
    disk, commits = Disk(tmp_path), [0]
    transact = _sqlite_spool.Spool._transact

    def slow(spool: _sqlite_spool.Spool, works: object) -> None:
        transact(spool, works)  # type: ignore[arg-type]
        commits[0] += 1
        threading.Event().wait(0.05)

    monkeypatch.setattr(_sqlite_spool.Spool, "_transact", slow)
    client = offline(disk, durability="power", linger=60.0)
    assert client.track("u", "E")

    def work(n: int) -> None:
        for i in range(5):
            assert client.track(f"u{n}", "E", {"i": i})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(32)]
    commits[0] = 0
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = commits[0]
    client.close(0.0)
    assert written < 120, "160 messages, one by one, would be 160 writes"


@pytest.mark.slow
def test_D20_a_start_with_a_million_waiting_messages(tmp_path: Path) -> None:
    """With a million messages waiting a client begins within seconds, in little memory, and what comes new is sent at
    once."""
    disk = Disk(tmp_path)
    path = left_behind(disk, 1)
    with closing(sqlite3.connect(path)) as connection, connection:
        [(lane, at, record)] = connection.execute("SELECT lane, accepted_at, record FROM messages").fetchall()
        rows = ((n, 1, lane + n % 100_000, at, f"m{n}", record) for n in range(2, 1_000_001))
        connection.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?)", rows)
    script = """
        began = time.monotonic()
        client = durable()
        waiting = client.stats()["cdp"].pending
        opened = time.monotonic() - began
        client.track("somebody-new", "fresh", message_id="fresh")
        say("tracked")
        while client.stats()["cdp"].delivered < 2_000: time.sleep(0.01)
        # Not getrusage: what it says began in the process that forked this one.
        [peak] = [int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")]
        say(f"figures {waiting} {opened:.2f} {peak}")
        die()
    """
    with FaultServer() as server:
        with Process(script, server.url, head=DISK, env=disk.env) as process:
            process.wait_for("tracked")
            tracked_at = time.monotonic()
            ended = process.end(code=-9)
        fresh = server.oracle.stored_at["fresh"] - tracked_at
        waiting, opened, megabytes = ended.said("figures")[0].split()
        figure(
            f"D20: {int(waiting):,} messages waiting: opened in {opened} s, at most {megabytes} MB, "
            f"a new one was there after {max(0.0, fresh):.2f} s"
        )
        assert int(waiting) == 1_000_000
        assert float(opened) < 5
        assert fresh < 5
        assert int(megabytes) < 150
    assert sys.platform == "linux"
