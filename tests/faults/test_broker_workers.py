"""Fault rows Q: workers that vanish, freeze, come and go, while others put."""

import signal
import textwrap
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.broker import BrokerServer, open_at
from tests.faults.figures import figure
from tests.faults.processes import Process
from tests.faults.vendors import enqueue_all, hightouch, tracks
from tests.faults.world import FaultServer, assert_conserved, until
from unitrack import Client, Track

WORKER = """
from pathlib import Path
from tests.broker import open_at
queue = open_at({url!r}, Path({folder!r}), ttl={ttl})
client = Client({{"cdp": hightouch()}}, queue=queue, linger=0.01, **{settings!r})

def stop(*_):
    queue.stop_reading()
    client.close(8)
    tell(client)
    os._exit(0)

signal.signal(signal.SIGTERM, stop)
client.stats()
say("ready")
while True:
    time.sleep(60)
"""

DEADLY = """
encode = Hightouch.encode
def deadly(self, message):
    if getattr(message, "event", "") == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(self, message)
Hightouch.encode = deadly
"""


class Works:
    """A broker, a vendor, a client that only puts, and workers in processes of their own."""

    def __init__(self, folder: Path, stack: ExitStack, ttl: float = 1.5) -> None:
        self._folder = folder
        self._stack = stack
        self._ttl = ttl
        self._started = 0
        self.vendor = stack.enter_context(FaultServer())
        self.broker = stack.enter_context(BrokerServer(folder / "broker"))
        queue = open_at(self.broker.url, folder / "producer", ttl=ttl, workers="external")
        self.producer = Client({"cdp": hightouch(self.vendor)}, queue=queue, workers="external")
        stack.callback(self.producer.close, 0.5)

    def worker(self, head: str = "", **settings: Any) -> Process:
        self._started += 1
        folder = str(self._folder / f"worker{self._started}")
        script = head + WORKER.format(url=self.broker.url, folder=folder, ttl=self._ttl, settings=settings)
        process = Process(script, self.vendor.url)
        for pipe in (process.process.stdout, process.process.stderr):
            assert pipe is not None
            self._stack.callback(pipe.close)  # of one that was killed
        self._stack.enter_context(process)
        if not head:
            process.wait_for("ready")
        return process

    def workers(self, count: int, **settings: Any) -> list[Process]:
        return [self.worker(**settings) for _ in range(count)]

    def shares(self) -> list[int]:
        """How many partitions each worker holds, in order of size."""
        with self.broker.client() as seen:
            found: dict[bytes, int] = defaultdict(int)
            for key in seen.keys("*:lease:*"):
                found[seen.get(key) or b""] += 1
        return sorted(found.values())

    @property
    def arrived(self) -> int:
        return len(self.vendor.oracle.delivered)


@pytest.fixture
def works(tmp_path: Path) -> Iterator[Works]:
    with ExitStack() as stack:
        yield Works(tmp_path, stack)


def told(row: str, works: Works) -> None:
    oracle = works.vendor.oracle
    figure(f"{row}: {works.arrived:,} arrived, {oracle.duplicates} twice, {oracle.order_violations()} out of order")


def test_Q6_a_process_forks(works: Works, tmp_path: Path) -> None:
    """A child of a fork puts and sends with a line and a share of its own; nothing of its parent's is touched."""
    url = f"{works.broker.url}?spool={tmp_path / 'forked'}"
    script = f"""
    client = make(queue={url!r})
    for i in range(50):
        assert client.track(f"u{{i % 5}}", "E", {{"i": i, "id": f"parent{{i}}"}})
    def work():
        for i in range(50):
            assert client.track(f"v{{i % 5}}", "E", {{"i": i, "id": f"child{{i}}"}})
        assert client.flush(20)
        client.close(1)
    child = in_child(work)
    for i in range(50, 100):
        assert client.track(f"u{{i % 5}}", "E", {{"i": i, "id": f"parent{{i}}"}})
    assert ended(child) == 0
    assert client.flush(20)
    client.close(1)
    """
    with Process(textwrap.dedent(script), works.vendor.url) as process:
        ended = process.end()
    assert ended.stderr == ""
    assert works.arrived == 150
    assert works.vendor.oracle.duplicates == 0
    assert works.vendor.oracle.order_violations() == 0


@pytest.mark.slow
def test_Q6_workers_are_killed(works: Works) -> None:
    """When workers are killed, others take over what they had, in order; nothing is lost."""
    team = works.workers(8, batch_size=10)
    enqueue_all(works.producer, tracks(8_000, users=64))
    for kill in range(12):
        until(lambda: works.arrived >= 500 * (kill + 1), 60)  # noqa: B023
        victim = team.pop(kill % len(team))
        victim.send(signal.SIGKILL)
        team.append(works.worker(batch_size=10))
    assert works.producer.flush(100), works.producer.stats()
    told("Q6, 8 workers, 12 kills", works)
    assert assert_conserved(works.producer, works.vendor.oracle, accepted=8_000)["cdp"].delivered == 8_000
    assert works.vendor.oracle.order_violations() == 0
    assert works.vendor.oracle.duplicates <= 12 * 4 * 10


def test_Q6_a_worker_is_killed(works: Works) -> None:
    """When a worker is killed, another takes over what it had, in order; nothing is lost."""
    first, _ = works.workers(2, batch_size=5)
    enqueue_all(works.producer, tracks(400, users=20))
    until(lambda: works.arrived >= 50)
    first.send(signal.SIGKILL)
    assert works.producer.flush(30), works.producer.stats()
    told("Q6, 2 workers, 1 kill", works)
    assert assert_conserved(works.producer, works.vendor.oracle, accepted=400)["cdp"].delivered == 400
    assert works.vendor.oracle.order_violations() == 0


