"""Fault rows H: what becomes of messages when the server says: not now."""

import random
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.faults.vendors import enqueue_all, hightouch, interakt, renderings, suprsend, thrivestack, tracks
from tests.faults.world import FaultServer, assert_conserved, stored, until
from tests.patience import SLACK
from tests.sockets import answer, close, play, reply, send
from unitrack import Client, Destination, Drop, Retry


@pytest.mark.parametrize("status", [408, 425])
def test_H9_retry_on_a_new_connection(status: int) -> None:
    """After 408 or 425 the same messages go out again on a new connection."""
    with FaultServer(stored(), reply(status), stored()) as server:
        with Client({"cdp": hightouch(server)}, dice=lambda: 0.1) as client:
            enqueue_all(client, tracks(200, users=2))
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=200)["cdp"]
        assert [request.connection for request in server.requests] == [1, 1, 2]
        looks = renderings(server)
    assert (ledger.delivered, ledger.retried) == (200, 100)
    assert server.oracle.duplicates == 0
    assert all(len(look) == 1 for look in looks.values())


def test_H12_retry_after() -> None:
    """After 429 with ``Retry-After`` this destination waits as long as it says, and no other waits at all."""
    with FaultServer(reply(429, b"", {"Retry-After": "4"}), stored()) as slow, FaultServer() as fast:
        destinations = {"slow": Destination(hightouch(slow), concurrency=1), "fast": hightouch(fast)}
        with Client(destinations, dice=lambda: 0.0) as client:
            enqueue_all(client, tracks(1_000))
            refused = slow.wait_for(1)[0].at
            until(lambda: client.stats()["fast"].delivered == 1_000)
            assert client.flush(10)
            ledgers = assert_conserved(client, {"slow": slow.oracle, "fast": fast.oracle}, accepted=1_000)
        assert all(request.at - refused >= 4.0 for request in slow.requests[1:])
        assert max(fast.oracle.stored_at.values()) < refused + 4.0
    assert ledgers["slow"].delivered == 1_000
    assert slow.oracle.duplicates == fast.oracle.duplicates == 0


@pytest.mark.parametrize("hours", [1, -1])
def test_H13_date_of_a_server_with_another_clock(hours: int) -> None:
    """A ``Retry-After`` date is read by the server's own clock, so that one which is an hour off waits no hour."""
    there = datetime.now(UTC) + timedelta(hours=hours)
    headers = {
        "Date": format_datetime(there, usegmt=True),
        "Retry-After": format_datetime(there + timedelta(seconds=1), usegmt=True),
    }
    with FaultServer(reply(429, b"", headers), stored()) as server:
        with Client({"cdp": hightouch(server)}, dice=lambda: 0.0) as client:
            enqueue_all(client, tracks(100))
            assert client.flush(10)
            assert assert_conserved(client, server.oracle, accepted=100)["cdp"].delivered == 100
        first, second = (request.at for request in server.requests)
    assert 1.0 <= second - first < 1.0 + SLACK
    assert server.oracle.duplicates == 0


UNREADABLE = [
    "soon", "", " ", "-5", "-0.5", "NaN", "Infinity", "-Infinity", "1e400", "0x10", "3 s", "3, 3",
    "3\r\nRetry-After: 5", "\xbd", "\xb2", "Wed, 99 Foo 2026 25:61:61 GMT", "Thu, 01 Jan 1970 00:00:00 GMT",
    "Mon, 01 Jan 0001 00:00:00 GMT", "9" * 5_000, "\x00", "1" * 60_000,
]  # fmt: skip


def test_H14_unreadable_retry_after() -> None:
    """A ``Retry-After`` that makes no sense is as good as none: our own backoff decides, and nothing breaks."""
    scripts = [reply(429, b"", {"Retry-After": text}) for text in UNREADABLE]
    with FaultServer(*scripts, stored()) as server:
        with Client({"cdp": hightouch(server)}, dice=lambda: 0.0, max_retry_after=0.01) as client:
            enqueue_all(client, tracks(100, users=1))
            assert client.flush(20)
            ledger = assert_conserved(client, server.oracle, accepted=100)["cdp"]
        assert len(server.requests) == len(UNREADABLE) + 1
    assert (ledger.delivered, ledger.dead) == (100, {})
    assert server.oracle.duplicates == 0


def test_H14_fractions_of_a_second() -> None:
    """A ``Retry-After`` of 0.4 is waited for."""
    with FaultServer(reply(503, b"", {"Retry-After": "0.4"}), stored()) as server:
        with Client({"cdp": hightouch(server)}, dice=lambda: 0.0) as client:
            assert client.send(tracks(1), timeout=10).success == 1
            assert_conserved(client, server.oracle, accepted=1)
        first, second = (request.at for request in server.requests)
    assert 0.4 <= second - first < 0.4 + SLACK


YEARS = {"Retry-After": "99999999"}


def test_H15_close_does_not_wait_for_years() -> None:
    """``flush`` and ``close`` return in time however long a server asks to wait, and report what was not sent."""
    with FaultServer(reply(429, b"", YEARS)) as server:
        client = Client({"cdp": Destination(hightouch(server), concurrency=1)})
        enqueue_all(client, tracks(300))
        server.wait_for(1)
        began = time.monotonic()
        assert not client.flush(0.3)
        report = client.close(0.3)
        assert time.monotonic() - began < 0.6 + SLACK
        ledger = assert_conserved(client, server.oracle, accepted=300, settled=False)["cdp"]
        assert len(server.requests) == 1
    assert (report.status, report.failure, ledger.pending) == ("fail", 300, 300)


