"""Fault rows D: the directory of a queue, who has which file, who may read it, and what a disk can do to it."""

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

from tests.faults.disk import DISK, Disk
from tests.faults.processes import run
from tests.faults.world import FaultServer, assert_conserved, until
from tests.pages import ROOT
from unitrack import Client, ConfigError
from unitrack.providers import Hightouch
from unitrack.queues import _sqlite_spool
from unitrack.testing import FakeTransport
from unitrack.wire import Response

CDP = Hightouch(write_key="k3y-0f-n0-v4lue")


def offline(disk: Disk, **settings: object) -> Client:
    """Make a client whose vendor is away."""
    down = FakeTransport(lambda request: Response(status=503))
    return Client({"cdp": CDP}, queue=disk.url, transport=down, **settings)


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


# D5, D15, D19: what stands in a file


def left_behind(disk: Disk, count: int = 300) -> Path:
    """Have a client leave messages on disk, and return their file."""
    client = offline(disk, linger=60.0)
    for i in range(count):
        assert client.track(f"u{i % 10}", "E", {"i": i // 10, "text": "x" * 300}, message_id=f"m{i}")
    client.close(0.0)
    [path] = disk.spools
    return path


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


# D6 to D9, D14: processes


def test_D6_another_process_locks_the_file(tmp_path: Path) -> None:
    """Where somebody else locks the file, a call waits a quarter of a second at the most, and what could not be stored
    is counted as ``locked``."""
    disk = Disk(tmp_path)
    client = offline(disk, linger=60.0)
    assert client.track("u", "E")
    [path] = disk.spools
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    receipt = client.track("u", "E")
    assert time.monotonic() - began < 1.0
    assert (bool(receipt), receipt.reason) == (False, "locked")
    other.execute("ROLLBACK")
    other.close()
    assert client.track("u", "E")
    ledger = client.stats()["cdp"]
    assert (ledger.accepted, ledger.dropped, ledger.pending) == (3, {"locked": 1}, 2)
    client.close(0.0)


@pytest.mark.parametrize("processes", [2, 16])
def test_D7_processes_share_a_directory(processes: int, tmp_path: Path) -> None:
    """Any number of processes use one directory at a time, each with a file of its own, and nothing arrives twice."""
    disk = Disk(tmp_path)
    script = f"""
        def work(n):
            client = durable(linger=0.01)
            accept(client, n * 1000, 100)
            assert client.close(20).status == "success"
        pids = [in_child(lambda n=n: work(n)) for n in range({processes})]
        assert [ended(pid) for pid in pids] == [0] * {processes}
    """
    with FaultServer() as server:
        run(script, server.url, head=DISK, env=disk.env)
        assert server.oracle.delivered == disk.accepted
        assert len(disk.accepted) == 100 * processes
        assert server.oracle.duplicates == 0
    assert not disk.spools


def test_D8_the_owner_died(tmp_path: Path) -> None:
    """What a killed process left behind is sent by a process that uses the same directory, within seconds, while it
    goes on with its own."""
    disk = Disk(tmp_path)
    with FaultServer() as server, disk.client(server, linger=0.01) as alive:
        assert alive.track("mine", "E", {"i": 0})
        run("accept(durable(linger=60.0), 0, 50)\ndie()", server.url, head=DISK, env=disk.env, code=-9)
        assert len(disk.accepted) == 50
        until(lambda: disk.accepted <= server.oracle.delivered, within=15)
        assert alive.flush(10)
        ledgers = assert_conserved(alive, server.oracle, accepted=51)
        assert ledgers["cdp"].delivered == 51
        assert server.oracle.duplicates == 0


def adopted_by_one(folder: Path, rounds: int, processes: int) -> None:
    disk = Disk(folder)
    script = f"""
        def left():
            accept(durable(linger=60.0), first, 20)
            die()
        def adopt():
            client = durable(linger=0.0)
            client.stats()
            client.close(20)
        for first in range(0, {rounds} * 1000, 1000):
            assert killed_by(left) == -9
            pids = [in_child(adopt) for _ in range({processes})]
            assert [ended(pid) for pid in pids] == [0] * {processes}
    """
    with FaultServer() as server:
        run(script, server.url, head=DISK, env=disk.env)
        assert server.oracle.delivered == disk.accepted
        assert len(disk.accepted) == 20 * rounds
        assert server.oracle.duplicates == 0
    assert not disk.spools


def test_D9_many_want_to_adopt_the_same_file(tmp_path: Path) -> None:
    """Of many processes that find the same file left behind exactly one takes it."""
    adopted_by_one(tmp_path, 5, 8)


@pytest.mark.slow
def test_D9_sixteen_want_to_adopt_fifty_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds for sixteen processes, fifty times."""
    monkeypatch.setattr("tests.faults.processes.LIMIT", 100)
    adopted_by_one(tmp_path, 50, 16)


def test_D14_forks_with_an_open_file(tmp_path: Path) -> None:
    """Forks of a process with an open file write files of their own and never touch the parent's, whose file stays
    sound."""
    disk = Disk(tmp_path)
    script = """
        client = durable(linger=0.01)
        accept(client, 0, 50)
        def child(n):
            accept(client, 1000 + n * 10, 5)
            assert client.close(20).status == "success"
        for n in range(30):
            pids = [in_child(lambda n=n: child(n)), in_child(lambda: None)]
            accept(client, 100 + n * 10, 10)
            assert [ended(pid) for pid in pids] == [0, 0]
        assert client.close(20).status == "success"
        tell(client)
    """
    with FaultServer() as server:
        ended = run(script, server.url, head=DISK, env=disk.env)
        assert server.oracle.delivered == disk.accepted
        assert len(disk.accepted) == 50 + 30 * 15
        assert server.oracle.duplicates == 0
        assert ended.client.stats()["cdp"].delivered >= 350
    assert not disk.spools


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
    began, commits[0] = time.monotonic(), 0
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, written = time.monotonic() - began, commits[0]
    client.close(0.0)
    assert written < 120, "160 messages, one by one, would be 160 writes"
    assert took < 8


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
        while client.stats()["cdp"].delivered < 2_000: time.sleep(0.01)
        # Not getrusage: what it says began in the process that forked this one.
        [peak] = [int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")]
        say(f"figures {waiting} {opened:.2f} {peak}")
        die()
    """
    with FaultServer() as server:
        began = time.monotonic()
        ended = run(script, server.url, head=DISK, env=disk.env, code=-9)
        assert "fresh" in server.oracle.delivered
        waiting, opened, megabytes = ended.said("figures")[0].split()
        print(f"{waiting} waiting: opened in {opened} s, {megabytes} MB, done in {time.monotonic() - began:.1f} s")  # noqa: T201
        assert int(waiting) == 1_000_000
        assert float(opened) < 5
        assert int(megabytes) < 150
    assert sys.platform == "linux"
