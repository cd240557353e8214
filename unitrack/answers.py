"""What an HTTP answer means when a provider has nothing special to say about it.

===============================================  ==========
2xx, unless it is an HTML page                   Delivered
408, 425, 429, 500, 502, 503, 504, 520-529       Retry, not before ``Retry-After``
2xx with an HTML page, 3xx, 401, 403, 404, ...   Hold
400, 409, 413, 422 and the other 4xx             Rejected
===============================================  ==========

The delivery splits a batch that is rejected as a whole (400, 413, 422), so a provider need not.
"""

import math
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from .wire import Delivered, Hold, Outcome, Rejected, Response, Retry

RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 530)})
HOLD_STATUS = frozenset({401, 403, 404, 405, 406, 407, 410, 415, 421, 501, 505, 511})
#: Answers that may blame one message for a whole batch.
SPLIT_STATUS = frozenset({400, 413, 422})
MAX_EXCERPT = 500


def outcome_of(response: Response, *, reason: str | None = None) -> Outcome:
    """Give the verdict that the status alone tells.

    Args:
        response: any answer.
        reason: what to say instead of an excerpt of the body.
    """
    status = response.status
    if 200 <= status < 300:
        return (
            Hold(f"{status} with an HTML page: a proxy or login page answered, not the API", status)
            if is_html(response)
            else Delivered()
        )
    why = reason or describe(response)
    if status in RETRY_STATUS:
        return Retry(why, retry_after(response), status)
    if status < 200 or 300 <= status < 400 or status in HOLD_STATUS:
        return Hold(why, status)
    if status >= 500:
        return Retry(why, retry_after(response), status)
    return Rejected(why, status)


def describe(response: Response) -> str:
    """Say what came back in one printable line of at most 500 characters and the status."""
    if 300 <= response.status < 400:
        return f"{response.status}: a redirect is never followed; correct base_url"
    line = one_line(response.body[: 4 * MAX_EXCERPT].decode("utf-8", "replace"))
    return f"{response.status}: {line}" if line else f"{response.status} without a body"


def one_line(text: str, most: int = MAX_EXCERPT) -> str:
    """Return a vendor's text as one printable line of at most so many characters.

    >>> one_line("no such\\n  account\\x00", most=11)
    'no such acc'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:most]


def json_body(response: Response) -> Any:
    """Return the body as JSON data, or ``None`` if it is none; never raises."""
    try:
        return orjson.loads(response.body)
    except (ValueError, RecursionError):
        return None


def is_html(response: Response) -> bool:
    """Tell whether a page meant for people came back."""
    start = response.body.removeprefix(b"\xef\xbb\xbf").lstrip()[:200].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return True
    return "text/html" in response.headers.get("content-type", "").lower() and start.startswith(b"<")


def retry_after(response: Response) -> float | None:
    """Read ``Retry-After`` as seconds from now: a number, or a date measured by the server's own clock.

    Anything unreadable is ``None``, and then our own backoff decides.
    """
    value = response.headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        return _until(value, response)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def clocks_apart(response: Response) -> str | None:
    """Say both times where the server's clock and ours differ by a minute or more: what is signed is refused then."""
    there, here = _date(response.headers.get("date", "")), response.received_at
    if there is None or here is None or here.tzinfo is None or abs(there - here) < timedelta(minutes=1):
        return None
    return f"the server's clock says {there:%Y-%m-%d %H:%M:%S %Z}, this machine's {here:%Y-%m-%d %H:%M:%S %Z}"


def _until(value: str, response: Response) -> float | None:
    when = _date(value)
    # Against the answer's own Date, a server whose clock is off by an hour still means three seconds.
    base = _date(response.headers.get("date", "")) or response.received_at
    if when is None or base is None or base.tzinfo is None:
        return None
    return max(0.0, (when - base).total_seconds())


def _date(value: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # A date in C's asctime form, which HTTP still knows, has no zone: it is UTC as all of them are (RFC 9110, 5.6.7).
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
