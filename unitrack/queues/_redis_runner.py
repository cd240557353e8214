"""The one thread of a queue in a broker: does a round again and again, sooner where something goes on."""

import queue as standard
import threading
import time
from collections.abc import Callable

from ..logs import QuietLog, shown

#: Seconds between two rounds: when something goes on, when nothing does, and when nothing can.
SOON, IDLE, STILL = 0.005, 0.2, 1.0


class Runner:
    """Begins when it is needed, and again if its thread died.

    Args:
        work: does everything once; tells whether anything moved.
        rest: tells for how many seconds nothing can be done; ``None`` if there is nothing to do.
    """

    def __init__(self, work: Callable[[], bool], rest: Callable[[], float | None], log: QuietLog) -> None:
        self._work = work
        self._rest = rest
        self._log = log
        self._lock = threading.RLock()
        # As in worker.py: putting a token takes no lock, so it is safe in a signal handler.
        self._tokens: standard.SimpleQueue[None] = standard.SimpleQueue()
        self._at_it = threading.Lock()
        self._thread: threading.Thread | None = None
        #: A thread was wanted before, and none is any more.
        self.begun = self.over = False

    def see_to_it(self) -> None:
        """Have a thread; where none is to be had, do a round."""
        with self._lock:
            if self.over or self._alive:
                return
            self.begun = True
            thread = threading.Thread(target=self._run, name="unitrack-redis", daemon=True)
            self._thread = thread
            try:
                thread.start()
                return
            except (RuntimeError, MemoryError):
                self._thread = None
        # No thread is to be had, such as at the end of the interpreter: whoever looks around does its work.
        if not self._at_it.locked():
            with self._at_it:
                self._work()

    def poke(self) -> None:
        """Have the next round soon."""
        if self._tokens.qsize() < 2:
            self._tokens.put(None)

    def wait(self, done: Callable[[], bool], timeout: float) -> None:
        """Wait until the thread has done something, for as long as it could."""
        end = time.monotonic() + timeout
        while self._alive and not self._runs_this and not done() and time.monotonic() < end:
            self.poke()
            time.sleep(SOON)

    def stop(self, timeout: float) -> bool:
        """End the thread; tell whether it has ended."""
        self.over = True
        self.poke()
        if self._thread is not None and not self._runs_this:
            self._thread.join(timeout)
        return not self._alive

    @property
    def _alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def _runs_this(self) -> bool:
        return self._thread is threading.current_thread()

    def _run(self) -> None:
        nap = SOON
        while not self.over:
            try:
                busy = self._work()
            except Exception as error:  # noqa: BLE001  whatever it was, what waits must go on
                self._log.warning("round", "unitrack: the thread of the broker failed: %s", shown(error))
                busy = False
            nap = SOON if busy else min(nap * 1.5, IDLE)
            rest = self._rest()
            try:
                self._tokens.get(timeout=STILL if rest is None else max(nap, min(rest, IDLE)))
                nap = SOON
                if not busy:
                    time.sleep(SOON)  # so that the first of many does not travel alone
            except standard.Empty:
                pass
