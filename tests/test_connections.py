"""What the default transport does with its connections: reuse, the one repeat, doubt, TLS, proxies, threads, forks."""

import gc
import logging
import os
import select
import socket
import ssl
import struct
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.patience import SLACK
from unitrack import connections
from unitrack.deadline import BoundedSocket, BoundedTlsSocket
from unitrack.errors import ConfigError, DestinationFault, TransportError
from unitrack.transport import Urllib3Transport
from unitrack.wire import Request

from .sockets import Server, answer, close, drip, mark, play, reply, reset, send, stall, tunnel

CANARY = "s3cr3t-canary"


@pytest.fixture
def transport() -> Iterator[Urllib3Transport]:
    sender = Urllib3Transport()
    yield sender
    sender.close()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def message(server: Server, body: bytes = b"{}") -> Request:
    return Request(url=server.url + "/v1/track", headers={"Authorization": f"Bearer {CANARY}"}, body=body)


# One piece.


@pytest.mark.parametrize("body", [b"{}", b"", b"x" * 400_000])
def test_a_request_is_handed_to_the_system_in_one_piece(
    transport: Urllib3Transport, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[bytes] = []
    whole = BoundedSocket.sendall
    monkeypatch.setattr(BoundedSocket, "sendall", lambda self, data: pieces.append(data) or whole(self, data))
    with Server() as server:
        for number in (1, 2):
            assert transport.send(message(server, body), 5).status == 200
            assert len(pieces) == number
            assert pieces[-1].endswith(b"\r\n\r\n" + body)
        assert server.connections == 1


# Reuse.


def test_a_connection_is_used_again(transport: Urllib3Transport) -> None:
    with Server() as server:
        for _ in range(5):
            transport.send(message(server), 5)
        assert (len(server.requests), server.connections) == (5, 1)


@pytest.mark.parametrize("status", [204, 304, 400, 503])
def test_a_failure_in_good_order_keeps_the_connection(transport: Urllib3Transport, status: int) -> None:
    with Server(reply(status, b"")) as server:
        transport.send(message(server), 5)
        transport.send(message(server), 5)
        assert server.connections == 1


def test_a_connection_that_was_idle_too_long_is_not_used_again(
    transport: Urllib3Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server() as server:
        transport.send(message(server), 5)
        monkeypatch.setattr(connections, "MAX_IDLE", -1.0)
        transport.send(message(server), 5)
        assert server.connections == 2


def test_idle_connections_are_dropped_before_load_balancers_drop_them() -> None:
    assert connections.MAX_IDLE == 55


def test_a_connection_that_the_server_closed_while_idle_is_replaced(transport: Urllib3Transport) -> None:
    with Server(play(send(answer()), close())) as server:
        for _ in range(5):
            assert transport.send(message(server), 5).status == 200
        assert len(server.requests) == 5


@pytest.mark.parametrize("end", [reset(), close()])
def test_a_connection_that_dies_under_the_request_is_replaced_once(transport: Urllib3Transport, end: Any) -> None:
    with Server(reply(), play(end), reply(201)) as server:
        transport.send(message(server), 5)
        assert transport.send(message(server), 5).status == 201
        assert [received.connection for received in server.requests] == [1, 1, 2]
        assert server.requests[1].raw == server.requests[2].raw


def test_the_repeat_passes_over_other_idle_connections(transport: Urllib3Transport) -> None:
    both_sent = threading.Barrier(2, timeout=20)
    together = play(lambda _: both_sent.wait() and None, send(answer()))
    with Server(together, together, play(reset()), reply(201)) as server, ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: transport.send(message(server), 5), range(2)))
        assert transport.send(message(server), 5).status == 201
        assert server.requests[-1].connection == 3


def test_there_is_no_second_repeat(transport: Urllib3Transport) -> None:
    with Server(reply(), play(reset())) as server:
        transport.send(message(server), 5)
        with pytest.raises(TransportError) as caught:
            transport.send(message(server), 5)
        assert caught.value.sent
        assert len(server.requests) == 3


