"""Fault rows N: what can go wrong on the way to the server and back, short of what the answer says."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from attrs import frozen

from tests.faults.vendors import enqueue_all, hightouch, renderings, suprsend, tracks
from tests.faults.world import CANARIES, FaultServer, assert_conserved, store, stored, until
from tests.patience import SLACK
from tests.sockets import Script, answer, close, drip, play, reset, send, stall
from unitrack import Client, Destination, Retry
from unitrack.providers import Hightouch, Webhook
from unitrack.wire import Capabilities

LookUp = Callable[..., Any]


def named_hightouch(server: FaultServer) -> Destination:
    """Reach the server by a name that only a replaced lookup knows."""
    provider = hightouch(server)
    url = f"http://shop.invalid:{server.port}"
    return Destination(Hightouch(write_key=provider.write_key, base_url=url), allow_http=True)


def addresses(*found: tuple[str, int]) -> LookUp:
    """Make a name lookup that finds these."""
    kinds = {True: socket.AF_INET6, False: socket.AF_INET}
    rows = [(kinds[":" in host], socket.SOCK_STREAM, 6, "", (host, port)) for host, port in found]
    return lambda *_, **__: rows


def dead_port(host: str) -> tuple[str, int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        return listener.getsockname()[:2]


def test_N1_connection_refused() -> None:
    """While connections are refused nothing is lost and no call waits; once the server is back, all of it arrives."""
    with FaultServer() as gone:
        pass
    client = Client({"cdp": hightouch(gone)}, dice=lambda: 0.3)
    took = sorted(enqueue_all(client, tracks(1_000)))
    until(lambda: client.stats()["cdp"].requests >= 3)
    before = client.stats()["cdp"].requests
    with FaultServer(port=gone.port) as server:
        assert client.flush(20)
        ledger = assert_conserved(client, server.oracle, accepted=1_000)["cdp"]
        client.close()
    assert took[989] < 0.25
    assert ledger.delivered == 1_000
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0
    assert before <= 10
    assert ledger.requests - before <= 20


def test_N2_name_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is not found is retried, and all of it arrives once it is."""

    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with FaultServer() as server, Client({"cdp": named_hightouch(server)}, dice=lambda: 0.1) as client:
        report = client.send(tracks(1), timeout=0.3)
        [outcome] = report.verdicts.values()
        assert isinstance(outcome, Retry)
        assert outcome.reason == "the name 'shop.invalid' was not found"
        monkeypatch.setattr(socket, "getaddrinfo", addresses(("127.0.0.1", server.port)))
        assert client.flush(10)
        assert assert_conserved(client, server.oracle, accepted=1)["cdp"].delivered == 1
    assert server.oracle.duplicates == 0


def test_N2_lookup_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a name lookup hangs, calls, ``flush`` and other destinations do not; when it ends, all of it arrives."""
    hanging, go_on = threading.Event(), threading.Event()
    look_up = socket.getaddrinfo

    def hangs(host: str, *rest: Any, **named: Any) -> Any:
        if host != "shop.invalid":
            return look_up(host, *rest, **named)
        hanging.set()
        go_on.wait(20)
        return look_up("127.0.0.1", *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    with FaultServer() as server, FaultServer() as other:
        with Client({"cdp": named_hightouch(server), "other": hightouch(other)}) as client:
            took = enqueue_all(client, tracks(100))
            assert hanging.wait(5)
            took += enqueue_all(client, tracks(1_000)[100:])
            until(lambda: client.stats()["other"].delivered == 1_000)
            began = time.monotonic()
            assert not client.flush(0.3)
            assert time.monotonic() - began < 0.3 + SLACK
            assert client.stats()["cdp"].delivered == 0
            go_on.set()
            assert client.flush(10)
            assert_conserved(client, {"cdp": server.oracle, "other": other.oracle}, accepted=1_000)
    assert sorted(took)[989] < 0.25
    assert server.oracle.duplicates == other.oracle.duplicates == 0


def test_N3_first_address_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first of two addresses is dead, the same attempt goes on to the next."""
    with FaultServer() as server, Client({"cdp": named_hightouch(server)}) as client:
        monkeypatch.setattr(socket, "getaddrinfo", addresses(dead_port("127.0.0.2"), ("127.0.0.1", server.port)))
        enqueue_all(client, tracks(300))
        assert client.flush(10)
        ledger = assert_conserved(client, server.oracle, accepted=300)["cdp"]
    assert (ledger.delivered, ledger.retried) == (300, 0)
    assert server.oracle.duplicates == 0


