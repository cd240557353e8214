"""How busy this process is: where the interpreter itself is the bottleneck, more threads only stand in its way."""

import time
from collections.abc import Callable

#: Seconds over which it is measured anew.
LOOK_EVERY = 0.02
#: Share of one processor from which on another thread would find nothing to run on.
BUSY = 0.85


class Load:
    """The processor time that this process takes, of the time that passes.

    Args:
        wall: seconds that pass; ``processor``: seconds of processor time, of all threads together.
    """

    def __init__(
        self, wall: Callable[[], float] = time.monotonic, processor: Callable[[], float] = time.process_time
    ) -> None:
        self._wall, self._processor = wall, processor
        self._since, self._spent = wall(), processor()
        self._share = 0.0

    @property
    def is_high(self) -> bool:
        """Whether the process has kept a processor busy lately."""
        now = self._wall()
        passed = now - self._since
        if passed >= LOOK_EVERY:  # two senders may come here at once; both look at the same time then
            spent = self._processor()
            self._share = (spent - self._spent) / passed
            self._since, self._spent = now, spent
        return self._share > BUSY
