"""What a receiver counts is what it took: nothing for a fault, a repeat as a repeat."""

import gzip
import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.receivers import HightouchReceiver, InteraktReceiver, Receiver, SuprSendReceiver, ThrivestackReceiver
from unitrack.receivers.suprsend import CONTENT_TYPE

from .posting import NOW, SECRET, WORKSPACE, basic, post, signed

EVENTS = "/v1/public/track/events/"


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW.timestamp()

    def __call__(self) -> float:
        return self.now


@contextmanager
def connected(receiver: Receiver) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection("127.0.0.1", int(receiver.url.rpartition(":")[2]), timeout=10)) as line:
        yield line


def sent(line: http.client.HTTPConnection, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any, Any]:
    """Post and return status, headers and JSON body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    line.request("POST", path, body=data, headers={"content-type": "application/json", **headers})
    response = line.getresponse()
    return response.status, response.headers, json.loads(response.read())


def event(number: int, user: str = "u") -> dict[str, Any]:
    return {"userId": user, "event": "Order Paid", "traits": {"number": number}}


def test_counts_what_it_took_and_keeps_the_order_of_each_user() -> None:
    with InteraktReceiver(api_key="k") as receiver, connected(receiver) as line:
        for number, user in enumerate("abab"):
            assert sent(line, EVENTS, event(number, user), basic("k"))[0] == 201
        assert sent(line, EVENTS, {"userId": "a"}, basic("k"))[0] == 400
    tally = receiver.tally
    assert (tally.requests, tally.received, tally.distinct, tally.repeats) == (5, 4, 4, 0)
    assert tally.answers == {201: 4, 400: 1}
    assert tally.refused == {"$: event is missing": 1}
    assert [message["traits"]["number"] for message in receiver.messages] == [0, 1, 2, 3]
    assert [message["traits"]["number"] for message in receiver.messages_of("b")] == [1, 3]


def test_bytes_are_those_of_the_bodies() -> None:
    with InteraktReceiver(api_key="k") as receiver, connected(receiver) as line:
        sent(line, EVENTS, event(1), basic("k"))
    assert receiver.tally.bytes == len(json.dumps(event(1)))


def test_fault_takes_nothing_and_ends_after_its_count() -> None:
    with InteraktReceiver(api_key="k") as receiver, connected(receiver) as line:
        receiver.answer_next(2, status=429, retry_after=1)
        answers = [sent(line, EVENTS, event(1), basic("k")) for _ in range(3)]
    assert [status for status, _, _ in answers] == [429, 429, 201]
    assert [headers["retry-after"] for _, headers, _ in answers] == ["1", "1", None]
    assert answers[0][2]["result"] is False
    assert receiver.tally.received == receiver.tally.distinct == 1
    assert receiver.tally.refused == {}


def test_outage_ends_with_its_time() -> None:
    clock = HandClock()
    with InteraktReceiver(api_key="k", clock=clock) as receiver, connected(receiver) as line:
        receiver.fail_for(2.0)
        assert sent(line, EVENTS, event(1), basic("k"))[0] == 503
        clock.now += 1.9
        assert sent(line, EVENTS, event(1), basic("k"))[0] == 503
        clock.now += 0.1
        assert sent(line, EVENTS, event(1), basic("k"))[0] == 201
    assert receiver.tally.received == 1


def test_vendor_without_ids_keeps_a_repeat_and_counts_it() -> None:
    with InteraktReceiver(api_key="k") as receiver, connected(receiver) as line:
        for _ in range(2):
            sent(line, EVENTS, event(1), basic("k"))
    assert (receiver.tally.received, receiver.tally.distinct, receiver.tally.repeats) == (2, 1, 1)
    assert len(receiver.messages) == 2


def test_suprsend_skips_a_known_key_for_a_day_and_still_says_success() -> None:
    clock = HandClock()
    body = {
        "$insert_id": "11111111-2222-4333-8444-555555555555",
        "$time": 1772366399000,
        "event": "order_paid",
        "env": WORKSPACE,
        "distinct_id": "u-42",
        "properties": {},
        "$idempotency_key": "order-7",
    }
    receiver = SuprSendReceiver(workspace_uid=WORKSPACE, api_key="k", clock=clock)
    headers = {"authorization": "Bearer k", "content-type": CONTENT_TYPE}
    with receiver, connected(receiver) as line:
        for _ in range(2):
            assert sent(line, "/v2/event/", body, headers)[0] == 202
        assert len(receiver.messages) == 1
        clock.now += 24 * 3600 + 1
        assert sent(line, "/v2/event/", body, headers)[0] == 202
    assert len(receiver.messages) == 2


def test_sample_shows_the_first_request_without_its_credentials() -> None:
    message = {
        "type": "identify",
        "userId": "u",
        "messageId": "m",
        "timestamp": "2026-03-01T12:00:00Z",
        "traits": {},
        "context": {},
        "integrations": {},
    }
    with HightouchReceiver(write_key="s3cr3t") as receiver, connected(receiver) as line:
        for key in ("wrong", "s3cr3t"):
            body = gzip.compress(json.dumps({"batch": [message], "writeKey": key}).encode())
            sent(line, "/v1/batch", body, {"content-encoding": "gzip"})
    sample = receiver.samples["identify"]
    assert json.loads(sample.body) == {"batch": [message], "writeKey": "••••"}
    assert "s3cr3t" not in repr(sample)


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ({"authorization": "Bearer s3cr3t"}, {"authorization": "Bearer ••••"}),
        ({"x-api-key": "s3cr3t"}, {"x-api-key": "••••"}),
    ],
)
def test_sample_masks_credentials_in_headers(header: dict[str, str], shown: dict[str, str]) -> None:
    key = {"token": "s3cr3t"} if "authorization" in header else {"api_key": "s3cr3t"}
    message = {"event_name": "E", "user_id": "u", "properties": {}, "timestamp": "2026-03-01T12:00:00Z"}
    with ThrivestackReceiver(**key) as receiver, connected(receiver) as line:
        sent(line, "/api/track", [message], header)
    sample = receiver.samples["track"]
    assert sample.headers.items() >= shown.items()
    assert "s3cr3t" not in repr(sample)


def test_signature_is_masked_and_the_workspace_is_not() -> None:
    request = signed("/v1/user/u/", {"name": "Ada"})
    clock = HandClock()
    receiver = SuprSendReceiver(workspace_key=WORKSPACE, workspace_secret=SECRET, clock=clock)
    with receiver, connected(receiver) as line:
        assert sent(line, request.path, request.body, dict(request.headers))[0] == 202
    assert receiver.samples["upsert"].headers["authorization"] == f"{WORKSPACE}:••••"


def test_url_before_the_start_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="with HightouchReceiver"):
        InteraktReceiver(api_key="k").url  # noqa: B018


def test_receiver_can_be_started_again_and_goes_on_counting() -> None:
    receiver = InteraktReceiver(api_key="k")
    for number in range(2):
        with receiver, connected(receiver) as line:
            sent(line, EVENTS, event(number), basic("k"))
    assert receiver.tally.received == 2


def test_stopping_cuts_connections() -> None:
    with InteraktReceiver(api_key="k") as receiver, connected(receiver) as line:
        sent(line, EVENTS, event(1), basic("k"))
        port = line.port
        receiver.stop()
        with pytest.raises(OSError):  # noqa: PT012  # either end of the exchange may notice first
            line.request("POST", EVENTS, body=b"{}")
            line.getresponse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def raw(receiver: Receiver, data: bytes) -> bytes:
    """Send bytes and return all that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", int(receiver.url.rpartition(":")[2])), timeout=10) as line:
        line.sendall(data)
        return b"".join(iter(lambda: line.recv(65536), b""))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", 413),
        (b"x" * 70_000, 431),
        (b"POST / HTTP/1.1\r\nconnection: close\r\n\r\n", 404),
    ],
)
def test_what_is_no_request_is_answered_and_cut(data: bytes, status: int) -> None:
    with InteraktReceiver(api_key="k") as receiver:
        assert raw(receiver, data).startswith(b"HTTP/1.1 %d " % status)


