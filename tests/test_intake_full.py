"""A queue without room, and the sum of it all: every message is accounted for and every drop is told."""

import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.desk import CDP, WHATSAPP, Desk, track
from unitrack.destination import Destination
from unitrack.errors import InvalidMessage, QueueFull
from unitrack.message import Group, Identify, Message, Page
from unitrack.queues.memory import MemoryQueue
from unitrack.waiting import Collector
from unitrack.wire import Rejected

# -- a full queue


def full_desk(on_full: str, **more: Any) -> Desk:
    """Two places, both taken; beside it a destination with all the room in the world."""
    settings: dict[str, Any] = {name: more.pop(name) for name in ("block_timeout",) if name in more}
    desk = Desk(small=Destination(CDP, max_events=2, on_full=on_full, **settings), large=Destination(CDP), **more)
    for number in (1, 2):
        assert desk.take(track(message_id=f"m{number}")).receipt
    return desk


def ids(desk: Desk, name: str) -> list[str | None]:
    return [message.message_id for message in desk.queued(name)]


@pytest.mark.parametrize("on_full", ["drop_newest", "drop_oldest", "block", "raise"])
def test_a_full_queue_costs_the_other_destinations_nothing(on_full: str) -> None:
    desk = full_desk(on_full, block_timeout=0.0)
    try:
        desk.take(track(message_id="m3"))
    except QueueFull:
        assert on_full == "raise"
    assert desk.ledger("large").pending == 3
    assert ids(desk, "large") == ["m1", "m2", "m3"]


def test_drop_newest_refuses_what_comes() -> None:
    desk = full_desk("drop_newest")
    taken = desk.take(track(message_id="m3"))
    assert (taken.receipt.destinations, taken.failed) == (("large",), {"small": "queue_full"})
    assert (desk.ledger("small").accepted, desk.ledger("small").pending) == (3, 2)
    assert desk.ledger("small").dropped == {"queue_full": 1}
    assert ids(desk, "small") == ["m1", "m2"]
    [told] = desk.told.drops
    assert (told.message_id, told.destination, told.reason) == ("m3", "small", "queue_full")
    assert "2 messages" in told.detail


def test_drop_oldest_makes_room_and_says_for_whom() -> None:
    desk = full_desk("drop_oldest")
    taken = desk.take(track(message_id="m3"))
    assert taken.receipt.destinations == ("small", "large")
    assert (desk.ledger("small").accepted, desk.ledger("small").pending) == (3, 2)
    assert desk.ledger("small").dropped == {"queue_full": 1}
    assert ids(desk, "small") == ["m2", "m3"]
    assert [(told.message_id, told.destination) for told in desk.told.drops] == [("m1", "small")]


def test_drop_oldest_keeps_what_waits_if_the_newest_is_larger_than_the_queue() -> None:
    desk = Desk(small=Destination(CDP, max_bytes=1_000, on_full="drop_oldest"))
    desk.take(track(message_id="m1"))
    taken = desk.take(track(message_id="m2", properties={"a": "x" * 2_000}))
    assert taken.failed == {"small": "queue_full"}
    assert ids(desk, "small") == ["m1"]
    assert [told.message_id for told in desk.told.drops] == ["m2"]


def test_block_waits_until_there_is_room() -> None:
    desk = full_desk("block", block_timeout=30.0)

    def settle() -> None:
        entries = desk.queue.take("small", 1, None, 0.0)
        desk.queue.done("small", entries)
        desk.branches["small"].book.deliver(entry.seq for entry in entries)

    timer = threading.Timer(0.02, settle)
    timer.start()
    taken = desk.take(track(message_id="m3"))
    timer.join()
    assert taken.receipt.destinations == ("small", "large")
    assert ids(desk, "small") == ["m2", "m3"]
    assert desk.ledger("small").dropped == {}


def test_block_waits_no_longer_than_it_was_told() -> None:
    desk = full_desk("block", block_timeout=0.02)
    taken = desk.take(track())
    assert taken.failed == {"small": "queue_full"}
    assert desk.ledger("small").dropped == {"queue_full": 1}


def test_nothing_blocks_where_nobody_may_block() -> None:
    desk = full_desk("block", block_timeout=1e6, may_block=False)
    assert desk.take(track()).failed == {"small": "queue_full"}


def test_raise_raises_and_counts() -> None:
    desk = full_desk("raise")
    with pytest.raises(QueueFull, match=r"^small: 2 messages or"):
        desk.take(track(message_id="m3"))
    assert desk.ledger("small").dropped == {"queue_full": 1}
    assert [told.message_id for told in desk.told.drops] == ["m3"]


# -- a queue that fails


class Broken(MemoryQueue):
    def put(self, *arguments: Any) -> Any:
        raise OSError("no space left on device")


def test_a_queue_that_fails_hurts_nobody_and_is_told() -> None:
    desk, collector = Desk(queue=Broken(), a=Destination(CDP), b=Destination(CDP)), Collector()
    taken = desk.take(track(), collector)
    collector.complete()
    assert taken.failed == {"a": "queue_error", "b": "queue_error"}
    assert not taken.receipt
    assert desk.ledger("a").dropped == desk.ledger("b").dropped == {"queue_error": 1}
    assert "no space left on device" in desk.told.drops[0].detail
    assert collector.waiter.is_set()


