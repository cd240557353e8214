"""Hypothesis strategies: messages driven by what a provider says it takes, and answers of every kind."""

import json
from collections.abc import Sequence
from datetime import UTC, timedelta, timezone
from typing import Any

from attrs import evolve

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import DrawFn, SearchStrategy
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("unitrack.testing needs Hypothesis here: pip install 'unitrack-sdk[testing]'") from error

from ..attachment import Attachment
from ..message import KINDS, Message, Track
from ..phone import Phone
from ..snapshot import snapshot
from ..wire import Capabilities, Response
from .samples import FREE_MEMBER, NOW, checked, identity_for

_ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=8))])

#: Names as people give them to events, categories and groups.
titles = st.from_regex(r"[A-Z][a-z]{2,9}( [A-Z][a-z]{2,9})?", fullmatch=True)
#: Names of members as people give them.
keys = st.from_regex(r"[a-z]{3,8}(_[a-z]{1,6})?", fullmatch=True)
identifiers = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,39}", fullmatch=True)
phones = st.builds(Phone, st.from_regex(r"[1-9][0-9]{7,11}", fullmatch=True), st.sampled_from(["+91", "+1", "44"]))
attachments = st.builds(Attachment, st.just("https://shop.example/invoice-7.pdf"), st.none() | st.just("invoice.pdf"))
#: The last three years: some vendors refuse what is older, none what is younger.
instants = st.timedeltas(timedelta(0), timedelta(days=3 * 365)).flatmap(
    lambda age: _ZONES.map(lambda zone: (NOW - age).astimezone(zone))
)

#: All but the two ends of the calendar, which another zone would push over the edge.
_any_instants = st.datetimes(timezones=_ZONES).filter(lambda at: 1 < at.year < 9999)

#: Leaves of properties and traits, with the Python types that the value rules convert.
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40)
    | st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9)
    | st.datetimes(timezones=_ZONES)
    | st.dates()
    | st.uuids()
)


def nested(leaves: SearchStrategy[Any], names: SearchStrategy[str]) -> SearchStrategy[Any]:
    """Make values of such leaves, lists of them and objects of them."""
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=6,
    )


_microseconds = st.integers(1, 999_999)
_objects = st.dictionaries(keys, nested(scalars, keys), max_size=5)
_wild_texts = st.text(min_size=1, max_size=80).filter(lambda text: not text.isspace())
_wild_objects = st.dictionaries(st.text(max_size=30), nested(scalars, st.text(max_size=30)), max_size=5)


@st.composite
def messages(draw: DrawFn, capabilities: Capabilities) -> Message:
    """Make ordinary messages, which a provider with these capabilities takes.

    They are checked, as those in a queue are, and as small as messages of people's are. Their names are words:
    what else a vendor asks of names and values is no part of its capabilities.
    """
    kind = draw(st.sampled_from(sorted(capabilities.accepts)))
    sure = identity_for(kind, capabilities)
    members: dict[str, Any] = {
        "user_id": _chosen(draw, sure == "user_id", identifiers),
        "anonymous_id": _chosen(draw, sure == "anonymous_id", identifiers),
        "phone": _chosen(draw, sure == "phone", phones),
        **_own_members(draw, kind, titles, identifiers, _objects),
        **_common_members(draw, identifiers, _objects),
        "timestamp": draw(st.none() | instants),
        "attachments": tuple(draw(st.lists(attachments, max_size=1))),
    }
    return _checked(draw, kind, members)


@st.composite
def any_messages(draw: DrawFn, capabilities: Capabilities) -> Message:
    """Make messages of the accepted kinds that hold anything a checked message can hold.

    A vendor may not want them; a provider then says so with ``Unsupported``, and with nothing else.
    Their options are narrowed to one destination, as delivery does.
    """
    kind = draw(st.sampled_from(sorted(capabilities.accepts)))
    who = draw(st.none() | _wild_texts) if kind != "alias" else draw(_wild_texts)
    anonymous = draw(st.none() | _wild_texts)
    members: dict[str, Any] = {
        "user_id": who,
        "anonymous_id": anonymous,
        "phone": draw(phones if who is None and anonymous is None else st.none() | phones),
        **_own_members(draw, kind, _wild_texts, _wild_texts, _wild_objects),
        **_common_members(draw, _wild_texts, _wild_objects),
        "timestamp": draw(st.none() | _any_instants),
        "options": {"here": draw(_options(capabilities.options))},
    }
    message = _checked(draw, kind, members)
    return evolve(message, options=message.options["here"])


