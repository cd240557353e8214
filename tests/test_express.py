"""The short way of a track: the same as the long one, or none at all."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.desk import CDP, WHATSAPP, Desk
from unitrack import Client, Destination
from unitrack.codec import identity, pack
from unitrack.errors import InvalidMessage
from unitrack.express import Plain, express
from unitrack.message import Message, Track
from unitrack.snapshot import snapshot
from unitrack.testing import FakeTransport
from unitrack.values import JsonObject

NOW = datetime(2026, 1, 15, 12, 0, 0, 123456, tzinfo=UTC)

anything = st.one_of(st.none(), st.text(max_size=8), st.integers(), st.just("\ud800"), st.just("  "), st.floats())
values = st.recursive(
    st.one_of(anything, st.datetimes(), st.decimals(), st.binary(max_size=4), st.builds(object)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(anything, inner, max_size=3)),
    max_leaves=8,
)
properties = st.one_of(anything, st.dictionaries(st.text(max_size=6), values, max_size=4))


def long_way(user_id: Any, event: Any, given: Any) -> Plain:
    message = Track(user_id=user_id, event=event, properties=given)
    checked, nulled = snapshot(message, lambda: "new-id", lambda: NOW)
    record = pack(checked)
    assert isinstance(checked, Track)
    assert isinstance(checked.properties, JsonObject)
    return "new-id", identity(checked), record, len(checked.properties.raw), nulled


def short_way(user_id: Any, event: Any, given: Any) -> Plain | None:
    return express(user_id, event, given, lambda: "new-id", lambda: NOW)


@given(user_id=anything, event=anything, properties=properties)
def test_whatever_takes_the_short_way_comes_out_as_from_the_long_one(user_id: Any, event: Any, properties: Any) -> None:
    if (short := short_way(user_id, event, properties)) is not None:
        assert short == long_way(user_id, event, properties)


@pytest.mark.parametrize(
    ("user_id", "event", "properties"),
    [
        ("u", "E", None),
        ("u", "E", {}),
        ("ü", "Bestellt", {"total": 19.9, "items": [{"sku": "a"}], "none": None, "nan": float("nan")}),
    ],
)
def test_what_most_programs_send_takes_the_short_way(user_id: str, event: str, properties: Any) -> None:
    assert short_way(user_id, event, properties) == long_way(user_id, event, properties)


@pytest.mark.parametrize(
    ("user_id", "event", "properties"),
    [(None, "E", None), (7, "E", None), ("", "E", {}), (" ", "E", {}), ("u", "", {}), ("u", "\n", {}),
     ("u\ud800", "E", {}), ("u", "E\ud800", {}), ("u", "E", []), ("u", "E", {"a": object()})],
)  # fmt: skip
def test_what_has_to_be_mended_or_refused_does_not(user_id: Any, event: Any, properties: Any) -> None:
    assert short_way(user_id, event, properties) is None


def test_a_middleware_sees_every_message() -> None:
    seen: list[Message] = []

    def look(message: Message) -> Message:
        seen.append(message)
        return message

    assert Desk(middleware=[look]).intake.take_plain("u", "E", {}) is None
    transport = FakeTransport()
    with Client({"cdp": CDP}, transport=transport, middleware=[look]) as client:
        assert client.track("u", "E", {"a": 1})
    assert [message.kind for message in seen] == ["track"]


@pytest.mark.parametrize(
    "rules",
    [{"kinds": ["identify"]}, {"events": ["Order *"]}, {"sample": 0.5}, {"consent": ["ads"]}],
)
def test_a_rule_of_any_destination_sees_every_message(rules: dict[str, Any]) -> None:
    desk = Desk(cdp=Destination(CDP), other=Destination(CDP, **rules))
    assert desk.intake.take_plain("u", "E", {}) is None
    assert Desk(cdp=Destination(CDP), other=Destination(CDP, drop=["properties.a"])).intake.take_plain("u", "E", {})


def test_what_one_destination_has_no_place_for_goes_the_long_way() -> None:
    large = {"a": "x" * 40_000}
    assert Desk(cdp=Destination(CDP)).intake.take_plain("u", "E", large) is None
    assert Desk(whatsapp=Destination(WHATSAPP)).intake.take_plain("u", "E", large)
    desk = Desk(cdp=Destination(CDP), whatsapp=Destination(WHATSAPP))
    assert desk.intake.take_plain("u", "E", large) is None
    assert desk.intake.take_plain("u", "E", {"a": 1}).destinations == ("cdp", "whatsapp")  # type: ignore[union-attr]


def test_both_ways_are_taken_by_a_client_and_refused_alike() -> None:
    with Client({"cdp": CDP}, transport=FakeTransport(), strict=True) as client:
        assert client.track("u", "E", {"a": 1}).destinations == ("cdp",)
        assert client.track("u", "E", {"a": float("nan")}).nulled == ("$.properties.a",)
        with pytest.raises(InvalidMessage, match=r"\$\.event: is empty"):
            client.track("u", " ")
        with pytest.raises(InvalidMessage, match=r"\$\.properties\.a"):
            client.track("u", "E", {"a": object()})
        assert client.flush(5)
        ledger = client.stats()["cdp"]
    assert (ledger.delivered, ledger.dropped) == (2, {"invalid": 2})
