"""SuprSend: what its answers mean, for a single event and for each event of a bulk."""

import pytest

from unitrack.providers.suprsend import SuprSend
from unitrack.testing.transports import reply
from unitrack.wire import Delivered, Hold, Rejected, Response, Retry

WORKSPACE = "wk_0123456789abcdefghij"
SECRET = "ws-secret-canary-0123"
SIGNED = SuprSend(workspace_key=WORKSPACE, workspace_secret=SECRET)


def kinds(response, count=1):
    return [type(outcome) for outcome in SIGNED.outcomes(response, [None] * count)]


OK = {"status": "success", "message_id": "m", "status_code": 202}


def failed(code, message="no such template"):
    return {"status": "error", "status_code": code, "error": {"type": "invalid", "message": message}}


@pytest.mark.parametrize(
    "body", [b"OK", b'"OK"', b"", b"{}", b"[]", b"null", b'{"status":"success"}', b"\xff\xfe", b"[" * 5000]
)
def test_any_2xx_without_a_verdict_takes_all(body):
    assert kinds(Response(status=202, body=body), 3) == [Delivered] * 3


def test_each_record_speaks_for_the_event_at_its_place():
    answer = reply(207, {"status": "partial", "records": [OK, failed(429), failed(400), failed(503), failed(404), OK]})
    assert kinds(answer, 6) == [Delivered, Retry, Rejected, Retry, Rejected, Delivered]
    rejected = SIGNED.outcomes(answer, [None] * 6)[2]
    assert (rejected.reason, rejected.code) == ("400: invalid: no such template", 400)


def test_a_record_to_repeat_waits_as_long_as_the_server_says():
    answer = reply(207, {"status": "partial", "records": [OK, failed(429)]}, {"Retry-After": "7"})
    assert SIGNED.outcomes(answer, [None] * 2)[1].after == 7.0


def test_an_event_without_a_record_is_repeated():
    answer = reply(202, {"status": "success", "records": [OK]})
    assert kinds(answer, 3) == [Delivered, Retry, Retry]
    assert kinds(reply(202, {"status": "success", "records": []}), 2) == [Retry, Retry]
    assert kinds(reply(202, {"status": "success", "records": "all"}), 2) == [Retry, Retry]


def test_records_beyond_what_was_sent_are_ignored():
    assert kinds(reply(202, {"status": "success", "records": [OK, failed(400), OK, OK]}), 2) == [Delivered, Rejected]


@pytest.mark.parametrize(
    "record", [None, 7, "OK", [], {}, {"status": 1}, {"status_code": True}, {"status_code": 1e308}]
)
def test_a_record_that_says_nothing_is_repeated(record):
    assert kinds(reply(207, {"records": [record, OK]}), 2) == [Retry, Delivered]


@pytest.mark.parametrize(
    "record",
    [{"status": "error"}, {"status": "error", "error": None}, {"status": "error", "status_code": 200, "error": "no"}],
)
def test_a_record_that_says_error_without_a_code_is_rejected(record):
    assert kinds(reply(207, {"records": [record, OK]}), 2) == [Rejected, Delivered]


def test_a_2xx_that_says_error_is_rejected_with_the_vendors_words():
    (outcome,) = SIGNED.outcomes(reply(200, {"status": "error", "error": {"type": "t", "message": "bad key"}}), [None])
    assert outcome == Rejected("200: t: bad key", 200)
    assert kinds(reply(200, {"status": "error"}), 3) == [Rejected] * 3


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, Rejected), (401, Hold), (403, Hold), (404, Hold), (413, Rejected), (429, Retry), (500, Retry)],
)
def test_an_error_for_the_whole_bulk_says_what_the_vendor_said(status, expected):
    outcomes = SIGNED.outcomes(reply(status, failed(status)), [None] * 2)
    assert [type(outcome) for outcome in outcomes] == [expected] * 2
    assert outcomes[0].reason == f"{status}: invalid: no such template"


def test_a_page_for_people_is_no_verdict_on_events():
    page = Response(status=200, headers={"content-type": "text/html"}, body=b"<!doctype html><p>Log in")
    assert kinds(page, 2) == [Hold, Hold]


def test_a_long_or_unprintable_reason_is_one_short_line():
    (outcome,) = SIGNED.outcomes(reply(400, failed(400, "a\r\nb\x00" + "x" * 10_000)), [None])
    assert outcome.reason.startswith("400: invalid: a b x")
    assert len(outcome.reason) <= 510
