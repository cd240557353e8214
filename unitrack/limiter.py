"""Stay below a vendor's requests per minute, so that it need not say 429."""

import threading
from collections import deque

WINDOW = 60.0


class RateLimit:
    """At most ``per_minute`` requests in any 60 seconds, however the vendor places its minute.

    Args:
        per_minute: ``None`` allows everything.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._most = None if per_minute is None else max(1, int(per_minute))
        self._window = WINDOW if per_minute is None or per_minute >= 1 else WINDOW / per_minute
        self._sent: deque[float] = deque(maxlen=self._most)
        self._lock = threading.RLock()  # in sync mode a signal handler may send in the middle of this

    def wait(self, now: float) -> float:
        """Claim a request and return 0.0, or claim nothing and return how many seconds to wait."""
        if self._most is None:
            return 0.0
        with self._lock:
            if len(self._sent) == self._most and now - self._sent[0] < self._window:
                return self._window - (now - self._sent[0])
            self._sent.append(now)
            return 0.0
