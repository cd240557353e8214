"""Fault rows P6, P7, D10, D21, H18, T3: a process is killed with messages on disk, and another one goes on."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.faults.disk import DISK, Disk, Enduring
from tests.faults.figures import figure
from tests.faults.processes import run
from tests.faults.vendors import hightouch
from tests.faults.world import FaultServer
from tests.sockets import Script, reply
from unitrack import Client
from unitrack.clock import Clock
from unitrack.testing import FakeTransport
from unitrack.wire import Response

#: Kills children at random moments, while they begin, track and send; the next one goes on with what is there. Every
#: other one has tracked before its time begins to run, however slow the machine is.
KILLS = """
import random
dice = random.Random({seed})

for round in range({kills}):
    begun, begin = os.pipe()
    pid = os.fork()
    if not pid:
        signal.alarm(30)
        client = durable(linger=0.005)
        first = round * 10_000
        if round % 2:
            accept(client, first + 9_999, 1)
            os.write(begin, b".")
        while True:
            accept(client, first, 50)
            first += 50
            time.sleep(0.002)
    os.close(begin)
    if round % 2:
        assert os.read(begun, 1) == b"."
    os.close(begun)
    time.sleep(dice.uniform(0.005, {longest}))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


def killed_at_random(folder: Path, kills: int, longest: float) -> None:
    disk = Disk(folder)
    with Enduring() as server:
        ended = run(KILLS.format(seed=7, kills=kills, longest=longest), server.url, head=DISK, env=disk.env)
        disk.assert_sound()
        disk.drain(server, within=20 + kills)  # what was out in two deaths goes out alone
        lost = disk.accepted - server.oracle.delivered
        figure(
            f"P6: {kills:,} kills at random moments: {len(disk.accepted):,} accepted, {len(lost)} lost, "
            f"{server.oracle.duplicates:,} twice, no file damaged"
        )
        assert len(disk.accepted) >= kills / 2
        assert lost == set(), (lost, sorted(disk.path.iterdir()), ended.stderr)
        assert server.oracle.duplicates <= 100 * kills, "more than the batch that was being sent"
        assert not disk.spools


