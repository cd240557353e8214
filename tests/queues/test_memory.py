"""The queue in memory: plain rules, dead letters, real threads and signals."""

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence

import pytest
from attrs import evolve

from tests.interrupting import alarms
from unitrack.queue import DeadLetter, Entry
from unitrack.queues import memory
from unitrack.queues.memory import MemoryQueue

HERE = "here"


def opened(max_events: int = 100, max_bytes: int = 10_000, names: Sequence[str] = (HERE,)) -> MemoryQueue:
    queue = MemoryQueue()
    for name in names:
        queue.open(name, max_events=max_events, max_bytes=max_bytes)
    return queue


def fill(queue: MemoryQueue, lanes: Sequence[int], names: Sequence[str] = (HERE,)) -> None:
    for seq, lane in enumerate(lanes, 1):
        assert queue.put(seq, f"m{seq}", lane, b"12345", float(seq), names) == {}


def seqs(entries: Sequence[Entry]) -> list[int]:
    return [entry.seq for entry in entries]


def test_one_put_serves_all_destinations_and_each_has_its_own_position() -> None:
    queue = opened(names=["a", "b"])
    record = b"the same bytes"
    assert queue.put(1, "m1", 7, record, 0.0, ["a", "b"]) == {}
    [at_a], [at_b] = queue.take("a", 9, None, 0.0), queue.take("b", 9, None, 0.0)
    assert at_a.record is at_b.record is record
    queue.done("a", [at_a])
    queue.retry("b", [at_b], 0.0)
    assert seqs(queue.take("a", 9, None, 0.0)) == []
    assert seqs(queue.take("b", 9, None, 0.0)) == [1]


def test_put_names_the_destinations_without_room() -> None:
    queue = opened(names=["a"])
    queue.open("b", max_events=1, max_bytes=100)
    fill(queue, [1], ["b"])
    assert queue.put(2, "m2", 1, b"x", 0.0, ["a", "b"]) == {"b": "full"}
    assert seqs(queue.take("a", 9, None, 0.0)) == [2]


def test_entries_that_come_back_one_by_one_stand_in_their_order_again() -> None:
    queue = opened()
    fill(queue, [1, 1, 1, 1])
    one, two, three, four = queue.take(HERE, 9, None, 0.0)
    queue.retry(HERE, [two], 5.0)
    queue.release(HERE, [four])
    queue.retry(HERE, [one], 3.0)
    queue.release(HERE, [three])
    assert seqs(queue.take(HERE, 9, None, 4.9)) == []
    assert seqs(queue.take(HERE, 9, None, 5.0)) == [1, 2, 3, 4]


def test_a_lane_that_waits_for_a_time_holds_up_no_other() -> None:
    queue = opened()
    fill(queue, [1, 2, 1, 2])
    first = queue.take(HERE, 1, None, 0.0)
    queue.retry(HERE, first, 30.0)
    assert seqs(queue.take(HERE, 9, None, 0.0)) == [2, 4]
    assert queue.ready(HERE, 0.0).due == 30.0
    assert seqs(queue.take(HERE, 9, None, 30.0)) == [1, 3]


def test_a_time_that_was_asked_for_is_kept_even_if_the_lane_was_emptied_and_filled_meanwhile() -> None:
    queue = opened(max_events=2)
    fill(queue, [1, 1])
    first, second = queue.take(HERE, 9, None, 0.0)
    queue.release(HERE, [first, second])
    assert seqs(queue.drop_oldest(HERE, 5)) == [1]
    queue.put(3, "m3", 1, b"x", 0.0, [HERE])
    queue.retry(HERE, queue.take(HERE, 1, None, 0.0), 60.0)
    assert queue.take(HERE, 9, None, 59.0) == []


def test_attempts_are_counted_by_taking_and_not_by_releasing() -> None:
    queue = opened()
    fill(queue, [1])
    for settle, attempts in [("release", 1), ("release", 1), ("retry", 1), ("release", 2), ("retry", 2)]:
        [entry] = queue.take(HERE, 1, None, 0.0)
        assert entry.attempts == attempts
        queue.release(HERE, [entry]) if settle == "release" else queue.retry(HERE, [entry], 0.0)


def test_a_message_larger_than_the_queue_costs_nobody_his_place() -> None:
    queue = opened(max_bytes=20)
    fill(queue, [1, 2, 3])
    assert queue.drop_oldest(HERE, 21) == []
    assert queue.put(9, "m9", 1, b"x" * 21, 0.0, [HERE]) == {HERE: "full"}
    assert seqs(queue.take(HERE, 9, None, 0.0)) == [1, 2, 3]