def test_a_fresh_connection_that_dies_is_not_repeated(transport: Urllib3Transport) -> None:
    with Server(play(reset()), reply()) as server:
        with pytest.raises(TransportError):
            transport.send(message(server), 5)
        assert len(server.requests) == 1


def test_after_a_byte_of_an_answer_nothing_is_repeated(transport: Urllib3Transport) -> None:
    with Server(reply(), play(send(b"H"), reset()), reply()) as server:
        transport.send(message(server), 5)
        with pytest.raises(TransportError):
            transport.send(message(server), 5)
        assert len(server.requests) == 2


def test_a_deadline_is_not_a_reason_to_repeat(transport: Urllib3Transport) -> None:
    with Server(reply(), play(stall()), reply()) as server:
        transport.send(message(server), 5)
        with pytest.raises(TransportError, match=r"no answer within 0.2 s"):
            transport.send(message(server), 0.2)
        assert len(server.requests) == 2
        assert transport.send(message(server), 5).status == 200
        assert server.requests[-1].connection == 2


def test_a_repeat_that_cannot_connect_may_still_have_sent_something(transport: Urllib3Transport) -> None:
    server = Server(reply(), play(stall(), close()))
    transport.send(message(server), 5)
    failures: list[TransportError] = []

    def again() -> None:
        try:
            transport.send(message(server), 5)
        except TransportError as error:
            failures.append(error)

    thread = threading.Thread(target=again)
    thread.start()
    server.wait_for(2)
    server.close()
    thread.join(5)
    assert "connection refused" in str(failures[0])
    assert failures[0].sent


# Doubt about where an answer ends.


