"""Fault rows D: several processes and one directory."""

import sqlite3
import time
from pathlib import Path

import pytest

from tests.faults.disk import DISK, Disk, offline
from tests.faults.processes import run
from tests.faults.world import FaultServer, assert_conserved, until
from tests.patience import SLACK


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
    assert time.monotonic() - began < SLACK
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
