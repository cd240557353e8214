"""The fake transport: it answers as told, and keeps what was sent."""

import gzip
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from unitrack.errors import TransportError
from unitrack.testing import FakeTransport, body_of, reply
from unitrack.transport import Transport
from unitrack.wire import Request, Response


def request(body: bytes = b"{}", **headers: str) -> Request:
    return Request(url="https://api.acme.example/v1/items", headers=headers, body=body)


def statuses(transport: FakeTransport, count: int) -> list[int]:
    return [transport.send(request(), timeout=1.0).status for _ in range(count)]


def test_it_is_a_transport() -> None:
    assert isinstance(FakeTransport(), Transport)


def test_without_a_script_everything_is_a_success() -> None:
    assert FakeTransport().send(request(), timeout=1.0) == Response(status=200)


def test_one_answer_is_for_all_requests() -> None:
    assert statuses(FakeTransport(503), 3) == [503, 503, 503]


def test_a_list_gives_one_answer_after_the_other_and_the_last_one_stays() -> None:
    assert statuses(FakeTransport([503, reply(429), 200]), 5) == [503, 429, 200, 200, 200]


def test_an_empty_list_of_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="list of answers is empty"):
        FakeTransport([])


def test_a_function_decides_by_the_request() -> None:
    transport = FakeTransport(lambda request: 400 if b"bad" in request.body else 200)
    assert transport.send(request(b'"bad"'), timeout=1.0).status == 400
    assert transport.send(request(b'"good"'), timeout=1.0).status == 200


@pytest.mark.parametrize("script", [TransportError("refused"), lambda request: TransportError("refused")])
def test_an_exception_stands_for_no_answer(script: object) -> None:
    transport = FakeTransport(script)
    with pytest.raises(TransportError, match="refused"):
        transport.send(request(), timeout=1.0)
    assert len(transport.requests) == 1


def test_it_keeps_requests_in_order_and_reads_their_json() -> None:
    transport = FakeTransport()
    for number in range(3):
        transport.send(request(b'{"n":%d}' % number), timeout=1.0)
    assert transport.bodies == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert transport.requests[1].url == "https://api.acme.example/v1/items"


def test_a_body_is_read_through_gzip_whatever_the_case_of_the_header() -> None:
    sent = Request(url="https://a.example", headers={"Content-Encoding": "gzip"}, body=gzip.compress(b'{"a":1}'))
    assert body_of(sent) == {"a": 1}


def test_requests_that_were_handed_out_do_not_change_afterwards() -> None:
    transport = FakeTransport()
    transport.send(request(), timeout=1.0)
    before = transport.requests
    transport.send(request(), timeout=1.0)
    assert len(before) == 1


def test_cleared_it_begins_anew() -> None:
    transport = FakeTransport([503, 200])
    assert statuses(transport, 2) == [503, 200]
    transport.clear()
    assert transport.requests == ()
    assert statuses(transport, 2) == [503, 200]


def test_threads_get_every_answer_of_a_list_once() -> None:
    answers = [200 + number for number in range(100)]
    transport = FakeTransport([*answers, 500])
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: transport.send(request(), timeout=1.0).status, answers))
    assert sorted(found) == answers
    assert len(transport.requests) == 100


def test_an_answer_that_blocks_does_not_block_other_threads() -> None:
    go = threading.Event()

    def answer(request: Request) -> int:
        return 200 if request.body == b'"quick"' or go.wait(5.0) else 500

    transport = FakeTransport(answer)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(transport.send, request(b'"slow"'), timeout=1.0)
        assert transport.send(request(b'"quick"'), timeout=1.0).status == 200
        go.set()
        assert slow.result(5.0).status == 200


def test_it_remembers_that_it_was_closed() -> None:
    transport = FakeTransport()
    transport.close()
    assert transport.closed


def test_a_reply_has_lower_case_headers_and_json() -> None:
    made = reply(429, {"message": "slow down"}, {"Retry-After": "2"})
    assert made.headers == {"content-type": "application/json", "retry-after": "2"}
    assert made.body == b'{"message":"slow down"}'


def test_a_reply_without_data_is_empty() -> None:
    assert reply(204) == Response(status=204)
