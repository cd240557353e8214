"""What waits for one destination in the memory of this process: in order per lane, leased to one taker at a time."""

import threading
from collections import OrderedDict, deque
from collections.abc import Container, Iterable, Sequence
from heapq import heapify, heappop, heappush, heapreplace

from attrs import Factory, define

from .queue import Entry, Ready, Refusal

#: What waits is a tuple of atoms, not an object: the garbage collector stops looking at those, so that a full
#: queue does not make its pauses longer. (seq, message_id, lane, record, accepted_at, attempts, abandoned)
Waiting = tuple[int, str, int, bytes, float, int, int]

#: Times that a message's taker may vanish before the message is under suspicion, and is handed out all by itself.
SUSPICIOUS = 2
#: Seconds for which a take is its taker's alone, unless the queue was opened with another time.
LEASE = 60.0


@define(eq=False)
class _Lease:
    """What one take handed out, and until when it belongs to whoever took it."""

    until: float
    entries: dict[int, Entry] = Factory(dict)


class Position:
    """What waits for one destination, and what is out.

    Most messages pass through ``fresh`` alone. Only where a lane is held does the rest of its messages step aside
    into ``parked``, and comes back when the lane is free; so the cost of order is paid by those who need it.

    A lane with parked messages is in exactly one state: held, delayed (it has a due time), or free.

    What is taken is leased: if nobody settles it in time, it is handed out again, and the first taker's word on it
    does not count any more. A message whose takers vanish again and again goes out all by itself, so that no other
    is suspected of what it does.

    The lock is re-entrant, because a signal handler or a destructor may put in the middle of any step. So a put calls
    nothing between its lines, and one that comes in the middle of another step stands aside until that is done.
    """

    def __init__(self, max_events: int, max_bytes: int, lease: float = LEASE) -> None:
        self._lock = threading.RLock()
        self._steps = 0  # under way, one in the middle of another
        self._aside: deque[Waiting] = deque()
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._count = 0  # of all messages, those that are out included
        self._size = 0
        self._ids: dict[str, None] = {}  # of all messages, so that none is stored twice
        self._lease = lease
        self._leases: dict[int, _Lease] = {}  # by number, those that end first in front
        self._last_lease = 0
        # Numbers of those that are out, with their lease: a taker may come too late, and Ctrl-C in the middle of
        # settling may give some back a second time.
        self._out: dict[int, int] = {}
        self._alone: int | None = None  # a suspect is out
        self._out_count = 0
        self._out_size = 0
        self._fresh_size = 0
        self.fresh: deque[Waiting] = deque()
        self._parked: dict[int, deque[Waiting]] = {}  # never empty, in order of seq
        self._held: dict[int, int] = {}  # lane -> its entries that are out
        self._due: dict[int, float] = {}  # lane -> not before
        self._delayed: list[tuple[float, int]] = []  # heap of the same
        self._free: OrderedDict[int, None] = OrderedDict()  # lanes with parked messages that may go on
        self._heads: list[tuple[int, int]] = []  # heap: no parked lane begins before the seq that stands here for it

    def put(self, item: Waiting) -> Refusal | None:
        """Store a message, unless there is no room for it or it is here already."""
        size = len(item[3])
        with self._lock:
            if item[1] in self._ids:
                return "duplicate"
            if self._count >= self._max_events or self._size + size > self._max_bytes:
                return "full"
            self._count += 1
            self._size += size
            self._ids[item[1]] = None
            if self._steps:
                self._aside.append(item)
            else:
                self._fresh_size += size
                self.fresh.append(item)
            return None

    def load(self, item: Waiting, due: float = 0.0) -> None:
        """Take in a message from where it was kept, whatever the bounds; ``due``: not before."""
        with self:
            size = len(item[3])
            self._count += 1
            self._size += size
            self._ids[item[1]] = None
            lane = item[2]
            if not (item[5] or item[6] or due):
                self._fresh_size += size
                self.fresh.append(item)
                return
            self._park(lane, item)
            if due:
                self._due[lane] = max(due, self._due.get(lane, 0.0))
            self._free.pop(lane, None)
            self._sort_out(lane)

    def __enter__(self) -> None:
        self._lock.acquire()
        self._steps += 1

    def __exit__(self, *_: object) -> None:
        if self._steps == 1:
            while self._aside:
                item = self._aside.popleft()
                size = len(item[3])
                self._fresh_size += size
                self.fresh.append(item)
        self._steps -= 1
        self._lock.release()

    def has_room(self, size: int) -> bool:
        return self._count < self._max_events and self._size + size <= self._max_bytes

    def take(self, limit: int, max_bytes: int | None, now: float) -> list[Entry]:
        with self:
            self._wake(now)
            taken: list[Entry] = []
            if self._alone is not None:
                return taken
            number, lease = self._new_lease(now)
            room = max_bytes if max_bytes is not None else 1 << 62
            while self._free and len(taken) < limit and room > 0:
                lane, _ = self._free.popitem(last=False)
                parked = self._parked[lane]
                suspect = parked[0][6] >= SUSPICIOUS
                if suspect and (taken or self._out_count):
                    self._free[lane] = None
                    self._free.move_to_end(lane, last=False)
                    return taken
                if suspect:
                    self._alone = parked[0][0]
                    self._hand_out(parked.popleft(), taken, number, lease)
                while not suspect and parked and parked[0][6] < SUSPICIOUS and len(taken) < limit and room > 0:
                    room -= self._hand_out(parked.popleft(), taken, number, lease)
                if not parked:
                    del self._parked[lane]
                if suspect:
                    return taken
            fresh, held, others = self.fresh, self._held, self._parked
            mine = {entry.lane for entry in taken}
            while fresh and len(taken) < limit and room > 0:
                item = self._pop_fresh()
                lane = item[2]
                if lane in others:
                    others[lane].append(item)
                elif lane in held and lane not in mine:
                    self._park(lane, item)
                else:
                    mine.add(lane)
                    room -= self._hand_out(item, taken, number, lease)
            return taken

    def renew(self, number: int, now: float) -> bool:
        """Begin a lease's time anew; False if it has ended."""
        with self:
            lease = self._leases.pop(number, None)
            if lease is None:
                return False
            lease.until = now + self._lease
            self._leases[number] = lease  # behind those that end before it
            return True

    def take_expired(self, accepted_before: float, limit: int, now: float) -> list[Entry]:
        with self:
            taken: list[Entry] = []
            number, lease = self._new_lease(now)
            while self.fresh and self.fresh[0][4] < accepted_before and len(taken) < limit:
                self._hand_out(self._pop_fresh(), taken, number, lease)
            for lane in list(self._parked):
                while (parked := self._parked.get(lane)) and parked[0][4] < accepted_before and len(taken) < limit:
                    self._hand_out(self._pop_parked(lane), taken, number, lease)
                    self._free.pop(lane, None)
            return taken

    def drop_oldest(self, size: int) -> list[Entry]:
        with self:
            given_up: list[Entry] = []
            if self._steps > 1:
                return given_up  # nothing may be moved in the middle of another step
            if self._out_count >= self._max_events or self._out_size + size > self._max_bytes:
                return given_up  # what waits is not what stands in the way
            # What was put in the middle of this call stands aside until it is over, so there may be nothing left.
            while not self.has_room(size) and (oldest := self.pop_oldest()):
                given_up.append(oldest)
            return given_up

    def pop_oldest(self) -> Entry | None:
        """Give up the oldest message that is not out."""
        with self:
            if not self.fresh and not self._parked:
                return None
            item = self._pop_oldest()
            self._shrink(item[1], len(item[3]))
            return Entry(*item)

    def knows(self, message_id: str) -> bool:
        """Tell whether a message with this id is here."""
        return message_id in self._ids

    def holds_less_than(self, events: int, size: int) -> bool:
        """Tell whether fewer messages are here, and fewer bytes."""
        return self._count < events and self._size < size

    def owns(self, entry: Entry) -> bool:
        """Tell whether an entry is still its taker's."""
        return self._out.get(entry.seq) == entry.lease

    def forget(self, entries: Iterable[Entry]) -> list[Entry]:
        """Let go of entries that are settled; return those that were still their taker's."""
        with self:
            mine = []
            for entry in entries:
                if self._out.get(entry.seq) == entry.lease:
                    self._shrink(entry.message_id, len(entry.record))
                    self._let_go(entry)
                    mine.append(entry)
            return mine

    def evict(self, seqs: Container[int], *, out: bool) -> list[Entry]:
        """Let go of messages that are somebody else's from now on; of those that are out, only if asked to."""
        with self:
            if self._steps > 1:
                return []  # nothing may be moved in the middle of another step
            held = [entry for lease in self._leases.values() for entry in lease.entries.values() if out]
            gone = self.forget([entry for entry in held if entry.seq in seqs])
            for lane in list(self._parked):
                for item in [item for item in self._parked[lane] if item[0] in seqs]:
                    self._parked[lane].remove(item)
                    self._shrink(item[1], len(item[3]))
                    gone.append(Entry(*item))
                if not self._parked[lane]:
                    del self._parked[lane]
                    self._due.pop(lane, None)
                    self._free.pop(lane, None)
            for _ in range(len(self.fresh)):
                item = self._pop_fresh()
                if item[0] in seqs:
                    self._shrink(item[1], len(item[3]))
                    gone.append(Entry(*item))
                else:
                    self._fresh_size += len(item[3])
                    self.fresh.append(item)
            return gone

    def put_back(self, entries: Sequence[Entry], due: float, *, counted: bool) -> list[Entry]:
        """Put entries back where they stood; return those that were still their taker's."""
        with self:
            mine = []
            for entry in reversed(entries):
                if self._out.get(entry.seq) == entry.lease:
                    self._back(entry, *entry.put_back(counted=counted), due)
                    mine.append(entry)
            return mine

    def ready(self, now: float) -> Ready:
        with self:
            self._wake(now)
            due = self._delayed[0][0] if self._delayed else None
            suspect = self._out_count and self._free and self._parked[next(iter(self._free))][0][6] >= SUSPICIOUS
            if suspect or self._alone is not None:
                return Ready(0, self._fresh_size, None, due)  # whoever settles what is out goes on with it
            parked = sum(len(self._parked[lane]) for lane in self._free)
            oldest = 0.0 if parked else self.fresh[0][4] if self.fresh else None
            return Ready(len(self.fresh) + parked, self._fresh_size, oldest, due)

    # -- messages

    def _shrink(self, message_id: str, size: int) -> None:
        self._ids.pop(message_id, None)
        self._count -= 1
        self._size -= size

    def _pop_fresh(self) -> Waiting:
        item = self.fresh.popleft()
        # Measured first, here and below: a signal handler may put in the middle of any call, and then what was read
        # before it is old.
        size = len(item[3])
        self._fresh_size -= size
        return item

    def _pop_parked(self, lane: int) -> Waiting:
        item = self._parked[lane].popleft()
        if not self._parked[lane]:
            del self._parked[lane]
            self._due.pop(lane, None)
            self._free.pop(lane, None)
        return item

    def _pop_oldest(self) -> Waiting:
        heads = self._heads
        while heads:
            seq, lane = heads[0]
            parked = self._parked.get(lane)
            if not parked:
                heappop(heads)
            elif parked[0][0] != seq:
                heapreplace(heads, (parked[0][0], lane))  # its first messages have gone on
            elif self.fresh and self.fresh[0][0] < seq:
                break
            else:
                return self._pop_parked(lane)
        return self._pop_fresh()

    def _park(self, lane: int, item: Waiting) -> None:
        parked = self._parked.setdefault(lane, deque())
        if not parked or item[0] < parked[0][0]:
            parked.appendleft(item)
            self._note_head(item[0], lane)
            return
        # Entries of one lane that come back one after the other must still stand in order.
        at = next((place for place, other in enumerate(parked) if item[0] < other[0]), len(parked))
        parked.insert(at, item)

    def _note_head(self, seq: int, lane: int) -> None:
        if len(self._heads) > 2 * len(self._parked) + 100:
            self._heads = [(parked[0][0], lane) for lane, parked in self._parked.items()]
            heapify(self._heads)
        else:
            heappush(self._heads, (seq, lane))

    def _new_lease(self, now: float) -> tuple[int, _Lease]:
        self._last_lease += 1
        return self._last_lease, _Lease(now + self._lease)

    def _hand_out(self, item: Waiting, taken: list[Entry], number: int, lease: _Lease) -> int:
        seq, message_id, lane, record, accepted_at, attempts, abandoned = item
        size = len(record)
        entry = Entry(seq, message_id, lane, record, accepted_at, attempts + 1, abandoned, number)
        self._held[lane] = self._held.get(lane, 0) + 1
        self._out[seq] = number
        self._out_count += 1
        self._out_size += size
        lease.entries[seq] = entry
        self._leases[number] = lease
        taken.append(entry)
        return size

    def _back(self, entry: Entry, attempts: int, abandoned: int, due: float) -> None:
        item = (entry.seq, entry.message_id, entry.lane, entry.record, entry.accepted_at, attempts, abandoned)
        self._park(entry.lane, item)
        if due:
            self._due[entry.lane] = max(due, self._due.get(entry.lane, 0.0))
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
        else:
            del self._held[entry.lane]
            self._sort_out(entry.lane)

    # -- time

    def _wake(self, now: float) -> None:
        """End the leases whose time is over, and the waits of lanes."""
        while self._leases:
            lease = next(iter(self._leases.values()))
            if lease.until > now:
                break
            for entry in reversed(list(lease.entries.values())):
                self._back(entry, entry.attempts, entry.abandoned + 1, 0.0)
        while self._delayed and self._delayed[0][0] <= now:
            due, lane = heappop(self._delayed)
            if self._due.get(lane) == due:  # else a later due time has taken its place
                del self._due[lane]
                self._sort_out(lane)

    # -- lanes

    def _sort_out(self, lane: int) -> None:
        """Put a lane into the state that it is in now."""
        if lane in self._held or lane not in self._parked:
            return
        if lane in self._due:
            heappush(self._delayed, (self._due[lane], lane))
        else:
            self._free[lane] = None
