"""Fault rows D1, D2, D3, D10, D17, D22 on a real disk: one that is full, calls to the kernel that fail."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disk import DISK, Disk, Enduring
from tests.faults.figures import figure
from tests.faults.processes import run
from tests.faults.tracing import KILLED_AT, needs_strace, said, traced
from tests.faults.world import FaultServer


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 4 MB of its own; one of them is the ballast."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder]).returncode:
        pytest.skip("needs the right to mount")
    disk = Disk(folder)
    disk.note_at(tmp_path / "accepted")  # that needs room, too
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_D1_a_disk_that_is_really_full(small: Disk) -> None:
    """A file system without a free byte refuses messages with ``disk_full``, lets what waits be sent, and takes
    messages again once there is room; nothing that was accepted is lost, or comes twice."""
    script = """
        import random
        client = durable(linger=0.05)
        accept(client, 0, 10)
        filler = os.path.join(QUEUE[9:], "..", "filler")
        with open(filler, "wb", buffering=0) as file:
            try:
                while True: file.write(bytes(4096))
            except OSError: pass
        reasons = {client.track("u", "E", {"text": "x" * 5000}, message_id=f"full{i}").reason for i in range(50)}
        say(f"reasons {sorted(map(str, reasons))}")
        os.unlink(filler)
        accept(client, 100, 100)
        assert client.flush(20)
        tell(client)
        die()
    """
    with FaultServer() as server:
        ended = run(script, server.url, head=DISK, env=small.env, code=-9)
        assert "disk_full" in ended.said("reasons")[0]
        ledger = ended.client.stats()["cdp"]
        assert ledger.balanced
        assert ledger.dropped["disk_full"] > 0
        assert {f"m{i}" for i in range(100, 200)} <= small.accepted
        small.assert_sound()
        small.drain(server)
        assert small.accepted <= server.oracle.delivered
        assert server.oracle.duplicates == 0


def test_D2_a_disk_that_is_really_full_when_all_was_delivered(small: Disk) -> None:
    """On a full file system the ballast is given up so that deliveries can be written down: a kill right after them
    has nothing sent again."""
    script = """
        from unitrack.queues._sqlite_directory import Directory
        drop = Directory.drop_ballast
        Directory.drop_ballast = lambda directory: drop(directory) and (say("dropped ballast") or True)
        client = durable(linger=60.0)
        accept(client, 0, 80)  # less than a batch, so that none is sent yet
        filler = os.path.join(QUEUE[9:], "..", "filler")
        with open(filler, "wb", buffering=0) as file:
            try:
                while True: file.write(bytes(4096))
            except OSError: pass
        number = 80
        while client.track("u", "E", {"text": "x" * 3000}, message_id=f"full{number}"):
            number += 1
        assert client.flush(20)
        tell(client)
        die()
    """
    with FaultServer() as server:
        ended = run(script, server.url, head=DISK, env=small.env, code=-9)
        before = set(server.oracle.delivered)
        assert small.accepted <= before
        assert ended.client.stats()["cdp"].pending == 0
        assert ended.said("dropped") == ["ballast"], "the disk was never full"
        (small.path.parent / "filler").unlink()
        small.assert_sound()
        small.drain(server)
        assert server.oracle.delivered == before
        assert server.oracle.duplicates == 0


def test_D22_a_disk_that_is_memory(small: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """A directory on a file system that is only memory, or on another machine, works, with one warning."""
    with FaultServer() as server, small.client(server) as client:
        assert client.track("u", "E")
        assert client.flush(10)
    assert [record.message for record in caplog.records if "keeps no promises" in record.message] == [
        f"unitrack: the queue in {small.path} is on tmpfs, which keeps no promises"
    ]


@needs_strace
@pytest.mark.parametrize("failures", ["15", "13..19", "14+4"], ids=["once", "some in a row", "each fourth"])
def test_D3_the_kernel_cannot_write_to_the_disk(failures: str, tmp_path: Path) -> None:
    """With ``durability="power"`` no message is called accepted whose ``fdatasync`` failed, and all that were accepted
    are there after a kill."""
    disk = Disk(
        tmp_path
    )  # The first commit to a file that was opened anew takes three calls, so each third is too many
    script = """
        client = durable(linger=60.0, durability="power")
        client.track("u", "E", message_id="first")
        accept(client, 0, 40)
        tell(client)
        die()
    """
    with FaultServer() as server:
        lines = traced(script, server.url, disk, "-e", f"inject=fdatasync:error=EIO:when={failures}", code=-9)
        assert '"disk_error"' in said(lines, "ledger")[0]
        assert 5 < len(disk.accepted) < 40
        disk.assert_sound()
        disk.drain(server)
        assert disk.accepted <= server.oracle.delivered
        assert server.oracle.duplicates == 0


WORK = """
        def work():
            client = durable(linger=0.01)
            accept(client, first, 20)
            client.flush(5)
            accept(client, first + 20, 20)
            client.flush(5)
