"""Members that are taken out of a message, or blackened."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.errors import ConfigError
from unitrack.message import Identify, Track
from unitrack.paths import REDACTED, cleaner, split_path
from unitrack.values import JsonObject, encode_object


def cleaned(properties: Any, *, drop: Sequence[str] = (), redact: Sequence[str] = ()) -> Any:
    clean = cleaner(drop, redact)
    assert clean is not None
    message = clean(Track(event="E", properties=properties))
    assert isinstance(message, Track)
    return dict(message.properties)


CARD = {"card": {"number": "4111", "holder": "Ada"}, "total": 5}


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("properties.email", ("properties", "email")),
        ("$.traits.*.ssn", ("traits", "*", "ssn")),
        ("context.ip", ("context", "ip")),
        ("integrations.All", ("integrations", "All")),
        ("properties. spaced ", ("properties", " spaced ")),
    ],
)
def test_a_path_begins_at_a_member_that_holds_an_object(path: str, steps: tuple[str, ...]) -> None:
    assert split_path(path) == steps


@pytest.mark.parametrize(
    "path",
    ["", "email", "properties", "properties.", ".email", "properties..a", "user_id.a", "$.phone.number", "$", 5, None],
)
def test_anything_else_is_no_path(path: Any) -> None:
    with pytest.raises(ConfigError, match="is no path; write one of properties, traits, context, integrations"):
        split_path(path)
    with pytest.raises(ConfigError):
        cleaner([path], [])
    with pytest.raises(ConfigError):
        cleaner([], [path])


@pytest.mark.parametrize(
    ("path", "dropped", "redacted"),
    [
        ("properties.total", {"card": CARD["card"]}, CARD | {"total": REDACTED}),
        (
            "properties.card.number",
            {"card": {"holder": "Ada"}, "total": 5},
            {"card": {"number": REDACTED, "holder": "Ada"}, "total": 5},
        ),
        ("properties.card", {"total": 5}, {"card": REDACTED, "total": 5}),
        (
            "properties.*.number",
            {"card": {"holder": "Ada"}, "total": 5},
            {"card": {"number": REDACTED, "holder": "Ada"}, "total": 5},
        ),
        ("properties.*", {}, {"card": REDACTED, "total": REDACTED}),
        ("properties.not there", CARD, CARD),
        ("properties.total.deeper", CARD, CARD),
        ("traits.total", CARD, CARD),
    ],
)
def test_a_member_is_found_by_its_path(path: str, dropped: dict[str, Any], redacted: dict[str, Any]) -> None:
    assert cleaned(CARD, drop=[path]) == dropped
    assert cleaned(CARD, redact=[path]) == redacted


ITEMS = {"items": [{"sku": "a", "price": 1}, {"sku": "b", "price": 2}, "free"], "codes": ["x", "y"]}


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("properties.items.price", {**ITEMS, "items": [{"sku": "a"}, {"sku": "b"}, "free"]}),
        ("properties.items.*.price", {**ITEMS, "items": [{"sku": "a"}, {"sku": "b"}, "free"]}),
        ("properties.items.1.price", {**ITEMS, "items": [{"sku": "a", "price": 1}, {"sku": "b"}, "free"]}),
        ("properties.items.0", {**ITEMS, "items": [{"sku": "b", "price": 2}, "free"]}),
        ("properties.codes.*", {**ITEMS, "codes": []}),
        ("properties.codes.1", {**ITEMS, "codes": ["x"]}),
        ("properties.codes.7", ITEMS),
        ("properties.*.price", {**ITEMS, "items": [{"sku": "a"}, {"sku": "b"}, "free"]}),
    ],
)
def test_a_list_is_passed_through_or_entered_by_number(path: str, left: dict[str, Any]) -> None:
    assert cleaned(ITEMS, drop=[path]) == left


def test_a_list_in_a_list_is_passed_through_as_well() -> None:
    assert cleaned({"rows": [[{"ssn": 1, "n": 2}]]}, drop=["properties.rows.ssn"]) == {"rows": [[{"n": 2}]]}
    assert cleaned({"rows": [["1"]]}, redact=["properties.rows.*"]) == {"rows": [REDACTED]}


def test_nothing_hides_behind_a_python_type() -> None:
    hidden = {"cards": ({"number": "4111"},), "seen": {"4111"}, 7: {"number": "4111"}, "raw": b"4111"}
    left = cleaned(
        hidden, redact=["properties.cards.number", "properties.seen.*", "properties.7.number", "properties.raw"]
    )
    assert "4111" not in repr(left)


def test_all_objects_of_a_message_are_reached() -> None:
    clean = cleaner(["context.ip", "integrations.All"], ["traits.email"])
    assert clean is not None
    message = clean(
        Identify(user_id="u", traits={"email": "a@b.c", "n": 1}, context={"ip": "1"}, integrations={"All": 1})
    )
    assert message == Identify(user_id="u", traits={"email": REDACTED, "n": 1})


def test_what_is_dropped_cannot_be_redacted_back_in() -> None:
    assert cleaned({"a": 1, "b": 2}, drop=["properties.a"], redact=["properties.a", "properties.b"]) == {"b": REDACTED}


def test_without_rules_there_is_nothing_to_do() -> None:
    assert cleaner([], []) is None


def test_a_message_without_such_members_is_handed_back_as_it_is() -> None:
    clean = cleaner(["traits.a"], [])
    assert clean is not None
    for message in (Track(event="E", properties={"a": 1}), Identify(user_id="u")):
        assert clean(message) is message


def test_the_callers_objects_stay_as_they_are() -> None:
    card = {"number": "4111"}
    properties = {"card": card, "list": [card]}
    cleaned(properties, drop=["properties.card.number", "properties.list.number"])
    assert properties == {"card": {"number": "4111"}, "list": [{"number": "4111"}]}
    taken = encode_object(properties, "$", [])
    cleaned(taken, drop=["properties.card.number"])
    assert taken["card"] == {"number": "4111"}


def test_amounts_keep_all_their_digits() -> None:
    clean = cleaner(["properties.email"], [])
    assert clean is not None
    exact = encode_object({"email": "a@b.c", "total": Decimal("12345678901234567.890"), "n": 2**64 - 1}, "$", [])
    message = clean(Track(event="E", properties=exact))
    assert isinstance(message, Track)
    assert isinstance(message.properties, JsonObject)
    assert message.properties.raw == b'{"total":12345678901234567.890,"n":18446744073709551615}'


names = st.sampled_from(["a", "b", "0", "*"])
values = st.recursive(
    st.none() | st.integers(0, 9), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
)
steps = st.sampled_from(["a", "b", "0", "1", "*"])


@given(st.dictionaries(names, values, max_size=4), st.lists(steps, min_size=1, max_size=4))
def test_dropped_twice_is_dropped_once_and_the_rest_is_untouched(data: dict[str, Any], path: list[str]) -> None:
    rule = ["properties." + ".".join(path)]
    once = cleaned(data, drop=rule) if data else {}
    if "0" not in path and "1" not in path:  # what stands at a number in a list is another after the first time
        assert (cleaned(once, drop=rule) if once else {}) == once
    if path[0] != "*":
        assert {name: item for name, item in once.items() if name != path[0]} == {
            name: item for name, item in data.items() if name != path[0]
        }
    if len(path) == 1:
        assert path[0] not in once
