"""Records: a checked message as bytes, and back."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from attrs import evolve, fields
from hypothesis import given
from hypothesis import strategies as st

from unitrack.attachment import Attachment
from unitrack.codec import UnreadableRecord, identity, pack, unpack
from unitrack.message import KINDS, Message, Track
from unitrack.phone import Phone
from unitrack.snapshot import snapshot
from unitrack.values import JsonObject

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
FULL = Track(
    user_id="u",
    anonymous_id="a",
    event="Order Paid",
    properties={"total": 19.9},
    phone="+919999999999",
    context={"ip": "203.0.113.7"},
    integrations={"All": False},
    options={"cdp": {"tags": ["vip"]}},
    attachments=[Attachment("https://shop.example/a", "a.pdf", True), Attachment(None, "b", data="YQ==")],
    message_id="m",
    idempotency_key="k",
    tenant_id="t",
    only=["cdp"],
    exclude=["other"],
    timestamp="2024-02-29T10:20:30.123456+05:30",
)


def checked(message: Message) -> Message:
    return snapshot(message, lambda: "id", lambda: NOW)[0]


def head(message: Message) -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads(pack(message).partition(b"\n")[0])
    return data


def record(data: object, body: bytes = b"{}") -> bytes:
    return json.dumps(data).encode() + b"\n" + body


# -- there and back

texts = st.text(min_size=1, max_size=12).filter(lambda text: not text.isspace())
ids = st.none() | texts
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.text(max_size=6), json_values, max_size=4)
own = {
    "track": {"event": texts, "properties": objects},
    "identify": {"traits": objects},
    "page": {"name": st.none() | st.text(), "category": st.none() | st.text(), "properties": objects},
    "screen": {"name": st.none() | st.text(), "category": st.none() | st.text(), "properties": objects},
    "group": {"group_id": texts, "traits": objects},
    "alias": {"previous_id": texts},
}
common = {
    "user_id": texts,
    "anonymous_id": ids,
    "message_id": ids,
    "idempotency_key": ids,
    "tenant_id": ids,
    "phone": st.none() | st.builds(Phone, st.from_regex("[0-9]{1,15}", fullmatch=True), st.sampled_from([None, "+91"])),
    "context": objects,
    "integrations": objects,
    "options": st.dictionaries(texts, objects, max_size=2),
    "only": st.none() | st.lists(texts, max_size=2),
    "exclude": st.lists(texts, max_size=2),
    "attachments": st.lists(
        st.builds(Attachment, st.just("https://shop.example/a"), st.none() | st.text(), st.booleans())
        | st.builds(Attachment, st.none(), st.text(), data=st.text(), content_type=st.none() | st.text()),
        max_size=2,
    ),
    "timestamp": st.none()
    | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.timezones() | st.none()),
}
messages = st.sampled_from(sorted(KINDS)).flatmap(
    lambda kind: st.builds(KINDS[kind], **common, **own[kind]).map(checked)
)


@given(messages)
def test_every_checked_message_comes_back_as_it_was(message: Message) -> None:
    back = unpack(pack(message))
    assert in_utc(back) == in_utc(message)
    assert type(back) is type(message)
    assert pack(back) == pack(message)


def in_utc(message: Message) -> Message:
    # In the hour that a zone skips in spring, Python calls the same instant in two zones unequal.
    assert message.timestamp is not None
    return evolve(message, timestamp=message.timestamp.astimezone(UTC))


def test_the_example_above_uses_every_member() -> None:
    message = checked(FULL)
    assert [field.name for field in fields(Track) if getattr(message, field.name) == field.default] == []
    assert unpack(pack(message)) == message


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_empty_takes_no_room(kind: str) -> None:
    own = {"track": {"event": "E"}, "group": {"group_id": "g"}, "alias": {"previous_id": "p"}}.get(kind, {})
    message = checked(KINDS[kind](user_id="u", **own))
    assert set(head(message)) == {"v", "kind", "timestamp", "user_id", "message_id", *own}


def test_properties_are_kept_as_they_were_encoded() -> None:
    odd = JsonObject(b'{"total":19.900,"n":12345678901234567890123}')
    message = evolve(checked(FULL), properties=odd)
    assert pack(message).endswith(b"\n" + odd.raw)
    assert unpack(pack(message)).properties.raw == odd.raw  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "number", ["12345678901234567890.123456789", "0.1000000000000000000001", "9007199254740993", "7"]
)
def test_no_digit_is_lost_on_the_way_through_a_queue(number: str) -> None:
    data = {"n": Decimal(number), "of text": "4111111111111111", "far": {"list": [Decimal(number), 0.5]}}
    members = {"context": data, "integrations": data, "options": {"cdp": data}}
    message, _ = snapshot(Track(user_id="u", event="E", properties=data, **members), lambda: "m", lambda: NOW)
    came = unpack(pack(message))
    for before, after in (
        (message.context, came.context),
        (message.integrations, came.integrations),
        (message.options["cdp"], came.options["cdp"]),
        (message.properties, came.properties),
    ):
        assert before.raw == after.raw
        assert number.encode() in after.raw


def test_a_number_too_small_for_a_float_is_no_zero_after_the_queue() -> None:
    message, _ = snapshot(
        Track(user_id="u", event="E", context={"n": Decimal("1E-400"), "f": 1e-300}), lambda: "m", lambda: NOW
    )
    assert unpack(pack(message)).context.raw == message.context.raw == b'{"n":1E-400,"f":1e-300}'  # type: ignore[attr-defined]


def test_a_record_is_two_lines_of_json_whatever_the_texts_are() -> None:
    message = checked(Track(user_id="a\nb", event="E\n", properties={"\n": "\r\n\u2028"}, context={"\n": "\n"}))
    first, second = pack(message).split(b"\n")
    assert json.loads(first)["user_id"] == "a\nb"
    assert json.loads(second) == {"\n": "\r\n\u2028"}


# -- what is no record


@given(st.binary())
def test_any_bytes_are_a_message_or_unreadable_and_nothing_else(junk: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        unpack(junk)


@given(messages, st.data())
def test_a_damaged_record_is_a_message_or_unreadable_and_nothing_else(message: Message, data: st.DataObject) -> None:
    good = pack(message)
    at = data.draw(st.integers(0, len(good) - 1))
    damaged = good[:at] + data.draw(st.binary(max_size=3)) + good[at + data.draw(st.integers(0, 3)) :]
    try:
        again = unpack(damaged)
    except UnreadableRecord:
        return
    assert identity(again) is not None
    assert type(again) is type(KINDS[again.kind]())


anything = json_values | st.lists(json_values, max_size=5)


@given(st.dictionaries(st.sampled_from([field.name for field in fields(Track)]), anything, max_size=4))
def test_a_forged_member_makes_a_record_unreadable_or_is_of_the_right_type(forged: dict[str, Any]) -> None:
    plain = {"v": 1, "kind": "track", "timestamp": "2026-01-15T12:00:00Z", "user_id": "u", "event": "E"}
    try:
        message = unpack(record(plain | forged))
    except UnreadableRecord:
        return
    assert isinstance(message.user_id, str)
    assert isinstance(message.context, JsonObject)
    assert isinstance(message.phone, Phone | None)
    assert identity(message) == "u" or "user_id" in forged
    assert unpack(pack(message)) == message


PLAIN = {"v": 1, "kind": "track", "timestamp": "2026-01-15T12:00:00Z", "user_id": "u", "event": "E"}


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\n",
        b"{}\n{}",
        b"null\n{}",
        b"[1]\n{}",
        b'"text"\n{}',
        record(PLAIN | {"v": 2}),
        record(PLAIN | {"v": None}),
        record(PLAIN | {"kind": "purchase"}),
        record(PLAIN | {"kind": ["track"]}),
        record(PLAIN | {"timestamp": "yesterday"}),
        record(PLAIN | {"timestamp": 1}),
        record(PLAIN | {"user_id": 7}),
        record(PLAIN | {"user_id": None}),
        record(PLAIN | {"event": {"a": 1}}),
        record(PLAIN | {"colour": "red"}),
        record(PLAIN | {"group_id": "g"}),
        record(PLAIN | {"context": [1]}),
        record(PLAIN | {"options": {"cdp": 1}}),
        record(PLAIN | {"phone": "+91"}),
        record(PLAIN | {"phone": [1, 2]}),
        record(PLAIN | {"phone": ["1"]}),
        record(PLAIN | {"attachments": [["a", None]]}),
        record(PLAIN | {"attachments": ["abcde"]}),
        record(PLAIN | {"attachments": [["file:///etc/passwd", None, False, None, None]]}),
        record(PLAIN | {"has_own_id": "yes"}),
        record(PLAIN | {"only": [1]}),
        record({name: value for name, value in PLAIN.items() if name != "timestamp"}),
        record(PLAIN | {"context": {"n": 7}}).replace(b" 7", b" 1234567890123456e-9999999999999999999"),
        record(PLAIN | {"context": {"n": 7}}).replace(b" 7", b'{"n":' * 1_015 + b"0.1234567890123456" + b"}" * 1_015),
        record(PLAIN, b""),
        record(PLAIN, b'{"a":'),
        record(PLAIN, b"[1]"),
        orjson.dumps(PLAIN),
        pack(checked(FULL))[:-1],
        pack(checked(FULL))[1:],
    ],
    ids=repr,
)
def test_junk_is_unreadable(junk: bytes) -> None:
    with pytest.raises(UnreadableRecord, match="not a record of version 1"):
        unpack(junk)


def test_the_plain_record_of_these_tests_is_readable() -> None:
    assert unpack(record(PLAIN)) == Track(user_id="u", event="E", timestamp=NOW)


# -- whose it is


@pytest.mark.parametrize(
    ("members", "who"),
    [
        ({"user_id": "u", "anonymous_id": "a", "phone": Phone("9", "+91")}, "u"),
        ({"anonymous_id": "a", "phone": Phone("9", "+91")}, "a"),
        ({"phone": Phone("9", "+91")}, "+919"),
        ({"phone": Phone("9")}, "9"),
        ({}, ""),
    ],
    ids=repr,
)
def test_messages_are_about_a_user_or_an_anonymous_one_or_a_phone(members: dict[str, Any], who: str) -> None:
    assert identity(Track(**members)) == who