@pytest.mark.slow
def test_Q7_a_worker_is_frozen_for_longer_than_its_lease(works: Works) -> None:
    """A worker that is frozen past its lease changes nothing any more; only what it was just sending comes twice."""
    team = works.workers(2, batch_size=1, concurrency=1)
    enqueue_all(works.producer, tracks(3_000, users=64))
    for pause in range(3):
        until(lambda: works.arrived >= 400 * (pause + 1), 60)  # noqa: B023
        frozen = team[pause % 2]
        frozen.send(signal.SIGSTOP)
        time.sleep(2.5)  # the fault itself: longer than a lease of 1.5 s
        frozen.send(signal.SIGCONT)
    assert works.producer.flush(100), works.producer.stats()
    told("Q7, 3 pauses", works)
    assert assert_conserved(works.producer, works.vendor.oracle, accepted=3_000)["cdp"].delivered == 3_000
    assert works.vendor.oracle.order_violations() == 0
    assert works.vendor.oracle.duplicates <= 3


@pytest.mark.slow
def test_Q8_a_message_that_kills_its_workers(tmp_path: Path) -> None:
    """A message whose workers vanish five times is a dead letter; its user's other messages go on."""
    with ExitStack() as stack:
        works = Works(tmp_path, stack, ttl=0.6)
        enqueue_all(works.producer, tracks(20, users=4))
        enqueue_all(works.producer, [Track(user_id="u1", event="poison")])
        enqueue_all(works.producer, [Track(user_id="u1", event="after")])
        deaths = 0
        while not works.producer.stats()["cdp"].dead:
            worker = works.worker(DEADLY)
            until(lambda: worker.process.poll() is not None or works.producer.stats()["cdp"].dead, 30)  # noqa: B023
            assert worker.process.poll() in (None, -signal.SIGKILL), worker.process.communicate()
            deaths += worker.process.poll() is not None
            assert deaths <= 8
        figure(f"Q8: a dead letter after {deaths} deaths")
        assert works.producer.flush(30), works.producer.stats()
        ledger = works.producer.stats()["cdp"]
        assert (ledger.dead, ledger.delivered) == ({"poison": 1}, 21)
        assert [letter.reason for letter in works.producer.dead_letters()] == ["poison"]
        assert 5 <= deaths <= 6


@pytest.mark.slow
def test_Q9_workers_come_and_go(works: Works) -> None:
    """From one worker to eight to two under load: partitions are shared anew each time, and order per user is kept."""
    messages = iter(tracks(6_000, users=64))

    def put(count: int) -> None:
        enqueue_all(works.producer, [next(messages) for _ in range(count)])

    team = works.workers(1, batch_size=10)
    put(1_000)
    until(lambda: works.shares() == [16])
    team += works.workers(7, batch_size=10)
    for _ in range(20):
        put(150)
        time.sleep(0.05)
    until(lambda: works.shares() == [2] * 8, 30)
    for worker in team[:6]:
        worker.send(signal.SIGTERM)
    for _ in range(20):
        put(100)
        time.sleep(0.05)
    for worker in team[:6]:
        worker.end()
    until(lambda: works.shares() == [8, 8], 30)
    assert works.producer.flush(60), works.producer.stats()
    told("Q9, 1 to 8 to 2 workers", works)
    assert assert_conserved(works.producer, works.vendor.oracle, accepted=6_000)["cdp"].delivered == 6_000
    assert works.vendor.oracle.order_violations() == 0
    assert works.vendor.oracle.duplicates == 0


def others_wait(works: Works, users: Sequence[str], run: int, hot: int) -> list[float]:
    """Put 400 messages of many users, and of one user so many for each; return how long the others' took."""
    put_at: dict[str, float] = {}
    for n in range(400):
        message_id = f"00000000-0000-4000-8000-{run:04d}{n:08d}"
        put_at[message_id] = time.monotonic()
        enqueue_all(works.producer, [Track(user_id=users[n % len(users)], event="E", message_id=message_id)])
        enqueue_all(works.producer, [Track(user_id="hot", event="E") for _ in range(hot)])
        time.sleep(0.002)
    assert works.producer.flush(60)
    return sorted(works.vendor.oracle.stored_at[message_id] - at for message_id, at in put_at.items())


@pytest.mark.slow
def test_Q10_a_user_with_half_of_the_traffic(works: Works) -> None:
    """One user with half of all messages does not make the others' wait longer."""
    works.workers(2)
    users = [f"u{n}" for n in range(50)]
    others_wait(works, users, 0, 1)
    base, crowded = others_wait(works, users, 1, 0), others_wait(works, users, 2, 1)
    figure(f"Q10: p99 of the others {base[-4] * 1000:.0f} ms alone, {crowded[-4] * 1000:.0f} ms beside a hot user")
    assert crowded[-4] <= 1.5 * base[-4] + 0.1


def test_Q13_a_worker_is_terminated(works: Works) -> None:
    """A worker that is asked to end settles what it is sending and gives the rest back; nothing comes twice."""
    first, _ = works.workers(2, batch_size=5)
    enqueue_all(works.producer, tracks(1_500, users=50))
    until(lambda: works.arrived >= 100)
    first.send(signal.SIGTERM)
    began = time.monotonic()
    ended = first.end()
    figure(f"Q13: ended after {time.monotonic() - began:.1f} s")
    assert time.monotonic() - began <= 10
    assert works.producer.flush(30), works.producer.stats()
    told("Q13", works)
    assert ended.stderr == ""
    assert_conserved(ended.client, works.vendor.oracle)
    assert assert_conserved(works.producer, works.vendor.oracle, accepted=1_500)["cdp"].delivered == 1_500
    assert works.vendor.oracle.order_violations() == 0
    assert works.vendor.oracle.duplicates == 0
