"""The contract of a transport, held by both that send: exact bytes out, one bounded answer in, one sentence if none."""

import gzip
import json
import socket
import subprocess
import sys
import time
import traceback
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unitrack.body import MAX_BODY
from unitrack.errors import ConfigError, DestinationFault, InvalidMessage, TransportError
from unitrack.transport import DryRun, RequestsTransport, Transport, Urllib3Transport, as_transport
from unitrack.wire import Request, Response

from .sockets import Server, answer, close, drip, endless, play, reply, reset, send, stall

CANARY = "s3cr3t-canary"
#: How much later than its deadline an attempt may end.
GRACE = 1.5


@pytest.fixture(params=["urllib3", "requests"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    if request.param == "urllib3":
        sender = Urllib3Transport()
        yield sender
        sender.close()
    else:
        with requests.Session() as session:
            yield RequestsTransport(session)


def message(
    server: Server, target: str = "/v1/track", body: bytes = b'{"event":"Order Paid"}', **headers: str
) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(url=server.url + target, headers={"Content-Type": "application/json"} | named, body=body)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


# What goes out.


def test_exactly_the_provider_s_bytes_go_out(transport: Transport) -> None:
    with Server() as server:
        transport.send(message(server, body=b'{"n":1}', Authorization="Bearer x"), 5)
        (received,) = server.requests
    assert received.request_line == "POST /v1/track HTTP/1.1"
    assert received.body == b'{"n":1}'
    assert received.header("authorization") == "Bearer x"
    assert received.header("content-type") == "application/json"
    assert received.header("content-length") == "7"
    assert received.header("host") == server.address
    assert received.header("accept-encoding") == "identity"
    assert received.header("cookie") is None
    assert len(received.headers) == len({name for name, _ in received.headers})


@pytest.mark.parametrize(
    "target", ["/v1/user/a%2fb%2Fc/../x/./y//z?q=%7e~a'b(c)|d&e=%zz", "", "/?", "/a;b=c,d:e@f!$&*+="]
)
def test_the_path_arrives_as_it_was_signed(target: str) -> None:
    with Server() as server:
        transport = Urllib3Transport()
        transport.send(message(server, target), 5)
        transport.close()
        (received,) = server.requests
    assert received.target == (target or "/")


def test_a_method_is_kept(transport: Transport) -> None:
    with Server() as server:
        transport.send(Request(url=server.url + "/x", headers={}, body=b"{}", method="PUT"), 5)
        assert server.requests[0].request_line == "PUT /x HTTP/1.1"


def test_a_provider_s_user_agent_wins(transport: Transport) -> None:
    with Server() as server:
        transport.send(message(server, User_Agent="acme/1"), 5)
        assert server.requests[0].header("user-agent") == "acme/1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Key", "a\r\nX-Evil: 1"),
        ("X-Key", "a\nb"),
        ("X-Key", "a\rb"),
        ("X-Key", "a\0b"),
        ("X-Key", "a\x7fb"),
        ("X-Key", "a\u2028b"),
        ("X-Key", "\N{SNOWMAN}"),
        ("X-Key", "\ud800"),
        ("X-Key", b"bytes"),
        ("X-Key", None),
    ],
)
def test_a_header_that_would_not_arrive_is_named_and_nothing_is_sent(
    transport: Transport, name: str, value: Any
) -> None:
    with Server() as server:
        with pytest.raises(InvalidMessage) as caught:
            transport.send(Request(url=server.url, headers={name: value}, body=b""), 5)
        assert server.connections == 0
    assert repr(name) in str(caught.value)
    assert str(value) not in str(caught.value)


