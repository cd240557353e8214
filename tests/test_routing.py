"""Which destinations take a message."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.destination import Destination
from unitrack.errors import InvalidMessage
from unitrack.message import KINDS, Alias, Group, Identify, Message, Page, Screen, Track
from unitrack.providers import Hightouch
from unitrack.routing import Route, position, route
from unitrack.values import JsonObject

CDP = Hightouch(write_key="write-key-1")
ONE_OF_EACH: list[Message] = [Track(event="E"), Identify(), Page(), Screen(), Group(), Alias()]


def wants(message: Message, **rules: Any) -> bool:
    return Route(Destination(CDP, **rules))(message)


def test_without_rules_everything_is_taken() -> None:
    assert all(wants(message) for message in ONE_OF_EACH)


@pytest.mark.parametrize(
    ("pattern", "event", "taken"),
    [
        ("Order Paid", "Order Paid", True),
        ("Order Paid", "Order Paid Late", False),
        ("Order Paid", "My Order Paid", False),
        ("Order *", "Order Paid", True),
        ("Order *", "Order ", True),
        ("Order *", "Orders", False),
        ("Order *", "order paid", False),
        ("*Order*", "New\nOrder\n!", True),
        ("Step ?", "Step 1", True),
        ("Step ?", "Step 12", False),
        ("Step [12]", "Step 2", True),
        ("Step [!12]", "Step 2", False),
        ("a.c", "abc", False),
        ("(a|b)+", "a", False),
        ("(a|b)+", "(a|b)+", True),
        ("*", "", True),
    ],
)
def test_an_event_is_taken_by_its_whole_name(pattern: str, event: str, taken: bool) -> None:
    assert wants(Track(event=event), events=[pattern]) == taken
    assert wants(Track(event=event), events=["Other", pattern, "More *"]) == taken


def test_patterns_of_events_say_nothing_about_other_kinds() -> None:
    assert [wants(message, events=["Order *"]) for message in ONE_OF_EACH] == [False] + [True] * 5


def test_an_empty_list_of_events_takes_no_track_message() -> None:
    assert [wants(message, events=[]) for message in ONE_OF_EACH] == [False] + [True] * 5


@given(st.sets(st.sampled_from(sorted(KINDS))))
def test_only_the_kinds_that_were_named_are_taken(kinds: set[str]) -> None:
    assert {message.kind for message in ONE_OF_EACH if wants(message, kinds=sorted(kinds))} == kinds


def test_all_rules_must_be_kept() -> None:
    rules = {"kinds": ["track"], "events": ["Order *"], "sample": 0.0}
    assert not wants(Track(event="Order Paid"), **rules)
    assert wants(Track(event="Order Paid"), **{**rules, "sample": 1.0})
    assert not wants(Page(), **{**rules, "sample": 1.0})


# -- sample


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_a_share_of_users_is_taken_within_tolerance(share: float) -> None:
    rule = Route(Destination(CDP, sample=share))
    taken = sum(rule(Track(user_id=f"user-{number}", event="E")) for number in range(10_000))
    assert abs(taken / 10_000 - share) < 0.015


@given(st.text(min_size=1), st.floats(0, 1))
def test_a_user_is_taken_with_all_messages_or_with_none(user: str, share: float) -> None:
    who = {"user_id": user}
    messages = [
        Track(event="A", **who),
        Track(event="B", **who),
        Identify(**who),
        Page(**who),
        Alias(previous_id="x", **who),
    ]
    assert len({wants(message, sample=share) for message in messages}) == 1


@given(st.text(min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_whoever_is_in_a_share_is_in_every_larger_one(user: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    message = Track(user_id=user, event="E")
    assert wants(message, sample=high) or not wants(message, sample=low)


def test_nobody_is_in_no_share_and_everybody_in_the_whole() -> None:
    users = [Track(user_id=str(number), event="E") for number in range(1_000)]
    assert not any(wants(user, sample=0.0) for user in users)
    assert all(wants(user, sample=1.0) for user in users)


@pytest.mark.parametrize(("key", "at"), [("u-42", 0.52868), ("", 0.89316), ("\N{SNOWMAN}", 0.02136)])
def test_the_place_of_a_user_is_the_same_in_every_process_and_release(key: str, at: float) -> None:
    assert position(key) == pytest.approx(at, abs=0.00001)


# -- consent


@pytest.mark.parametrize(
    ("context", "taken"),
    [
        ({"consent": {"categoryPreferences": {"ads": True, "stats": True}}}, True),
        ({"consent": {"categoryPreferences": {"ads": True, "stats": False}}}, False),
        ({"consent": {"categoryPreferences": {"ads": True}}}, False),
        ({"consent": {"categoryPreferences": {"ads": True, "stats": 1}}}, False),
        ({"consent": {"categoryPreferences": {"ads": True, "stats": "true"}}}, False),
        ({"consent": {"categoryPreferences": ["ads", "stats"]}}, False),
        ({"consent": {}}, False),
        ({"consent": True}, False),
        ({}, False),
    ],
    ids=repr,
)
def test_consent_is_given_only_by_a_plain_yes_to_every_category(context: dict[str, Any], taken: bool) -> None:
    for given_context in (context, JsonObject(orjson.dumps(context))):
        assert wants(Track(event="E", context=given_context), consent=["ads", "stats"]) == taken


def test_where_no_consent_is_needed_none_is_looked_for() -> None:
    assert wants(Track(event="E"), consent=None)
    assert wants(Track(event="E"), consent=[])


# -- the caller's word


def routes(**rules: dict[str, Any]) -> dict[str, Route]:
    return {name: Route(Destination(CDP, **rule)) for name, rule in rules.items()}


THREE: dict[str, dict[str, Any]] = {"cdp": {}, "whatsapp": {"events": ["Order *"]}, "email": {}}


@pytest.mark.parametrize(
    ("message", "taken", "filtered"),
    [
        (Track(event="E"), ["cdp", "email"], ["whatsapp"]),
        (Track(event="Order Paid"), ["cdp", "whatsapp", "email"], []),
        (Track(event="E", only=["email"]), ["email"], []),
        (Track(event="E", only=["whatsapp"]), [], ["whatsapp"]),
        (Track(event="E", only=["email", "cdp"]), ["cdp", "email"], []),
        (Track(event="E", only=[]), [], []),
        (Track(event="E", exclude=["email"]), ["cdp"], ["whatsapp"]),
        (Track(event="E", exclude=["email", "cdp", "whatsapp"]), [], []),
        (Track(event="E", only=["email", "cdp"], exclude=["cdp"]), ["email"], []),
    ],
    ids=repr,
)
def test_whom_the_caller_left_out_is_neither_taken_nor_filtered(
    message: Message, taken: list[str], filtered: list[str]
) -> None:
    assert route(message, routes(**THREE)) == (taken, filtered)


@pytest.mark.parametrize(
    ("names", "says"),
    [(["emial"], "did you mean 'email'?"), (["email", "zzz"], "'zzz' is no destination of this client")],
)
@pytest.mark.parametrize("member", ["only", "exclude"])
def test_a_destination_that_does_not_exist_is_refused(member: str, names: list[str], says: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        route(Track(event="E", **{member: names}), routes(**THREE))
    assert caught.value.path == f"$.{member}"
    assert says in caught.value.reason
