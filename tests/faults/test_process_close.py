"""Fault rows P: closing and flushing, from anywhere, twice, late, and against a server that hangs."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.processes import our_threads
from tests.faults.vendors import hightouch
from tests.faults.world import FaultServer, assert_conserved, until
from tests.patience import SLACK
from tests.sockets import play, stall
from unitrack import Client, Track
from unitrack.transport import Urllib3Transport
from unitrack.wire import Request, Response

# P20


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.monotonic()
    return call(), time.monotonic() - began


def test_P20_calls_after_close(caplog: pytest.LogCaptureFixture) -> None:
    """After ``close`` each call returns at once: receipts say ``closed``, it is counted, and logged once."""
    with FaultServer() as server:
        client = Client({"cdp": hightouch(server)})
        for i in range(100):
            client.track("u", "E", {"i": i})
        assert client.close(5).status == "success"
        for _ in range(50):
            receipt, took = timed(lambda: client.track("u", "late"))
            assert (receipt.accepted, receipt.reason) == (False, "closed")
            assert took < SLACK
        for call, answer in [
            (lambda: client.flush(5), True),
            (lambda: client.close(5).status, "partial"),
            (lambda: client.send([Track(user_id="u", event="late")], timeout=5).status, "fail"),
            (lambda: asyncio.run(client.aclose(5)).status, "partial"),
        ]:
            found, took = timed(call)
            assert found == answer
            assert took < SLACK
        ledger = assert_conserved(client, server.oracle, accepted=151)["cdp"]
    assert (ledger.delivered, ledger.dropped) == (100, {"closed": 51})
    assert len([r for r in caplog.records if "closed" in r.getMessage()]) == 1


def test_P20_eight_threads_close_at_once() -> None:
    """Of eight threads that close at the same moment each waits for the end, and each gets the whole truth."""
    with FaultServer() as server:
        client = Client({"cdp": hightouch(server)})
        for i in range(1000):
            client.track(f"u{i % 100}", "E", {"i": i // 100})
        reports = []
        start = threading.Barrier(8)

        def close() -> None:
            start.wait()
            reports.append(client.close(10))

        threads = [threading.Thread(target=close) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert [(report.status, report.success) for report in reports] == [("success", 1000)] * 8
        assert_conserved(client, server.oracle, accepted=1000)
        assert our_threads() == []


def test_P20_close_in_a_callback() -> None:
    """A callback may close the client: everything that waits is sent, and nobody waits for himself."""
    reports = []
    with FaultServer() as server:
        client: Client

        def on_drop(drops: object) -> None:
            reports.append(timed(lambda: client.close(5)))

        client = Client({"cdp": hightouch(server)}, on_drop=on_drop)
        for i in range(100):
            client.track("u", "E", {"i": i})
        client.track("u", "")
        until(lambda: reports)
        _, took = timed(lambda: client.close(5))
        assert took < SLACK
        ledger = assert_conserved(client, server.oracle, accepted=101)["cdp"]
        assert ledger.delivered == 100
        [(report, took)] = reports
        assert report.success == 100
        assert took < SLACK
        until(lambda: not our_threads())


def test_P20_close_and_flush_on_a_sender_thread() -> None:
    """``flush`` and ``close`` on a sender's own thread return at once, since it cannot wait for itself."""
    found: list[Any] = []
    entered: list[bool] = []

    class Closing(Urllib3Transport):
        def send(self, request: Request, timeout: float, connect_timeout: float = 5.0) -> Response:
            if not entered:
                entered.append(True)
                found.append(timed(lambda: client.flush(5)))
                found.append(timed(lambda: client.close(5)))
            return super().send(request, timeout, connect_timeout)

    with FaultServer() as server:
        client = Client({"cdp": hightouch(server)}, transport=Closing())
        for i in range(100):
            client.track("u", "E", {"i": i})
        until(lambda: len(found) == 2 and client.stats()["cdp"].pending == 0)
        assert_conserved(client, server.oracle, accepted=100)
    (flushed, flushing), (report, closing) = found
    assert flushed is False
    assert flushing < SLACK
    assert report.status == "fail"
    assert closing < SLACK


# P21


@pytest.mark.parametrize("timeout", [0, 0.1, 0.6])
def test_P21_flush_and_close_are_bounded(timeout: float) -> None:
    """``flush(t)`` and ``close(t)`` return within t whatever the server does, and say what was not sent."""
    with FaultServer(play(stall())) as server:
        client = Client({"cdp": hightouch(server)})
        for i in range(300):
            client.track(f"u{i % 10}", "E", {"i": i})
        flushed, took = timed(lambda: client.flush(timeout))
        assert flushed is False
        assert timeout <= took <= timeout + 0.5
        report, took = timed(lambda: client.close(timeout))
        assert took <= timeout + 0.5
        assert (report.status, report.failure) == ("fail", 300)
        assert "300 messages were not sent" in report.failed_records[0].error
        assert_conserved(client, server.oracle, accepted=300, settled=False)


def test_P21_flush_without_a_timeout_ends_with_the_delivery_deadline() -> None:
    """``flush(None)`` waits until each message was delivered or reached its delivery deadline."""
    with FaultServer(play(stall())) as server:
        client = Client({"cdp": hightouch(server)}, timeout=0.2, delivery_deadline=0.5)
        for i in range(50):
            client.track(f"u{i % 10}", "E", {"i": i})
        flushed, took = timed(lambda: client.flush(None))
        assert flushed is True
        assert 0.5 <= took <= 0.5 + 0.2 + SLACK
        report, took = timed(lambda: client.close(None))
        assert took <= SLACK
        assert report.status == "fail"
        assert assert_conserved(client, server.oracle, accepted=50)["cdp"].dead == {"expired": 50}


def test_P21_a_close_that_leaves_something_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """A ``close`` that could not send everything says so in the log, for those who do not look at its report."""
    with FaultServer(play(stall())) as server:
        with Client({"cdp": hightouch(server)}, shutdown_timeout=0.1) as client:
            for i in range(300):
                client.track(f"u{i % 10}", "E", {"i": i})
        assert_conserved(client, server.oracle, accepted=300, settled=False)
    [line] = [r.getMessage() for r in caplog.records if "not sent" in r.getMessage()]
    assert line == "unitrack: not sent before the client was closed: 300 to cdp; they are lost"