def test_what_is_being_sent_is_never_given_up() -> None:
    queue = opened(max_events=3)
    fill(queue, [1, 1, 2])
    assert seqs(queue.take(HERE, 1, None, 0.0)) == [1]
    assert seqs(queue.drop_oldest(HERE, 5)) == [2]
    assert seqs(queue.take(HERE, 9, None, 0.0)) == [3]
    queue.put(4, "m4", 3, b"x", 0.0, [HERE])
    queue.take(HERE, 9, None, 0.0)
    assert queue.drop_oldest(HERE, 5) == []


def test_the_oldest_goes_first_even_if_it_was_tried_or_steps_aside_for_its_lane() -> None:
    queue = opened(max_events=6)
    fill(queue, [1, 1, 1, 2, 1, 3])
    queue.take(HERE, 1, None, 0.0)
    rest = queue.take(HERE, 9, None, 0.0)
    assert seqs(rest) == [4, 6]
    queue.retry(HERE, rest, 60.0)
    dropped = []
    for seq in range(7, 12):
        dropped += seqs(queue.drop_oldest(HERE, 5))
        assert queue.put(seq, f"m{seq}", 4, b"x", 0.0, [HERE]) == {}
    assert dropped == [2, 3, 4, 5, 6]


def test_many_lanes_that_come_and_go_leave_nothing_behind() -> None:
    queue = opened(max_events=5_000)
    for round_ in range(20):
        fill(queue, range(round_ * 50, round_ * 50 + 50))
        entries = queue.take(HERE, 50, None, 0.0)
        queue.retry(HERE, entries, 0.0)
        again = queue.take(HERE, 50, None, 0.0)
        assert len(again) == 50
        queue.done(HERE, again)
    position = queue._positions[HERE]
    kept = [position.fresh, position._parked, position._held, position._due, position._delayed, position._free]
    assert [len(one) for one in kept] == [0] * 6
    assert len(position._heads) < 200


def test_a_lane_whose_first_message_expired_is_held_until_that_is_buried() -> None:
    queue = opened()
    fill(queue, [1, 1])
    queue.release(HERE, queue.take(HERE, 9, None, 0.0))
    [expired] = queue.take_expired(HERE, 1.5, 9, 0.0)
    assert expired.seq == 1
    assert queue.take(HERE, 9, None, 0.0) == []
    queue.bury(HERE, expired, "expired", "", 0.0)
    assert seqs(queue.take(HERE, 9, None, 0.0)) == [2]


def test_a_time_that_was_asked_for_a_message_that_is_gone_holds_up_nobody() -> None:
    queue = opened(max_events=3)
    fill(queue, [1, 1])
    first, second = queue.take(HERE, 9, None, 0.0)
    queue.retry(HERE, [first], 60.0)
    queue.put(3, "m3", 2, b"x", 0.0, [HERE])
    assert seqs(queue.drop_oldest(HERE, 1)) == [1]
    queue.put(4, "m4", 1, b"x", 0.0, [HERE])
    assert seqs(queue.take(HERE, 9, None, 0.0)) == [3]
    queue.done(HERE, [second])
    assert seqs(queue.take(HERE, 9, None, 0.0)) == [4]


def test_room_is_made_to_the_last_byte_but_not_beyond() -> None:
    queue = opened(max_bytes=15)
    fill(queue, [1, 2, 3])
    [out] = queue.take(HERE, 1, None, 0.0)
    assert queue.drop_oldest(HERE, 11) == []
    assert seqs(queue.drop_oldest(HERE, 10)) == [2, 3]
    queue.done(HERE, [out])
    assert queue.has_room(HERE, 15)


@pytest.mark.parametrize("again", [False, True], ids=["fresh", "tried before"])
@pytest.mark.parametrize(("max_bytes", "count"), [(1, 1), (5, 1), (6, 2), (10, 2), (11, 3), (None, 4)])
def test_entries_are_handed_out_until_they_have_so_many_bytes(again: bool, max_bytes: int | None, count: int) -> None:
    queue = opened()
    fill(queue, [1, 1, 1, 1])
    if again:
        queue.release(HERE, queue.take(HERE, 9, None, 0.0))
    assert len(queue.take(HERE, 9, max_bytes, 0.0)) == count


# -- dead letters


def letter(name: str, size: int = 1) -> DeadLetter:
    return DeadLetter(HERE, name, "rejected", "why", 1, 0.0, 1.0, b"x" * size)


def test_a_dead_letter_says_why_and_keeps_the_record() -> None:
    queue = opened()
    fill(queue, [1])
    [entry] = queue.take(HERE, 1, None, 0.0)
    queue.bury(HERE, entry, "rejected", "400: no such plan", 9.0)
    assert queue.dead_letters() == [DeadLetter(HERE, "m1", "rejected", "400: no such plan", 1, 1.0, 9.0, b"12345")]
    assert queue.dead_letters("elsewhere") == []


