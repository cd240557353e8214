"""The short way out for a plain track: the same as the long one, or none at all."""

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.desk import CDP
from unitrack import Client, Destination
from unitrack.codec import UnreadableRecord, pack, unpack, unpack_plain
from unitrack.express import express
from unitrack.message import Message, PlainTrack, Track
from unitrack.providers import Amplitude, Hightouch, Interakt
from unitrack.snapshot import snapshot
from unitrack.testing import FakeTransport
from unitrack.wire import Part, plain_encoder

NOW = datetime(2026, 1, 15, 12, 0, 0, 123456, tzinfo=UTC)
HEAD = {
    "v": 1, "kind": "track", "timestamp": "2026-01-15T12:00:00.123456+00:00", "user_id": "u", "message_id": "m",
    "event": "E",
}  # fmt: skip


def record(**members: Any) -> bytes:
    head = {name: value for name, value in (HEAD | members).items() if value is not ...}
    return orjson.dumps(head) + b'\n{"a":1}'


class Adds(Hightouch):
    """Says more than its base, as a class of a user's might."""

    def encode(self, message: Message) -> Part:
        part = super().encode(message)
        return evolve(part, body=part.body.replace(b'"anonymousId":null', b'"anonymousId":"added"'))


class AddsBoth(Adds):
    def encode_plain(self, track: PlainTrack) -> Part:
        return evolve(super().encode_plain(track), path="/mine")


class Quotes(Hightouch):
    def outcomes(self, response: Any, parts: Any) -> Any:
        return super().outcomes(response, parts)


class Wraps:
    """Looks like a provider, and hands on what it does not say itself."""

    def __init__(self, inner: Hightouch) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def encode(self, message: Message) -> Part:
        return self._inner.encode(message)


def test_a_class_that_says_a_message_in_its_own_way_inherits_no_short_one() -> None:
    assert plain_encoder(Hightouch(write_key="k")) is not None
    assert plain_encoder(Quotes(write_key="k")) is not None
    assert plain_encoder(AddsBoth(write_key="k")) is not None
    assert plain_encoder(Adds(write_key="k")) is None
    assert plain_encoder(Amplitude(api_key="k")) is None
    wrapped: Any = Wraps(Hightouch(write_key="k"))
    assert plain_encoder(wrapped) is None


def test_neither_does_one_whose_encode_was_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(self: Hightouch, message: Message) -> Part:
        return Part(path="/", body=b'{"replaced":true}')

    monkeypatch.setattr(Hightouch, "encode", encode)
    assert plain_encoder(Hightouch(write_key="k")) is None
    assert b"replaced" in sent(Hightouch(write_key="k"))


def sent(destination: Any) -> bytes:
    transport = FakeTransport()
    with Client({"cdp": destination}, transport=transport) as client:
        assert client.track("u", "E", {"secret": 1, "open": 2})
    [request] = transport.requests
    return request.body


def test_what_such_a_class_adds_is_sent() -> None:
    assert b'"added"' in sent(Adds(write_key="k"))


def test_what_a_destination_leaves_out_is_not_sent() -> None:
    assert b'"secret"' in sent(Destination(CDP))
    assert b'"secret"' not in sent(Destination(CDP, drop=["properties.secret"]))


def test_a_repeat_says_which_attempt_it_is() -> None:
    attempts: list[int] = []

    class Watches(Hightouch):
        def request(self, parts: Any, now: datetime) -> Any:
            attempts.extend(part.attempt for part in parts)
            return super().request(parts, now)

    with Client({"cdp": Watches(write_key="k")}, transport=FakeTransport([503, 200]), dice=lambda: 0.0) as client:
        assert client.track("u", "E")
        assert client.flush(10)
    assert attempts == [1, 2]


def test_a_provider_may_leave_it_to_the_long_way() -> None:
    plain = express("u", "E", {}, lambda: "m", lambda: NOW)
    assert plain is not None
    track = unpack_plain(plain[2])
    assert track is not None
    assert Interakt(api_key="k").encode_plain(track) is not None
    assert Interakt(api_key="k", always_created_at=True).encode_plain(track) is None


@pytest.mark.parametrize(
    "members",
    [
        {"user_id": ...}, {"event": ...}, {"message_id": ...}, {"timestamp": ...}, {"kind": "page"}, {"v": 2},
        {"context": {"a": 1}}, {"has_own_id": True}, {"user_id": ..., "anonymous_id": "a"}, {"user_id": 7},
        {"user_id": ""}, {"event": None}, {"timestamp": 12}, {"timestamp": "2026-01-15T12:00:00+00:00"},
        {"timestamp": "2026-01-15T12:00:00.123456+05:30"}, {"timestamp": "2026-01-15 12:00:00.123456+00:00"},
        {"timestamp": "2026-13-15T12:00:00.123456+00:00"},
    ],
    ids=str,
)  # fmt: skip
def test_the_record_of_anything_else_is_none(members: dict[str, Any]) -> None:
    assert unpack_plain(record()) is not None
    assert unpack_plain(record(**members)) is None


@pytest.mark.parametrize("junk", [b"", b"\n", b"{}", b"[]\n{}", b"null\n{}", record()[:-1], record()[1:], b"\xff\n{}"])
def test_junk_is_none_so_that_the_long_way_says_what_it_is(junk: bytes) -> None:
    assert unpack_plain(junk) is None
    with pytest.raises(UnreadableRecord):
        unpack(junk)


json_values = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just({}) | st.just([])


@given(forged=st.dictionaries(st.sampled_from([*HEAD, "context", "phone"]), json_values, max_size=2))
def test_whatever_takes_the_short_way_is_said_as_by_the_long_one(forged: dict[str, Any]) -> None:
    line = json.dumps(HEAD | forged).encode() + b'\n{"a":1}'
    track = unpack_plain(line)
    if track is not None:
        for provider in (Hightouch(write_key="k"), Interakt(api_key="k")):
            assert provider.encode_plain(track) == provider.encode(unpack(line))


def test_a_message_with_an_id_or_a_time_of_its_own_goes_the_long_way() -> None:
    for members in ({"message_id": "mine"}, {"timestamp": NOW}, {"tenant_id": "t"}):
        message, _ = snapshot(Track(user_id="u", event="E", **members), lambda: "m", lambda: NOW)  # type: ignore[arg-type]
        assert unpack_plain(pack(message)) is None
