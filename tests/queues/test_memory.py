"""The queue in memory, against a model that is too simple to be wrong, and under real threads."""

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence

import pytest
from attrs import define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from unitrack.queue import DeadLetter, Entry
from unitrack.queues import memory
from unitrack.queues.memory import MemoryQueue

HERE = "here"
LANES = st.integers(1, 4)


@define
class Waiting:
    lane: int
    size: int
    accepted_at: float
    attempts: int = 0
    due: float = 0.0


class AgainstAModel(RuleBasedStateMachine):
    """Any calls in any order: nothing is lost, doubled, out of turn, too early or above the bounds."""

    @initialize(max_events=st.integers(1, 12), max_bytes=st.integers(1, 60))
    def open(self, max_events: int, max_bytes: int) -> None:
        self.queue = MemoryQueue()
        assert self.queue.open(HERE, max_events=max_events, max_bytes=max_bytes) == 0
        self.max_events, self.max_bytes = max_events, max_bytes
        self.now = 1_000.0
        self.seq = 0
        self.waiting: dict[int, Waiting] = {}
        self.out: dict[int, Entry] = {}
        self.not_before: dict[int, float] = {}  # lane -> the latest time that anybody asked for
        self.buried: list[int] = []

    # -- what the model knows

    def held_lanes(self) -> set[int]:
        return {entry.lane for entry in self.out.values()}

    def line(self, lane: int) -> list[int]:
        return sorted(seq for seq, one in self.waiting.items() if one.lane == lane)

    def fits(self, size: int) -> bool:
        everything = [one.size for one in self.waiting.values()] + [len(one.record) for one in self.out.values()]
        return len(everything) < self.max_events and sum(everything) + size <= self.max_bytes

    def hand_out(self, entry: Entry) -> None:
        known = self.waiting.pop(entry.seq)
        assert (entry.lane, len(entry.record), entry.accepted_at) == (known.lane, known.size, known.accepted_at)
        assert entry.attempts == known.attempts + 1
        assert entry.message_id == f"m{entry.seq}"
        self.out[entry.seq] = entry

    def some(self, data: st.DataObject) -> list[Entry]:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.out)), min_size=1, unique=True))
        return [self.out.pop(seq) for seq in chosen]

    def put_back(self, entry: Entry, attempts: int, due: float) -> None:
        self.waiting[entry.seq] = Waiting(entry.lane, len(entry.record), entry.accepted_at, attempts, due)

    # -- what may happen

    @rule(lane=LANES, size=st.integers(0, 25))
    def put(self, lane: int, size: int) -> None:
        self.seq += 1
        fits = self.fits(size)
        full = self.queue.put(self.seq, f"m{self.seq}", lane, b"x" * size, self.now, [HERE])
        assert full == ([] if fits else [HERE])
        if fits:
            self.waiting[self.seq] = Waiting(lane, size, self.now)

    @rule(limit=st.integers(1, 6), max_bytes=st.none() | st.integers(1, 40))
    def take(self, limit: int, max_bytes: int | None) -> None:
        held, lines = self.held_lanes(), {lane: self.line(lane) for lane in range(1, 5)}
        taken = self.queue.take(HERE, limit, max_bytes, self.now)
        assert len(taken) <= limit
        sizes = [len(entry.record) for entry in taken]
        assert max_bytes is None or not taken or sum(sizes[:-1]) < max_bytes
        for lane, line in lines.items():
            mine = [entry.seq for entry in taken if entry.lane == lane]
            assert mine == line[: len(mine)], "in order, and none left out"
            if mine:
                assert lane not in held, "a lane is never out twice"
                assert max(self.waiting[seq].due for seq in line) <= self.now, "not before it is due"
        if len(taken) < limit and (max_bytes is None or sum(sizes) < max_bytes):
            for lane, line in lines.items():
                if lane not in held and self.not_before.get(lane, 0.0) <= self.now:
                    assert [entry.seq for entry in taken if entry.lane == lane] == line, "all that could be taken"
        for entry in taken:
            self.hand_out(entry)

    @rule(limit=st.integers(1, 6), age=st.floats(0, 30))
    def take_expired(self, limit: int, age: float) -> None:
        before = self.now - age
        old = [seq for seq, one in self.waiting.items() if one.accepted_at < before]
        taken = self.queue.take_expired(HERE, before, limit)
        assert len(taken) == min(limit, len(old))
        assert {entry.seq for entry in taken} <= set(old)
        for entry in taken:
            self.hand_out(entry)

    @rule(size=st.integers(0, 70))
    def drop_oldest(self, size: int) -> None:
        given_up = [entry.seq for entry in self.queue.drop_oldest(HERE, size)]
        out = [len(entry.record) for entry in self.out.values()]
        possible = len(out) < self.max_events and sum(out) + size <= self.max_bytes
        oldest = sorted(self.waiting)
        expected = []
        while possible and not self.fits(size):
            expected.append(oldest.pop(0))
            del self.waiting[expected[-1]]
        assert given_up == expected

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        self.queue.done(HERE, iter(self.some(data)))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), wait=st.floats(0, 20))
    def retry(self, data: st.DataObject, wait: float) -> None:
        entries, due = self.some(data), self.now + wait
        self.queue.retry(HERE, entries, due)
        for entry in entries:
            self.put_back(entry, entry.attempts, due)
            self.not_before[entry.lane] = max(due, self.not_before.get(entry.lane, 0.0))

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        entries = self.some(data)
        self.queue.release(HERE, entries)
        for entry in entries:
            self.put_back(entry, entry.attempts - 1, 0.0)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def bury(self, data: st.DataObject) -> None:
        for entry in self.some(data):
            self.queue.bury(HERE, entry, "rejected", "why", self.now)
            self.buried.append(entry.seq)

    @rule(seconds=st.floats(0, 15))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for lane in list(self.not_before):
            if not self.line(lane):
                del self.not_before[lane]

    # -- what always holds

    @invariant()
    def the_bounds_count_what_waits_and_what_is_out(self) -> None:
        assert [self.queue.has_room(HERE, size) for size in range(0, 70, 3)] == [
            self.fits(size) for size in range(0, 70, 3)
        ]
        assert len(self.waiting) + len(self.out) <= self.max_events
        assert self.queue.waiting(HERE) <= len(self.waiting)

    @invariant()
    def what_waits_is_announced(self) -> None:
        ready = self.queue.ready(HERE, self.now)
        assert 0 <= ready.count <= len(self.waiting)
        assert (ready.oldest is None) == (ready.count == 0)
        assert ready.due is None or ready.due > self.now
        if self.waiting and not self.out and not ready.count:
            assert ready.due is not None, "nobody would ever come for it"
            assert ready.due <= max(self.not_before.values())

    @invariant()
    def dead_letters_are_kept_in_order(self) -> None:
        assert [letter.message_id for letter in self.queue.dead_letters(HERE)] == [f"m{seq}" for seq in self.buried]

    def teardown(self) -> None:
        if not hasattr(self, "queue"):
            return
        left = {*self.waiting, *self.out}
        self.queue.release(HERE, list(self.out.values()))
        came: list[int] = []
        while taken := self.queue.take(HERE, 3, None, self.now + 1e6):
            came += [entry.seq for entry in taken]
            self.queue.done(HERE, taken)
        assert sorted(came) == sorted(left), "nothing lost, nothing doubled"
        assert self.queue.has_room(HERE, self.max_bytes)
        ready = self.queue.ready(HERE, self.now + 1e6)
        assert (ready.count, ready.size, ready.oldest) == (0, 0, None)


