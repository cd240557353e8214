"""One destination of a queue on disk: a window in memory, the rest on disk, bounds for both."""

import threading
from collections.abc import Iterable

from attrs import Factory, define

from ..lanes import Waiting
from ..position import Position
from ..queue import Entry, Refusal
from ._sqlite_backlog import Backlog

#: What memory holds of one destination before the rest stays on disk.
WINDOW_EVENTS, WINDOW_BYTES = 20_000, 16 * 1024 * 1024


@define(eq=False)
class Branch:
    """What one destination has."""

    name: str
    bit: int
    max_events: int
    max_bytes: int
    position: Position
    backlog: Backlog = Factory(Backlog)
    lock: threading.RLock = Factory(threading.RLock)
    reading: threading.Lock = Factory(threading.Lock)
    count: int = 0  # of our own messages, in memory or not; adopted ones had their bounds elsewhere
    size: int = 0
    #: Ctrl-C came between two lines that belong together, and what is counted here may be too much since.
    doubtful: bool = False

    def has_room(self, size: int) -> bool:
        return self.count < self.max_events and self.size + size <= self.max_bytes

    @property
    def begins_on_disk(self) -> bool:
        """Whether the oldest of its messages is not in memory; one that comes back there is not looked at."""
        first, fresh = self.backlog.first, self.position.fresh
        try:
            return first is not None and first < fresh[0][0]
        except IndexError:
            return False

    def admit(self, message_id: str, lane: int, size: int) -> Refusal | bool:
        """Make room for a message; tell whether it goes to memory, too, or why it cannot come."""
        with self.lock:
            if self.position.knows(message_id):
                return "duplicate"
            if not self.has_room(size):
                return "full"
            self.count += 1
            self.size += size
            if not self.backlog.holds(lane) and self.position.holds_less_than(WINDOW_EVENTS, WINDOW_BYTES):
                return True
            self.backlog.announce(lane)
            return False

    def store(self, item: Waiting, to_memory: bool) -> Refusal | None:
        """Take in a message that is on disk."""
        with self.lock:
            if to_memory:
                return self.position.put(item)
            self.backlog.add(item[0])
            return None

    def withdraw(self, size: int, to_memory: bool) -> None:
        """Take back an admission."""
        with self.lock:
            self.count -= 1
            self.size -= size
            if not to_memory:
                self.backlog.withdraw()

    def gone(self, entries: Iterable[Entry]) -> None:
        """Count our own messages that are settled."""
        with self.lock:
            for entry in entries:
                if entry.seq >= 0:
                    self.count -= 1
                    size = len(entry.record)
                    self.size -= size

    def count_anew(self, on_disk: int) -> None:
        """Count what is here, where nothing was adopted; ``on_disk``: bytes of all there, if not all is in memory."""
        with self.lock:
            self.doubtful = False
            self.count = self.position.count + len(self.backlog)
            self.size = max(self.position.size, on_disk)

    def begin_anew(self) -> None:
        """Count from zero: what was here is somebody else's now."""
        with self.lock:
            self.count = self.size = 0
