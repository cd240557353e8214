"""Calls the user's functions from a thread of their own: they may raise, sleep or call the client."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from .logs import QuietLog
from .results import Drop, Verdict

OnDelivery = Callable[[Sequence[Verdict]], Any]
OnDrop = Callable[[Sequence[Drop]], Any]

#: Records that wait for a callback that sleeps; beyond it they are counted, not kept.
MAX_WAITING = 100_000
_NOBODY_WANTS_IT = nullcontext()


class Notifier:
    """Hands verdicts and drops to the callbacks, in batches, off the path of delivery."""

    def __init__(self, on_delivery: OnDelivery | None, on_drop: OnDrop | None, log: QuietLog) -> None:
        self._on_delivery = on_delivery
        self._on_drop = on_drop
        self._log = log
        self._waiting: deque[Verdict | Drop] = deque()
        # Never entered through the condition: its own __enter__ takes the lock some steps before it is bound to give
        # it back, and an exception from outside (Ctrl-C) in between would leave it locked for ever.
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._here = threading.local()
        self._stopped = False
        self._given = 0
        self._called = 0
        self._soon: set[tuple[int, object]] = set()
        self.lost = 0

    def soon(self) -> AbstractContextManager[None]:
        """Say that what is settled now will be passed on before this ends.

        The books change first, and whoever waited for that may drain at once; without this, too early.
        """
        return _NOBODY_WANTS_IT if self._on_delivery is None and self._on_drop is None else self._soon_after()

    @contextmanager
    def _soon_after(self) -> Iterator[None]:
        token = (threading.get_ident(), object())
        with self._lock:
            self._soon.add(token)
        try:
            yield
        finally:
            with self._lock:
                self._soon.discard(token)
                self._wake.notify_all()

    def delivered(self, verdicts: Iterable[Verdict]) -> None:
        """Pass verdicts on, if anyone wants them; else they are not even made."""
        if self._on_delivery is not None:
            self._put(list(verdicts))

    def dropped(self, drops: Sequence[Drop]) -> None:
        """Pass drops on, if anyone wants them."""
        if self._on_drop is not None:
            self._put(drops)

    @property
    def runs_this(self) -> bool:
        """Whether it is a callback that asks."""
        return getattr(self._here, "calling", False)

    def drain(self, timeout: float) -> bool:
        """Wait until all that was passed on so far has been called; False if it took too long.

        From inside a callback it returns at once: waiting for oneself would never end.
        """
        if self.runs_this:
            return False
        ends = time.monotonic() + timeout
        with self._lock:
            # Not what this very thread was at: it is a signal handler that drains in the middle of it.
            others = {token for token in self._soon if token[0] != threading.get_ident()}
            passed_on = self._wake.wait_for(lambda: not others & self._soon, timeout)
            mark = self._given
            alone = self._thread is None
        if alone:
            self._call_all(self._take())  # no thread could be started: the interpreter is ending
        with self._lock:
            return passed_on and self._wake.wait_for(lambda: self._called >= mark, max(0.0, ends - time.monotonic()))

    def stop(self, timeout: float) -> None:
        """Call what is left, within the time given, and end the thread."""
        ends = time.monotonic() + timeout
        self.drain(timeout)
        with self._lock:
            thread = self._thread
            self._stopped = True
            self._wake.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, ends - time.monotonic()))

    def _put(self, records: Sequence[Verdict | Drop]) -> None:
        with self._lock:
            kept = records[: MAX_WAITING - len(self._waiting)]
            self._waiting.extend(kept)
            self._given += len(kept)
            self.lost += len(records) - len(kept)
            if self._thread is None:
                self._start()
            self._wake.notify_all()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="unitrack-callbacks", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # the interpreter is ending and takes no more threads
        self._thread = thread

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  such as one that was raised in this thread from outside
            self._log.warning("callbacks", "unitrack: the thread of the callbacks ended: %s", repr(error))
            with self._lock:
                self._thread = None
                self._called = self._given - len(self._waiting)  # what it had taken has had its call
                if self._waiting:
                    self._start()
                self._wake.notify_all()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._wake.wait_for(lambda: self._waiting or self._stopped)
                if not self._waiting:
                    self._thread = None  # at this very moment, so that whoever comes next starts another
                    return
                records = self._take()
            self._call_all(records)

    def _take(self) -> Sequence[Verdict | Drop]:
        with self._lock:
            records = list(self._waiting)
            self._waiting.clear()
            return records

    def _call_all(self, records: Sequence[Verdict | Drop]) -> None:
        self._here.calling = True
        try:
            self._call("on_delivery", self._on_delivery, [r for r in records if isinstance(r, Verdict)])
            self._call("on_drop", self._on_drop, [r for r in records if isinstance(r, Drop)])
        finally:
            self._here.calling = False
            with self._lock:
                self._called += len(records)
                self._wake.notify_all()

    def _call(self, name: str, function: Callable[[Any], Any] | None, records: Sequence[object]) -> None:
        if function is None or not records:
            return
        try:
            function(records)
        except BaseException as error:
            if not isinstance(error, Exception) and threading.current_thread() is not self._thread:
                raise  # Ctrl-C while the program's own thread waits for us
            self._log.warning(name, "%s raised %s; delivery goes on", name, error)