AgainstAModel.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestAgainstAModel = AgainstAModel.TestCase


# -- plain rules


def opened(max_events: int = 100, max_bytes: int = 10_000, names: Sequence[str] = (HERE,)) -> MemoryQueue:
    queue = MemoryQueue()
    for name in names:
        queue.open(name, max_events=max_events, max_bytes=max_bytes)
    return queue


def fill(queue: MemoryQueue, lanes: Sequence[int], names: Sequence[str] = (HERE,)) -> None:
    for seq, lane in enumerate(lanes, 1):
        assert queue.put(seq, f"m{seq}", lane, b"12345", float(seq), names) == []


def seqs(entries: Sequence[Entry]) -> list[int]:
    return [entry.seq for entry in entries]


def test_one_put_serves_all_destinations_and_each_has_its_own_position() -> None:
    queue = opened(names=["a", "b"])
    record = b"the same bytes"
    assert queue.put(1, "m1", 7, record, 0.0, ["a", "b"]) == []
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
    assert queue.put(2, "m2", 1, b"x", 0.0, ["a", "b"]) == ["b"]
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
    queue.retry(HERE, first, 60.0)
    assert seqs(queue.take(HERE, 9, None, 0.0)) == [2, 4]
    assert queue.ready(HERE, 0.0).due == 60.0
    assert seqs(queue.take(HERE, 9, None, 60.0)) == [1, 3]


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
    assert queue.put(9, "m9", 1, b"x" * 21, 0.0, [HERE]) == [HERE]
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
        assert queue.put(seq, f"m{seq}", 4, b"x", 0.0, [HERE]) == []
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