def test_P6_killed_at_random_moments(tmp_path: Path) -> None:
    """Every message whose receipt was truthy arrives, however often its processes are killed; at most what was being
    sent arrives twice, and SQLite finds no file damaged."""
    killed_at_random(tmp_path, 20, 0.15)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_P6_killed_a_thousand_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds over a thousand kills."""
    monkeypatch.setattr("tests.faults.processes.LIMIT", 600)
    killed_at_random(tmp_path, 1_000, 0.2)


POINTS = {
    "before it is stored": "Spool.insert = die",
    "after it was stored": "insert = Spool.insert; Spool.insert = lambda *given: (insert(*given), die())",
    "before the attempt is noted": "Spool.tried = die",
    "before it is sent": "Urllib3Transport.send = die",
    "after it was sent": "send = Urllib3Transport.send; Urllib3Transport.send = lambda *given: (send(*given), die())",
    "while it is settled": "Spool.settle = die",
    "in the middle of settling": "settle = Spool.settle; Spool.settle = lambda *given: (settle(*given), die())",
    "as a dead letter is kept": "Letters.keep = die",
    "after a dead letter was kept": "keep = Letters.keep; Letters.keep = lambda *given: (keep(*given), die())",
    "while a file is adopted": "Spool.nobody_sends = die",
    "after a file was adopted": "SqliteQueue._welcome = die",
}


@pytest.mark.parametrize("point", POINTS)
def test_P7_killed_at_a_step(point: str, tmp_path: Path) -> None:
    """At each step of storing, sending, settling, burying and adopting a kill loses no message that was accepted, and
    at most the batch that was being sent arrives twice."""
    disk = Disk(tmp_path)
    bad = 5 if "letter" in point else None
    script = f"""
        from unitrack.queues._sqlite_letters import Letters
        from unitrack.queues._sqlite_spool import Spool
        from unitrack.queues.sqlite import SqliteQueue
        from unitrack.transport import Urllib3Transport

        def before():
            client = durable(linger=60.0)
            accept(client, 0, 20)
            die()

        def at_the_point():
            {POINTS[point]}
            client = durable(linger=0.0)
            accept(client, 20, 20)
            client.flush(10)

        assert killed_by(before) == -9
        assert killed_by(at_the_point) == -9, "that point was never reached"
    """

    def refuse(messages: list[Mapping[str, Any]]) -> Script | None:
        return reply(400) if any(message["messageId"] == f"m{bad}" for message in messages) else None

    with FaultServer(by_message=refuse) as server:
        run(script, server.url, head=DISK, env=disk.env)
        disk.assert_sound()
        ledger = disk.drain(server)
        dead = {f"m{bad}"} if bad is not None else set()
        assert len(disk.accepted) >= 20
        assert disk.accepted - server.oracle.delivered == dead
        assert sum(ledger.dead.values()) == len(dead)
        assert server.oracle.duplicates <= 40


@pytest.mark.parametrize("moment", ["BEGIN IMMEDIATE", "COMMIT"])
def test_D10_killed_at_the_nth_write(moment: str, tmp_path: Path) -> None:
    """A kill at the first, second, third and every further write to the file leaves a sound file that has everything
    which was accepted."""
    disk = Disk(tmp_path)
    script = f"""
        from unitrack.queues import _sqlite_spool

        class Counted:
            def __init__(self, connection): self.connection, self.count = connection, 0
            def __getattr__(self, name): return getattr(self.connection, name)
            def execute(self, statement, *given):
                global left
                if statement == {moment!r}:
                    left -= 1
                    if not left: die()
                return self.connection.execute(statement, *given)

        connect = _sqlite_spool.Spool._connect
        def counted(spool):
            connect(spool)
            spool._connection = Counted(spool._connection)
        _sqlite_spool.Spool._connect = counted

        for n in range(1, 41):
            def work():
                global left
                left = n
                client = durable(linger=0.01)
                accept(client, n * 1000, 30)
                client.flush(5)
                accept(client, n * 1000 + 30, 30)
                client.flush(5)
            killed_by(work)
    """
    with FaultServer() as server:
        run(script, server.url, head=DISK, env=disk.env)
        disk.assert_sound()
        disk.drain(server)
        assert len(disk.accepted) > 100
        assert disk.accepted - server.oracle.delivered == set()


def test_D21_a_message_that_kills_its_process(tmp_path: Path) -> None:
    """A message that kills the process which sends it is given up after five of them, as ``poison``, and all others
    arrive."""
    disk = Disk(tmp_path)
    script = """
        from unitrack.providers import Hightouch
        encode = Hightouch.encode
        def deadly(self, message):
            return die() if message.message_id == "m7" else encode(self, message)
        Hightouch.encode = deadly

        def first():
            accept(durable(linger=60.0), 0, 30)
            die()
        def again():
            client = durable(linger=0.0)
            client.flush(10)
            tell(client)
        assert killed_by(first) == -9
        codes = []
        while not codes or codes[-1]:
            codes.append(killed_by(again))
        say(f"deaths {len(codes) - 1}")
    """
    with FaultServer() as server:
        ended = run(script, server.url, head=DISK, env=disk.env)
        assert ended.said("deaths") == ["5"]
        assert ended.client.stats()["cdp"].dead == {"poison": 1}
        assert server.oracle.delivered == disk.accepted - {"m7"}
        with disk.client(server) as client:
            [letter] = client.dead_letters()
            assert (letter.message_id, letter.reason) == ("m7", "poison")


def test_H18_attempts_and_age_over_restarts(tmp_path: Path) -> None:
    """Attempts and the age of a message are counted on over restarts, and at its deadline it is a dead letter that
    says what failed last."""
    down = FakeTransport(lambda request: Response(status=503, body=b"still down"))
    disk, ages = Disk(tmp_path), []
    now = [Clock().steady()]
    attempts = 0
    for _ in range(6):
        clock = Clock(monotonic=lambda: now[0], utc=lambda: datetime.fromtimestamp(now[0], UTC))
        with FaultServer() as server:
            client = Client(
                {"cdp": hightouch(server)},
                queue=disk.url,
                transport=down,
                clock=clock,
                delivery_deadline=100.0,
                linger=0.0,
            )
        if not ages:
            client.track("u", "E", message_id="m")
        ages.append(now[0])
        client.flush(0.3)
        client.close(0.0)
        attempts = max([attempts, *(letter.attempts for letter in client.dead_letters())])
        now[0] += 30.0
    [letter] = client.dead_letters()
    assert letter.reason == "expired"
    assert letter.attempts >= 3, "they were counted on"
    assert "503" in letter.detail or "still down" in letter.detail or "not delivered within 100 s" in letter.detail


def test_T3_a_restart_with_the_clock_a_day_back(tmp_path: Path) -> None:
    """A wait that was stored before the clock was set back by a day ends within an hour, not a day later."""
    disk = Disk(tmp_path)
    down = FakeTransport(lambda request: Response(status=503))
    real = time.time()
    tomorrow = Clock(utc=lambda: datetime.fromtimestamp(real, UTC) + timedelta(days=1))
    with FaultServer() as server:
        first = Client({"cdp": hightouch(server)}, queue=disk.url, transport=down, clock=tomorrow, linger=0.0)
        first.track("u", "E", message_id="m")
        while not first.stats()["cdp"].retried:
            first.flush(0.05)
        first.close(0.0)
        second = disk.client(server)
        assert second.stats()["cdp"].pending == 1
        due = second._process.engine().queue.ready("cdp", real).due
        assert due is None or due <= time.time() + 3_700
        second.close(0.0)
