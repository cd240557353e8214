"""The queue in memory, against a model that is too simple to be wrong."""

import pytest
from attrs import define
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from unitrack.queue import Entry
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
        self.queue.open(HERE, max_events=max_events, max_bytes=max_bytes, lease=1e9)
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
        assert full == ({} if fits else {HERE: "full"})
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
        taken = self.queue.take_expired(HERE, before, limit, self.now)
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


#: Not the phase that explains a failure: it makes each step so slow that the test would time out instead of telling.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]


class TestAgainstAModel(AgainstAModel.TestCase):
    settings = settings(max_examples=200, stateful_step_count=40, deadline=None, phases=PHASES)


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestAgainstAModelForLong(AgainstAModel.TestCase):
    settings = settings(TestAgainstAModel.settings, max_examples=5_000)
