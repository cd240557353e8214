"""Whether a destination may be sent to: open, pausing after failures, or on hold until a probe succeeds."""

import threading
from collections.abc import Callable

from .retry import backoff, probe_wait

#: Error answers in a row after which all lanes pause, not only those of the failed messages. A server that is down
#: answers nothing else; one that stumbles over a few messages must not stop the others.
ERRORS_TO_PAUSE = 20


class Gate:
    """One destination's circuit breaker. Times are seconds of the monotonic clock.

    After the destination itself failed (no connection, 429, a hold) exactly one request goes out as a probe; the
    others follow when it was answered well.
    """

    def __init__(self, probe_interval: float, dice: Callable[[], float]) -> None:
        self._lock = threading.RLock()
        self._interval = probe_interval
        self._dice = dice
        self._until = 0.0
        self._errors = 0  # in a row
        self._pauses = 0  # in a row
        self._careful = False  # only a probe may go out
        self._probes = 0
        self._probing = False
        self.hold_reason: str | None = None

    @property
    def healthy(self) -> bool:
        """Whether the latest answers were good."""
        return not self._errors and self.hold_reason is None

    def wait(self, now: float) -> float | None:
        """Return how long nothing may be sent, 0.0 for not at all, ``None`` until the probe under way is answered."""
        with self._lock:
            if now < self._until:
                return self._until - now
            return None if self._probing else 0.0

    def enter(self, now: float) -> bool:
        """Claim the right to send one request; after a pause only one caller gets it."""
        with self._lock:
            if now < self._until or self._probing:
                return False
            self._probing = self._careful
            return True

    def leave(self) -> None:
        """Give the right back unused."""
        with self._lock:
            self._probing = False

    def passed(self) -> bool:
        """A request was answered well. Return whether this ends a hold."""
        with self._lock:
            ended = self.hold_reason is not None
            self._errors = self._pauses = self._probes = 0
            self._careful = self._probing = False
            self._until = 0.0
            self.hold_reason = None
            return ended

    def failed(self, now: float, wait: float, *, at_once: bool) -> float:
        """A request failed as a whole; return when its messages may be sent again.

        Args:
            now: the time.
            wait: what the messages' own attempts or the server ask for, in seconds.
            at_once: the destination itself failed: pause all lanes now, not after many errors in a row.
        """
        with self._lock:
            probed, self._probing = self._probing, False
            if now < self._until and not probed:
                return max(self._until, now + wait)  # sent before the pause began; it says nothing new
            self._errors += 1
            if not (at_once or probed) and self._errors % ERRORS_TO_PAUSE:
                return now + wait
            self._careful = self._careful or at_once
            self._pauses += 1
            self._until = now + max(wait, backoff(self._pauses, self._dice))
            return self._until

    def hold(self, now: float, reason: str) -> bool:
        """The destination is at fault: leave it alone, probe ever more slowly. Return whether the hold begins now."""
        with self._lock:
            begins = self.hold_reason is None
            if begins or self._probing:
                self._until = now + probe_wait(self._probes, self._interval)
                self._probes += 1
            self._probing = False
            self._careful = True
            self.hold_reason = reason
            return begins
