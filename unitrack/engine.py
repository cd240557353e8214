"""Everything of a client that belongs to one process: queue, deliveries, threads, connections.

A forked child gets a new engine and an empty ledger; it never touches the locks and sockets of its parent's.
"""

import logging
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence

from attrs import Factory, frozen

from .branch import Branch
from .callbacks import Notifier, OnDelivery, OnDrop
from .clock import Clock
from .codec import UnreadableRecord, unpack
from .delivery import Delivery
from .destination import Destination
from .intake import Intake, Taken
from .logs import QuietLog, emit
from .message import Message
from .middleware import Middleware
from .queue import Queue
from .queues import open_queue
from .results import FailedRecord, Ledger, Report
from .settings import Settings
from .transport import Transport, as_transport
from .waiting import Collector, Countdown, Waiter
from .worker import Worker


@frozen(kw_only=True)
class Plan:
    """What a client was asked to be; enough to build its engine anew in another process."""

    destinations: Mapping[str, Destination]
    settings: Settings
    transport: object = None
    middleware: Sequence[Middleware] = ()
    clock: Clock = Factory(Clock)
    dice: Callable[[], float] | None = None
    on_delivery: OnDelivery | None = None
    on_drop: OnDrop | None = None
    queue: Queue | None = None
    may_block: Callable[[], bool] = lambda: True


