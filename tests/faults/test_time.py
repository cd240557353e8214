"""Fault rows T: clocks that jump, stand wrong, or run backwards; and which time goes where."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
import time_machine

from tests.faults.processes import run
from tests.faults.world import CANARIES, FaultServer, assert_conserved, messages_in, stored, until
from tests.patience import SLACK
from tests.sockets import reply
from unitrack import Client, Destination
from unitrack.clock import Clock
from unitrack.providers import Hightouch, Interakt, SuprSend, Thrivestack
from unitrack.snapshot import MessageIds
from unitrack.wire import Provider


def hightouch(server: FaultServer) -> Hightouch:
    return Hightouch(write_key=CANARIES["write_key"], base_url=server.url)


NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(days=-1)], ids=["an hour ahead", "a day back"])
def test_T1_wall_clock_is_set_during_a_backoff(step: timedelta) -> None:
    """Setting the wall clock moves no wait: a retry comes after its backoff, neither earlier nor later."""
    with time_machine.travel(NOON) as wall, FaultServer(reply(503), stored()) as server:
        with Client({"cdp": hightouch(server)}, dice=lambda: 1.0, linger=0.05) as client:
            for i in range(100):
                client.track(f"u{i % 10}", "E", {"i": i // 10})
            server.wait_for(1)
            before = datetime.now(UTC)
            wall.shift(step)
            assert abs(datetime.now(UTC) - before - step) < timedelta(minutes=1)
            assert client.track("u0", "later", {"i": 10})
            assert client.flush(10)
        first, second = server.requests[:2]
        assert 0.5 <= second.at - first.at < 0.5 + SLACK
        assert assert_conserved(client, server.oracle, accepted=101)["cdp"].delivered == 101
        assert server.oracle.duplicates == 0
        assert server.oracle.order_violations() == 0


def test_T1_wall_clock_is_set_during_a_wait_that_the_server_asked_for() -> None:
    """``Retry-After`` is waited for on a clock that nobody sets, also where the server named a date."""
    soon = "Mon, 15 Jun 2026 12:00:01 GMT"
    scripts = [reply(503, headers={"Retry-After": "1"}), reply(429, headers={"Retry-After": soon}), stored()]
    with time_machine.travel(NOON, tick=False) as wall, FaultServer(*scripts) as server:
        with Client({"cdp": hightouch(server)}, dice=lambda: 0.0, linger=0.05) as client:
            client.track("u", "E")
            until(lambda: client.stats()["cdp"].retried == 1)
            wall.shift(timedelta(days=365))
            wall.shift(timedelta(days=-365))
            until(lambda: client.stats()["cdp"].retried == 2)
            wall.shift(timedelta(days=-1))
            assert client.flush(10)
        first, second, third = server.requests
        assert 1.0 <= second.at - first.at < 1.0 + SLACK
        assert 1.0 <= third.at - second.at < 1.0 + SLACK
        assert_conserved(client, server.oracle, accepted=1)


def test_T2_monotonic_clock_jumps() -> None:
    """After a jump of the clock, as after a suspended laptop, each message that is due is sent once more, not more."""
    jump = [0.0]
    refused: Counter[str] = Counter()

    def first_refused(messages):  # type: ignore[no-untyped-def]
        key = messages[0]["traits"]["id"]
        refused[key] += 1
        return reply(500) if refused[key] == 1 else stored(201)

    with FaultServer(by_message=first_refused) as server:
        provider = Interakt(api_key=CANARIES["api_key"], base_url=server.url, rate_per_minute=100_000)
        clock = Clock(monotonic=lambda: time.monotonic() + jump[0])
        with Client({"wa": Destination(provider, concurrency=4)}, clock=clock, dice=lambda: 1.0) as client:
            for n in range(15):
                client.track(f"u{n}", "E", {"id": f"m{n}"})
            server.wait_for(15)
            jump[0] = 300.0
            assert client.flush(10)
        assert assert_conserved(client, server.oracle, accepted=15)["wa"].delivered == 15
        assert set(server.oracle.attempts.values()) == {2}
        assert server.connections <= 4


def test_T4_event_time_and_send_time() -> None:
    """``timestamp`` is when ``track`` was called, or what the caller said; ``sentAt`` is that of each attempt."""
    now = [datetime(2026, 3, 1, 10, 0, 0, 123_000, tzinfo=UTC)]
    with FaultServer(reply(503), stored()) as server:
        with Client({"cdp": hightouch(server)}, clock=Clock(utc=lambda: now[0]), dice=lambda: 0.2) as client:
            client.track("u", "now", {"i": 0})
            now[0] += timedelta(seconds=7)
            india = timezone(timedelta(hours=5, minutes=30))
            client.track("u", "then", {"i": 1}, timestamp=datetime(2025, 12, 31, 23, 59, 59, 999_000, tzinfo=india))
            server.wait_for(1)
            now[0] += timedelta(minutes=3)
            assert client.flush(10)
        assert_conserved(client, server.oracle, accepted=2)
    bodies = [orjson.loads(request.body) for request in server.requests]
    assert [body["sentAt"] for body in bodies] == ["2026-03-01T10:00:07.123Z", "2026-03-01T10:03:07.123Z"]
    for body in bodies:
        first, second = (datetime.fromisoformat(message["timestamp"]) for message in body["batch"])
        assert first == datetime(2026, 3, 1, 10, 0, 0, 123_000, tzinfo=UTC)
        assert second == datetime(2025, 12, 31, 18, 29, 59, 999_000, tzinfo=UTC)


def test_T5_a_million_ids() -> None:
    """A million message ids are all different and owe nothing to the clock, which may run backwards meanwhile."""
    with time_machine.travel(NOON, tick=False) as wall:
        new_id = MessageIds()
        found = set()
        for _ in range(100):
            wall.shift(timedelta(hours=-1))
            found.update(new_id() for _ in range(10_000))
    assert len(found) == 1_000_000


def test_T5_ids_of_forked_children() -> None:
    """Children of one fork never make the ids of each other or of their parent, even with the same random seed."""
    with FaultServer() as server:
        ended = run(
            """
            import random
            random.seed(42)
            client = make()
            client.track("u", "parent")
            assert client.flush(5)
            def work():
                random.seed(42)
                for i in range(300):
                    assert client.track("u", "child", {"i": i})
                assert client.flush(10)
            children = [in_child(work) for _ in range(20)]
            for i in range(300):
                client.track("u", "parent", {"i": i})
            assert [ended(child) for child in children] == [0] * 20
            assert client.flush(10)
            """,
            server.url,
        )
        assert ended.client.stats()["cdp"].delivered == 301
        assert len(server.oracle.delivered) == 301 + 20 * 300
        assert server.oracle.duplicates == 0


@pytest.mark.parametrize(
    "wrong",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC),
        datetime(2016, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC),
        datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
        datetime(2100, 2, 28, 23, 59, 59, 500_000, tzinfo=UTC),
    ],
    ids=lambda when: when.isoformat(),
)
def test_T6_clock_stands_wrong(wrong: datetime) -> None:
    """With a clock in 1970, 2100 or on a leap day everything works; what a vendor takes no such times for is told."""
    names = ("cdp", "whatsapp", "revenue", "notify")
    servers = {name: FaultServer(reply(503, headers={"Retry-After": "0"}), stored(202)) for name in names}
    providers: dict[str, Provider] = {
        "cdp": hightouch(servers["cdp"]),
        "whatsapp": Interakt(api_key=CANARIES["api_key"], base_url=servers["whatsapp"].url),
        "revenue": Thrivestack(token=CANARIES["token"], base_url=servers["revenue"].url),
        "notify": SuprSend(
            workspace_key=CANARIES["workspace_key"],
            workspace_secret=CANARIES["workspace_secret"],
            base_url=servers["notify"].url,
        ),
    }
    with time_machine.travel(wrong):
        with Client(providers, dice=lambda: 0.1, linger=0.01) as client:
            for i in range(20):
                assert client.track("u", "Order Paid", {"i": i, "id": f"m{i}"})
            assert client.flush(20)
        for server in servers.values():
            server.close()
    ledgers = assert_conserved(client, {name: server.oracle for name, server in servers.items()}, accepted=20)
    for name in names[:3]:
        assert ledgers[name].delivered == 20, name
    if wrong.year < 2022:
        assert ledgers["notify"].dead == {"unsupported": 20}
        assert "from 2022-01-01 on" in client.dead_letters("notify")[0].detail
    else:
        assert ledgers["notify"].delivered == 20
    for request in servers["cdp"].requests:
        for message in messages_in(request):
            when = datetime.fromisoformat(message["timestamp"])
            assert abs(when - wrong) < timedelta(minutes=1)
