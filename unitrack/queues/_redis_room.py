"""How much may wait in the spool before the broker has it."""

import threading
from collections.abc import Iterable

from ._redis_envelope import Envelope


class Room:
    """Bounds in messages and bytes, the widest that a destination asked for: one spool is for all of them."""

    def __init__(self) -> None:
        self.count = 0
        self._bytes = self._max_count = self._max_bytes = 0
        self._doubtful: set[int] = set()
        self._lock = threading.RLock()  # a signal handler may put, too

    def widen(self, max_events: int, max_bytes: int) -> None:
        self._max_count = max(self._max_count, max_events)
        self._max_bytes = max(self._max_bytes, max_bytes)

    def has(self, size: int) -> bool:
        """Tell whether a message of so many bytes would fit now."""
        return self.count < self._max_count and self._bytes + size <= self._max_bytes

    def enter(self, size: int) -> bool:
        """Count a message in, unless there is no room for it."""
        with self._lock:
            if not self.has(size):
                return False
            self.count += 1
            self._bytes += size
            return True

    def leave(self, size: int) -> None:
        """Count a message out: the spool did not take it."""
        with self._lock:
            self.count -= 1
            self._bytes -= size

    def doubt(self, number: int, size: int) -> None:
        """Count a message out of which nobody knows whether the spool took it."""
        with self._lock:
            self._doubtful.add(number)
            self.leave(size)

    def forwarded(self, envelopes: Iterable[Envelope]) -> None:
        """Count messages out: the broker has them."""
        with self._lock:
            for one in envelopes:
                if one.number in self._doubtful:
                    self._doubtful.discard(one.number)
                else:
                    self.leave(len(one.record))