def test_whoever_forgets_a_letter_that_was_replaced_leaves_the_new_one() -> None:
    queue = MemoryQueue()
    old, new = letter("m", 3), evolve(letter("m", 5), buried_at=2.0)
    queue.keep_dead(old)
    queue.keep_dead(new)
    assert not queue.discard_dead(old)
    assert queue.dead_letters() == [new]
    assert queue.discard_dead(new)
    assert not queue.discard_dead(new)
    assert queue.dead_letters() == []
    assert queue._dead_size == 0


def test_the_newest_thousand_dead_letters_are_kept() -> None:
    queue = MemoryQueue()
    for number in range(1_500):
        queue.keep_dead(letter(f"m{number}"))
    names = [one.message_id for one in queue.dead_letters()]
    assert names == [f"m{number}" for number in range(500, 1_500)]


def test_large_dead_letters_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_DEAD_BYTES", 1_000)
    queue = MemoryQueue()
    for number in range(10):
        queue.keep_dead(letter(f"m{number}", 300))
    assert [one.message_id for one in queue.dead_letters()] == ["m7", "m8", "m9"]
    queue.keep_dead(letter("huge", 5_000))
    assert [one.message_id for one in queue.dead_letters()] == ["huge"], "the newest is always kept"


# -- real threads


def run_all(over: threading.Event, *functions: Callable[[], None]) -> None:
    errors: list[BaseException] = []

    def guarded(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)
            over.set()

    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not [thread for thread in threads if thread.is_alive()]
    assert errors == []


def test_a_signal_handler_may_put_in_the_middle_of_any_call() -> None:
    queue = opened(max_events=100_000)
    numbers = iter(range(1, 1_000_000))
    put: list[int] = []
    came: list[int] = []

    def put_one() -> None:
        seq = next(numbers)
        put.append(seq)
        assert queue.put(seq, f"m{seq}", seq % 5, b"x", 0.0, [HERE]) == {}

    with alarms(put_one, every=0.0001):
        for number in range(5_000):
            put_one()
            taken = queue.take(HERE, 3, None, 0.0)
            if number % 3:
                came += seqs(taken)
                queue.done(HERE, taken)
            else:
                queue.retry(HERE, taken, 0.0)
            queue.ready(HERE, 0.0)
    while taken := queue.take(HERE, 100, None, 0.0):
        came += seqs(taken)
        queue.done(HERE, taken)
    assert len(put) > 5_000
    assert sorted(came) == sorted(put)
    assert queue.has_room(HERE, 10_000)


def test_four_threads_lose_nothing_double_nothing_and_keep_each_lane_in_order() -> None:
    queue = opened(max_events=500, max_bytes=1_000_000)
    lanes_of = {0: range(10), 1: range(10, 20)}
    each = 3_000
    delivered: dict[int, list[int]] = defaultdict(list)
    settled = threading.Semaphore(0)
    over = threading.Event()
    lock = threading.Lock()
    busy: set[int] = set()

    def produce(which: int) -> None:
        dice = random.Random(which)
        for number in range(each):
            seq = 2 * number + which + 1
            while queue.put(seq, f"m{seq}", dice.choice(lanes_of[which]), b"x", 0.0, [HERE]):
                if over.is_set():
                    return
                settled.acquire(timeout=1)

    def consume(which: int) -> None:
        dice = random.Random(100 + which)
        while not over.is_set():
            taken = queue.take(HERE, dice.randint(1, 30), None, 0.0)
            mine = {entry.lane for entry in taken}
            with lock:
                assert not busy & mine, "a lane is out twice"
                busy.update(mine)
            groups: dict[int, list[Entry]] = defaultdict(list)
            for entry in taken:
                groups[entry.lane].append(entry)
            for lane, entries in groups.items():
                keep = dice.randint(0, len(entries))
                with lock:
                    delivered[lane] += seqs(entries[:keep])
                    busy.discard(lane)
                # Last the rest: until it is back the lane is ours.
                queue.done(HERE, entries[:keep])
                queue.retry(HERE, entries[keep:], 0.0) if dice.random() < 0.5 else queue.release(HERE, entries[keep:])
                settled.release()
            with lock:
                if sum(map(len, delivered.values())) == 2 * each:
                    over.set()

    run_all(over, lambda: produce(0), lambda: produce(1), lambda: consume(0), lambda: consume(1))
    assert sum(map(len, delivered.values())) == 2 * each
    for line in delivered.values():
        assert line == sorted(set(line))
    assert queue.has_room(HERE, 1_000_000)
