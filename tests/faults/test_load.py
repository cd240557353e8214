"""Load and memory: what is bounded stays bounded, what is refused is counted, and the caller is never kept waiting."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import pytest

from tests.faults.figures import figure
from tests.faults.memory import MIB, RSS, needs_proc
from tests.faults.processes import HEAD, run
from tests.faults.world import CANARIES, FaultServer, assert_conserved, store, stored, until
from tests.patience import SLACK
from tests.sockets import answer, play, send, stall
from unitrack import Client, Drop, QueueFull, Receipt
from unitrack.clock import Clock
from unitrack.providers import Hightouch

EVENTS = 20_000
ROOM = 2_000


def hightouch(server: FaultServer) -> Hightouch:
    return Hightouch(write_key=CANARIES["write_key"], base_url=server.url)


def hanging(release: threading.Event) -> FaultServer:
    """Answer nothing before the event, then store everything."""
    return FaultServer(play(stall(release), store(), send(answer())))


def timed(call: Callable[[int], Receipt], times: int) -> tuple[list[Receipt], list[float]]:
    """Return the receipts of many calls, and the seconds that each took, longest last."""
    receipts, took = [], []
    for i in range(times):
        began = time.perf_counter()
        receipts.append(call(i))
        took.append(time.perf_counter() - began)
    return receipts, sorted(took)


@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest"])
def test_M1_a_full_queue_drops(policy: str, caplog: pytest.LogCaptureFixture) -> None:
    """When a queue is full, calls still return at once, and exactly what had no room is counted and reported."""
    batches: list[Sequence[Drop]] = []
    release = threading.Event()
    with hanging(release) as server:
        client = Client({"cdp": hightouch(server)}, max_events=ROOM, on_full=policy, on_drop=batches.append)
        receipts, took = timed(lambda i: client.track(f"u{i % 100}", "E", {"i": i}), EVENTS)
        # One call in a hundred may meet a busy machine; the others may not notice.
        assert took[EVENTS * 99 // 100] < 0.25
        before = client.stats()["cdp"]
        assert before.pending == ROOM
        assert before.dropped == {"queue_full": EVENTS - ROOM}
        release.set()
        assert client.flush(20)
        ledger = assert_conserved(client, server.oracle, accepted=EVENTS)["cdp"]
        client.close()
        numbers = {message["properties"]["i"] for message in server.oracle.messages.values()}
    assert ledger.delivered == ROOM == len(numbers)
    assert server.oracle.order_violations() == server.oracle.duplicates == 0
    drops = [drop for batch in batches for drop in batch]
    assert len(drops) == EVENTS - ROOM
    assert len(batches) < len(drops) / 2
    assert {drop.reason for drop in drops} == {"queue_full"}
    if policy == "drop_newest":
        assert sum(map(bool, receipts)) == ROOM
        assert numbers == set(range(ROOM))
        said = [record for record in caplog.records if "queue_full" in record.getMessage()]
        assert len(said) == 1  # not one line for each
    else:
        assert all(receipts)
        # What was on its way could not be given up; the rest are the newest.
        in_flight = sum(number < EVENTS - ROOM for number in numbers)
        assert in_flight <= 500
        assert {*range(EVENTS - ROOM + in_flight, EVENTS)} <= numbers


def test_M1_a_full_queue_blocks() -> None:
    """With ``on_full="block"`` a call waits for room, at most for ``block_timeout``, and then is refused."""
    release = threading.Event()
    with hanging(release) as server:
        client = Client({"cdp": hightouch(server)}, max_events=100, on_full="block", block_timeout=0.2)
        for i in range(100):
            assert client.track("u", "E", {"i": i})
        receipts, took = timed(lambda i: client.track("u", "E", {"i": 100 + i}), 3)
        assert not any(receipts)
        assert {receipt.reason for receipt in receipts} == {"queue_full"}
        assert took[0] >= 0.2
        assert took[-1] < 0.2 + SLACK
        threading.Timer(0.05, release.set).start()
        until(lambda: client.track("u", "E", {"i": 200}))  # as soon as there is room
        assert client.flush(10)
        refused = client.stats()["cdp"].dropped["queue_full"]
        ledger = assert_conserved(client, server.oracle, accepted=101 + refused)["cdp"]
        client.close()
    assert ledger.delivered == 101


def test_M1_a_full_queue_raises() -> None:
    """With ``on_full="raise"`` a call that finds no room raises ``QueueFull``, and it is counted all the same."""
    release = threading.Event()
    with hanging(release) as server:
        client = Client({"cdp": hightouch(server)}, max_events=100, on_full="raise")
        for i in range(100):
            client.track("u", "E", {"i": i})
        for i in range(100, 300):
            with pytest.raises(QueueFull, match="cdp: 100 messages or"):
                client.track("u", "E", {"i": i})
        release.set()
        assert client.flush(10)
        ledger = assert_conserved(client, server.oracle, accepted=300)["cdp"]
        client.close()
    assert (ledger.delivered, ledger.dropped) == (100, {"queue_full": 200})


@needs_proc
def test_M2_bytes_are_bounded() -> None:
    """A destination holds no more than ``max_bytes`` of messages, and the process no more than half as much again."""
    with FaultServer(play(stall())) as server:
        done = run(
            """
            client = make(max_bytes=32 * 1024 * 1024, shutdown_timeout=0.1)
            client.track("u", "warm up"); client.flush(0.2)
            before = rss()
            for i in range(10_000):
                client.track("u", "E", {"filler": f"{i:06}" * 5_000})  # 30 kB each, 300 MB in all
            say(f"grew {rss() - before}")
            say(f"pending {client.stats()['cdp'].pending}")
            client.close(0)
            """,
            server.url,
            head=HEAD + RSS,
        )
        ledger = assert_conserved(done.client, server.oracle, accepted=10_001, settled=False)["cdp"]
    assert int(done.said("grew")[0]) < 48 * MIB
    assert 1_000 < ledger.pending <= 32 * MIB // 30_000
    assert ledger.pending + ledger.dropped["queue_full"] == 10_001


@needs_proc
@pytest.mark.slow
def test_M1_every_destination_hangs() -> None:
    """While no destination answers, calls take as little time as ever."""
    release = threading.Event()
    with ExitStack() as stack:
        servers = [stack.enter_context(hanging(release)) for _ in range(4)]
        client = Client({f"cdp{n}": hightouch(server) for n, server in enumerate(servers)})
        client.track("u", "E")
        until(lambda: all(server.connections for server in servers))
        _, took = timed(lambda i: client.track(f"u{i % 100}", "E", {"i": i}), 20_000)
        began = time.monotonic()
        client.close(2.0)
        figure(
            f"M1: 20,000 calls while four destinations hang: {took[10_000] * 1e6:.0f} µs at the median, "
            f"{took[19_800] * 1e6:.0f} µs at the 99th percentile, {took[-1] * 1e3:.1f} ms at most; "
            f"close(2) came back after {time.monotonic() - began:.2f} s"
        )
        assert took[19_800] < 0.05
        assert all(ledger.pending == 20_001 for ledger in client.stats().values())
        release.set()


@pytest.mark.slow
def test_M3_a_slow_destination() -> None:
    """However many messages pass through a queue, the memory of the process stays where it was."""
    with FaultServer(stored()) as server:
        done = run(
            """
            client = make(max_events=2_000, on_full="block", block_timeout=60)
            sizes = []
            for i in range(60_000):
                assert client.track(f"u{i % 1000}", "E", {"i": i})
                if i % 6_000 == 5_999:
                    sizes.append(rss())
            assert client.flush(60)
            say(f"sizes {sizes}")
            """,
            server.url,
            head=HEAD + RSS,
        )
        ledger = assert_conserved(done.client, server.oracle, accepted=60_000)["cdp"]
    assert ledger.delivered == 60_000
    assert server.oracle.duplicates == 0
    sizes = [int(size) for size in done.said("sizes")[0].strip("[]").split(", ")]
    assert max(sizes[1:]) < 1.2 * min(sizes[1:])


def test_M5_a_huge_event() -> None:
    """An event of 10 MB is refused by the call, with its size in the reason, and delays nothing behind it."""
    with FaultServer() as server, Client({"cdp": hightouch(server)}) as client:
        receipts, took = timed(lambda i: client.track("u", "E", {"filler": "x" * 10_000_000}), 3)
        assert not any(receipts)
        assert (receipts[0].reason or "").startswith("too_large: 100000")
        assert took[0] < 1.0
        assert client.track("u", "small", {"i": 0})
        assert client.flush(5)
        ledger = assert_conserved(client, server.oracle, accepted=4)["cdp"]
    assert (ledger.delivered, ledger.dead) == (1, {"too_large": 3})
    assert len(server.requests) == 1


def test_M1_the_log_of_drops_says_how_many_it_kept_to_itself(caplog: pytest.LogCaptureFixture) -> None:
    """A flood of drops is one line a minute in the log, and the next line says how many there were in between."""
    now = [1000.0]
    release = threading.Event()
    with hanging(release) as server:
        client = Client({"cdp": hightouch(server)}, max_events=1, clock=Clock(monotonic=lambda: now[0]))
        for i in range(501):
            client.track("u", "E", {"i": i})
        now[0] += 61
        client.track("u", "E", {"i": 501})
        release.set()
        client.close(5)
        ledger = assert_conserved(client, server.oracle, accepted=502, settled=False)["cdp"]
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING and "queue_full" in r.getMessage()]
    assert len(lines) == 2
    assert "(499 more like this in between)" in lines[1]
    assert ledger.dropped == {"queue_full": 501}