@pytest.mark.parametrize("name", ["", "X Key", "X:Key", "X\nKey", "X-K\N{LATIN SMALL LETTER E WITH ACUTE}y", "X\0"])
def test_a_header_s_name_is_checked_too(transport: Transport, name: str) -> None:
    with Server() as server:
        with pytest.raises(InvalidMessage):
            transport.send(Request(url=server.url, headers={name: "x"}, body=b""), 5)
        assert server.connections == 0


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: 1", "/a\0", "/\N{SNOWMAN}", "/a\x7f"])
def test_a_url_that_would_not_arrive_is_refused_and_not_repeated(transport: Transport, target: str) -> None:
    with Server() as server:
        with pytest.raises(InvalidMessage) as caught:
            transport.send(message(server, f"/{CANARY}" + target), 5)
        assert server.connections == 0
    assert CANARY not in str(caught.value)


@given(value=st.text(max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_header_arrives_as_it_is_or_not_at_all(value: str) -> None:
    with Server() as server:
        transport = Urllib3Transport()
        request = Request(url=server.url, headers={"X-Id": value}, body=b"")
        try:
            transport.send(request, 5)
        except InvalidMessage:
            assert server.connections == 0
        else:
            (received,) = server.requests
            assert received.header("x-id") == value.strip()
            assert len(received.headers) == 6 - (received.header("connection") is None)
        finally:
            transport.close()


# What comes in.


def test_an_answer_comes_back_with_lower_case_names_and_the_time(transport: Transport) -> None:
    before = datetime.now(UTC)
    with Server(reply(202, b'{"ok":true}', {"X-Request-ID": "42", "Content-Type": "application/json"})) as server:
        response = transport.send(message(server), 5)
    assert response.status == 202
    assert response.body == b'{"ok":true}'
    assert response.headers["x-request-id"] == "42"
    assert response.received_at is not None
    assert before <= response.received_at <= before + timedelta(seconds=5)


def test_repeated_headers_are_joined(transport: Transport) -> None:
    raw = b"HTTP/1.1 429 Slow Down\r\nRetry-After: 1\r\nretry-after: 2\r\nContent-Length: 0\r\n\r\n"
    with Server(play(send(raw))) as server:
        assert transport.send(message(server), 5).headers["retry-after"] == "1, 2"


@pytest.mark.parametrize("status", [200, 204, 400, 401, 404, 413, 418, 429, 500, 503, 599, 999])
def test_any_status_is_an_answer(transport: Transport, status: int) -> None:
    with Server(reply(status, b"")) as server:
        assert transport.send(message(server), 5) == Response(
            status=status, headers={"content-length": "0"}, received_at=_any_time
        )


class _AnyTime:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, datetime)

    __hash__ = None  # type: ignore[assignment]


_any_time: Any = _AnyTime()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(transport: Transport, status: int) -> None:
    with Server() as elsewhere, Server(reply(status, b"moved", {"Location": elsewhere.url + "/x"})) as server:
        response = transport.send(message(server, Authorization=CANARY), 5)
        assert (response.status, response.body) == (status, b"moved")
        assert response.headers["location"] == elsewhere.url + "/x"
        assert elsewhere.connections == 0
        assert len(server.requests) == 1


def test_a_redirect_s_endless_body_is_not_read_to_its_end(transport: Transport) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: /y\r\nConnection: close\r\n\r\n"
    with Server(play(send(head), endless(b"x" * 65536, 64 * MAX_BODY), close())) as server:
        assert len(transport.send(message(server), 20).body) == MAX_BODY


def test_a_cookie_is_neither_kept_nor_sent_again(transport: Transport) -> None:
    with Server(reply(200, b"{}", {"Set-Cookie": "session=1; Path=/"})) as server:
        transport.send(message(server), 5)
        transport.send(message(server), 5)
        assert [received.header("cookie") for received in server.requests] == [None, None]


@pytest.mark.parametrize("framing", ["Content-Length: 1073741824\r\n", "Connection: close\r\n"])
def test_a_huge_body_is_cut_at_the_limit(transport: Transport, framing: str) -> None:
    head = f"HTTP/1.1 200 OK\r\n{framing}\r\n".encode()
    with Server(play(send(head), endless(b"x" * 65536, 64 * MAX_BODY), close()), reply(200, b"next")) as server:
        response = transport.send(message(server), 20)
        assert response.status == 200
        assert response.body == b"x" * MAX_BODY
        assert transport.send(message(server), 5).body == b"next"
        assert server.connections == 2


def test_a_body_in_chunks_is_cut_at_the_limit(transport: Transport) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Server(play(send(head), endless((b"400\r\n" + b"x" * 1024 + b"\r\n") * 64, 64 * MAX_BODY), close())) as server:
        assert len(transport.send(message(server), 20).body) == MAX_BODY


def test_a_chunk_of_size_minus_one_is_cut_at_the_limit(transport: Transport) -> None:
    # http.client takes it for "all there is".
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"
    with Server(play(send(head), endless(b"x" * 65536, 64 * MAX_BODY), close())) as server:
        assert len(transport.send(message(server), 20).body) == MAX_BODY


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "deflate", "raw"])
def test_an_encoded_answer_is_read_all_the_same(transport: Transport, encoding: str) -> None:
    plain = json.dumps({"status": "success", "filler": "x" * 5000}).encode()
    if encoding == "raw":
        packer = zlib.compressobj(wbits=-15)
        packed, encoding = packer.compress(plain) + packer.flush(), "deflate"
    else:
        packed = zlib.compress(plain) if encoding == "deflate" else gzip.compress(plain)
    with Server(reply(200, packed, {"Content-Encoding": encoding})) as server:
        assert transport.send(message(server), 5).body == plain


