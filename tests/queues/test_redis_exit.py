"""A process that ends gives its share of the partitions back, so that the next one need not wait for it."""

import time
from pathlib import Path

import pytest

from tests.broker import BrokerServer, open_at
from tests.faults.processes import run
from tests.faults.world import FaultServer, until
from tests.patience import SLACK
from unitrack.queues import redis
from unitrack.queues.redis import RedisQueue

A = "a"


def holding(broker: BrokerServer, folder: Path) -> RedisQueue:
    queue = open_at(broker.url, folder)
    queue.open(A, max_events=1_000, max_bytes=1 << 30)
    queue.look_around(time.time(), lambda *_: None)
    assert queue.settle_down(10)
    return queue


def held(broker: BrokerServer) -> list[bytes]:
    with broker.client() as seen:
        return [*seen.keys("*:lease:*"), *seen.keys("*:workers:*")]


def test_whoever_stops_reading_has_let_go_by_then(
    broker: BrokerServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "LETTING_GO", 60.0)
    queue = holding(broker, tmp_path)
    assert len(held(broker)) == 17
    queue.stop_reading()
    assert held(broker) == []
    began = time.monotonic()
    queue.stop_reading()
    assert time.monotonic() - began < SLACK, "there is nothing to wait for"
    queue.close()


def test_what_is_being_sent_is_still_settled_by_whoever_stops_reading(broker: BrokerServer, tmp_path: Path) -> None:
    queue = holding(broker, tmp_path)
    for n in range(3):
        assert queue.put(n, f"m{n}", 5, b"{}", time.time(), [A]) == {}
    until(lambda: queue.ready(A, time.time()).count == 3)
    entries = queue.take(A, 2, None, time.time())
    began = time.monotonic()
    queue.stop_reading()
    assert time.monotonic() - began < redis.LETTING_GO + SLACK
    assert held(broker) == [b"{unitrack}:lease:a:5"]
    assert queue.take(A, 9, None, time.time()) == [], "the third is somebody else's"
    assert list(queue.done(A, entries)) == list(entries)
    until(lambda: held(broker) == [])
    with broker.client() as seen:
        assert seen.xpending("{unitrack}:p:5", A)["pending"] == 1
    queue.close()
    other = holding(broker, tmp_path / "other")
    assert [entry.message_id for entry in other.take(A, 9, None, time.time())] == ["m2"]
    other.close()


def test_who_never_read_waits_for_nobody(broker: BrokerServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "LETTING_GO", 60.0)
    unused = open_at(broker.url, tmp_path / "unused")
    broker.kill()
    began = time.monotonic()
    unused.stop_reading()
    assert time.monotonic() - began < SLACK
    unused.close()


def test_whoever_stops_reading_does_not_wait_for_a_broker_that_is_away(broker: BrokerServer, tmp_path: Path) -> None:
    queue = holding(broker, tmp_path)
    broker.kill()
    began = time.monotonic()
    queue.stop_reading()
    assert time.monotonic() - began < redis.LETTING_GO + SLACK
    queue.close()


def test_a_script_finds_the_share_of_the_one_before_it_free(broker: BrokerServer, tmp_path: Path) -> None:
    url = f"{broker.url}?spool={tmp_path / 'spool'}"
    with FaultServer() as server:
        first = run(
            f"""
            def late():
                began = time.monotonic()
                assert client.track("u", "late")
                say(f"late {{time.monotonic() - began}}")
            atexit.register(late)  # runs last
            client = make(queue={url!r}, shutdown_timeout=4)
            assert client.track("u", "first")
            """,
            server.url,
        )
        assert len(server.oracle.delivered) == 1
        assert held(broker) == []
        second = run(
            f"""
            client = make(queue={url!r})
            began = time.monotonic()
            assert client.track("u", "second")
            assert client.flush(20)
            say(f"took {{time.monotonic() - began}}")
            """,
            server.url,
        )
        events = [message["event"] for message in server.oracle.messages.values()]
    assert sorted(events) == ["first", "late", "second"], "what came last waited for the next process"
    assert server.oracle.duplicates == 0
    assert first.stderr == second.stderr == ""
    assert float(first.said("late")[0]) < SLACK
    assert float(second.said("took")[0]) < SLACK


def test_a_script_that_is_shorter_than_a_lease_sends_what_it_tracks(broker: BrokerServer, tmp_path: Path) -> None:
    url = f"{broker.url}?spool={tmp_path / 'spool'}"
    with FaultServer() as server:
        for n in range(3):
            ended = run(f"assert make(queue={url!r}, shutdown_timeout=4).track('u', 'E')", server.url)
            assert ended.stderr == ""
            assert len(server.oracle.delivered) == n + 1
