"""The threads around one destination's delivery: started at need, woken at need, never in the caller's way."""

import queue as standard
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from .branch import Branch, secrets_of, without
from .clock import Clock
from .delivery import Delivery
from .load import Load
from .logs import QuietLog, shown
from .queue import Queue

#: Parallel requests when the user names no number: batches fill the line with few, single messages need more.
MOST_WITH_BATCHES = 8
MOST_WITHOUT = 16
#: A request slower than this makes more senders worth their threads; a faster one keeps the interpreter busy as it is.
WORTH_A_THREAD = 0.003
#: The same while the process is busy: a request then also waits for its turn to run, which is no reason for more.
SURELY_WORTH_A_THREAD = 0.02
STUCK_AFTER = 0.05
#: A thread that had nothing to do for so long ends, unless it is the last one.
IDLE_AFTER = 5.0
NEVER = 1 << 62


class Worker:
    """Runs :meth:`Delivery.step` whenever it makes sense, in as many threads as help."""

    def __init__(
        self,
        branch: Branch,
        delivery: Delivery,
        queue: Queue,
        clock: Clock,
        log: QuietLog,
        load: Load,
        look_around: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = branch.name
        self._branch = branch
        self._delivery = delivery
        self._queue = queue
        self._clock = clock
        self._log = log
        self._look_around = look_around
        self._load = load
        self._linger = branch.settings.linger
        self._fixed = branch.settings.concurrency
        self._most = self._fixed or (MOST_WITHOUT if delivery.limit == 1 else MOST_WITH_BATCHES)
        # For counting and starting threads only. Nothing else is called under it: a signal handler that tracks may
        # have interrupted its thread in the middle of a put, with the queue's lock in its hands.
        self._lock = threading.RLock()
        # One token wakes one idle thread. Putting one takes no lock, so it is safe wherever a message may be tracked.
        # By its full name, as locks and threads are: so gevent may patch it after this module was imported.
        self._tokens: standard.SimpleQueue[None] = standard.SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._idle: set[threading.Thread] = set()
        self._wake_at = NEVER  # waiting messages that are worth waking an idle thread for
        self._stepped_at = 0.0
        self._urgent = 0
        self._stopped = False
        self.restarts = 0

    @property
    def alive(self) -> bool:
        """Whether any thread works."""
        return bool(self._threads)

    @property
    def runs_this(self) -> bool:
        """Whether it is one of its threads that asks."""
        return threading.current_thread() in self._threads

    def wake(self) -> None:
        """Something was put into the queue; costs next to nothing while the threads are busy."""
        if self._idle:
            if self._queue.waiting(self._name) >= self._wake_at:
                self._rouse(1)
        elif not self._threads or self._is_stuck():
            self._start()

    def urge(self) -> None:
        """Send without waiting for company, until :meth:`relax` is called as often."""
        with self._lock:
            self._urgent += 1
        self._rouse(len(self._idle))
        if self._branch.book.pending and (not self._threads or self._is_stuck()):
            self._start()

    def relax(self) -> None:
        """Take back one :meth:`urge`."""
        with self._lock:
            self._urgent -= 1

    def stop(self) -> None:
        """Let the threads end after the step they are in."""
        self._stopped = self._delivery.stopped = True
        for _ in range(len(self._threads)):
            self._tokens.put(None)

    def join(self, timeout: float) -> None:
        """Wait for the threads to end; one that hangs in a request is left behind, it keeps nothing alive."""
        end = time.monotonic() + timeout
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                with suppress(RuntimeError):  # a signal handler closes in the middle of starting it
                    thread.join(max(0.0, end - time.monotonic()))

    def _rouse(self, count: int) -> None:
        for _ in range(count):
            if self._tokens.qsize() < len(self._idle):
                self._tokens.put(None)

    def _is_stuck(self) -> bool:
        room = len(self._threads) < self._most
        return room and not self._fixed and time.monotonic() - self._stepped_at > STUCK_AFTER

    def _start(self) -> None:
        with self._lock:
            if self._stopped or len(self._threads) >= self._most:
                return
            thread = threading.Thread(target=self._run, name=f"unitrack-{self._name}", daemon=True)
            self._threads.add(thread)
            self._stepped_at = time.monotonic()
            try:
                thread.start()
            except BaseException as error:
                # No more threads to be had, or the interpreter is ending: flush and close send from their caller.
                self._threads.discard(thread)
                if not isinstance(error, (RuntimeError, MemoryError)):
                    raise

    def _run(self) -> None:
        try:
            with self._lock:
                self._threads.add(threading.current_thread())  # anew if Ctrl-C came while it was started
            self._work()
        except BaseException as error:  # noqa: BLE001  the next message starts another thread
            self.restarts += 1
            said = without(secrets_of(self._branch.provider), shown(error))
            self._log.warning(f"worker:{self._name}", "unitrack: a sender of %s ended: %s", self._name, said)
            time.sleep(min(1.0, 0.01 * self.restarts))  # whatever it was, it must not become a busy loop
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
                self._idle.discard(threading.current_thread())  # it may have died before it could say so itself
                restart = not self._stopped and bool(self._branch.book.pending) and not self._threads
            if restart:
                self._start()

    def _work(self) -> None:
        not_before = 0.0
        while not self._stopped:
            nap, woken = self._rest(not_before)
            if nap is None and not woken and len(self._threads) > 1:
                return  # the rush that called for this thread is over
            if nap != 0.0:
                self._delivery.sweep()
                self._look_around()
                continue
            self._stepped_at = time.monotonic()
            self._grow()
            began = time.thread_time()
            wait = self._delivery.step()
            self._load.add(self._name, time.thread_time() - began)
            if wait == 0.0 and self._is_spare():
                return
            not_before = self._clock.steady() + wait if wait else 0.0

    def _rest(self, not_before: float) -> tuple[float | None, bool]:
        """Sleep as long as there is nothing to do; return for how long that was meant, and whether a token ended it."""
        # Counted as idle before looking: what is put while we look finds us and wakes us.
        with self._lock:
            self._idle.add(threading.current_thread())
            self._wake_at = 1
        try:
            nap = self._nap(not_before)
            if nap == 0.0:
                return nap, True
            try:
                self._tokens.get(timeout=IDLE_AFTER if nap is None else nap)
            except standard.Empty:
                return nap, False
            return nap, True
        finally:
            with self._lock:
                self._idle.discard(threading.current_thread())
                if self._idle:
                    self._wake_at = 1  # we go to work; whoever idles watches out again

    def _nap(self, not_before: float) -> float | None:
        """Return how long to do nothing: 0.0 to step now, ``None`` until woken."""
        now = self._clock.steady()
        pause = self._delivery.gate.wait(now)
        if pause is None or pause > 0 or not_before > now:
            self._wake_at = NEVER
            # Sweep out what expires meanwhile, and look whether another thread's probe ended the pause.
            return min(pause or NEVER, max(0.0, not_before - now) or NEVER, self._delivery.sweep_every)
        ready = self._queue.ready(self._name, now)
        if not ready.count:
            return None if ready.due is None else min(max(0.001, ready.due - now), self._delivery.sweep_every)
        ripe = ready.count >= self._delivery.limit or self._urgent or not ready.oldest
        left = 0.0 if ripe or ready.oldest is None else ready.oldest + self._linger - now
        if left <= 0:
            return 0.0
        self._wake_at = self._delivery.limit
        return min(left, self._delivery.sweep_every)

    def _is_spare(self) -> bool:
        # Where others idle they found nothing to take, perhaps because this one had it in its hands: it has to go on.
        if self._fixed or self._idle or len(self._threads) < 2:
            return False
        return self._load.spare_one(self._name)

    def _is_worth_a_thread(self) -> bool:
        if self._load.is_full_of(self._name):
            return False
        return self._delivery.latency > (SURELY_WORTH_A_THREAD if self._load.is_high else WORTH_A_THREAD)

    def _grow(self) -> None:
        """Call for help if more waits than this thread takes now, and requests are slow enough for help to help."""
        more = self._queue.waiting(self._name) > self._delivery.limit
        if not more or not self._delivery.gate.healthy:
            return
        if not self._fixed and not self._is_worth_a_thread():
            return
        if self._idle:
            self._rouse(1)
        else:
            self._start()