@pytest.mark.parametrize("layers", [1, 2])
def test_a_bomb_is_unpacked_no_further_than_the_limit(transport: Transport, layers: int) -> None:
    bomb = gzip.compress(bytes(16 * MAX_BODY))
    for _ in range(layers - 1):
        bomb = gzip.compress(bomb)
    encoding = ", ".join(["gzip"] * layers)
    with Server(reply(200, bomb, {"Content-Encoding": encoding})) as server:
        response = transport.send(message(server), 20)
    assert response.body == (bytes(MAX_BODY) if layers == 1 else bomb)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "nonsense"])
def test_a_lie_about_the_encoding_leaves_the_body_as_it_came(transport: Transport, encoding: str) -> None:
    with Server(reply(200, b'{"ok":true}', {"Content-Encoding": encoding})) as server:
        assert transport.send(message(server), 5).body == b'{"ok":true}'


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.1 200\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.1 200 OK\nContent-Length: 2\nConnection: close\n\n{}",
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"1;x=y\r\n{\r\n1\r\n}\r\n0\r\nT: 1\r\n\r\n"
        ),
    ],
)
def test_old_and_closing_servers_work(transport: Transport, raw: bytes) -> None:
    with Server(play(send(raw), close())) as server:
        for _ in range(3):
            response = transport.send(message(server), 5)
            assert (response.status, response.body) == (200, b"{}")
        assert len(server.requests) == 3


def test_a_success_that_is_cut_off_is_no_answer(transport: Transport) -> None:
    with Server(play(send(answer(200, b"{ }", {"Content-Length": "500"})), close())) as server:
        with pytest.raises(TransportError, match="cut off") as caught:
            transport.send(message(server), 5)
    assert caught.value.sent


def test_a_failure_that_is_cut_off_is_told_by_its_status(transport: Transport) -> None:
    cut = play(send(answer(413, b"too lar", {"Content-Length": "500"})), close())
    with Server(cut, reply(200)) as server:
        response = transport.send(message(server), 5)
        assert (response.status, response.body) == (413, b"too lar")
        assert transport.send(message(server), 5).status == 200
        assert server.connections == 2


# No answer.


def test_a_refused_connection_is_known_not_to_have_sent_anything(transport: Transport) -> None:
    request = Request(url=f"http://127.0.0.1:{closed_port()}/x?key={CANARY}", headers={}, body=b"")
    with pytest.raises(TransportError, match="connection refused") as caught:
        transport.send(request, 5)
    assert not caught.value.sent
    assert not isinstance(caught.value, DestinationFault)