"""


def killed_at_each(folder: Path, numbers: range) -> None:
    disk = Disk(folder)
    script = f"""
        {WORK}
        killed = 0
        for number in {numbers!r}:
            first = number * 1000
            killed += killed_at(number, 'pwrite64', work) == -9
        say(f"killed {{killed}}")
    """
    with Enduring() as server:
        ended = run(script, server.url, head=DISK + KILLED_AT, env=disk.env)
        disk.assert_sound()
        ledger = disk.drain(server)
        [killed] = map(int, ended.said("killed"))
        lost = disk.accepted - server.oracle.delivered
        figure(
            f"D10: {killed} kills by the kernel, each in another write: {len(disk.accepted):,} accepted, "
            f"{len(lost)} lost, {server.oracle.duplicates:,} twice, no file damaged"
        )
        assert killed >= len(numbers) // 2, "it did not come that far"
        with disk.client(server) as client:
            letters = [(x.message_id, x.reason, x.detail, x.attempts) for x in client.dead_letters()]
        assert lost == set(), (ledger, letters)
        assert server.oracle.duplicates <= 40 * killed


@needs_strace
def test_D10_killed_by_the_kernel_at_the_nth_call(tmp_path: Path) -> None:
    """Also a kill in the middle of what SQLite does, at any of its own calls to the kernel, leaves a sound file that
    has everything."""
    killed_at_each(tmp_path, range(5, 200, 12))


@needs_strace
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_D10_killed_by_the_kernel_at_each_of_200_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds at each of its writes, of which a short run has more than a hundred."""
    monkeypatch.setattr("tests.faults.processes.LIMIT", 600)
    killed_at_each(tmp_path, range(1, 201))


@needs_strace
def test_D17_a_disk_whose_writes_take_50_ms(tmp_path: Path) -> None:
    """With 64 threads, ``durability="power"`` and a disk that takes 50 ms for each write, a call waits for two or three
    of them, and hundreds of messages are accepted in a second."""
    disk = Disk(tmp_path)
    script = """
        client = durable(linger=60.0, durability="power")
        client.track("u", "E")
        took = []
        def work(n):
            for i in range(12):
                began = time.monotonic()
                assert client.track(f"u{n}", "E", {"i": i})
                took.append(time.monotonic() - began)
        threads = [threading.Thread(target=work, args=(n,)) for n in range(64)]
        began = time.monotonic()
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        seconds = time.monotonic() - began
        took.sort()
        say(f"figures {len(took) / seconds:.0f} {took[int(len(took) * 0.99)] * 1000:.0f} {took[-1] * 1000:.0f}")
        die()
    """
    with FaultServer() as server:
        delay = "inject=fdatasync:delay_enter=50000"
        lines = traced(script, server.url, disk, "-e", "trace=fdatasync", "-e", delay, "--seccomp-bpf", code=-9)
    a_second, usual, worst = map(int, said(lines, "figures")[0].split())
    figure(f"D17: {a_second} messages a second, a call took {usual} ms at the 99th percentile, {worst} ms at most")
    assert a_second > 100
    assert usual < 2_000, "64 writes one after the other take three seconds"