def test_N4_connections_are_not_taken() -> None:
    """An attempt that nobody answers ends at ``connect_timeout``, and all of it arrives once somebody does."""
    hole = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = hole.getsockname()[1]
    # Linux takes one more than the backlog says; the rest of the handshakes stay unanswered.
    fillers = [socket.socket() for _ in range(3)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
    try:
        provider = Hightouch(write_key=CANARIES["write_key"], base_url=f"http://127.0.0.1:{port}")
        client = Client({"cdp": provider}, connect_timeout=0.4, dice=lambda: 0.2)
        began = time.monotonic()
        enqueue_all(client, tracks(100))
        until(lambda: client.stats()["cdp"].retried)
        assert 0.4 <= time.monotonic() - began < 0.4 + SLACK
    finally:
        for one in (*fillers, hole):
            one.close()
    with FaultServer(port=port) as server:
        assert client.flush(10)
        assert assert_conserved(client, server.oracle, accepted=100)["cdp"].delivered == 100
        client.close()
    assert server.oracle.duplicates == 0


def test_N7_reset_while_the_body_is_sent() -> None:
    """After a reset in the middle of a request the same messages go out again, unaltered."""
    with FaultServer(play(reset(), read=1_000), stored()) as server:
        with Client({"cdp": hightouch(server)}, dice=lambda: 0.1) as client:
            enqueue_all(client, tracks(300, pad="x" * 1_000))
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=300)["cdp"]
        cut, *later = server.requests
        assert len(cut.raw) == 1_000
        begun = cut.body.removeprefix(b'{"batch":[')
        assert tracks(1)[0].message_id.encode() in begun
        assert [begun in request.body for request in later].count(True) == 1
    assert ledger.delivered == 300
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0


@pytest.mark.parametrize(
    "end",
    [
        play(store(), reset()),
        play(store(), close()),
        play(store(), send(b"HTTP/1.1 20"), reset()),
    ],
    ids=["reset", "closed", "reset within the answer"],
)
def test_N8_reset_after_it_was_stored(end: Script) -> None:
    """When nobody can tell whether a batch was stored, that batch alone goes out again, with the same ids and keys."""
    with FaultServer(end, stored()) as server:
        with Client({"msg": suprsend(server)}, dice=lambda: 0.1) as client:
            enqueue_all(client, tracks(250))
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=250)["msg"]
        twice = {key for key, times in server.oracle.attempts.items() if times == 2}
        looks = renderings(server, "$insert_id")
    assert ledger.delivered == 250
    assert server.oracle.duplicates == len(twice) == 100
    assert max(server.oracle.attempts.values()) == 2
    assert all(len(look) == 1 and b'"$idempotency_key":"key-' in next(iter(look)) for look in looks.values())
    assert server.oracle.order_violations() == 0


@pytest.mark.parametrize("length", ["Content-Length: 500", "Transfer-Encoding: chunked"])
def test_N9_success_is_cut_off(length: str) -> None:
    """A success that breaks off is no success yet, because the missing part might say otherwise: it is sent again."""
    cut = f"HTTP/1.1 200 OK\r\n{length}\r\n\r\n1f4\r\n{{}}".encode()
    with FaultServer(play(store(), send(cut), close()), stored()) as server:
        with Client({"cdp": hightouch(server)}, dice=lambda: 0.1) as client:
            enqueue_all(client, tracks(250))
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=250)["cdp"]
        looks = renderings(server)
    assert ledger.delivered == 250
    assert server.oracle.duplicates == 100
    assert all(len(look) == 1 for look in looks.values())


def test_N9_failure_is_cut_off() -> None:
    """A failure that breaks off is told by its status."""
    cut = send(answer(400, b'{"message":"no such ev', {"Content-Length": "500"}))
    with FaultServer(play(cut, close()), stored()) as server:
        with Client({"cdp": hightouch(server)}) as client:
            report = client.send(tracks(1), timeout=10)
            ledger = assert_conserved(client, server.oracle, accepted=1)["cdp"]
    assert ledger.dead == {"rejected": 1}
    assert "no such ev" in report.failed_records[0].error


def test_N10_slow_but_fine() -> None:
    """A server that takes its time gets each message once: a slow answer is waited for, not doubted."""
    go_on = threading.Event()
    with FaultServer(play(store(), stall(go_on), send(answer())), stored()) as server:
        with Client({"cdp": hightouch(server)}) as client:
            enqueue_all(client, tracks(100, users=1))
            server.wait_for(1)
            assert not client.flush(0.7)
            assert len(server.requests) == 1
            go_on.set()
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=100)["cdp"]
    assert (ledger.delivered, ledger.retried, ledger.requests) == (100, 0, 1)
    assert server.oracle.duplicates == 0


DRIPS = {
    "headers": drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40, every=0.05),
    "body": drip(answer(200, b"x" * 200), every=0.05),
    "chunks": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 40, every=0.05),
}


@pytest.mark.parametrize("slow", DRIPS.values(), ids=DRIPS.keys())
def test_N11_drip(slow: Any) -> None:
    """An answer that comes byte by byte ends at the ``timeout`` of the whole attempt, though each byte is in time."""
    with FaultServer(play(slow), stored()) as server:
        with Client({"cdp": hightouch(server)}, timeout=0.4, dice=lambda: 0.1) as client:
            enqueue_all(client, tracks(100))
            server.wait_for(1)
            began = time.monotonic()
            until(lambda: client.stats()["cdp"].retried)
            took = time.monotonic() - began
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=100)["cdp"]
    assert took < 0.4 + SLACK
    assert ledger.delivered == 100
    assert server.oracle.duplicates == 0


