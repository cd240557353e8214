"""What an HTTP answer means, status by status."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.answers import (
    MAX_EXCERPT,
    SPLIT_STATUS,
    clocks_apart,
    describe,
    is_html,
    json_body,
    outcome_of,
    retry_after,
)
from unitrack.wire import Delivered, Hold, Rejected, Response, Retry

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


def answer(status: int, body: bytes = b"", at: datetime | None = NOW, /, **headers: str) -> Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers=names, body=body, received_at=at)


CLASSES: Mapping[type, tuple[int, ...]] = {
    Delivered: (200, 201, 202, 204, 207, 226, 299),
    Retry: (408, 425, 429, 500, 502, 503, 504, 506, 507, 508, 520, 521, 524, 529, 598, 599),
    Hold: (100, 101, 300, 301, 302, 303, 304, 307, 308, 401, 403, 404, 405, 406, 407, 410, 415, 421, 501, 505, 511),
    Rejected: (400, 402, 409, 411, 412, 413, 414, 417, 418, 422, 423, 424, 426, 428, 431, 451, 499),
}


@pytest.mark.parametrize(
    ("status", "verdict"), [(status, verdict) for verdict, group in CLASSES.items() for status in group]
)
def test_each_status_has_its_class(status: int, verdict: type) -> None:
    outcome = outcome_of(answer(status, b'{"message":"why"}'))
    assert type(outcome) is verdict
    if not isinstance(outcome, Delivered):
        assert outcome.code == status
        assert outcome.reason.startswith(f"{status}: ")


def test_what_may_blame_one_message_for_a_batch_is_rejected_not_retried() -> None:
    assert {type(outcome_of(answer(status))) for status in SPLIT_STATUS} == {Rejected}


def test_a_reason_of_the_providers_own_stands_in_place_of_the_body() -> None:
    assert outcome_of(answer(400, b"<xml/>"), reason="no such plan") == Rejected("no such plan", 400)


@pytest.mark.parametrize("body", [b"", b"OK", b"null", b"[]", b"<ok/>", b'{"result":true}', b"\xff\x00", b"{" * 9])
def test_a_2xx_that_is_no_page_is_delivered_whatever_it_says(body: bytes) -> None:
    assert outcome_of(answer(200, body)) == Delivered()


PAGES = [
    b"<!DOCTYPE html><title>Login</title>",
    b"<!doctype HTML>",
    b"<html><body>Please log in</body></html>",
    b"<HTML>",
    b"\r\n\t <html>",
    b"\n" * 5_000 + b"<html>",
    b"\xef\xbb\xbf<!DOCTYPE html>",
    b"\xef\xbb\xbf\n<html>",
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: repr(page[:20]))
def test_a_2xx_with_an_html_page_is_no_delivery(page: bytes) -> None:
    outcome = outcome_of(answer(200, page))
    assert isinstance(outcome, Hold)
    assert outcome.code == 200
    assert "a proxy or login page answered" in outcome.reason


def test_what_calls_itself_html_is_a_page_if_it_looks_like_one() -> None:
    assert is_html(answer(200, b"<!-- proxy --><p>Log in</p>", content_type="Text/HTML; charset=utf-8"))
    assert not is_html(answer(200, b"OK", content_type="text/html"))
    assert not is_html(answer(200, b"", content_type="text/html"))
    assert not is_html(answer(200, b'{"html":"<html>"}', content_type="application/json"))


# -- Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("3", 3.0),
        (" 120 ", 120.0),
        ("0.5", 0.5),
        ("99999999", 99_999_999.0),
        ("1e9", 1e9),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("1e400", None),
        ("9" * 5_000, None),
        ("3 seconds", None),
        ("3, 5", None),
        ("Wed, 99 Foo 2026 12:00:00 GMT", None),
        ("Thu, 15 Jan 99999999999999999999 12:00:00 GMT", None),
        ("\x00", None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_wait_in_seconds_is_read_and_rubbish_is_none(value: str, seconds: float | None) -> None:
    assert retry_after(answer(503, retry_after=value)) == seconds
    assert outcome_of(answer(503, retry_after=value)) == Retry("503 without a body", seconds, 503)


def test_no_header_is_no_wait() -> None:
    assert retry_after(answer(429)) is None


@pytest.mark.parametrize(
    "date",
    [
        "Thu, 15 Jan 2026 12:00:07 GMT",
        "Thursday, 15-Jan-26 12:00:07 GMT",
        "Thu Jan 15 12:00:07 2026",
        "Thu, 15 Jan 2026 12:00:07 -0000",
    ],
)
def test_a_date_in_any_form_of_http_is_a_wait_until_then(date: str) -> None:
    assert retry_after(answer(503, retry_after=date)) == 7.0


@pytest.mark.parametrize("off", [timedelta(hours=1), -timedelta(hours=1), timedelta(days=400)], ids=str)
def test_a_server_whose_clock_is_off_still_means_three_seconds(off: timedelta) -> None:
    theirs = NOW + off
    date, until = (format_datetime(when, usegmt=True) for when in (theirs, theirs + timedelta(seconds=3)))
    assert retry_after(answer(503, date=date, retry_after=until)) == 3.0


def test_a_date_in_the_past_is_no_wait() -> None:
    assert retry_after(answer(503, retry_after="Thu, 15 Jan 2026 11:00:00 GMT")) == 0.0


def test_a_date_needs_a_clock_to_be_measured_by() -> None:
    date = "Thu, 15 Jan 2026 12:00:07 GMT"
    assert retry_after(answer(503, b"", None, retry_after=date)) is None
    assert retry_after(answer(503, b"", NOW.replace(tzinfo=None), retry_after=date)) is None
    assert retry_after(answer(503, b"", None, retry_after=date, date="Thu, 15 Jan 2026 12:00:00 GMT")) == 7.0
    assert retry_after(answer(503, retry_after=date, date="rubbish")) == 7.0


@pytest.mark.parametrize("off", [timedelta(minutes=1), -timedelta(hours=5), timedelta(days=30)], ids=str)
def test_clocks_that_differ_by_a_minute_are_named_with_both_times(off: timedelta) -> None:
    said = clocks_apart(answer(401, date=format_datetime(NOW + off, usegmt=True)))
    assert said is not None
    assert f"{NOW + off:%Y-%m-%d %H:%M:%S} UTC" in said
    assert f"{NOW:%Y-%m-%d %H:%M:%S} UTC" in said


def test_clocks_that_agree_or_cannot_be_compared_are_no_remark() -> None:
    date = format_datetime(NOW + timedelta(seconds=59), usegmt=True)
    assert clocks_apart(answer(401, date=date)) is None
    assert clocks_apart(answer(401, date="rubbish")) is None
    assert clocks_apart(answer(401)) is None
    assert clocks_apart(answer(401, b"", None, date="Thu, 15 Jan 2020 12:00:00 GMT")) is None
    assert clocks_apart(answer(401, b"", NOW.replace(tzinfo=None), date="Thu, 15 Jan 2020 12:00:00 GMT")) is None


# -- what is said of it


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "400 without a body"),
        (b" \r\n\t", "400 without a body"),
        (b'{"a":\r\n  1}', '400: {"a": 1}'),
        (b"a\x00b\x1b[31mc", "400: a b [31mc"),
        ("a\u2028b\u202ec".encode(), "400: a b c"),
        (b"\xff\xfe", "400: \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"),
        (b"x" * 10_000, "400: " + "x" * MAX_EXCERPT),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_an_answer_is_described_in_one_printable_line(body: bytes, said: str) -> None:
    assert describe(answer(400, body)) == said


@pytest.mark.parametrize("status", [300, 302, 399])
def test_a_redirect_says_what_to_do(status: int) -> None:
    assert describe(answer(status, b"<html>", location="https://evil.example")) == (
        f"{status}: a redirect is never followed; correct base_url"
    )


@pytest.mark.parametrize("body", [b"", b"OK", b"{", b"\xff", b"NaN", b"[" * 100_000, b'"\\ud800"', b"\xef\xbb\xbf{}"])
def test_a_body_that_is_no_json_is_none(body: bytes) -> None:
    assert json_body(answer(200, body)) is None


def test_a_body_of_json_is_read() -> None:
    assert json_body(answer(200, b' {"a":[1,null]} ')) == {"a": [1, None]}


headers = st.dictionaries(st.sampled_from(["retry-after", "date", "content-type"]), st.text() | st.just("-1e999"))
bodies = st.binary() | st.text().map(str.encode) | st.sampled_from([*PAGES, b"[" * 5_000, b"9" * 5_000])


@given(st.integers(-1, 1_000), bodies, headers, st.none() | st.datetimes() | st.just(NOW))
def test_any_answer_has_a_verdict_with_a_printable_reason(
    status: int, body: bytes, headers: dict[str, str], at: datetime | None
) -> None:
    response = Response(status=status, headers=headers, body=body, received_at=at)
    outcome = outcome_of(response)
    json_body(response)
    if not isinstance(outcome, Delivered):
        assert outcome.reason.isprintable()
        assert len(outcome.reason) < MAX_EXCERPT + 50
    if isinstance(outcome, Retry) and outcome.after is not None:
        assert 0 <= outcome.after < float("inf")
    assert isinstance(outcome, Delivered) == (200 <= status < 300 and not is_html(response))
