"""Messages wait in this process and go with it: fast, bounded, ordered per user."""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

from ..queue import DeadLetter, Durability, Entry, Ready

#: What waits is a tuple of atoms, not an object: the garbage collector stops looking at those, so that a full
#: queue does not make its pauses longer. (seq, message_id, lane, record, accepted_at[, attempts])
_Waiting = tuple[int, str, int, bytes, float, int]

MAX_DEAD_LETTERS = 1_000


class MemoryQueue:
    """The default queue.

    All destinations share one copy of a record. Dead letters are kept for the newest 1,000 only.
    """

    durability: Durability = "none"

    def __init__(self) -> None:
        self._positions: dict[str, _Position] = {}
        self._dead: deque[DeadLetter] = deque(maxlen=MAX_DEAD_LETTERS)

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
        self._dead.append(letter)
        self._positions[destination].forget([entry])

    def waiting(self, destination: str) -> int:
        return len(self._positions[destination].fresh)

    def has_room(self, destination: str, size: int) -> bool:
        return self._positions[destination].has_room(size)

    def ready(self, destination: str, now: float) -> Ready:
        return self._positions[destination].ready(now)

    def dead_letters(self, destination: str | None = None) -> Sequence[DeadLetter]:
        return [letter for letter in list(self._dead) if destination in (None, letter.destination)]

    def keep_dead(self, letter: DeadLetter) -> None:
        self._dead.append(letter)

    def close(self) -> None:
        pass


class _Position:
    """What waits for one destination.

    Most messages pass through ``fresh`` alone. Only where a lane is held does the rest of its messages step aside
    into ``parked``, and comes back when the lane is free; so the cost of order is paid by those who need it.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._lock = threading.RLock()  # re-entrant: a signal handler may put in the middle of a put
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._count = 0
        self._size = 0
        self._fresh_size = 0
        self.fresh: deque[_Waiting] = deque()
        self._parked: dict[int, deque[_Waiting]] = {}
        self._held: dict[int, int] = {}  # lane -> its entries that are out
        self._due: dict[int, float] = {}  # lane -> not before
        self._delayed: list[tuple[float, int]] = []  # heap of the same
        self._free: deque[int] = deque()  # lanes with parked messages that may go on

    def put(self, item: _Waiting) -> bool:
        size = len(item[3])
        with self._lock:
            if not self.has_room(size):
                return False
            self._count += 1
            self._size += size
            self._fresh_size += size
            self.fresh.append(item)
            return True

    def has_room(self, size: int) -> bool:
        return self._count < self._max_events and self._size + size <= self._max_bytes

    def take(self, limit: int, max_bytes: int | None, now: float) -> list[Entry]:
        with self._lock:
            self._wake_delayed(now)
            taken: list[Entry] = []
            room = max_bytes if max_bytes is not None else 1 << 62
            while self._free and len(taken) < limit and room > 0:
                lane = self._free.popleft()
                parked = self._parked.get(lane)
                if not parked or lane in self._held:
                    continue
                while parked and len(taken) < limit and room > 0:
                    room -= self._hand_out(parked.popleft(), taken)
                if not parked:
                    del self._parked[lane]
            fresh, held, others = self.fresh, self._held, self._parked
            mine = {entry.lane for entry in taken}
            while fresh and len(taken) < limit and room > 0:
                item = fresh.popleft()
                self._fresh_size -= len(item[3])
                lane = item[2]
                if lane in others or (lane in held and lane not in mine):
                    others.setdefault(lane, deque()).append(item)
                    continue
                mine.add(lane)
                room -= self._hand_out(item, taken)
            return taken

    def take_expired(self, accepted_before: float, limit: int) -> list[Entry]:
        with self._lock:
            taken: list[Entry] = []
            while self.fresh and self.fresh[0][4] < accepted_before and len(taken) < limit:
                item = self.fresh.popleft()
                self._fresh_size -= len(item[3])
                self._hand_out(item, taken)
            for lane in list(self._parked):
                parked = self._parked[lane]
                while parked and parked[0][4] < accepted_before and len(taken) < limit:
                    self._hand_out(parked.popleft(), taken)
                if not parked:
                    del self._parked[lane]
                    self._due.pop(lane, None)
            return taken

    def drop_oldest(self, size: int) -> list[Entry]:
        with self._lock:
            given_up: list[Entry] = []
            while self._count and not self.has_room(size):
                if self.fresh:
                    item = self.fresh.popleft()
                    self._fresh_size -= len(item[3])
                elif self._parked:
                    lane = next(iter(self._parked))
                    item = self._parked[lane].popleft()
                    if not self._parked[lane]:
                        del self._parked[lane]
                else:
                    break  # all the rest is being sent
                self._hand_out(item, given_up)
            self.forget(given_up)
            return given_up

    def forget(self, entries: Iterable[Entry]) -> None:
        with self._lock:
            for entry in entries:
                self._count -= 1
                self._size -= len(entry.record)
                self._let_go(entry.lane)

    def put_back(self, entries: Sequence[Entry], due: float, *, counted: bool) -> None:
        with self._lock:
            for entry in reversed(entries):
                attempts = entry.attempts if counted else entry.attempts - 1
                item = (entry.seq, entry.message_id, entry.lane, entry.record, entry.accepted_at, attempts)
                self._parked.setdefault(entry.lane, deque()).appendleft(item)
                if due:
                    self._due[entry.lane] = max(due, self._due.get(entry.lane, 0.0))
            for entry in entries:
                self._let_go(entry.lane)

    def ready(self, now: float) -> Ready:
        with self._lock:
            self._wake_delayed(now)
            parked = sum(len(self._parked[lane]) for lane in self._free if lane in self._parked)
            oldest = 0.0 if parked else self.fresh[0][4] if self.fresh else None
            due = self._delayed[0][0] if self._delayed else None
            return Ready(len(self.fresh) + parked, self._fresh_size, oldest, due)

    def _hand_out(self, item: _Waiting, taken: list[Entry]) -> int:
        seq, message_id, lane, record, accepted_at, attempts = item
        self._held[lane] = self._held.get(lane, 0) + 1
        taken.append(Entry(seq, message_id, lane, record, accepted_at, attempts + 1))
        return len(record)

    def _let_go(self, lane: int) -> None:
        out = self._held[lane] - 1
        if out:
            self._held[lane] = out
            return
        del self._held[lane]
        if lane not in self._parked:
            self._due.pop(lane, None)
        elif lane in self._due:
            heappush(self._delayed, (self._due[lane], lane))
        else:
            self._free.append(lane)

    def _wake_delayed(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            due, lane = heappop(self._delayed)
            if self._due.get(lane) == due:  # else a later due time has taken its place
                del self._due[lane]
                self._free.append(lane)
