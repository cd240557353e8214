"""The way into the queue: what is taken, refused and filtered."""

import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from attrs import evolve

from tests.desk import CDP, NOW, WHATSAPP, Desk, track
from tests.interrupting import at_look, interrupted, press
from unitrack import intake, lanes, ledger, position, steps
from unitrack.codec import unpack
from unitrack.destination import Destination
from unitrack.errors import InvalidMessage, QueueError, QueueFull
from unitrack.message import Message, Page, Track
from unitrack.middleware import Middleware, add_context, drop
from unitrack.queue import MAX_RECORD, Entry
from unitrack.queues import memory

# -- the straight way


def test_a_message_is_checked_copied_and_queued_for_every_destination() -> None:
    desk = Desk(a=Destination(CDP), b=Destination(CDP))
    properties = {"list": [1]}
    receipt = desk.take(track(properties=properties, message_id="mine")).receipt
    properties["list"].append(2)
    assert receipt
    assert (receipt.message_id, receipt.destinations, receipt.reason, receipt.nulled) == ("mine", ("a", "b"), None, ())
    for name in ("a", "b"):
        [message] = desk.queued(name)
        assert message == track(properties={"list": [1]}, message_id="mine", timestamp=NOW, has_own_id=True)
        assert (desk.ledger(name).accepted, desk.ledger(name).pending) == (1, 1)
    assert desk.told.drops == []


def test_messages_are_numbered_as_they_come_and_a_mark_lies_above_all_before_it() -> None:
    desk = Desk()
    first, mark, second = desk.take(track()), desk.intake.mark(), desk.take(track())
    assert 0 < first.seq < mark < second.seq


def test_messages_of_one_user_share_a_lane_and_of_others_hardly_ever() -> None:
    desk = Desk()
    for number in range(1_000):
        desk.take(track(user_id=f"u{number % 100}"))
    lanes: dict[str, set[int]] = {}
    for entry in desk.queue.take("cdp", 1_000, None, 0.0):
        lanes.setdefault(unpack(entry.record).user_id or "", set()).add(entry.lane)
    assert {len(lane) for lane in lanes.values()} == {1}
    assert len(set.union(*lanes.values())) > 95


def test_what_became_null_is_on_the_receipt() -> None:
    def enrich(message: Any) -> Message:
        return evolve(message, context={"load": float("inf")})

    receipt = Desk(middleware=[enrich]).take(track(properties={"n": float("nan")})).receipt
    assert receipt.nulled == ("$.properties.n", "$.context.load")


# -- bad messages


class Evil:
    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError("evil")


BAD: list[tuple[Any, str]] = [
    (track(properties={"a": object()}), "$.properties.a"),
    (track(user_id=""), "$.user_id"),
    (track(only=["nobody"]), "$.only"),
    (track(exclude=0), "$.exclude"),
    (track(options={"nobody": {}}), "$.options"),
    (track(options=Evil()), "$"),
    (track(properties=Evil()), "$"),
    (track(timestamp=1), "$.timestamp"),
    ("Order Paid", "$: must be a message (Track, Identify, …), not str"),
    (None, "$: must be a message"),
    (Track, "$: must be a message"),
    ({"event": "E"}, "$: must be a message"),
    (Evil(), "$: must be a message"),
]


@pytest.mark.parametrize(("message", "says"), BAD, ids=range(len(BAD)))
def test_a_bad_message_is_counted_and_told_for_every_destination_it_was_meant_for(message: Any, says: str) -> None:
    desk = Desk(a=Destination(CDP), b=Destination(CDP))
    taken = desk.take(message)
    assert not taken.receipt
    assert taken.receipt.message_id
    assert (taken.receipt.reason or "").startswith(f"invalid: {says}")
    assert set(taken.failed) == {"a", "b"}
    for name in ("a", "b"):
        assert (desk.ledger(name).accepted, desk.ledger(name).dropped) == (1, {"invalid": 1})
        assert desk.queued(name) == []
    assert desk.reasons() == [("a", "invalid"), ("b", "invalid")]
    assert desk.told.drops[0].detail.startswith(says)


@pytest.mark.parametrize(("message", "says"), BAD, ids=range(len(BAD)))
def test_under_strict_it_raises_and_is_counted_all_the_same(message: Any, says: str) -> None:
    desk = Desk(strict=True)
    with pytest.raises(InvalidMessage) as caught:
        desk.take(message)
    assert str(caught.value).startswith(says)
    assert desk.ledger().dropped == {"invalid": 1}
    assert desk.reasons() == [("cdp", "invalid")]


