"""Messages wait in this process and go with it: fast, bounded, ordered per user."""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush, heapreplace

from ..queue import DeadLetter, Durability, Entry, Ready

#: What waits is a tuple of atoms, not an object: the garbage collector stops looking at those, so that a full
#: queue does not make its pauses longer. (seq, message_id, lane, record, accepted_at[, attempts])
_Waiting = tuple[int, str, int, bytes, float, int]

MAX_DEAD_LETTERS = 1_000
MAX_DEAD_BYTES = 16 * 1024 * 1024


class MemoryQueue:
    """The default queue.

    All destinations share one copy of a record. Dead letters are kept for the newest only: 1,000 of them, or 16 MiB.
    """

    durability: Durability = "none"

    def __init__(self) -> None:
        self._positions: dict[str, _Position] = {}
        self._dead_lock = threading.RLock()
        self._dead: deque[DeadLetter] = deque()
        self._dead_size = 0

    def open(self, destination: str, *, max_events: int, max_bytes: int) -> int:
        self._positions[destination] = _Position(max_events, max_bytes)
        return 0

    def put(
        self, seq: int, message_id: str, lane: int, record: bytes, accepted_at: float, destinations: Sequence[str]
    ) -> Sequence[str]:
        item = (seq, message_id, lane, record, accepted_at, 0)
        return [name for name in destinations if not self._positions[name].put(item)]

    def drop_oldest(self, destination: str, size: int) -> Sequence[Entry]:
        return self._positions[destination].drop_oldest(size)

    def take(self, destination: str, limit: int, max_bytes: int | None, now: float) -> Sequence[Entry]:
        return self._positions[destination].take(limit, max_bytes, now)

    def take_expired(self, destination: str, accepted_before: float, limit: int) -> Sequence[Entry]:
        return self._positions[destination].take_expired(accepted_before, limit)

    def done(self, destination: str, entries: Iterable[Entry]) -> None:
        self._positions[destination].forget(entries)

    def retry(self, destination: str, entries: Sequence[Entry], due: float) -> None:
        self._positions[destination].put_back(entries, due, counted=True)

    def release(self, destination: str, entries: Sequence[Entry]) -> None:
        self._positions[destination].put_back(entries, 0.0, counted=False)

    def bury(self, destination: str, entry: Entry, reason: str, detail: str, now: float) -> None:
        letter = DeadLetter(
            destination, entry.message_id, reason, detail, entry.attempts, entry.accepted_at, now, entry.record
        )
        self.keep_dead(letter)
        self._positions[destination].forget([entry])

    def waiting(self, destination: str) -> int:
        return len(self._positions[destination].fresh)

    def has_room(self, destination: str, size: int) -> bool:
        return self._positions[destination].has_room(size)

    def ready(self, destination: str, now: float) -> Ready:
        return self._positions[destination].ready(now)

    def dead_letters(self, destination: str | None = None) -> Sequence[DeadLetter]:
        with self._dead_lock:
            return [letter for letter in self._dead if destination in (None, letter.destination)]

    def keep_dead(self, letter: DeadLetter) -> None:
        with self._dead_lock:
            self._dead.append(letter)
            size = len(letter.record)
            self._dead_size += size
            while len(self._dead) > MAX_DEAD_LETTERS or (len(self._dead) > 1 and self._dead_size > MAX_DEAD_BYTES):
                size = len(self._dead.popleft().record)
                self._dead_size -= size

    def close(self) -> None:
        pass


