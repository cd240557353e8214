"""Wait for verdicts, in a thread or in an asyncio task."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeVar

from .wire import Outcome, Retry

_T = TypeVar("_T")


async def aside(call: Callable[..., _T], *args: object) -> _T:
    """Call a function in a thread, so that the event loop goes on; at once where there is no thread to be had.

    Cancelling it stops the waiting only.
    """
    import asyncio  # as below

    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if future.done():
            return  # cancelled
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result, raised = None, None
        try:
            result = call(*args)
        except BaseException as error:  # noqa: BLE001  it is raised where it is awaited
            raised = error
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, result, raised)

    # Not asyncio.to_thread: its pool keeps a thread, and asyncio.run starts another one to end the pool.
    try:
        threading.Thread(target=run, name="unitrack-aside", daemon=True).start()
    except RuntimeError:
        return call(*args)
    found: _T = await future
    return found


class Waiter:
    """Becomes set once. Threads and tasks of any event loop may wait for it; it belongs to none of them."""

    def __init__(self) -> None:
        # No lock, and so no threading.Event: a signal handler may settle a message in the middle of any line here.
        self._done = False
        self._tell: list[Callable[[], None]] = []

    def set(self) -> None:
        """Wake everyone."""
        self._done = True
        with suppress(IndexError):
            while True:
                self._tell.pop()()

    def is_set(self) -> bool:
        return self._done

    def wait(self, timeout: float | None) -> bool:
        """Wait in a thread; tell whether it was set in time."""
        bell = threading.Lock()
        bell.acquire()
        with self._told(bell.release):
            if not self._done:
                bell.acquire(timeout=-1 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX))
            return self._done

    @contextmanager
    def _told(self, tell: Callable[[], None]) -> Iterator[None]:
        # On the list before anyone looks whether it is set: so there is no moment at which it could be missed.
        self._tell.append(tell)
        try:
            yield
        finally:
            with suppress(ValueError):
                self._tell.remove(tell)

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

        with self._told(tell):
            if not self._done:
                with suppress(TimeoutError):
                    await asyncio.wait_for(future, timeout)
            return self._done


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