@pytest.mark.parametrize(
    "raw",
    [
        answer(200, b"{}", {"Content-Length": "2\r\nContent-Length: 2"}),
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nno colon here\r\n\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["the same length twice", "a length and chunks", "a line that is no header", "another protocol"],
)
def test_a_doubtful_answer_counts_but_ends_its_connection(
    transport: Urllib3Transport, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(play(send(raw)), reply(201)) as server, caplog.at_level(logging.INFO):
        assert transport.send(message(server), 5).status == int(raw[9:12])
        assert transport.send(message(server), 5).status == 201
        assert server.connections == 2
    assert caplog.records == []


@pytest.mark.parametrize("header", ["Content-Length: 2\r\nContent-Length: 5", "Content-Length: 2, 5"])
def test_two_different_lengths_are_no_answer(transport: Urllib3Transport, header: str) -> None:
    raw = f"HTTP/1.1 200 OK\r\n{header}\r\n\r\n{{}}".encode()
    with Server(play(send(raw)), reply(201)) as server:
        with pytest.raises(TransportError, match="no sound HTTP answer"):
            transport.send(message(server), 5)
        assert transport.send(message(server), 5).status == 201
        assert server.connections == 2


@pytest.mark.parametrize("extra", [answer(500, b"stale"), answer(500, b"x" * 20_000)])
def test_an_answer_that_nobody_asked_for_is_not_credited_to_the_next_request(
    transport: Urllib3Transport, extra: bytes
) -> None:
    with Server(play(send(answer(200) + extra)), reply(201)) as server:
        assert transport.send(message(server), 5).status == 200
        assert transport.send(message(server), 5).status == 201


def test_the_same_holds_when_tls_has_it_read_already(pki: "Pki") -> None:
    # One TLS record of 16 KB: the reader's buffer takes 8 of them, the rest waits where select() does not look.
    extra = answer(500, b"x" * 12_000)
    with Server(play(send(answer(200) + extra)), reply(201), tls=pki.server()) as server:
        transport = pki.transport()
        assert transport.send(message(server), 5).status == 200
        assert transport.send(message(server), 5).status == 201
        assert server.connections == 2
        transport.close()


@pytest.mark.parametrize("count", [1, connections.MAX_INFORMATIONAL])
@pytest.mark.parametrize("status", [100, 102, 103])
def test_informational_answers_are_skipped(transport: Urllib3Transport, count: int, status: int) -> None:
    hints = f"HTTP/1.1 {status} Wait\r\nLink: </x>\r\n\r\n".encode() * count
    with Server(play(send(hints + answer(201)))) as server:
        assert transport.send(message(server), 5).status == 201
        assert transport.send(message(server), 5).status == 201
        assert server.connections == 1


@pytest.mark.parametrize("status", [100, 103])
def test_too_many_informational_answers_are_none(transport: Urllib3Transport, status: int) -> None:
    hints = f"HTTP/1.1 {status} Wait\r\n\r\n".encode() * (connections.MAX_INFORMATIONAL + 1)
    with Server(play(send(hints + answer(201)))) as server, pytest.raises(TransportError, match="no sound HTTP"):
        transport.send(message(server), 5)


# Addresses.


def test_a_dead_address_leaves_time_for_the_next(transport: Urllib3Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as server, socket.create_server(("127.0.0.2", 0)) as refused:
        dead = refused.getsockname()
        refused.close()
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        found = [(*kind, dead), (*kind, ("127.0.0.1", server.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        request = Request(url="http://api.example.test/", headers={}, body=b"")
        assert transport.send(request, 5).status == 200
        assert len(server.requests) == 1


def test_an_address_that_hangs_leaves_time_for_the_next(
    transport: Urllib3Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server() as server, socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        found = [(*kind, full.getsockname()), (*kind, ("127.0.0.1", server.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        request = Request(url="http://api.example.test/", headers={}, body=b"")
        try:
            assert transport.send(request, 5, connect_timeout=0.4).status == 200
        finally:
            for filler in fillers:
                filler.close()


def test_a_name_lookup_counts_against_the_deadline(
    transport: Urllib3Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo

    def slow(*args: Any, **named: Any) -> Any:
        threading.Event().wait(0.15)
        return look_up(*args, **named)

    with Server() as server:
        monkeypatch.setattr(socket, "getaddrinfo", slow)
        with pytest.raises(TransportError, match=r"no answer within 0.1 s") as caught:
            transport.send(message(server), 0.1)
        assert not caught.value.sent
        assert server.requests == []


def test_a_name_that_is_no_name_is_not_found(transport: Urllib3Transport) -> None:
    with pytest.raises(TransportError, match="was not found") as caught:
        transport.send(Request(url=f"http://{'a' * 70}.example.test/", headers={}, body=b""), 5)
    assert not caught.value.sent


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_ipv6_works(transport: Urllib3Transport) -> None:
    with Server(host="::1") as server:
        assert transport.send(message(server), 5).status == 200
        assert server.requests[0].header("host") == server.address


# TLS.


class Pki:
    """An authority and what it signs."""

    def __init__(self) -> None:
        self.authority = trustme.CA()

    def server(self, *names: str, expires: datetime | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*(names or ("127.0.0.1",)), not_after=expires).configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def transport(self) -> Urllib3Transport:
        return Urllib3Transport(ssl_context=self.client())


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki()


@pytest.fixture
def secure(pki: Pki) -> Iterator[Urllib3Transport]:
    sender = pki.transport()
    yield sender
    sender.close()


def test_https_works_and_keeps_its_connection(secure: Urllib3Transport, pki: Pki) -> None:
    with Server(tls=pki.server()) as server:
        for size in (2, 100_000, 3_000_000):
            assert secure.send(message(server, bytes(size)), 5).status == 200
            assert server.requests[-1].body == bytes(size)
        assert server.connections == 1


def test_an_unknown_authority_is_the_destination_s_fault(transport: Urllib3Transport, pki: Pki) -> None:
    assert_refused(transport, pki.server(), "certificate: ")


def test_an_expired_certificate_is_the_destination_s_fault(secure: Urllib3Transport, pki: Pki) -> None:
    assert_refused(
        secure, pki.server("127.0.0.1", expires=datetime.now(UTC) - timedelta(days=1)), "certificate: .*expired"
    )


def test_a_certificate_for_another_host_is_the_destination_s_fault(secure: Urllib3Transport, pki: Pki) -> None:
    assert_refused(secure, pki.server("api.example.com"), "certificate: .*127.0.0.1")


def test_an_old_version_of_tls_is_the_destination_s_fault(secure: Urllib3Transport, pki: Pki) -> None:
    context = pki.server()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it is deprecated, and that is the point
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    assert_refused(secure, context, "does not speak TLS 1.2 or later")


def assert_refused(transport: Urllib3Transport, context: ssl.SSLContext, sentence: str) -> None:
    with Server(tls=context) as server:
        with pytest.raises(DestinationFault, match=sentence) as caught:
            transport.send(message(server), 5)
        assert not caught.value.sent
        assert server.requests == [], "no byte of the request may leave"


@pytest.mark.parametrize("first", [send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), send(b"220 smtp ready\r\n")])
def test_plain_text_on_a_tls_port_is_the_destination_s_fault(secure: Urllib3Transport, first: Any) -> None:
    with Server(on_accept=first) as server:
        request = Request(url=f"https://{server.address}/", headers={}, body=b"")
        with pytest.raises(DestinationFault, match="does not speak TLS") as caught:
            secure.send(request, 5)
        assert not caught.value.sent


def test_plain_http_to_a_tls_port_is_the_destination_s_fault(transport: Urllib3Transport, pki: Pki) -> None:
    alert = b"\x15\x03\x01\x00\x02\x02\x46"
    with (
        Server(play(send(alert), close())) as server,
        pytest.raises(DestinationFault, match="wants TLS"),
    ):
        transport.send(message(server), 5)


@pytest.mark.parametrize("end", [reset(), close()])
def test_a_handshake_that_breaks_off_is_worth_another_try(secure: Urllib3Transport, end: Any) -> None:
    with Server(on_accept=end) as server:
        with pytest.raises(TransportError) as caught:
            secure.send(Request(url=f"https://{server.address}/", headers={}, body=b""), 5)
        assert not isinstance(caught.value, DestinationFault)
        assert not caught.value.sent


def test_a_connection_that_was_reset_before_tls_began_is_closed() -> None:
    context = ssl.create_default_context()
    context.sslsocket_class = BoundedTlsSocket
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = BoundedSocket(socket.AF_INET, socket.SOCK_STREAM)
        made.settimeout(20)
        made.connect(listener.getsockname())
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        assert select.select([made], [], [], 20)[0], "the reset is here"
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with pytest.raises(ConnectionResetError):
                context.wrap_socket(made, server_hostname="localhost")
            gc.collect()
    assert [str(warning.message) for warning in said] == []


def test_a_handshake_that_stalls_ends_at_the_limit_for_connections(secure: Urllib3Transport) -> None:
    with Server(on_accept=stall()) as server:
        began = time.monotonic()
        with pytest.raises(TransportError, match=r"no connection within 0.3 s") as caught:
            secure.send(Request(url=f"https://{server.address}/", headers={}, body=b""), 5, connect_timeout=0.3)
        assert 0.25 < time.monotonic() - began < 0.3 + SLACK
    assert not caught.value.sent


@pytest.mark.parametrize(
    ("script", "size"),
    [
        (play(drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20, every=0.05)), 2),
        (play(send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"), drip(b"x" * 50, every=0.05)), 2),
        (play(stall(), read=1), 16_000_000),
    ],
    ids=["slow headers", "a slow body", "nobody reads"],
)
def test_the_deadline_holds_over_tls(secure: Urllib3Transport, pki: Pki, script: Any, size: int) -> None:
    with Server(script, tls=pki.server()) as server:
        began = time.monotonic()
        with pytest.raises(TransportError, match=r"no answer within 0.3 s") as caught:
            secure.send(message(server, bytes(size)), 0.3)
        assert 0.25 < time.monotonic() - began < 0.3 + SLACK
    assert caught.value.sent


def test_a_stale_connection_is_replaced_over_tls(secure: Urllib3Transport, pki: Pki) -> None:
    with Server(reply(), play(reset()), play(send(answer(201)), close()), reply(202), tls=pki.server()) as server:
        assert [secure.send(message(server), 5).status for _ in range(3)] == [200, 201, 202]
        assert len(server.requests) == 4


@pytest.mark.parametrize("name", ["PYTHONHTTPSVERIFY", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_the_environment_cannot_turn_verification_off(
    transport: Urllib3Transport, pki: Pki, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "0" if name.startswith("PYTHON") else "")
    assert_refused(transport, pki.server(), "certificate: ")


def test_the_environment_can_name_a_private_authority(
    transport: Urllib3Transport, pki: Pki, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "authority.pem"
    pki.authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with Server(tls=pki.server()) as server:
        assert transport.send(message(server), 5).status == 200


def test_without_authorities_of_the_system_there_are_certifi_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    assert len(connections.trusting_context().get_ca_certs()) > 50


def test_the_default_context_verifies_and_starts_at_tls_1_2() -> None:
    context = connections.trusting_context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_context_that_does_not_verify_is_refused() -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    with pytest.raises(ConfigError, match="verify"):
        Urllib3Transport(ssl_context=context)
    context.verify_mode = ssl.CERT_NONE
    with pytest.raises(ConfigError, match="verify"):
        Urllib3Transport(ssl_context=context)


def test_a_context_for_old_versions_is_refused() -> None:
    context = ssl.create_default_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ConfigError, match=r"TLS before 1\.2"):
        Urllib3Transport(ssl_context=context)


def test_a_context_that_names_no_oldest_version_gets_one() -> None:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    Urllib3Transport(ssl_context=context)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_the_user_s_context_goes_on_working_for_others(pki: Pki) -> None:
    context = pki.client()
    with Server(tls=pki.server()) as server:
        transport = Urllib3Transport(ssl_context=context)
        transport.send(message(server), 5)
        transport.close()
        with (
            socket.create_connection((server.host, server.port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as mine,
        ):
            mine.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert mine.recv(12) == b"HTTP/1.1 200"


# Proxies.


def test_https_goes_through_the_environment_s_proxy_which_sees_no_credential(
    secure: Urllib3Transport, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(tls=pki.server()) as server, Server(play(tunnel())) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://ada:pa%73s@{proxy.address}")
        assert secure.send(message(server), 5).status == 200
        assert secure.send(message(server), 5).status == 200
        (connect,) = proxy.requests
        assert connect.request_line == f"CONNECT {server.address} HTTP/1.{connect.request_line[-1]}"
        assert connect.header("proxy-authorization") == "Basic YWRhOnBhc3M="
        assert CANARY.encode() not in connect.raw
        assert [received.header("proxy-authorization") for received in server.requests] == [None, None]
        secure.close()


def test_a_proxy_may_itself_speak_tls(secure: Urllib3Transport, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(tls=pki.server()) as server, Server(play(tunnel()), tls=pki.server()) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert secure.send(message(server), 5).status == 200
        assert len(proxy.requests) == 1
        secure.close()


def test_no_proxy_is_respected(secure: Urllib3Transport, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(tls=pki.server()) as server, Server() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1")
        assert secure.send(message(server), 5).status == 200
        assert proxy.connections == 0


def test_plain_http_uses_no_proxy(transport: Urllib3Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as server, Server() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert transport.send(message(server), 5).status == 200
        assert proxy.connections == 0


def test_a_proxy_that_refuses_is_named(secure: Urllib3Transport, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(tls=pki.server()) as server, Server(reply(407), reply(502), play(tunnel())) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        for status in (407, 502):
            with pytest.raises(TransportError, match=rf"the proxy refused the connection \({status}\)") as caught:
                secure.send(message(server), 5)
            assert not caught.value.sent
        assert secure.send(message(server), 5).status == 200
        secure.close()


def test_a_proxy_that_is_down_is_named(secure: Urllib3Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{port}")
    with pytest.raises(TransportError, match=f"connection refused by proxy 127.0.0.1:{port}") as caught:
        secure.send(Request(url="https://api.example.test", headers={}, body=b""), 5)
    assert not caught.value.sent


def test_a_slow_proxy_ends_at_the_limit_for_connections(
    secure: Urllib3Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(play(drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20, every=0.05))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        began = time.monotonic()
        with pytest.raises(TransportError, match=r"no connection within 0.4 s") as caught:
            secure.send(Request(url="https://api.example.test", headers={}, body=b""), 5, connect_timeout=0.4)
        assert time.monotonic() - began < 0.4 + SLACK
        assert not caught.value.sent


def test_a_proxy_of_another_kind_is_a_fault_that_says_what_to_do(
    secure: Urllib3Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1080")
    began = time.monotonic()
    with pytest.raises(DestinationFault, match="must be http:// or https://"):
        secure.send(Request(url="https://api.example.test", headers={}, body=b""), 5)
    assert time.monotonic() - began < SLACK, "it is not tried again and again"


# Threads, forks, ends.


def test_sixteen_threads_send_at_once_without_a_word(
    transport: Urllib3Transport, caplog: pytest.LogCaptureFixture
) -> None:
    everyone = threading.Barrier(16, timeout=20)
    first = [play(lambda _: everyone.wait() and None, send(answer())) for _ in range(16)]
    with Server(*first, reply()) as server, ThreadPoolExecutor(16) as threads, caplog.at_level(logging.INFO):
        for _ in range(5):
            answers = list(threads.map(lambda _: transport.send(message(server), 10).status, range(16)))
            assert answers == [200] * 16
        assert len(server.requests) == 80
        assert server.connections == 16
        transport.close()
    assert caplog.records == []


def test_urllib3_s_own_debug_log_shows_no_path_or_query(
    transport: Urllib3Transport, caplog: pytest.LogCaptureFixture
) -> None:
    with Server() as server, caplog.at_level(logging.DEBUG):
        request = Request(url=f"{server.url}/{CANARY}?secret={CANARY}", headers={"X": CANARY}, body=CANARY.encode())
        transport.send(request, 5)
    assert caplog.records
    assert CANARY not in caplog.text


def test_a_closed_transport_holds_no_connection_and_opens_anew(transport: Urllib3Transport) -> None:
    gone = threading.Event()
    with Server(play(send(answer()), lambda peer: peer.socket.recv(1) or gone.set()), reply(201)) as server:
        transport.send(message(server), 5)
        transport.close()
        assert gone.wait(5), "the server sees the end of the connection"
        assert transport.send(message(server), 5).status == 201


def test_closing_lets_a_request_that_is_on_its_way_finish(transport: Urllib3Transport) -> None:
    arrived, go_on = threading.Event(), threading.Event()
    with Server(play(mark(arrived), stall(go_on), send(answer(201)))) as server, ThreadPoolExecutor(1) as threads:
        sending = threads.submit(transport.send, message(server), 5)
        assert arrived.wait(5)
        transport.close()
        go_on.set()
        assert sending.result(5).status == 201


def test_closing_twice_or_before_the_first_send_is_fine() -> None:
    transport = Urllib3Transport()
    transport.close()
    transport.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("secured", [False, True])
def test_a_forked_child_opens_its_own_connection_and_leaves_the_parent_s_alone(pki: Pki, secured: bool) -> None:
    transport = pki.transport()
    with Server(tls=pki.server() if secured else None) as server:
        transport.send(message(server), 5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: the server's threads are alive
            child = os.fork()
        if child == 0:
            try:
                status = transport.send(message(server), 5).status
                transport.close()
                os._exit(0 if status == 200 else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        transport.send(message(server), 5)
        assert [received.connection for received in server.requests] == [1, 2, 1]
        transport.close()


def test_a_connection_outside_of_an_attempt_is_refused() -> None:
    with pytest.raises(RuntimeError, match="send through a transport"):
        connections._Connection("127.0.0.1", 1).connect()
