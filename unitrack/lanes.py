"""Messages of one destination that do not simply pass: where they stand in their lanes, and when those may go on."""

from collections import OrderedDict, deque
from collections.abc import Mapping
from heapq import heapify, heappop, heappush, heapreplace

#: What waits is a tuple of atoms, not an object: the garbage collector stops looking at those, so that a full
#: queue does not make its pauses longer. (seq, message_id, lane, record, accepted_at, attempts, abandoned)
Waiting = tuple[int, str, int, bytes, float, int, int]


class Lanes:
    """The lanes in which something is out or *parked*.

    A lane with parked messages is in exactly one state: held, delayed (it has a due time), or free.

    The parked messages and the due times are what counts; all the rest follows from them and from what is out, and
    is made anew where a step was interrupted.
    """

    def __init__(self) -> None:
        self._make_anew({}, {}, {})

    def _make_anew(self, parked: dict[int, deque[Waiting]], due: Mapping[int, float], held: dict[int, int]) -> None:
        """Begin from what counts."""
        due = {lane: time for lane, time in due.items() if lane in parked}
        heads = [(line[0][0], lane) for lane, line in parked.items()]
        delayed = [(time, lane) for lane, time in due.items() if lane not in held]
        heapify(heads)
        heapify(delayed)
        free = OrderedDict((lane, None) for _, lane in sorted(heads) if lane not in held and lane not in due)
        self._parked: dict[int, deque[Waiting]] = parked  # never empty, in order of seq
        self._due: dict[int, float] = due  # lane -> not before
        self._held: dict[int, int] = held  # lane -> its entries that are out
        self._delayed: list[tuple[float, int]] = delayed  # heap of due times
        self._free: OrderedDict[int, None] = free  # lanes with parked messages that may go on
        self._heads: list[tuple[int, int]] = heads  # heap: no parked lane begins before the seq that stands here for it

    def _park(self, item: Waiting) -> None:
        lane = item[2]
        parked = self._parked.setdefault(lane, deque())
        if not parked or item[0] < parked[0][0]:
            parked.appendleft(item)
            self._note_head(item[0], lane)
            return
        # Entries of one lane that come back one after the other must still stand in order.
        at = next((place for place, other in enumerate(parked) if item[0] < other[0]), len(parked))
        parked.insert(at, item)

    def _drop_first(self, lane: int) -> None:
        """Let go of the first message of a lane; it stands elsewhere by now."""
        parked = self._parked[lane]
        parked.popleft()
        if not parked:
            self._clear(lane)

    def _clear(self, lane: int) -> None:
        del self._parked[lane]
        self._due.pop(lane, None)
        self._free.pop(lane, None)

    def _oldest_lane(self, before: int | None) -> int | None:
        """Return the lane whose first parked message is the oldest of all, if it came before another one."""
        heads = self._heads
        while heads:
            seq, lane = heads[0]
            parked = self._parked.get(lane)
            if not parked:
                heappop(heads)
            elif parked[0][0] != seq:
                heapreplace(heads, (parked[0][0], lane))  # its first messages have gone on
            else:
                return lane if before is None or seq < before else None
        return None

    def _note_head(self, seq: int, lane: int) -> None:
        if len(self._heads) > 2 * len(self._parked) + 100:
            self._heads = [(parked[0][0], lane) for lane, parked in self._parked.items()]
            heapify(self._heads)
        else:
            heappush(self._heads, (seq, lane))

    def _not_before(self, lane: int, due: float) -> None:
        if due:
            self._due[lane] = max(due, self._due.get(lane, 0.0))

    def _end_waits(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            due, lane = heappop(self._delayed)
            if self._due.get(lane) == due:  # else a later due time has taken its place
                del self._due[lane]
                self._sort_out(lane)

    def _sort_out(self, lane: int) -> None:
        """Put a lane into the state that it is in now."""
        if lane in self._held or lane not in self._parked:
            return
        if lane in self._due:
            heappush(self._delayed, (self._due[lane], lane))
        else:
            self._free[lane] = None