def test_a_name_that_is_not_found_is_known_not_to_have_sent_anything(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(TransportError, match="was not found") as caught:
        transport.send(Request(url="https://api.example.test/", headers={}, body=b""), 5)
    assert not caught.value.sent


@pytest.mark.parametrize("read", [None, 1, 5000])
def test_a_reset_is_ambiguous(transport: Transport, read: int | None) -> None:
    with Server(play(reset(), read=read)) as server:
        with pytest.raises(TransportError, match=r"the connection was (reset|closed without an answer)") as caught:
            transport.send(message(server, body=b"x" * 10_000_000), 5)
        assert caught.value.sent
        assert len(server.requests) == 1


def test_a_close_without_an_answer_is_said(transport: Transport) -> None:
    with Server(play(close())) as server:
        with pytest.raises(TransportError, match="the connection was closed without an answer") as caught:
            transport.send(message(server), 5)
    assert caught.value.sent


NOT_HTTP = {
    "nothing like it": b"SSH-2.0-OpenSSH_9.2\r\n",
    "no version": b"200 OK\r\n\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "another version": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a word for a status": b"HTTP/1.1 fine OK\r\n\r\n",
    "a status below 100": b"HTTP/1.1 42 OK\r\n\r\n",
    "a status above 999": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a negative status": b"HTTP/1.1 -200 OK\r\n\r\n",
    "zeros": bytes(100),
    "a line without end": b"HTTP/1.1 200 " + b"x" * 100_000,
    "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "ten thousand headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    "half a status line": b"HTTP/1.1 20",
}


@pytest.mark.parametrize("raw", NOT_HTTP.values(), ids=NOT_HTTP.keys())
def test_what_is_not_http_is_no_answer_and_ends_the_connection(transport: Transport, raw: bytes) -> None:
    with Server(play(send(raw), close()), reply(200)) as server:
        with pytest.raises(TransportError) as caught:
            transport.send(message(server), 5)
        assert caught.value.sent
        assert not isinstance(caught.value, DestinationFault)
        assert transport.send(message(server), 5).status == 200
        assert server.connections == 2


CHUNKS = {
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "a word for a size": b"zz\r\nabc\r\n0\r\n\r\n",
    "a size of -1": b"-1\r\nabc\r\n0\r\n\r\n",
    "a size of -5": b"-5\r\nabc\r\n0\r\n\r\n",
    "a size of 2 to the 63": b"8000000000000000\r\nabc\r\n0\r\n\r\n",
    "a huge size": b"f" * 100 + b"\r\nabc\r\n0\r\n\r\n",
    "a size line without end": b"1" * 100_000,
    "no end": b"3\r\nabc\r\n",
    "half a size": b"3",
    "nothing": b"",
}


@pytest.mark.parametrize("raw", CHUNKS.values(), ids=CHUNKS.keys())
def test_damaged_chunks_are_no_answer_and_end_the_connection(transport: Transport, raw: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Server(play(send(head + raw), close()), reply(200)) as server:
        with pytest.raises(TransportError) as caught:
            transport.send(message(server), 5)
        assert caught.value.sent
        assert transport.send(message(server), 5).status == 200
        assert server.connections == 2


def test_endless_trailers_end_at_the_deadline(transport: Transport) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    with Server(play(send(head), stall())) as server, within(0.3):
        with pytest.raises(TransportError, match=r"no answer within 0.3 s"):
            transport.send(message(server), 0.3)


@pytest.mark.parametrize(
    "script",
    [
        play(reset()),
        play(close()),
        play(send(b"nonsense"), close()),
        play(send(answer(200, b"{}", {"Content-Length": "9"})), close()),
        play(stall()),
    ],
)
def test_no_secret_is_in_an_error(transport: Transport, script: Any) -> None:
    with Server(script) as server:
        request = message(server, f"/{CANARY}?key={CANARY}", CANARY.encode(), Authorization=f"Bearer {CANARY}")
        with pytest.raises(TransportError) as caught:
            transport.send(request, 0.3)
    assert CANARY not in repr(caught.value) + "".join(traceback.format_exception(caught.value))


# The deadline.


class within:  # noqa: N801  reads as a word
    """The block ends not before its deadline, and not much later."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        took = time.monotonic() - self.began
        assert took < self.seconds + GRACE
        assert took > self.seconds * 0.9


@pytest.mark.parametrize(
    "script",
    [
        play(stall()),
        play(send(b"HTTP/1.1 200 OK\r\nContent-"), stall()),
        play(send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"), stall()),
        play(send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"), drip(b"x" * 50, every=0.05)),
        play(send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), drip(b"1\r\nx\r\n" * 20, every=0.05)),
        play(send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"), drip(b"x" * 50, every=0.05)),
    ],
    ids=["silence", "half the headers", "no body", "a slow body", "slow chunks", "a slow body without a length"],
)
def test_a_slow_answer_ends_at_the_deadline(transport: Transport, script: Any) -> None:
    with Server(script) as server, within(0.3):
        with pytest.raises(TransportError, match=r"no answer within 0.3 s") as caught:
            transport.send(message(server), 0.3)
    assert caught.value.sent


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"T: x\r\n" * 20,
    ],
    ids=["headers", "trailers"],
)
def test_slow_headers_end_at_the_deadline(raw: bytes) -> None:
    # urllib3 only: requests has no place where a limit for headers could be put, and says so.
    transport = Urllib3Transport()
    with Server(play(drip(raw, every=0.02))) as server, within(0.3):
        with pytest.raises(TransportError, match=r"no answer within 0.3 s"):
            transport.send(message(server), 0.3)


def test_a_server_that_does_not_read_ends_at_the_deadline(transport: Transport) -> None:
    with Server(play(stall(), read=1)) as server, within(0.3):
        with pytest.raises(TransportError, match=r"no answer within 0.3 s") as caught:
            transport.send(message(server, body=bytes(16_000_000)), 0.3)
    assert caught.value.sent


def test_an_answer_that_is_slow_but_in_time_is_an_answer(transport: Transport) -> None:
    with Server(play(drip(answer(200, b"{}"), every=0.002))) as server:
        assert transport.send(message(server), 5).body == b"{}"
        assert len(server.requests) == 1


def test_a_connection_that_is_not_taken_ends_at_its_own_limit(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        # Linux takes one more than the backlog says; the rest of the handshakes stay unanswered.
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        try:
            with within(0.3), pytest.raises(TransportError, match=r"no connection within 0.3 s") as caught:
                transport.send(Request(url=f"http://127.0.0.1:{port}", headers={}, body=b""), 5, connect_timeout=0.3)
        finally:
            for filler in fillers:
                filler.close()
    assert not caught.value.sent


# Which transport.


def test_importing_the_package_imports_no_http_library() -> None:
    code = (
        "import sys, unitrack.transport as t; t.as_transport(None); t.DryRun();"
        "print(sorted({'urllib3', 'requests', 'http.client', 'certifi'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_no_transport_means_urllib3() -> None:
    assert isinstance(as_transport(None), Urllib3Transport)


def test_a_session_is_wrapped() -> None:
    with requests.Session() as session:
        assert isinstance(as_transport(session), RequestsTransport)


def test_a_transport_is_taken_as_it_is() -> None:
    mine = DryRun()
    assert as_transport(mine) is mine


class OtherClient:
    """Like httpx.Client: the same names, other arguments."""

    def send(self, request: object, *, stream: bool = False) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("wrong", ["https://proxy", 5, object(), Urllib3Transport, OtherClient(), requests])
def test_anything_else_is_a_wrong_configuration(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r"transport must be a requests\.Session"):
        as_transport(wrong)


def test_a_dry_run_keeps_requests_and_says_yes() -> None:
    transport = DryRun()
    request = Request(url="https://api.example.com/x", headers={"X-Key": "1"}, body=b"{}")
    response = transport.send(request, 5)
    assert (response.status, response.body) == (200, b"{}")
    assert transport.requests == [request]


def test_a_dry_run_finds_what_could_not_be_sent() -> None:
    with pytest.raises(InvalidMessage):
        DryRun().send(Request(url="https://api.example.com", headers={"X-Key": "a\nb"}, body=b""), 5)