class Engine:
    """Runs a plan in this process."""

    def __init__(self, plan: Plan) -> None:
        self.pid = os.getpid()
        self.closed = False
        self._exit_by: float | None = None
        self.sync = plan.settings.mode == "sync"
        self._settings = plan.settings
        self._clock = plan.clock
        log = QuietLog(plan.clock.monotonic)
        self.notifier = Notifier(plan.on_delivery, plan.on_drop, log)
        self.queue = plan.queue if plan.queue is not None else open_queue(plan.settings.queue)
        # Seeded anew in every process: children of one fork would otherwise roll the same dice.
        dice = plan.dice or random.Random(os.urandom(16)).random  # noqa: S311  jitter, no secret
        self._transports: list[Transport] = []
        self.branches: dict[str, Branch] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._workers: dict[str, Worker] = {}
        for name, destination in plan.destinations.items():
            branch = Branch(name, destination, destination.settings(plan.settings))
            settings = branch.settings
            waiting = self.queue.open(name, max_events=settings.max_events, max_bytes=settings.max_bytes)
            branch.book.adopt(waiting)
            transport = as_transport(destination.transport if destination.transport is not None else plan.transport)
            self._transports.append(transport)
            delivery = Delivery(branch, self.queue, transport, self.notifier, log, clock=plan.clock, dice=dice)
            self.branches[name] = branch
            self._deliveries[name] = delivery
            self._workers[name] = Worker(branch, delivery, self.queue, plan.clock, log)
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
        if self.closed:
            return self.intake.refuse_closed(message)
        taken = self.intake.take(message, collector)
        if not self.sync:
            for name in taken.receipt.destinations:
                self._workers[name].wake()
        if self._exit_by is not None and taken.receipt:
            self.flush(max(0.0, self._exit_by - time.monotonic()))
        return taken

    def ledgers(self) -> dict[str, Ledger]:
        """Return every destination's ledger."""
        return {name: branch.book.ledger() for name, branch in self.branches.items()}

    def has_room(self, size: int) -> bool:
        """Tell whether every destination's queue has room for a message of about this size."""
        return all(self.queue.has_room(name, size) for name in self.branches)

    def wait_for_room(self, timeout: float) -> None:
        """Wait until the fullest queue moved, or for ``timeout`` seconds; in sync mode, move it."""
        if self.sync:
            self._drive(Waiter(), timeout, once=True)
        else:
            max(self.branches.values(), key=lambda branch: branch.book.pending).book.wait_for_room(timeout)

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
        workers = [] if self.sync else list(self._workers.values())
        for worker in workers:
            worker.urge()

        def relax() -> None:
            for worker in workers:
                worker.relax()

        return relax

    def flush(self, timeout: float | None) -> bool:
        """Send what was taken so far; tell whether all of it was settled in time, and its callbacks called."""
        end = None if timeout is None else time.monotonic() + timeout
        waiter, stop = self.begin_flush()
        try:
            done = self.wait(waiter, timeout)
        finally:
            stop()
        return done and self.notifier.drain(60.0 if end is None else max(0.0, end - time.monotonic()))

    def wait(self, waiter: Waiter, timeout: float | None) -> bool:
        """Wait; where no thread can work (sync mode, the end of the interpreter), work."""
        stranded = any(b.book.pending and not self._workers[name].alive for name, b in self.branches.items())
        if self.sync or stranded:
            return self._drive(waiter, timeout)
        return waiter.wait(timeout)

    def _drive(self, waiter: Waiter, timeout: float | None, *, once: bool = False) -> bool:
        end = None if timeout is None else time.monotonic() + timeout
        while not waiter.is_set():
            nap = 0.05
            for name, delivery in self._deliveries.items():
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return waiter.is_set()
                wait = delivery.step(left)
                if wait is None and (due := self.queue.ready(name, self._clock.steady()).due) is not None:
                    wait = max(0.0, due - self._clock.steady())
                if wait is not None:
                    nap = min(nap, wait)
            if once:
                break
            if nap and not waiter.is_set():
                left = nap if end is None else min(nap, end - time.monotonic())
                waiter.wait(max(0.0, left))
        return waiter.is_set()

    # -- close

    def close(self, timeout: float) -> Report:
        """Send what waits, stop, let go of threads and connections; safe to call again and from anywhere."""
        if self.closed:
            return self.report()
        self.closed = True
        end = time.monotonic() + timeout
        self.flush(timeout)
        for worker in self._workers.values():
            worker.stop()
        for worker in self._workers.values():
            worker.join(max(0.05, end - time.monotonic()))
        self.notifier.stop(max(0.05, end - time.monotonic()))
        for transport in self._transports:
            transport.close()
        self.queue.close()
        return self.report()

    def report(self) -> Report:
        """Return the sum of the ledgers, with the dead letters that are still kept."""
        ledgers = self.ledgers()
        failed = [_failed(letter.destination, letter.record, f"{letter.reason}: {letter.detail}")
                  for letter in self.queue.dead_letters()]  # fmt: skip
        for name, ledger in ledgers.items():
            if ledger.pending:
                why = f"; {ledger.held}" if ledger.held else ""
                failed.append(FailedRecord(None, name, f"{ledger.pending} messages were not sent{why}"))
        lost = sum(sum(x.dropped.values()) + sum(x.dead.values()) + x.pending for x in ledgers.values())
        return Report(success=sum(x.delivered for x in ledgers.values()), failure=lost, failed_records=tuple(failed))

    def at_exit(self) -> None:
        """Send what waits before the interpreter ends, for as long as the settings allow, and say what was not sent.

        From now on each message is sent as it comes: handlers that run later may still track.
        """
        self._exit_by = time.monotonic() + self._settings.shutdown_timeout
        self.flush(self._settings.shutdown_timeout)
        left = {name: ledger.pending for name, ledger in self.ledgers().items() if ledger.pending}
        if left:
            counts = ", ".join(f"{count} to {name}" for name, count in left.items())
            kept = "they are lost" if self.queue.durability == "none" else "they are kept and sent after the next start"
            emit(logging.WARNING, "unitrack: not sent before the process ended: %s; %s", counts, kept)


def _failed(destination: str, record: bytes, error: str) -> FailedRecord:
    try:
        message = unpack(record)
    except UnreadableRecord:
        return FailedRecord(None, destination, error)
    return FailedRecord(message, destination, error)