def test_a_bad_message_is_counted_only_where_it_was_meant_for() -> None:
    desk = Desk(a=Destination(CDP, kinds=["identify"]), b=Destination(CDP), c=Destination(CDP))
    desk.take(track(properties={"a": object()}, exclude=["c"]))
    assert (desk.ledger("a").accepted, desk.ledger("a").filtered) == (1, 1)
    assert desk.ledger("b").dropped == {"invalid": 1}
    assert desk.ledger("c").accepted == 0
    assert desk.reasons() == [("b", "invalid")]


def test_an_id_of_its_own_is_told_with_a_bad_message() -> None:
    desk = Desk()
    assert desk.take(track(message_id="mine", event="")).receipt.message_id == "mine"
    assert desk.told.drops[0].message_id == "mine"
    assert desk.take(track(message_id=True)).receipt.message_id != "True"


def test_options_may_be_named_after_the_destination_or_its_provider() -> None:
    desk = Desk(shop=Destination(CDP))
    assert desk.take(track(options={"shop": {"a": 1}})).receipt
    assert desk.take(track(options={"hightouch": {"a": 1}})).receipt
    receipt = desk.take(track(options={"shpo": {"a": 1}})).receipt
    assert "did you mean 'shop'?" in (receipt.reason or "")


def test_what_comes_after_closing_is_refused_and_counted() -> None:
    desk = Desk()
    taken = desk.intake.refuse_closed(track(message_id="late"))
    assert (taken.receipt.message_id, taken.receipt.accepted, taken.receipt.reason) == ("late", False, "closed")
    assert desk.ledger().dropped == {"closed": 1}
    assert Desk(strict=True).intake.refuse_closed(track()).receipt.reason == "closed"


def test_a_refusal_is_logged_without_a_flood_and_without_control_characters(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    for _ in range(100):
        desk.take(track(properties={"a\r\nb": object()}))
    [line] = caplog.records
    assert "is not sent to cdp: invalid" in line.getMessage()
    assert line.getMessage().isprintable()


# -- middleware


def test_middleware_sees_the_checked_message_in_turn() -> None:
    seen: list[Any] = []

    def look(message: Message) -> Message:
        seen.append(message)
        return message

    def rename(message: Any) -> Message:
        return evolve(message, event="Renamed")

    desk = Desk(middleware=[look, rename, look])
    desk.take(track(properties={"day": datetime(2024, 1, 1)}))
    assert [message.event for message in seen] == ["E", "Renamed"]
    assert seen[0].properties == {"day": "2024-01-01T00:00:00+00:00"}
    assert seen[0].message_id == seen[1].message_id
    [queued] = desk.queued()
    assert queued.event == "Renamed"  # type: ignore[union-attr]


def test_middleware_that_returns_none_filters_the_message_where_it_was_meant_for() -> None:
    desk = Desk(
        middleware=[lambda message: None], a=Destination(CDP), b=Destination(CDP, kinds=["page"]), c=Destination(CDP)
    )
    taken = desk.take(track(exclude=["c"]))
    assert (taken.receipt.accepted, taken.receipt.reason, taken.failed) == (
        False,
        "filtered: a middleware returned None",
        {},
    )
    assert [desk.ledger(name).filtered for name in "abc"] == [1, 1, 0]
    assert desk.told.drops == []


def _raise(error: BaseException) -> Middleware:
    def middleware(message: Message) -> Message:
        raise error

    return middleware


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


def _change_in_place(message: Any) -> Message:
    message.properties["card"]["number"] = "[redacted]"
    return message  # type: ignore[no-any-return]


def _change_in_place_and_copy(message: Any) -> Message:
    message.properties["card"].clear()
    return evolve(message, event="Other")


def _set_item(message: Any) -> Message:
    message.properties["card"] = "[redacted]"
    return message  # type: ignore[no-any-return]


def _set_attribute(message: Any) -> Message:
    message.properties = {}
    return message  # type: ignore[no-any-return]


BROKEN: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "raises": (_raise(ZeroDivisionError("oops")), ZeroDivisionError, "ZeroDivisionError('oops')"),
    "raises what cannot be shown": (_raise(Unspeakable()), Unspeakable, "<Unspeakable>"),
    "returns a dict": (lambda message: {"event": "E"}, TypeError, "must return a message or None, not dict"),
    "returns True": (lambda message: True, TypeError, "must return a message or None, not bool"),
    "returns a class": (lambda message: Track, TypeError, "must return a message or None, not type"),
    "changes in place": (_change_in_place, TypeError, "changed properties in place"),
    "changes in place, then copies": (_change_in_place_and_copy, TypeError, "changed properties in place"),
    "sets an item": (_set_item, TypeError, "does not support item assignment"),
    "sets an attribute": (_set_attribute, AttributeError, ""),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_middleware_that_fails_stops_the_message(kind: str) -> None:
    function, error, says = BROKEN[kind]
    message = track(properties={"card": {"number": "4111"}})
    desk = Desk(middleware=[function], a=Destination(CDP), b=Destination(CDP, kinds=["page"]))
    receipt = desk.take(message).receipt
    assert not receipt
    assert (receipt.reason or "").startswith("middleware: ")
    assert says in (receipt.reason or "")
    assert desk.ledger("a").dropped == {"middleware": 1}
    assert (desk.ledger("b").filtered, desk.ledger("b").dropped) == (1, {})
    assert desk.queued("a") == []
    strict = Desk(middleware=[function], strict=True)
    with pytest.raises(error):
        strict.take(message)
    assert strict.ledger().dropped == {"middleware": 1}


def test_middleware_that_makes_an_unsound_message_is_found_out() -> None:
    desk = Desk(middleware=[lambda message: evolve(message, context={"a": object()})])  # type: ignore[type-var]
    receipt = desk.take(track()).receipt
    assert (receipt.reason or "").startswith("invalid: $.context.a")
    assert desk.ledger().dropped == {"invalid": 1}


def test_middleware_can_choose_the_destinations() -> None:
    desk = Desk(middleware=[lambda m: evolve(m, only=["b"])], a=Destination(CDP), b=Destination(CDP))  # type: ignore[type-var]
    assert desk.take(track()).receipt.destinations == ("b",)
    assert desk.ledger("a").accepted == 0
    lost = Desk(middleware=[lambda m: evolve(m, only=["c"])])  # type: ignore[type-var]
    assert "'c' is no destination" in (lost.take(track()).receipt.reason or "")


def test_middleware_leaves_it_open_whose_id_and_time_they_are() -> None:
    desk = Desk(middleware=[add_context({"release": "1"}), drop("properties.secret")])
    desk.take(track(properties={"secret": 1}))
    desk.take(track(message_id="mine", timestamp=NOW - timedelta(1)))
    ours, theirs = desk.queued()
    assert (ours.has_own_id, ours.has_own_time, ours.context) == (False, False, {"release": "1"})
    assert (theirs.has_own_id, theirs.has_own_time) == (True, True)


def test_ctrl_c_in_a_middleware_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt):
        Desk(middleware=[_raise(KeyboardInterrupt())]).take(track())