def test_H15_cap() -> None:
    """A server can ask for ``max_retry_after`` at most."""
    with FaultServer(reply(429, b"", YEARS), stored()) as server:
        with Client(
            {"cdp": Destination(hightouch(server), concurrency=1)}, max_retry_after=0.3, dice=lambda: 0.0
        ) as client:
            enqueue_all(client, tracks(300))
            assert client.flush(10)
            assert assert_conserved(client, server.oracle, accepted=300)["cdp"].delivered == 300
        first, second = (request.at for request in server.requests[:2])
    assert 0.3 <= second - first < 0.3 + SLACK


def test_H15_never_past_the_deadline() -> None:
    """No wait that a server asks for lasts longer than the delivery deadline."""
    with FaultServer(reply(429, b"slow down", YEARS)) as server:
        with Client({"cdp": hightouch(server)}, delivery_deadline=0.4) as client:
            enqueue_all(client, tracks(100))
            assert client.flush(5)
            ledger = assert_conserved(client, server.oracle, accepted=100)["cdp"]
            letter = client.dead_letters()[0]
    assert ledger.dead == {"expired": 100}
    assert letter.detail == "not delivered within 0.4 s; 429: slow down"


def test_H16_429_for_ever() -> None:
    """Under 429 without end the queue fills, the policy for a full queue acts, and each message is accounted for."""
    drops: list[Drop] = []
    with FaultServer(reply(429)) as server:
        destinations = {"cdp": Destination(hightouch(server), concurrency=1)}
        with Client(destinations, max_events=400, on_drop=drops.extend, dice=lambda: 0.6) as client:
            taken = [bool(client.enqueue(message)) for message in tracks(1_000)]
            server.wait_for(2)
            ledger = assert_conserved(client, server.oracle, accepted=1_000, settled=False)["cdp"]
            assert (ledger.pending, ledger.dropped) == (400, {"queue_full": 600})
            assert taken == [True] * 400 + [False] * 600
            server.switch_to(stored())
            assert client.flush(10)
            assert assert_conserved(client, server.oracle, accepted=1_000)["cdp"].delivered == 400
        first, second, third = (request.at for request in server.requests[:3])
    assert second - first >= 0.3
    assert third - second >= 0.6
    assert len([drop for drop in drops if drop.reason == "queue_full"]) == 600
    assert server.oracle.duplicates == 0


STATUSES = [500, 502, 503, 504, *range(520, 530)]


@pytest.mark.parametrize("provider", [hightouch, interakt, suprsend, thrivestack])
def test_H17_server_errors(provider: Any) -> None:
    """After 500, 502, 503, 504 and 52x the same messages go out again until they are taken, once each."""
    scripts = [reply(status, b"<html>oops</html>") for status in STATUSES]
    with FaultServer(*scripts, stored(202)) as server:
        with Client({"it": provider(server)}, dice=lambda: 0.0) as client:
            enqueue_all(client, tracks(100, users=10))
            assert client.flush(20)
            ledger = assert_conserved(client, server.oracle, accepted=100)["it"]
    assert (ledger.delivered, ledger.dead) == (100, {})
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0


def test_H17_waits_are_spread() -> None:
    """Clients that failed together do not come back together, however many messages each of them holds."""
    gaps = []
    for seed in range(1, 6):
        with FaultServer(reply(503), stored()) as server:
            with Client({"cdp": hightouch(server)}, dice=random.Random(seed).random) as client:
                enqueue_all(client, tracks(100))
                assert client.flush(10)
                assert_conserved(client, server.oracle, accepted=100)
            gaps.append(server.requests[1].at - server.requests[0].at)
    assert min(gaps) < 0.2
    assert max(gaps) - min(gaps) > 0.2
    assert max(gaps) < 0.5 + SLACK


def test_H26_flapping() -> None:
    """A server that comes and goes gets everything once soon after it stays."""
    down = [False]
    with FaultServer(by_message=lambda found: play(send(answer(503)), close()) if down[0] else stored()) as server:
        with Client({"cdp": hightouch(server)}, dice=lambda: 0.2) as client:
            messages = tracks(600)
            for turn in range(6):
                down[0] = not down[0]
                enqueue_all(client, messages[100 * turn : 100 * turn + 100])
                client.flush(0.15)
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=600)["cdp"]
    assert ledger.delivered == 600
    assert ledger.retried > 0
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0


def test_H17_verdict_of_a_bulk_that_is_not_over() -> None:
    """A bulk that waits for a server which is down reports what the server says, and that the messages are queued."""
    with FaultServer(reply(503, b"maintenance")) as server:
        with Client({"cdp": hightouch(server)}, dice=lambda: 0.1) as client:
            report = client.send(tracks(3), timeout=0.3)
            assert {type(outcome) for outcome in report.verdicts.values()} == {Retry}
            assert report.failed_records[0].error == "503: maintenance (no verdict in time; it is still queued)"
            server.switch_to(stored())
            assert client.flush(10)
            assert assert_conserved(client, server.oracle, accepted=3)["cdp"].delivered == 3
