"""How busy this process is, and how much of that is our own sending.

Where the interpreter itself is the bottleneck, more senders only stand in each other's way: whoever waits for an answer
then also waits for the interpreter, and each time that it changes hands costs a processor time that nothing is sent in.
"""

import threading
import time
from collections.abc import Callable

#: Seconds over which it is measured anew.
LOOK_EVERY = 0.02
#: Seconds after which what was measured says nothing of now.
STALE_AFTER = 0.2
#: Share of one processor from which on another thread would find nothing to run on.
BUSY = 0.85
#: Share that the senders take, all together, from which on one less of them would send as much.
CROWDED = 0.95


class Load:
    """The processor time that this process takes, and its senders of that, of the time that passes.

    Args:
        wall: seconds that pass.
        processor: seconds of processor time, of all threads together.
    """

    def __init__(
        self, wall: Callable[[], float] = time.monotonic, processor: Callable[[], float] = time.process_time
    ) -> None:
        self._wall, self._processor = wall, processor
        self._since, self._spent = wall(), processor()
        #: The threads that send, of all destinations.
        self.senders: set[threading.Thread] = set()
        self._sending = self._sent = 0.0
        self._all = self._own = 0.0

    def add(self, seconds: float) -> None:
        """Count processor time that a sender took. Two at once may lose one of theirs, which does no harm."""
        self._sending += seconds

    @property
    def is_high(self) -> bool:
        """Whether the process has kept a processor busy lately; also where nobody has looked for long."""
        self._look()
        return self._all > BUSY

    @property
    def is_sending(self) -> bool:
        """Whether it was the senders that kept it busy: as many as there are can send no more than they do."""
        self._look()
        return self._own > BUSY

    def spare_one(self) -> bool:
        """Tell whether there are more senders than the interpreter has time for; said to one of them at each look."""
        self._look()
        if self._own <= CROWDED:
            return False
        self._own = BUSY
        return True

    def _look(self) -> None:
        now = self._wall()
        passed = now - self._since
        if passed < LOOK_EVERY:
            return
        # Two senders may come here at once; both look at the same time then.
        spent, sent = self._processor(), self._sending
        known = passed < STALE_AFTER
        self._all = (spent - self._spent) / passed if known else 1.0
        self._own = (sent - self._sent) / passed if known else 0.0
        self._since, self._spent, self._sent = now, spent, sent
