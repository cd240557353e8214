"""Forms in which several vendors want the same thing: ids, times, credentials, bodies. Pure, one line each."""

import base64
import gzip
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import orjson

from .message import Message, PlainTrack
from .values import JsonObject

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_is_uuid = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII | re.IGNORECASE).fullmatch
#: Fixed for ever: it turns a caller's message id into the same UUID on every attempt and every machine.
_NAMESPACE = UUID("6a1c1f0e-5d0b-5b7e-9a53-3f0b1f7c2d44")


def repeat_key(message: Message) -> str:
    """Return the id by which a vendor with one member for it is to know a repeat.

    A key that the caller chose goes before an id of ours, and an id that the caller chose before that.
    """
    own = message.message_id if message.has_own_id else message.idempotency_key
    return own or message.message_id or ""


def as_uuid(text: str) -> str:
    """Return a UUID as it is, and any other text as a UUID of version 5 that is always the same.

    >>> as_uuid("11111111-2222-4333-8444-555555555555")
    '11111111-2222-4333-8444-555555555555'
    >>> as_uuid("order-7") == as_uuid("order-7")
    True
    """
    return text if _is_uuid(text) else str(uuid5(_NAMESPACE, text))


def scoped(key: str, scope: str) -> str:
    """Return an id that differs from scope to scope, for vendors that know repeats across all that they are sent.

    >>> scoped("order-7", "") == "order-7", scoped("order-7", "eu") == scoped("order-7", "us")
    (True, False)
    """
    return str(uuid5(_NAMESPACE, f"{scope}\n{key}")) if scope else key


def instant_of(message: Message) -> datetime:
    """Return when it happened; the snapshot has set it."""
    when: Any = message.timestamp
    assert isinstance(when, datetime)  # noqa: S101
    return when


def iso(when: datetime, timespec: str = "milliseconds") -> str:
    """Return ISO-8601 text with its offset, cut to ``timespec``; UTC is written ``Z``.

    >>> iso(datetime(2026, 1, 15, 12, 0, 0, 123999, UTC))
    '2026-01-15T12:00:00.123Z'
    """
    if when.tzinfo is UTC and when.microsecond and timespec == "milliseconds":
        # "2026-01-15T12:00:00.123999+00:00", in a quarter of the time that isoformat takes for it
        return orjson.dumps(when)[1:24].decode() + "Z"
    text = when.isoformat(timespec=timespec)
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def iso_in_utc(when: datetime) -> str:
    """Return the same instant in UTC, with ``+00:00`` in full.

    >>> iso_in_utc(datetime.fromisoformat("2026-01-15T17:30:00.123+05:30"))
    '2026-01-15T12:00:00.123+00:00'
    """
    return iso(when.astimezone(UTC))[:-1] + "+00:00"


def plain_in_utc(track: PlainTrack) -> str:
    """Return the time of a plain track as :func:`iso_in_utc` writes it."""
    return track.timestamp[:-1] + "+00:00"


def epoch(when: datetime, unit: timedelta = timedelta(milliseconds=1)) -> int:
    """Return whole units since 1970, cut; default: milliseconds.

    >>> epoch(datetime(1970, 1, 1, 0, 0, 1, 999, UTC)), epoch(datetime(1970, 1, 2, tzinfo=UTC), timedelta(seconds=1))
    (1000, 86400)
    """
    return (when - _EPOCH) // unit


def basic(user: str, password: str = "") -> str:
    """Return the ``Authorization`` header of HTTP Basic for UTF-8 credentials.

    >>> basic("key")
    'Basic a2V5Og=='
    """
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def zipped(headers: Mapping[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a request in gzip.

    Level 1: three times smaller already. Without a time in its header the same batch is the same bytes.
    """
    return {**headers, "Content-Encoding": "gzip"}, gzip.compress(body, 1, mtime=0)


def filled(given: Mapping[str, Any], **members: Any) -> JsonObject:
    """Add the members that have a value and that the caller did not name."""
    assert isinstance(given, JsonObject)  # noqa: S101  # the snapshot sees to it
    extra = {name: value for name, value in members.items() if value and name not in given}
    return given.extended(extra) if extra else given