def test_requests_in_one_packet_or_in_many_are_the_same() -> None:
    body = json.dumps(event(1)).encode()
    head = (
        f"POST {EVENTS} HTTP/1.1\r\nauthorization: {basic('k')['authorization']}\r\ncontent-type: application/json\r\n"
    )
    one = (head + f"content-length: {len(body)}\r\n\r\n").encode() + body
    last = one.replace(b"content-type", b"connection: close\r\ncontent-type")
    with InteraktReceiver(api_key="k") as receiver:
        assert raw(receiver, one + last).count(b"HTTP/1.1 201") == 2
        with socket.create_connection(("127.0.0.1", int(receiver.url.rpartition(":")[2])), timeout=10) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in last:
                line.sendall(bytes([byte]))
            assert line.recv(65536).startswith(b"HTTP/1.1 201")
    assert receiver.tally.received == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["batch", "writeKey", "type", "userId", "event", "traits", "properties", "$user_operations"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(body=st.binary(max_size=64) | JSON.map(lambda value: json.dumps(value).encode()), data=st.data())
def test_any_body_gets_an_answer_with_a_verdict(body: bytes, data: st.DataObject) -> None:
    receiver, request = data.draw(
        st.sampled_from(
            [
                (HightouchReceiver(write_key="k"), post("/v1/batch", body, basic("k"))),
                (InteraktReceiver(api_key="k"), post(EVENTS, body, basic("k"))),
                (ThrivestackReceiver(token="t"), post("/api/group", body, {"authorization": "Bearer t"})),
                (SuprSendReceiver(workspace_key=WORKSPACE, workspace_secret=SECRET), signed("/event/", body)),
                (SuprSendReceiver(workspace_key=WORKSPACE, workspace_secret=SECRET), signed("/v2/bulk/event/", body)),
            ]
        )
    )
    answer = receiver.judge(request)
    json.loads(answer.body)
    assert answer.taken or answer.refused
