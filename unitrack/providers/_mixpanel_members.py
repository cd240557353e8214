"""Who, when and which, in the forms that Mixpanel takes; and the options of a message."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..errors import Unsupported
from ..forms import epoch, instant_of, repeat_key, scoped
from ..message import Message
from ..values import JsonObject

#: What /import takes neither as distinct_id nor as $insert_id (docs), because it stands for nobody.
NOBODY = frozenset(
    {
        "00000000-0000-0000-0000-000000000000", "anon", "anonymous", "nil", "none", "null", "n/a", "na", "undefined",
        "unknown", "<nil>", "0", "-1", "true", "false", "[]", "{}",
    }
)  # fmt: skip

_EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
# A smaller number of milliseconds, from before 1973-03-03, looks like seconds in a far future.
_LEAST_MILLISECONDS = 10**11

_is_insert_id = re.compile(r"[A-Za-z0-9-]{1,36}").fullmatch
# A value, not a name, and a whole text: a quote inside of one has a backslash before it.
_ZONED = re.compile(
    rb'(?<=[:,\[])"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?[+-](?!00:00)\d\d:\d\d)"(?!:)', re.ASCII
)


def somebody(given: str | None) -> str:
    """Return an id, or an empty text for none.

    Raises:
        Unsupported: it is one that stands for nobody.
    """
    if given and given.lower() in NOBODY:
        raise Unsupported(f"Mixpanel takes no id like {given!r}, which stands for nobody; leave it out")
    return given or ""


def instant(message: Message) -> datetime:
    """Return when it happened.

    Raises:
        Unsupported: before 1971, which Mixpanel does not take (docs).
    """
    when = instant_of(message)
    if when < _EARLIEST:
        raise Unsupported("Mixpanel takes times from 1971-01-01 on")
    return when


def time(message: Message) -> float:
    """Return when it happened in milliseconds since 1970, or in seconds where milliseconds would be taken for them."""
    milliseconds = epoch(instant(message))
    return milliseconds if milliseconds >= _LEAST_MILLISECONDS else milliseconds / 1000


def insert_id(message: Message) -> str:
    """Return the id by which a repeat is known: the message's own if its form is right (docs), else a UUID of it."""
    key = repeat_key(message)
    return key if _is_insert_id(key) and key.lower() not in NOBODY else scoped(key, "mixpanel")


def table(message: Message, name: str) -> Mapping[str, Any]:
    """Return an option that is a table; empty if it was not given.

    Raises:
        Unsupported: it is something else.
    """
    value = message.options.get(name) or {}
    if not isinstance(value, Mapping):
        raise Unsupported(f"Mixpanel takes options.{name} as a table")
    return value


def meta(message: Message) -> Mapping[str, Any]:
    """Return what stands beside the operation on a profile.

    Raises:
        Unsupported: a name that is not known there, and might be one of ours.
    """
    given = table(message, "meta")
    if not given.keys() <= {"$ip", "$ignore_time"}:
        raise Unsupported("Mixpanel takes $ip and $ignore_time as options.meta, nothing else")
    return given


def in_utc(members: Mapping[str, Any]) -> JsonObject:
    """Return the members with their times in UTC, as which Mixpanel reads the clock of every time."""
    assert isinstance(members, JsonObject)  # noqa: S101  # the snapshot sees to it
    raw = _ZONED.sub(_moved, members.raw)
    return members if raw == members.raw else JsonObject(raw)


def _moved(found: re.Match[bytes]) -> bytes:
    try:
        when = datetime.fromisoformat(found[1].decode()).astimezone(UTC)
    except (ValueError, OverflowError):
        return found[0]
    return b'"%b"' % when.isoformat().encode()
