"""What waits for one destination in the memory of this process: in order per lane, leased to one taker at a time."""

from collections import Counter, deque
from collections.abc import Container, Iterable, Sequence

from attrs import Factory, define

from .ids import PART, Ids
from .lanes import Lanes, Waiting
from .queue import Entry, Ready, Refusal
from .steps import Steps, step

#: Times that a message's taker may vanish before the message is under suspicion, and is handed out all by itself.
SUSPICIOUS = 2
#: Seconds for which a take is its taker's alone, unless the queue was opened with another time.
LEASE = 60.0


@define(eq=False)
class _Lease:
    """What one take handed out, and until when it belongs to whoever took it."""

    until: float
    entries: dict[int, Entry] = Factory(dict)


class Position(Steps, Lanes):
    """What waits for one destination, and what is out.

    Most messages pass through ``fresh`` alone. Only where a lane is held does the rest of its messages step aside
    into the parked ones, and comes back when the lane is free; so the cost of order is paid by those who need it.

    What is taken is leased: if nobody settles it in time, it is handed out again, and the first taker's word on it
    does not count any more. A message whose takers vanish again and again goes out all by itself.

    A message never leaves one place before it stands in the next. So wherever a step is interrupted, none is lost.
    """

    def __init__(self, max_events: int, max_bytes: int, lease: float = LEASE) -> None:
        Steps.__init__(self)
        Lanes.__init__(self)
        self._max_events = max_events
        self._max_bytes = max_bytes
        #: Of all messages but those aside, what is out included; and their bytes.
        self.count = self.size = 0
        self._other_size = 0  # of those that are not in ``fresh``
        self._ids = Ids()  # of all messages, so that none is stored twice
        self._lease = lease
        self._leases: dict[int, _Lease] = {}  # by number, those that end first in front
        self._last_lease = 0
        self._taking = 0  # the lease of a take that is under way
        # Numbers of those that are out, with their lease: a taker may come too late, and Ctrl-C in the middle of
        # settling may give some back a second time.
        self._out: dict[int, int] = {}
        self._alone: int | None = None  # a suspect is out
        self._out_count = self._out_size = 0
        self.fresh: deque[Waiting] = deque()

    def put(self, item: Waiting) -> Refusal | None:
        """Store a message, unless there is no room for it or it is here already."""
        # All calls before the lock is taken: in one of them another thread may come, and would not see it taken.
        message_id, size, part = item[1], len(item[3]), hash(item[1]) & PART
        inside = self._steps != 0 and self._is_inside()
        with self._lock:
            if self._steps:
                if not inside:
                    self._mend()
                elif self._steps > 0:
                    return self._stand_aside(item)
            ids = self._ids.parts[part]
            if message_id in ids:
                return "duplicate"
            if self.count >= self._max_events or self.size + size > self._max_bytes:
                return "full"
            # No call comes between these lines, so that nothing comes in the middle of them: whoever comes in the
            # middle of the last one finds all of it done.
            self._steps = -1
            self.count += 1
            self.size += size
            ids[message_id] = None
            self.fresh.append(item)
            self._steps = 0
            return None

    @step
    def load(self, item: Waiting, due: float = 0.0) -> None:
        """Take in a message from where it was kept, whatever the bounds; ``due``: not before."""
        self._aside.append((item, due))  # and from there, at the end of this step, to where it belongs

    def has_room(self, size: int) -> bool:
        return self.count < self._max_events and self.size + size <= self._max_bytes

    def take(self, limit: int, max_bytes: int | None, now: float) -> list[Entry]:
        taken: list[Entry] = []
        inside = self._steps != 0 and self._is_inside()
        with self._lock:
            self._begin(inside)
            if self._steps == 1:  # nothing may be moved in the middle of another step
                self._wake(now)
                if self._alone is None:
                    self._fill(taken, limit, 1 << 62 if max_bytes is None else max_bytes, now)
            self._end()
            return taken

    def _fill(self, taken: list[Entry], limit: int, room: int, now: float) -> None:
        number, lease = self._new_lease(now)
        parked, held, fresh, alone = self._parked, self._held, self.fresh, False
        while self._free and not alone and len(taken) < limit and room > 0:
            lane = next(iter(self._free))
            line = parked[lane]
            alone = line[0][6] >= SUSPICIOUS
            if alone and (taken or self._out_count):
                break
            del self._free[lane]
            if alone:
                self._alone = line[0][0]
            while line and alone == (line[0][6] >= SUSPICIOUS) and len(taken) < (1 if alone else limit) and room > 0:
                room -= self._hand_out(line[0], taken, number, lease)
                line.popleft()
            if not line:
                del parked[lane]
        mine = {entry.lane for entry in taken}
        while fresh and not alone and len(taken) < limit and room > 0:
            item = fresh[0]
            lane, size = item[2], len(item[3])
            if lane in parked:
                parked[lane].append(item)
            elif lane in held and lane not in mine:
                self._park(item)
            else:
                mine.add(lane)
                self._hand_out(item, taken, number, lease)
                room -= size
            self._other_size += size
            fresh.popleft()
        self._taking = 0

    @step
    def renew(self, number: int, now: float) -> bool:
        """Begin a lease's time anew; False if it has ended."""
        lease = self._leases.get(number)
        if lease is not None:
            lease.until = now + self._lease
            others = {other: one for other, one in self._leases.items() if other != number}
            self._leases = {**others, number: lease}  # behind those that end before it
        return lease is not None

    @step
    def take_expired(self, accepted_before: float, limit: int, now: float) -> list[Entry]:
        taken: list[Entry] = []
        if self._steps > 1:
            return taken  # as above
        number, lease = self._new_lease(now)
        for lane in list(self._parked):  # before the fresh ones, for they are older
            while (parked := self._parked.get(lane)) and parked[0][4] < accepted_before and len(taken) < limit:
                self._hand_out(parked[0], taken, number, lease)
                self._drop_first(lane)
        while self.fresh and self.fresh[0][4] < accepted_before and len(taken) < limit:
            self._other_size += self._hand_out(self.fresh[0], taken, number, lease)
            self.fresh.popleft()
        for entry in taken:
            self._free.pop(entry.lane, None)
        self._taking = 0
        return taken

    @step
    def drop_oldest(self, size: int, given_up: list[Entry] | None = None) -> list[Entry]:
        """Give up messages that are not out until ``size`` bytes fit; see :meth:`pop_oldest`."""
        given_up = [] if given_up is None else given_up
        if self._steps > 1:
            return given_up  # as above
        if self._out_count >= self._max_events or self._out_size + size > self._max_bytes:
            return given_up  # what waits is not what stands in the way
        # What was put in the middle of this call stands aside until it is over, so there may be nothing left.
        while not self.has_room(size) and self._give_up_oldest(given_up):
            pass
        return given_up

    @step
    def pop_oldest(self, given_up: list[Entry] | None = None) -> Entry | None:
        """Give up the oldest message that is not out.

        Args:
            given_up: a list that it is added to before it goes, so that whoever is interrupted knows. It may be there
                still.
        """
        if self._steps > 1:
            return None  # as above
        return self._give_up_oldest([] if given_up is None else given_up)

    def knows(self, message_id: str) -> bool:
        """Tell whether a message with this id is here."""
        return message_id in self._ids

    def holds_less_than(self, events: int, size: int) -> bool:
        """Tell whether fewer messages are here, and fewer bytes."""
        return self.count < events and self.size < size

    def owns(self, entry: Entry) -> bool:
        """Tell whether an entry is still its taker's."""
        return self._out.get(entry.seq) == entry.lease

    def forget(self, entries: Iterable[Entry]) -> list[Entry]:
        """Let go of entries that are settled; return those that were still their taker's."""
        mine: list[Entry] = []
        inside = self._steps != 0 and self._is_inside()
        with self._lock:
            self._begin(inside)
            for entry in entries:
                if self._out.get(entry.seq) == entry.lease:
                    self._let_go(entry)
                    self._shrink(entry.message_id, len(entry.record))
                    mine.append(entry)
            self._end()
            return mine

    @step
    def evict(self, seqs: Container[int], *, out: bool) -> list[Entry]:
        """Let go of messages that are somebody else's from now on; of those that are out, only if asked to."""
        if self._steps > 1:
            return []  # as above
        held = [entry for lease in self._leases.values() for entry in lease.entries.values() if out]
        gone = self.forget([entry for entry in held if entry.seq in seqs])
        for lane in list(self._parked):
            for item in [item for item in self._parked[lane] if item[0] in seqs]:
                self._parked[lane].remove(item)
                self._shrink(item[1], len(item[3]))
                gone.append(Entry(*item))
            if not self._parked[lane]:
                self._clear(lane)
        fewer = [item for item in self.fresh if item[0] in seqs]
        self.fresh = deque(item for item in self.fresh if item[0] not in seqs)
        for item in fewer:
            self._other_size += len(item[3])
            self._shrink(item[1], len(item[3]))
            gone.append(Entry(*item))
        return gone

    @step
    def put_back(self, entries: Sequence[Entry], due: float, *, counted: bool) -> list[Entry]:
        """Put entries back where they stood; return those that were still their taker's."""
        mine = []
        for entry in reversed(entries):
            if self._out.get(entry.seq) == entry.lease:
                self._back(entry, *entry.put_back(counted=counted), due)
                mine.append(entry)
        return mine

    @step
    def ready(self, now: float) -> Ready:
        size = self.size - self._other_size
        if self._steps > 1:
            return Ready(0, size, None, None)  # as above
        self._wake(now)
        due = self._delayed[0][0] if self._delayed else None
        suspect = self._out_count and self._free and self._parked[next(iter(self._free))][0][6] >= SUSPICIOUS
        if suspect or self._alone is not None:
            return Ready(0, size, None, due)  # whoever settles what is out goes on with it
        parked = sum(len(self._parked[lane]) for lane in self._free)
        oldest = 0.0 if parked else self.fresh[0][4] if self.fresh else None
        return Ready(len(self.fresh) + parked, size, oldest, due)

    # -- in the middle of a step, and after one that did not come to its end

    def _stand_aside(self, item: Waiting) -> Refusal | None:
        aside = self._aside.copy()
        if item[1] in self._ids or any(item[1] == other[1] for other, _ in aside):
            return "duplicate"
        size = self.size + len(item[3]) + sum(len(other[3]) for other, _ in aside)
        if self.count + len(aside) >= self._max_events or size > self._max_bytes:
            return "full"
        self._aside.append((item, 0.0))
        return None

    def _mend(self) -> None:
        """Put right what an interrupted step left: what stands in two places waits, and all else is counted anew."""
        self._steps = 1
        there = {item[0] for item, _ in self._aside.copy()}
        lines = {lane: [item for item in line if item[0] not in there] for lane, line in self._parked.items()}
        there.update(item[0] for line in lines.values() for item in line)
        fresh = [item for item in self.fresh if item[0] not in there]
        there.update(item[0] for item in fresh)
        leases: dict[int, _Lease] = {}
        for number, lease in sorted(self._leases.items(), key=lambda one: one[1].until):
            entries = {s: x for s, x in lease.entries.items() if self._out.get(s) == number and s not in there}
            if number == self._taking:  # nobody knows what it took
                for entry in entries.values():
                    lines.setdefault(entry.lane, []).append(_as_waiting(entry, *entry.put_back(counted=False)))
            elif entries:
                leases[number] = _Lease(lease.until, entries)
        parked = {lane: deque(sorted(line, key=lambda item: item[0])) for lane, line in lines.items() if line}
        out = [entry for lease in leases.values() for entry in lease.entries.values()]
        here = [*fresh, *(item for line in parked.values() for item in line)]
        self._make_anew(parked, self._due, dict(Counter(entry.lane for entry in out)))
        self.fresh = deque(fresh)
        self._leases, self._out = leases, {entry.seq: entry.lease for entry in out}
        self._ids = Ids([item[1] for item in here] + [entry.message_id for entry in out])
        self._out_count, self._out_size = len(out), sum(len(entry.record) for entry in out)
        self.count, self.size = len(here) + len(out), sum(len(item[3]) for item in here) + self._out_size
        self._other_size = self.size - sum(len(item[3]) for item in fresh)
        self._alone = self._alone if self._alone in self._out else None
        self._taking = 0
        self._bring_in()
        self._steps = 0

    # -- messages

    def _take_in(self, item: Waiting, due: float) -> None:
        lane, size = item[2], len(item[3])
        self.count += 1
        self.size += size
        self._ids.add(item[1])
        if not (item[5] or item[6] or due):
            self.fresh.append(item)
            return
        self._other_size += size
        self._not_before(lane, due)
        self._park(item)
        self._free.pop(lane, None)
        self._sort_out(lane)

    def _shrink(self, message_id: str, size: int) -> None:
        """Forget one that is not in ``fresh``."""
        self._ids.discard(message_id)
        self.count -= 1
        self.size -= size
        self._other_size -= size

    def _give_up_oldest(self, given_up: list[Entry]) -> Entry | None:
        fresh = self.fresh
        lane = self._oldest_lane(fresh[0][0] if fresh else None)
        if lane is None and not fresh:
            return None
        item = fresh[0] if lane is None else self._parked[lane][0]
        entry, size = Entry(*item), len(item[3])
        given_up.append(entry)
        if lane is None:
            self._other_size += size
            fresh.popleft()
        else:
            self._drop_first(lane)
        self._shrink(entry.message_id, size)
        return entry

    def _new_lease(self, now: float) -> tuple[int, _Lease]:
        self._last_lease += 1
        self._taking = self._last_lease
        return self._last_lease, _Lease(now + self._lease)

    def _hand_out(self, item: Waiting, taken: list[Entry], number: int, lease: _Lease) -> int:
        """Note that a message is out; whoever asks for that lets go of it where it waited."""
        seq, message_id, lane, record, accepted_at, attempts, abandoned = item
        size = len(record)
        entry = Entry(seq, message_id, lane, record, accepted_at, attempts + 1, abandoned, number)
        lease.entries[seq] = entry
        self._leases[number] = lease
        self._held[lane] = self._held.get(lane, 0) + 1
        self._out[seq] = number
        self._out_count += 1
        self._out_size += size
        taken.append(entry)
        return size

    def _back(self, entry: Entry, attempts: int, abandoned: int, due: float) -> None:
        self._not_before(entry.lane, due)
        self._park(_as_waiting(entry, attempts, abandoned))
        self._let_go(entry)

    def _let_go(self, entry: Entry) -> None:
        size = len(entry.record)
        del self._out[entry.seq]
        self._out_count -= 1
        self._out_size -= size
        if self._alone == entry.seq:
            self._alone = None
        if lease := self._leases.get(entry.lease):
            lease.entries.pop(entry.seq, None)
            if not lease.entries:
                del self._leases[entry.lease]
        out = self._held[entry.lane] - 1
        if out:
            self._held[entry.lane] = out
            return
        del self._held[entry.lane]
        self._sort_out(entry.lane)

    def _wake(self, now: float) -> None:
        """End the leases whose time is over, and the waits of lanes."""
        while self._leases:
            lease = next(iter(self._leases.values()))
            if lease.until > now:
                break
            for entry in reversed(list(lease.entries.values())):
                self._back(entry, entry.attempts, entry.abandoned + 1, 0.0)
        if self._delayed:
            self._end_waits(now)


def _as_waiting(entry: Entry, attempts: int, abandoned: int) -> Waiting:
    return (entry.seq, entry.message_id, entry.lane, entry.record, entry.accepted_at, attempts, abandoned)