class BrokenWhenFull(MemoryQueue):
    """Has no room, and fails when it is asked to make some."""

    def put(self, *arguments: Any) -> Any:
        return dict.fromkeys(arguments[-1], "full")

    def drop_oldest(self, *arguments: Any) -> Any:
        raise OSError("the disk is gone")


def test_a_queue_that_fails_to_make_room_is_told_too() -> None:
    desk = Desk(queue=BrokenWhenFull(), a=Destination(CDP, on_full="drop_oldest"), b=Destination(CDP))
    taken = desk.take(track())
    assert taken.failed == {"a": "queue_error", "b": "queue_full"}
    assert desk.ledger("a").dropped == {"queue_error": 1}
    assert desk.ledger("b").dropped == {"queue_full": 1}


# -- bulks


def test_a_bulk_expects_a_verdict_exactly_where_a_queue_holds_the_message() -> None:
    desk, collector = full_desk("drop_newest"), Collector()
    taken = desk.take(track(), collector)
    desk.take(track(event=""), collector)
    collector.complete()
    assert {name: list(branch.watched) for name, branch in desk.branches.items()} == {"small": [], "large": [taken.seq]}
    assert not collector.waiter.is_set()
    collector.note(taken.seq, "large", Rejected("no"))
    assert collector.waiter.is_set()


def test_a_bulk_hears_that_newer_messages_took_a_place() -> None:
    desk, collector = Desk(small=Destination(CDP, max_events=1, on_full="drop_oldest")), Collector()
    first = desk.take(track(), collector)
    desk.take(track())
    assert collector.outcomes() == {(first.seq, "small"): Rejected("queue_full: newer messages took its place")}


# -- whatever happens

messages = st.sampled_from(
    [
        track(),
        track(event="Order Paid"),
        track(properties={"a": "x" * 300}),
        track(properties={"a": "x" * 600_000}),
        track(properties={"a": object()}),
        track(user_id=""),
        track(exclude=["a"]),
        track(only=["b"]),
        track(only=["nobody"]),
        Identify(user_id="u"),
        Identify(anonymous_id="only"),
        Page(user_id="u"),
        Group(user_id="u", group_id="g"),
        "junk",
    ]
)
destinations = st.builds(
    Destination,
    st.sampled_from([CDP, WHATSAPP]),
    events=st.sampled_from([None, ["Order *"]]),
    kinds=st.sampled_from([None, ["track", "page"]]),
    unsupported=st.sampled_from(["reject", "skip"]),
    max_events=st.integers(1, 5),
    max_bytes=st.integers(200, 2_000),
    on_full=st.sampled_from(["drop_newest", "drop_oldest", "block", "raise"]),
    block_timeout=st.just(0.0),
)


def _stop_pages(message: Message) -> Message | None:
    if isinstance(message, Group):
        raise ValueError("no groups")
    return None if isinstance(message, Page) else message


@given(destinations, destinations, st.lists(messages, max_size=25), st.booleans(), st.booleans())
def test_every_message_is_accounted_for_and_every_drop_is_told(
    a: Destination, b: Destination, given_messages: list[Any], strict: bool, filters: bool
) -> None:
    desk = Desk(strict=strict, middleware=[_stop_pages] if filters else [], a=a, b=b)
    receipts = []
    for message in given_messages:
        try:
            receipts.append(desk.take(message).receipt)
        except (InvalidMessage, ValueError, QueueFull):
            continue
    told = Counter(drop.destination for drop in desk.told.drops)
    for name in ("a", "b"):
        ledger = desk.ledger(name)
        assert ledger.accepted <= len(given_messages)
        assert told[name] == sum(ledger.dropped.values()) + sum(ledger.dead.values())
        assert len(desk.queue.dead_letters(name)) == sum(ledger.dead.values())
        assert len(desk.queued(name)) == ledger.pending
    for receipt in receipts:
        assert receipt.accepted == bool(receipt.destinations)
        assert (receipt.reason is None) == receipt.accepted


def test_eight_threads_are_all_accounted_for() -> None:
    desk = Desk(
        a=Destination(CDP, max_events=500, on_full="drop_oldest"),
        b=Destination(CDP, max_events=700),
        c=Destination(WHATSAPP, events=["Order *"]),
    )

    def call(which: int) -> None:
        for number in range(400):
            desk.take(track(event="Order Paid" if number % 2 else "E", user_id=f"u{which}") if number % 50 else "junk")

    threads = [threading.Thread(target=call, args=(which,)) for which in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = Counter((drop.destination, drop.reason) for drop in desk.told.drops)
    for name in "abc":
        ledger = desk.ledger(name)
        assert ledger.accepted == 3_200
        assert {reason: count for (where, reason), count in told.items() if where == name} == ledger.dropped
        assert len(desk.queued(name)) == ledger.pending
    assert (desk.ledger("a").pending, desk.ledger("b").pending) == (500, 700)
    assert desk.ledger("c").filtered == 8 * 192