class _Position:
    """What waits for one destination.

    Most messages pass through ``fresh`` alone. Only where a lane is held does the rest of its messages step aside
    into ``parked``, and comes back when the lane is free; so the cost of order is paid by those who need it.

    A lane with parked messages is in exactly one state: held, delayed (it has a due time), or free.

    The lock is re-entrant, because a signal handler or a destructor may put in the middle of any step. So a put calls
    nothing between its lines, and one that comes in the middle of another step stands aside until that is done.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._lock = threading.RLock()
        self._steps = 0  # under way, one in the middle of another
        self._aside: deque[_Waiting] = deque()
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._count = 0  # of all messages, those that are out included
        self._size = 0
        # Numbers of those that are out: Ctrl-C in the middle of settling may give some back a second time.
        self._out: set[int] = set()
        self._out_count = 0
        self._out_size = 0
        self._fresh_size = 0
        self.fresh: deque[_Waiting] = deque()
        self._parked: dict[int, deque[_Waiting]] = {}  # never empty, in order of seq
        self._held: dict[int, int] = {}  # lane -> its entries that are out
        self._due: dict[int, float] = {}  # lane -> not before
        self._delayed: list[tuple[float, int]] = []  # heap of the same
        self._free: OrderedDict[int, None] = OrderedDict()  # lanes with parked messages that may go on
        self._heads: list[tuple[int, int]] = []  # heap: no parked lane begins before the seq that stands here for it

    def put(self, item: _Waiting) -> bool:
        size = len(item[3])
        with self._lock:
            if self._count >= self._max_events or self._size + size > self._max_bytes:
                return False
            self._count += 1
            self._size += size
            if self._steps:
                self._aside.append(item)
            else:
                self._fresh_size += size
                self.fresh.append(item)
            return True

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
            self._wake_delayed(now)
            taken: list[Entry] = []
            room = max_bytes if max_bytes is not None else 1 << 62
            while self._free and len(taken) < limit and room > 0:
                lane, _ = self._free.popitem(last=False)
                parked = self._parked[lane]
                while parked and len(taken) < limit and room > 0:
                    room -= self._hand_out(parked.popleft(), taken)
                if not parked:
                    del self._parked[lane]
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
                    room -= self._hand_out(item, taken)
            return taken

    def take_expired(self, accepted_before: float, limit: int) -> list[Entry]:
        with self:
            taken: list[Entry] = []
            while self.fresh and self.fresh[0][4] < accepted_before and len(taken) < limit:
                self._hand_out(self._pop_fresh(), taken)
            for lane in list(self._parked):
                while (parked := self._parked.get(lane)) and parked[0][4] < accepted_before and len(taken) < limit:
                    self._hand_out(self._pop_parked(lane), taken)
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
            while not self.has_room(size) and (self.fresh or self._parked):
                item = self._pop_oldest()
                self._shrink(len(item[3]))
                given_up.append(Entry(*item))
            return given_up

    def forget(self, entries: Iterable[Entry]) -> None:
        with self:
            for entry in entries:
                if entry.seq in self._out:
                    self._shrink(len(entry.record))
                    self._let_go(entry)

    def put_back(self, entries: Sequence[Entry], due: float, *, counted: bool) -> None:
        with self:
            for entry in reversed(entries):
                if entry.seq not in self._out:
                    continue
                attempts = entry.attempts if counted else entry.attempts - 1
                item = (entry.seq, entry.message_id, entry.lane, entry.record, entry.accepted_at, attempts)
                self._park(entry.lane, item)
                if due:
                    self._due[entry.lane] = max(due, self._due.get(entry.lane, 0.0))
                self._let_go(entry)

    def ready(self, now: float) -> Ready:
        with self:
            self._wake_delayed(now)
            parked = sum(len(self._parked[lane]) for lane in self._free)
            oldest = 0.0 if parked else self.fresh[0][4] if self.fresh else None
            due = self._delayed[0][0] if self._delayed else None
            return Ready(len(self.fresh) + parked, self._fresh_size, oldest, due)

    # -- messages

    def _shrink(self, size: int) -> None:
        self._count -= 1
        self._size -= size

    def _pop_fresh(self) -> _Waiting:
        item = self.fresh.popleft()
        # Measured first, here and below: a signal handler may put in the middle of any call, and then what was read
        # before it is old.
        size = len(item[3])
        self._fresh_size -= size
        return item

    def _pop_parked(self, lane: int) -> _Waiting:
        item = self._parked[lane].popleft()
        if not self._parked[lane]:
            del self._parked[lane]
            self._due.pop(lane, None)
            self._free.pop(lane, None)
        return item

    def _pop_oldest(self) -> _Waiting:
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

    def _park(self, lane: int, item: _Waiting) -> None:
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

    def _hand_out(self, item: _Waiting, taken: list[Entry]) -> int:
        seq, message_id, lane, record, accepted_at, attempts = item
        size = len(record)
        self._held[lane] = self._held.get(lane, 0) + 1
        self._out.add(seq)
        self._out_count += 1
        self._out_size += size
        taken.append(Entry(seq, message_id, lane, record, accepted_at, attempts + 1))
        return size

    def _let_go(self, entry: Entry) -> None:
        size = len(entry.record)
        self._out.discard(entry.seq)
        self._out_count -= 1
        self._out_size -= size
        out = self._held[entry.lane] - 1
        if out:
            self._held[entry.lane] = out
        else:
            del self._held[entry.lane]
            self._sort_out(entry.lane)

    # -- lanes

    def _sort_out(self, lane: int) -> None:
        """Put a lane into the state that it is in now."""
        if lane in self._held or lane not in self._parked:
            return
        if lane in self._due:
            heappush(self._delayed, (self._due[lane], lane))
        else:
            self._free[lane] = None

    def _wake_delayed(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            due, lane = heappop(self._delayed)
            if self._due.get(lane) == due:  # else a later due time has taken its place
                del self._due[lane]
                self._sort_out(lane)