@st.composite
def plain_tracks(draw: DrawFn) -> Message:
    """Make tracks that have a user, a name and properties of any content, and whose id and time are not their own."""
    track = Track(user_id=draw(_wild_texts), event=draw(_wild_texts), properties=draw(_wild_objects))
    # With microseconds, as every clock but one in a million tells the time.
    now = (NOW - draw(st.timedeltas(timedelta(0), timedelta(days=365)))).replace(microsecond=draw(_microseconds))
    return snapshot(track, lambda: str(draw(st.uuids(version=4))), lambda: now)[0]


def _options(known: Sequence[str]) -> SearchStrategy[dict[str, Any]]:
    """Make options of any name and type, often of a name that the provider looks at."""
    names = st.text(max_size=30)
    if known:
        names = st.sampled_from([name.replace("*", "x") for name in known]) | names
    return st.dictionaries(names, nested(scalars, st.text(max_size=30)), max_size=5)


def _chosen(draw: DrawFn, needed: bool, values: SearchStrategy[Any]) -> Any:
    return draw(values if needed else st.none() | values)


def _own_members(
    draw: DrawFn,
    kind: str,
    names: SearchStrategy[str],
    ids: SearchStrategy[str],
    objects: SearchStrategy[dict[str, Any]],
) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if kind == "track":
        members["event"] = draw(names)
    if kind in ("page", "screen"):
        members |= {"name": draw(st.none() | names), "category": draw(st.none() | names)}
    if kind == "group":
        members["group_id"] = draw(ids)
    if kind == "alias":
        members["previous_id"] = draw(ids)
    if free := FREE_MEMBER.get(kind):
        members[free] = draw(objects)
    return members


def _common_members(draw: DrawFn, ids: SearchStrategy[str], objects: SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    return {
        "tenant_id": draw(st.none() | ids),
        "idempotency_key": draw(st.none() | ids),
        "context": draw(st.just({}) | objects),
        "integrations": draw(st.just({}) | st.dictionaries(titles, st.booleans(), max_size=2)),
        "message_id": draw(st.none() | ids),
    }


def _checked(draw: DrawFn, kind: str, members: dict[str, Any]) -> Message:
    # The id is drawn too: an example that fails must be the same when it is tried again.
    return checked(KINDS[kind](**members), lambda: str(draw(st.uuids(version=4))))


#: Words that servers use for verdicts, so that a reader of answers meets them with values of every type.
_VERDICT_WORDS = st.sampled_from(
    ["success", "status", "status_code", "result", "records", "errors", "error", "message", "code", "warnings", "data"]
)
_verdicts = nested(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["success", "error", "ok", "200", "503"])
    | st.text(max_size=20),
    _VERDICT_WORDS,
)
_bodies = (
    # json, not orjson: it also writes what servers should not, such as NaN and numbers beyond 64 bits.
    st.dictionaries(_VERDICT_WORDS, _verdicts, max_size=4).map(lambda data: json.dumps(data).encode())
    | _verdicts.map(lambda data: json.dumps(data).encode())
    | st.binary(max_size=200)
    | st.sampled_from([b"", b"OK", b"{}", b"[]", b"null", b"NaN", b"<html>login</html>"])
    | st.sampled_from(
        [b"9" * 5000, b'{"code":1e999}', b'"\\ud800"', b"\xff\xfe", b"\x1f\x8b\x08", b"\r\nSet-Cookie: a"]
    )
)
_header_values = st.sampled_from(
    ["0", "7", "-1", "1e999", "nan", "Thu, 15 Jan 2026 12:00:07 GMT", "text/html", "application/json"]
) | st.text(max_size=30)
_statuses = st.sampled_from([200, 202, 204, 207, 301, 302, 400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504])
_headers = st.dictionaries(
    st.sampled_from(["retry-after", "date", "content-type", "content-encoding", "location", "x-request-id"]),
    _header_values,
    max_size=4,
)


def responses() -> SearchStrategy[Response]:
    """Make answers: any status with any bytes and any headers, also such as no server should give."""
    return st.builds(
        Response,
        status=_statuses | st.integers(100, 599),
        headers=_headers,
        body=_bodies,
        received_at=st.none() | st.just(NOW),
    )
