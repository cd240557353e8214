"""Everything of a client that belongs to one process: queue, deliveries, threads, connections.

A forked child gets a new engine and an empty ledger; it never touches the locks and sockets of its parent's.
"""

import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence

from .branch import Branch
from .callbacks import Notifier
from .delivery import Delivery
from .errors import QueueFull
from .final_report import final_report
from .intake import Intake, Taken
from .load import Load
from .logs import QuietLog, emit, in_debug_line
from .message import Message
from .plan import Plan
from .queue import DeadLetter, News
from .queues import open_queue
from .results import Ledger, Receipt, Report
from .settings import MOST_SECONDS
from .transport import Transport, as_transport
from .waiting import Collector, Countdown, Waiter, aside
from .wire import Hold
from .worker import Worker

#: Seconds for which messages stay with the sender that took them, beyond what a request may last.
LEASE_MARGIN = 30.0
#: How often a long wait looks whether there is still a thread to wait for.
LOOK_EVERY = 1.0
TOO_LATE = "closed: the interpreter is ending"


class Engine:
    """Runs a plan in this process."""

    def __init__(self, plan: Plan) -> None:
        self.pid = os.getpid()
        self.closed = False
        #: Nothing is left to be done: whoever closed it has come to the end.
        self.over = False
        # Held by whoever closes. Taken by ``with`` alone, since a Ctrl-C right after ``acquire`` would leave it taken,
        # and not re-entrant, since a signal handler that closes must not get in.
        self._closing, self._ended = threading.Lock(), threading.Event()
        self._closer: int | None = None
        self._exit_by: float | None = None
        # Threads that send for want of a sender, and those of them that tracked in the middle of it.
        self._drivers: set[int] = set()
        self._interrupted: set[int] = set()
        self._senders_gone = False
        self.sync = plan.settings.mode == "sync"
        #: Other processes send; this one only fills the queue.
        self.external = plan.settings.workers == "external"
        self._threaded = not (self.sync or self.external)
        self._settings = plan.settings
        self._clock = plan.clock
        self._born = plan.clock.steady()
        log = QuietLog(plan.clock.monotonic)
        self.notifier = Notifier(plan.on_delivery, plan.on_drop, log)
        self.queue = plan.queue if plan.queue is not None else open_queue(plan.settings)
        # Seeded anew in every process: children of one fork would otherwise roll the same dice.
        dice = plan.dice or random.Random(os.urandom(16)).random  # noqa: S311  jitter, no secret
        load = Load()  # of all destinations together: their senders share one interpreter
        self._transports: list[Transport] = []
        self.branches: dict[str, Branch] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._workers: dict[str, Worker] = {}
        for name, destination in plan.destinations.items():
            branch = Branch(name, destination, destination.settings(plan.settings))
            settings = branch.settings
            lease = settings.timeout + LEASE_MARGIN
            self.queue.open(name, max_events=settings.max_events, max_bytes=settings.max_bytes, lease=lease)
            transport = as_transport(destination.transport if destination.transport is not None else plan.transport)
            self._transports.append(transport)
            delivery = Delivery(branch, self.queue, transport, self.notifier, log, clock=plan.clock, dice=dice)
            self.branches[name] = branch
            self._deliveries[name] = delivery
            self._workers[name] = Worker(branch, delivery, self.queue, plan.clock, log, load, self.look_around)
        self.intake = Intake(
            self.branches,
            self.queue,
            plan.middleware,
            self.notifier,
            log,
            clock=plan.clock,
            strict=plan.settings.strict,
            may_block=plan.may_block,
        )

    def take(self, message: Message, collector: Collector | None = None) -> Taken:
        """Take one message and, in the background mode, see that someone sends it."""
        if sys.is_finalizing():
            # Such as from a destructor. All other threads are frozen, perhaps with a lock of ours in their hands, so
            # from here on nothing may take one: that would hang the exit for ever.
            return Taken(Receipt("", False, TOO_LATE), 0, dict.fromkeys(self.branches, TOO_LATE))
        if self.closed:
            return self.intake.refuse_closed(message)
        if self._settings.debug and in_debug_line():
            # A log handler tracks the line that every request writes: its message would cause the next line, for ever.
            return self.intake.refuse_own_log(message)
        try:
            taken = self.intake.take(message, collector)
        except QueueFull:
            self._wake_all()
            raise
        if collector is not None and self._threaded:
            # Whoever comes during a hold need not wait for what those before were told.
            for name in taken.receipt.destinations:
                if (why := self.branches[name].book.held) is not None:
                    collector.note(taken.seq, name, Hold(why))
        self._see_to(taken.receipt)
        return taken

    def take_plain(self, user_id: object, event: object, properties: object) -> Receipt | None:
        """Take a track that has nothing else the short way; ``None``: it has to go the long one."""
        if self.closed or self._settings.debug or sys.is_finalizing():
            return None
        try:
            receipt = self.intake.take_plain(user_id, event, properties)
        except QueueFull:
            self._wake_all()
            raise
        if receipt is not None:
            self._see_to(receipt)
        return receipt

    def _wake_all(self) -> None:
        """One destination has no room; the others may have the message."""
        for worker in self._workers.values() if self._threaded else ():
            worker.wake()

    def _see_to(self, receipt: Receipt) -> None:
        """See that someone sends what was taken."""
        if self._drivers and threading.get_ident() in self._drivers:
            self._interrupted.add(threading.get_ident())
        if self._threaded:
            for name in receipt.destinations:
                self._workers[name].wake()
        if self._exit_by is not None and receipt:
            left = max(0.0, self._exit_by - time.monotonic())
            elsewhere = self.external or self.queue.durability == "shared"  # after stop_reading() it is sent by others
            self.hand_over(left) if elsewhere else self.flush(left)
        elif self._senders_gone and receipt:
            # The client was closed after we looked. We said that we have it, so we send it.
            self.flush(self._settings.shutdown_timeout)
            for transport in self._transports:
                transport.close()

    def replay(self, letters: Sequence[DeadLetter]) -> int:
        """Put dead letters back into their queues; return how many wait again."""
        count = self.intake.replay(letters)
        for name in {letter.destination for letter in letters} if self._threaded else ():
            self._workers[name].wake()
        return count

    def stop_reading(self) -> None:
        """Take on nothing more that other processes could send as well."""
        self.queue.stop_reading()

    def look_around(self) -> None:
        """Take note of what other processes left behind or brought to an end."""
        if not sys.is_finalizing():
            self.queue.look_around(self._clock.steady(), self._hear)

    def _hear(self, name: str, news: News) -> None:
        if news.arrived:
            self.branches[name].book.adopt(news.arrived)
        if news.settled:
            self._deliveries[name].hear(news.settled)
        elif self._threaded:
            self._workers[name].wake()  # also while it closes: what was put here may come back only now

    def ledgers(self) -> dict[str, Ledger]:
        """Return every destination's ledger."""
        return {name: branch.book.ledger() for name, branch in self.branches.items()}

    def has_room(self, size: int) -> bool:
        """Tell whether every queue that moves has room for a message of about this size, or is empty.

        A destination on hold is not waited for: the others would wait as long.
        """
        return all(
            self.queue.has_room(name, min(size, branch.settings.max_bytes))
            for name, branch in self.branches.items()
            if branch.book.held is None
        )

    def wait_for_room(self, timeout: float) -> None:
        """Wait a moment for the fullest queue to move, at most ``timeout`` seconds; in sync mode, move it."""
        if self.sync:
            self._drive(Waiter(), timeout, once=True)
        elif moving := [branch.book for branch in self.branches.values() if branch.book.held is None]:
            max(moving, key=lambda book: book.pending).wait_for_room(min(timeout, 0.1))

    # -- flush

    def begin_flush(self) -> tuple[Waiter, Callable[[], None]]:
        """Ask for everything taken so far to be sent now; return what to wait for, and how to stop asking."""
        mark = self.intake.mark()
        countdown = Countdown(len(self.branches))
        barriers = [(branch.book, branch.book.barrier(mark, countdown)) for branch in self.branches.values()]
        end_urge = self.urge()

        def end() -> None:
            end_urge()
            for book, barrier in barriers:
                book.lift(barrier)

        return countdown.waiter, end

    def urge(self) -> Callable[[], None]:
        """Have messages sent without waiting for company; return how to stop that."""
        workers = list(self._workers.values()) if self._threaded and not sys.is_finalizing() else []
        for worker in workers:
            worker.urge()

        def relax() -> None:
            for worker in workers:
                worker.relax()

        return relax

    def flush(self, timeout: float | None) -> bool:
        """Send what was taken so far; tell whether all of it was settled in time, and its callbacks called."""
        if sys.is_finalizing():
            return False
        if self.external and self.queue.durability != "shared":
            return self.hand_over(timeout)  # no verdict ever comes back
        end = None if timeout is None else time.monotonic() + timeout
        waiter, stop = self.begin_flush()
        try:
            done = self.wait(waiter, timeout)
        finally:
            stop()
        return done and self.notifier.drain(60.0 if end is None else max(0.0, end - time.monotonic()))

    def hand_over(self, timeout: float | None) -> bool:
        """Bring everything to where the workers find it."""
        return self.queue.hand_over(MOST_SECONDS if timeout is None else timeout)

    def wait(self, waiter: Waiter, timeout: float | None) -> bool:
        """Wait; where no thread can work (sync mode, the end of the interpreter), work.

        A sender's own thread does not wait: what it has in its hands cannot be settled meanwhile.
        """
        if sys.is_finalizing() or self._is_sender():
            return waiter.is_set()
        end = time.monotonic() + (MOST_SECONDS if timeout is None else timeout)
        while not waiter.is_set():
            left = end - time.monotonic()
            # Asked again and again: the last sender can die, with no thread to be had for another one.
            if self.sync or self._stranded:
                done = self._drive(waiter, left)
                self._send_what_came_between(end)
                return done
            if not waiter.wait(min(left, LOOK_EVERY)) and left <= LOOK_EVERY:
                break
        return waiter.is_set()

    async def wait_async(self, waiter: Waiter, timeout: float | None) -> bool:
        """Wait in a task."""
        return await (aside(self.wait, waiter, timeout) if self._stranded else waiter.wait_async(timeout))

    @property
    def _stranded(self) -> bool:
        """Whether something waits and there is no thread to send it, nor one to be had."""
        return not self.external and any(
            b.book.pending and not self._workers[name].alive for name, b in self.branches.items()
        )

    def _is_sender(self) -> bool:
        return threading.get_ident() in self._drivers or any(worker.runs_this for worker in self._workers.values())

    def _send_what_came_between(self, end: float) -> None:
        """Send what this thread tracked while it was sending: in a signal handler, a destructor, a log handler.

        Once: a log handler that tracks every line would keep us here for ever.
        """
        if threading.get_ident() not in self._interrupted:
            return
        waiter, stop = self.begin_flush()
        try:
            self._drive(waiter, end - time.monotonic())
        finally:
            stop()
            self._interrupted.discard(threading.get_ident())

    def _drive(self, waiter: Waiter, timeout: float | None, *, once: bool = False) -> bool:
        me = threading.get_ident()
        try:  # No call comes before those that count, here and at the end: Ctrl-C comes after calls.
            self._drivers.add(me)
            return self._step_until(waiter, timeout, once=once)
        finally:
            self._drivers.discard(me)

    def _step_until(self, waiter: Waiter, timeout: float | None, *, once: bool) -> bool:
        end = None if timeout is None else time.monotonic() + timeout
        while not waiter.is_set():
            self.look_around()
            nap = 0.05
            for name, delivery in self._deliveries.items():
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return waiter.is_set()
                wait = delivery.step(left)
                if wait != 0.0 and (why := self.branches[name].book.held) is not None:
                    self.branches[name].tell_all(Hold(why))
                if wait is None and (due := self.queue.ready(name, self._clock.steady()).due) is not None:
                    wait = max(0.0, due - self._clock.steady())
                if wait is not None:
                    nap = min(nap, wait)
            if nap and not waiter.is_set():
                left = nap if end is None else min(nap, end - time.monotonic())
                waiter.wait(max(0.0, left))
            if once:
                break
        return waiter.is_set()

    # -- close

    def close(self, timeout: float) -> Report:
        """Send what waits, stop, let go of threads and connections; safe to call again and from anywhere.

        Whoever comes while another closes waits for that, too; but not the threads that the other waits for.
        """
        if sys.is_finalizing() or self.over or self._closer == threading.get_ident():
            return self.report()
        awaited = self._is_sender() or self.notifier.runs_this
        if self._closing.locked():
            self._ended.wait(0.0 if awaited else max(0.0, min(timeout, MOST_SECONDS)))
            if self._closing.locked() or self.over:
                return self.report()
        with self._closing:
            try:
                if not self.over:  # the first, or an earlier one was interrupted
                    self._closer = threading.get_ident()
                    self.closed = True
                    self._close(timeout)
                    self.over = True
                    self._ended.set()
            finally:
                self._closer = None
        return self.report()

    def _close(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        self.hand_over(timeout) if self.external else self.flush(timeout)
        if self._is_sender():
            end = time.monotonic()
        for worker in self._workers.values():
            worker.stop()
        moment = max(end, time.monotonic() + 0.05)  # one for all of them, not for each
        for worker in self._workers.values():
            worker.join(moment - time.monotonic())
        # What another thread was about to put into a queue is found here, or sent by that thread.
        self._senders_gone = True
        if (left := end - time.monotonic()) > 0 and any(b.book.pending for b in self.branches.values()):
            self.hand_over(left) if self.external else self.flush(left)
        self.notifier.stop(max(0.05, end - time.monotonic()))
        for transport in self._transports:
            transport.close()
        self.queue.close()
        self._say_what_is_left("the client was closed")

    def report(self) -> Report:
        """Return the sum of the ledgers, with the dead letters that are still kept."""
        if sys.is_finalizing():
            return final_report(self.ledgers(), (), elsewhere=False)
        elsewhere = self.external and self.hand_over(0.0)
        return final_report(self.ledgers(), self.queue.dead_letters(since=self._born), elsewhere=elsewhere)

    def at_exit(self) -> None:
        """Send what waits before the interpreter ends, for as long as the settings allow, and say what was not sent.

        From now on each message is sent as it comes: handlers that run later may still track.
        """
        self._exit_by = time.monotonic() + self._settings.shutdown_timeout
        limit = self._settings.shutdown_timeout
        try:
            self.hand_over(limit) if self.external else self.flush(limit)
        finally:  # Ctrl-C
            self.queue.stop_reading()  # or whoever comes next waits until our share of a broker is free
            self._say_what_is_left("the process ended")

    def _say_what_is_left(self, when: str) -> None:
        left = {name: ledger.pending for name, ledger in self.ledgers().items() if ledger.pending}
        if left and not (self.external and self.hand_over(0.0)):
            counts = ", ".join(f"{count} to {name}" for name, count in left.items())
            kept = "they are lost" if self.queue.durability == "none" else "they are kept and sent after the next start"
            emit(logging.WARNING, "unitrack: not sent before %s: %s; %s", when, counts, kept)