# -- what a provider cannot take


def test_an_unsupported_call_is_a_dead_letter_there_and_the_others_take_it() -> None:
    desk = Desk(cdp=Destination(CDP), whatsapp=Destination(WHATSAPP))
    taken = desk.take(Page(user_id="u", name="Docs"))
    assert taken.receipt.destinations == ("cdp",)
    assert taken.failed == {"whatsapp": "unsupported: Interakt has no page call; send a track event instead"}
    assert desk.ledger("whatsapp").dead == {"unsupported": 1}
    [letter] = desk.queue.dead_letters("whatsapp")
    assert (letter.reason, letter.detail) == ("unsupported", "Interakt has no page call; send a track event instead")
    assert unpack(letter.record) == desk.queued()[0]
    assert desk.reasons() == [("whatsapp", "unsupported")]


def test_an_unsupported_call_can_be_skipped_instead() -> None:
    desk = Desk(whatsapp=Destination(WHATSAPP, unsupported="skip"))
    taken = desk.take(Page(user_id="u"))
    assert (taken.receipt.accepted, taken.receipt.reason, taken.failed) == (False, "filtered", {})
    assert (desk.ledger("whatsapp").filtered, desk.ledger("whatsapp").dead) == (1, {})
    assert desk.told.drops == []
    assert desk.queue.dead_letters() == []


def test_a_message_without_the_identity_that_a_provider_needs_is_unsupported() -> None:
    desk = Desk(whatsapp=Destination(WHATSAPP))
    taken = desk.take(track(user_id=None, anonymous_id="a"))
    assert taken.receipt.reason == "unsupported: Interakt needs user_id or phone"
    assert desk.ledger("whatsapp").dead == {"unsupported": 1}


