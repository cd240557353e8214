"""How busy this process is, and how much of that is our own sending.

Where the interpreter itself is the bottleneck, more senders only stand in each other's way: whoever waits for an answer
then also waits for the interpreter, and each time that it changes hands costs a processor time that nothing is sent in.
"""

import time
from collections import defaultdict
from collections.abc import Callable

#: Seconds over which it is measured anew.
LOOK_EVERY = 0.02
#: Seconds after which what was measured says nothing of now.
STALE_AFTER = 0.2
#: Share of one processor from which on another thread would find nothing to run on.
BUSY = 0.85
#: Share that the senders take, all together, from which on one less of them would send as much.
CROWDED = 0.95
#: A destination that takes less, divided by how many there are, has no part in it.
MODEST = 0.5


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
        self._sent: dict[str, float] = defaultdict(float)
        self._shares: dict[str, float] = {}
        self._all = self._own = 0.0

    def add(self, destination: str, seconds: float) -> None:
        """Count processor time that a sender took. Two at once may lose some of theirs, which does no harm."""
        self._sent[destination] += seconds

    @property
    def is_high(self) -> bool:
        """Whether the process has kept a processor busy lately; also where nobody has looked for long."""
        self._look()
        return self._all > BUSY

    def is_full_of(self, destination: str) -> bool:
        """Tell whether senders kept it busy, those of this destination among them: more of them can send no more."""
        self._look()
        return self._own > BUSY and self._takes_its_part(destination)

    def spare_one(self, destination: str) -> bool:
        """Tell whether a destination has more senders than there is time for; said to one of them at each look."""
        self._look()
        if self._own <= CROWDED or not self._takes_its_part(destination):
            return False
        self._own = BUSY
        return True

    def _takes_its_part(self, destination: str) -> bool:
        # One that waits for a slow vendor takes next to nothing, and must not pay for its neighbours.
        return self._shares.get(destination, 0.0) > MODEST / max(1, len(self._shares))

    def _look(self) -> None:
        now = self._wall()
        passed = now - self._since
        if passed < LOOK_EVERY:
            return
        # Two senders may come here at once; both look at the same time then.
        spent, sent = self._processor(), self._sent
        self._sent = defaultdict(float)
        known = passed < STALE_AFTER
        self._all = (spent - self._spent) / passed if known else 1.0
        self._shares = {name: seconds / passed for name, seconds in sent.copy().items()} if known else {}
        self._own = sum(self._shares.values())
        self._since, self._spent = now, spent
