"""Fault rows D6, D18, D22: what others do to the directory and its files while a process uses them."""

import shutil
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.disk import DISK, Disk
from tests.faults.figures import figure
from tests.faults.processes import run
from tests.faults.world import FaultServer, assert_conserved, until
from unitrack import Client
from unitrack.providers import Hightouch
from unitrack.queues import _sqlite_directory
from unitrack.testing import FakeTransport
from unitrack.wire import Response


def away(disk: Disk) -> Client:
    """Make a client whose vendor is away."""
    down = FakeTransport(lambda request: Response(status=503))
    return Client({"cdp": Hightouch(write_key="k")}, queue=disk.url, transport=down, linger=60.0)


def test_D6_many_threads_while_another_process_locks_the_file(tmp_path: Path) -> None:
    """Also where many threads want to write at that moment, none waits for longer than 0.3 s, and each is told."""
    disk = Disk(tmp_path)
    took: list[list[float]] = [[], [], []]
    client = away(disk)
    assert client.track("u", "E")
    [path] = disk.spools

    def work(n: int, took: list[float]) -> None:
        began = time.monotonic()
        receipt = client.track(f"u{n}", "E")
        took.append(time.monotonic() - began)
        assert receipt.reason == "locked"

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for round_ in took:
            threads = [threading.Thread(target=work, args=(n, round_)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        other.execute("ROLLBACK")
    longest = min(map(max, took))  # of the round that the machine disturbed least
    figure(f"D6: eight calls at once took {longest * 1000:.0f} ms at most")
    assert client.track("u", "E")
    ledger = client.stats()["cdp"]
    assert (ledger.accepted, ledger.dropped, ledger.pending) == (26, {"locked": 24}, 2)
    assert longest < 1.0, "one after the other, they would take 2.4 seconds"
    client.close(0.0)


VANISH = {
    "the directory": "shutil.rmtree(QUEUE[9:])",
    "the files": "[path.unlink() for path in Path(QUEUE[9:]).glob('*')]",
    "another file there": "own.unlink(); own.write_bytes(b'not ours')",
    "a link there": "own.unlink(); own.symlink_to(elsewhere)",
}


@pytest.mark.parametrize("what", VANISH)
def test_D18_what_is_in_use_disappears(what: str, tmp_path: Path) -> None:
    """Where somebody removes the directory or a file that is in use, or puts something else in its place, that is
    noticed within seconds and all that waits is written anew: nothing is lost, even if the process is killed then. A
    link is not followed."""
    disk, elsewhere = Disk(tmp_path), tmp_path / "elsewhere.db"
    with closing(sqlite3.connect(elsewhere)) as connection:
        connection.execute("CREATE TABLE messages (text)")
    before = elsewhere.read_bytes()
    script = f"""
        import shutil
        from pathlib import Path
        from unitrack.queues import sqlite
        sqlite.SCAN_EVERY = 0.0
        elsewhere = {str(elsewhere)!r}
        client = durable(linger=60.0)
        accept(client, 0, 30)
        own = client._process.engine().queue._files.own.spool.path
        {VANISH[what]}
        accept(client, 30, 30)
        client._process.engine().look_around()
        accept(client, 60, 30)
        say(f"new {{client._process.engine().queue._files.own.spool.path != own}}")
        die()
    """
    with FaultServer() as server:
        ended = run(script, server.url, head=DISK, env=disk.env, code=-9)
        assert ended.said("new") == ["True"]
        assert len(disk.accepted) == 90
        disk.drain(server)
        assert server.oracle.delivered == disk.accepted
        assert server.oracle.duplicates == 0
    assert elsewhere.read_bytes() == before
    assert not list(tmp_path.glob("elsewhere.db-*"))


def test_D18_a_client_that_goes_on_without_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose directory was removed goes on sending and keeping dead letters."""
    monkeypatch.setattr("unitrack.queues.sqlite.SCAN_EVERY", 0.05)
    disk = Disk(tmp_path)
    with FaultServer() as server, disk.client(server) as client:
        for i in range(300):
            assert client.track(f"u{i % 10}", "E", {"i": i // 10}, message_id=f"m{i}")
            if i == 150:
                client.track("", "E", message_id="bad")
                shutil.rmtree(disk.path)
        assert client.flush(10)
        assert_conserved(client, server.oracle)
        assert server.oracle.order_violations() == 0
        until(disk.path.exists)


@pytest.mark.parametrize(
    ("mounts", "doubtful"),
    [
        ("server:/x /data nfs4 rw 0 0", "nfs4"),
        ("/dev/sda1 /data ext4 rw 0 0", None),
        ("server:/x /data nfs rw 0 0\n/dev/sda1 /data/queue ext4 rw 0 0", None),
        ("/dev/sda1 /data ext4 rw 0 0\ntmpfs /data tmpfs rw 0 0", "tmpfs"),
        ("tmpfs /dat tmpfs rw 0 0", None),
        ("garbage\n\n", None),
    ],
)
def test_D22_a_file_system_that_keeps_no_promises(
    mounts: str, doubtful: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A directory on a file system without dependable locks, or that a restart of the machine empties, is used all the
    same, with one warning."""
    text = mounts.replace("/dat", f"{tmp_path}/dat")
    monkeypatch.setattr(_sqlite_directory.Path, "read_text", lambda path, **_: text)
    (tmp_path / "data").mkdir()
    disk = Disk(tmp_path / "data")
    Client({"cdp": Hightouch(write_key="k")}, queue=disk.url, transport=FakeTransport())
    warnings = [record.message for record in caplog.records if "keeps no promises" in record.message]
    assert [f"is on {doubtful}," in warning for warning in warnings] == ([True] if doubtful else [])