@pytest.mark.parametrize("member", ["context", "user_id"])
def test_a_message_is_too_large_also_by_what_stands_beside_its_properties(member: str) -> None:
    """A queue on disk takes such a record for damage; then nobody could say what it was."""
    desk = Desk(cdp=Destination(CDP))
    text = "x" * MAX_RECORD
    taken = desk.intake.take(track(**{member: {"page": text} if member == "context" else text}))
    assert (taken.receipt.reason or "").endswith(f" bytes; cdp takes {MAX_RECORD} per message")
    assert desk.intake.take_plain(text, "E", {}) is None
    assert desk.ledger().dead == {"too_large": 1}


def test_a_message_that_is_too_large_is_told_at_once_and_delays_nobody() -> None:
    desk = Desk()
    most = CDP.capabilities.message_bytes
    taken = desk.take(track(properties={"a": "x" * 10_000_000}))
    assert taken.receipt.reason == f"too_large: 10000008 bytes; cdp takes {most} per message"
    assert desk.ledger().dead == {"too_large": 1}
    assert desk.take(track()).receipt
    assert len(desk.queued()) == 1


def test_the_limit_of_a_message_is_inclusive() -> None:
    desk = Desk()
    most = CDP.capabilities.message_bytes - len('{"a":""}')
    assert desk.take(track(properties={"a": "x" * most})).receipt
    assert not desk.take(track(properties={"a": "x" * (most + 1)})).receipt


# -- interrupted


@pytest.mark.parametrize("on_full", ["drop_oldest", "drop_newest", "raise"])
@pytest.mark.parametrize("batch", [1, 3])
def test_ctrl_c_anywhere_in_a_call_leaves_nothing_uncounted(on_full: Any, batch: int) -> None:
    """Whatever was given up for the new message or not, and whether that is stored: in the end the books are right."""
    files = {one.__file__ for one in (intake, ledger, memory, position, lanes, steps)}
    for at in itertools.count(1):
        desk = Desk(cdp=Destination(CDP, on_full=on_full, max_events=4, max_bytes=600 * batch))
        for number in range(6):
            with suppress(QueueFull):
                desk.take(track(user_id=f"u{number}", properties={"a": "x" * 100}))
        accepted, ended = desk.ledger().accepted, False
        long = track(user_id="new", properties={"a": "x" * 100 * batch})
        with suppress(KeyboardInterrupt):
            ended = not interrupted(lambda d=desk, m=long: _try(d, m), at, at_look, press, files)  # type: ignore[misc]
        book, sent = desk.branches["cdp"].book, 0
        while taken := desk.queue.take("cdp", 2, None, 1e9):
            done = desk.queue.done("cdp", taken)
            book.deliver([entry.seq for entry in done])
            sent += len(done)
        books = desk.ledger()
        assert (books.pending, books.delivered) == (0, sent)
        assert accepted <= books.accepted <= accepted + 1
        assert min(books.dropped.values(), default=0) >= 0
        assert not book.coming
        if ended:
            break
    assert at > 20


def _try(desk: Desk, message: Message) -> None:
    with suppress(QueueFull):
        desk.take(message)


def test_what_was_given_up_before_a_queue_failed_is_counted_and_told() -> None:
    class Failing(memory.MemoryQueue):
        def drop_oldest(self, destination: str, size: int, given_up: list[Entry] | None = None) -> Sequence[Entry]:
            super().drop_oldest(destination, size, given_up)
            raise QueueError("the disk went away", "disk_error")

    desk = Desk(queue=Failing(), cdp=Destination(CDP, on_full="drop_oldest", max_events=2))
    for number in range(3):
        desk.take(track(message_id=f"m{number}"))
    assert (desk.ledger().pending, desk.ledger().dropped) == (1, {"queue_full": 1, "disk_error": 1})
    assert [(drop.message_id, drop.reason) for drop in desk.told.drops] == [("m0", "queue_full"), ("m2", "disk_error")]


def test_a_second_ctrl_c_while_the_first_is_counted_leaves_nothing_on_its_way() -> None:
    class Interrupting(dict[int, Any]):
        def pop(self, *given: Any) -> Any:
            self.pop = super().pop  # type: ignore[method-assign]  # the next one goes through
            raise KeyboardInterrupt

    desk = Desk(one=Destination(CDP), other=Destination(CDP))
    desk.branches["one"].watched = Interrupting()
    with mock.patch.object(desk.queue, "put", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        desk.intake.take_plain("u", "E", {})
    for branch in desk.branches.values():
        ledger = branch.book.ledger()
        assert (ledger.accepted, ledger.pending, ledger.dropped) == (1, 0, {"interrupted": 1})
        assert not branch.book.coming
