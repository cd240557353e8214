"""Wait for verdicts, in a thread or in an asyncio task."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from .wire import Outcome, Retry


class Waiter:
    """Becomes set once. Threads and tasks of any event loop may wait for it; it belongs to none of them."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.RLock()  # re-entrant: a signal handler may settle a message in the middle of this
        self._tell: list[Callable[[], None]] = []

    def set(self) -> None:
        """Wake everyone."""
        with self._lock:
            self._event.set()
            tell, self._tell = self._tell, []
        for call in tell:
            call()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout: float | None) -> bool:
        """Wait in a thread; tell whether it was set in time."""
        return self._event.wait(timeout)

    async def wait_async(self, timeout: float | None) -> bool:
        """Wait in a task; tell whether it was set in time. Cancelling it harms nobody."""
        import asyncio  # loaded already by whoever awaits this; the others are spared its 30 ms

        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def done() -> None:
            if not future.done():
                future.set_result(None)

        def tell() -> None:
            with suppress(RuntimeError):  # the loop was closed while its task had long gone
                loop.call_soon_threadsafe(done)

        with self._lock:
            if self._event.is_set():
                return True
            self._tell.append(tell)
        try:
            await asyncio.wait_for(future, timeout)
        except TimeoutError:
            return self._event.is_set()
        finally:
            with self._lock:
                if tell in self._tell:
                    self._tell.remove(tell)
        return True


class Countdown:
    """Sets a waiter when it was called a number of times."""

    def __init__(self, count: int) -> None:
        self.waiter = Waiter()
        self._lock = threading.RLock()
        self._left = count
        if not count:
            self.waiter.set()

    def __call__(self) -> None:
        with self._lock:
            self._left -= 1
            done = self._left == 0
        if done:
            self.waiter.set()


class Collector:
    """Gathers the verdicts of one bulk, by message number and destination."""

    def __init__(self) -> None:
        self.waiter = Waiter()
        self._lock = threading.RLock()
        self._open: set[tuple[int, str]] = set()
        self._outcomes: dict[tuple[int, str], Outcome] = {}
        self._complete = False

    def expect(self, seq: int, destination: str) -> None:
        """A verdict will come."""
        with self._lock:
            self._open.add((seq, destination))

    def forget(self, seq: int, destination: str) -> None:
        """No verdict will come: the queue had no room after all."""
        with self._lock:
            self._open.discard((seq, destination))

    def complete(self) -> None:
        """Nothing more will be expected."""
        with self._lock:
            self._complete = True
        self._check()

    def note(self, seq: int, destination: str, outcome: Outcome) -> None:
        """Keep a verdict. A retry is none yet; a hold is one to go home with, though the message stays queued."""
        with self._lock:
            self._outcomes[seq, destination] = outcome
            if not isinstance(outcome, Retry):
                self._open.discard((seq, destination))
        self._check()

    def outcomes(self) -> Mapping[tuple[int, str], Outcome]:
        """Return the latest verdict of each."""
        with self._lock:
            return dict(self._outcomes)

    def _check(self) -> None:
        with self._lock:
            done = self._complete and not self._open
        if done:
            self.waiter.set()