HANGS = {
    "before the headers": play(stall()),
    "within the headers": play(send(b"HTTP/1.1 200 OK\r\nContent-"), stall()),
    "after the headers": play(send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"), stall()),
}


@pytest.mark.parametrize("script", HANGS.values(), ids=HANGS.keys())
def test_N12_hang(script: Script) -> None:
    """A server that hangs costs one ``timeout``, and then the messages go out again."""
    with FaultServer(script, stored()) as server:
        with Client({"cdp": hightouch(server)}, timeout=0.3, dice=lambda: 0.1) as client:
            enqueue_all(client, tracks(100))
            server.wait_for(1)
            began = time.monotonic()
            until(lambda: client.stats()["cdp"].retried)
            assert time.monotonic() - began < 0.3 + SLACK
            assert client.flush(10)
            assert assert_conserved(client, server.oracle, accepted=100)["cdp"].delivered == 100
    assert server.oracle.duplicates == 0


@pytest.mark.parametrize("script", HANGS.values(), ids=HANGS.keys())
def test_N12_close_while_the_server_hangs(script: Script) -> None:
    """``close`` returns within its timeout though the server hangs, and reports what was not sent."""
    with FaultServer(script) as server:
        client = Client({"cdp": hightouch(server)})
        enqueue_all(client, tracks(300))
        server.wait_for(1)
        began = time.monotonic()
        report = client.close(0.5)
        assert time.monotonic() - began < 0.5 + SLACK
        assert (report.status, report.failure) == ("fail", 300)
        assert "300 messages were not sent" in report.failed_records[0].error
        ledger = assert_conserved(client, server.oracle, accepted=300, settled=False)["cdp"]
    assert ledger.pending == 300


def test_N14_connection_closed_while_idle(caplog: pytest.LogCaptureFixture) -> None:
    """A kept connection that the server has closed meanwhile is replaced without a retry, a repeat or a word."""
    drops: list[object] = []
    with FaultServer(play(store(), send(answer()), close())) as server:
        with Client({"cdp": hightouch(server)}, on_drop=drops.extend) as client:
            for round_, message in enumerate(tracks(10)):
                assert client.send([message], timeout=5).status == "success"
                server.wait_until_ended(round_ + 1)
            ledger = assert_conserved(client, server.oracle, accepted=10)["cdp"]
    assert (ledger.delivered, ledger.retried, ledger.requests) == (10, 0, 10)
    assert server.oracle.duplicates == 0
    assert drops == []
    assert [record for record in caplog.records if record.name == "unitrack"] == []


def test_N14_connection_dies_under_the_request() -> None:
    """A kept connection that breaks just as the next request goes out is replaced at once, without a wait."""
    with FaultServer(stored(), play(reset()), stored()) as server:
        with Client({"cdp": hightouch(server)}, dice=lambda: 1.0) as client:
            first, second = tracks(2)
            assert client.send([first], timeout=5).status == "success"
            assert client.send([second], timeout=5).status == "success"
            ledger = assert_conserved(client, server.oracle, accepted=2)["cdp"]
    assert (ledger.delivered, ledger.retried) == (2, 0)
    assert server.oracle.duplicates == 0


@frozen(kw_only=True)
class Roomy(Webhook):
    """Takes more in one request than the buffers of both systems hold."""

    capabilities = Capabilities(max_batch=1_000, max_batch_bytes=20_000_000, deduplicates="message_id")


def test_N15_server_does_not_read() -> None:
    """A server that does not read what is sent costs one ``timeout``."""
    with FaultServer(play(stall(), read=1), stored()) as server:
        provider = Roomy(url=server.url, token=CANARIES["token"], batch=True)
        with Client({"hook": provider}, timeout=1.5, dice=lambda: 0.1) as client:
            enqueue_all(client, tracks(400, pad="x" * 20_000))
            server.wait_for(1)
            began = time.monotonic()
            until(lambda: client.stats()["hook"].retried)
            assert time.monotonic() - began < 1.5 + SLACK
            assert client.flush(20)
            ledger = assert_conserved(client, server.oracle, accepted=400)["hook"]
        assert len(server.requests[1].body) > 8_000_000
    assert ledger.delivered == 400


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_N26_only_ipv6() -> None:
    """A server that has only an IPv6 address is reached."""
    with FaultServer(host="::1") as server, Client({"cdp": hightouch(server)}) as client:
        enqueue_all(client, tracks(100))
        assert client.flush(10)
        assert assert_conserved(client, server.oracle, accepted=100)["cdp"].delivered == 100


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_N26_only_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose IPv6 address does not answer is reached by the other."""
    with FaultServer() as server, Client({"cdp": named_hightouch(server)}) as client:
        monkeypatch.setattr(socket, "getaddrinfo", addresses(dead_port("::1"), ("127.0.0.1", server.port)))
        enqueue_all(client, tracks(100))
        assert client.flush(10)
        ledger = assert_conserved(client, server.oracle, accepted=100)["cdp"]
    assert (ledger.delivered, ledger.retried) == (100, 0)
