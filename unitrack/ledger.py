"""The books of one destination: where every message meant for it went, balanced at every moment."""

import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext

from attrs import define, field

from .results import Ledger
from .turns import give_way


@define(eq=False)
class Barrier:
    """Waits until everything that was accepted up to a mark is settled; see :meth:`Book.barrier`."""

    mark: int
    on_clear: Callable[[], None]
    remaining: int = 0


@define(eq=False)
class Book:
    """Counts for one destination. Each method is one step of a message, taken under one lock.

    The lock is re-entrant because a signal handler or a destructor may track in the middle of a step. Those run where
    Python calls something, so nothing is called between reading a number and writing it, nor between two numbers that
    must fit together. Nor is anybody else called under the lock: whoever is interrupted there may hold theirs.
    """

    _lock: threading.RLock = field(factory=threading.RLock, init=False)
    #: Somebody is in the middle of a step in which the interpreter may change hands.
    _held: bool = field(default=False, init=False)
    accepted: int = field(default=0, init=False)
    delivered: int = field(default=0, init=False)
    filtered: int = field(default=0, init=False)
    pending: int = field(default=0, init=False)
    retried: int = field(default=0, init=False)
    requests: int = field(default=0, init=False)
    bytes_sent: int = field(default=0, init=False)
    # Not Counter, which runs code of its own for a key that is missing.
    dropped: dict[str, int] = field(factory=lambda: defaultdict(int), init=False)
    dead: dict[str, int] = field(factory=lambda: defaultdict(int), init=False)
    omitted: Counter[str] = field(factory=Counter, init=False)
    held: str | None = field(default=None, init=False)
    warnings: tuple[str, ...] = field(default=(), init=False)
    #: Numbers that were accepted and are on their way into the queue.
    coming: set[int] = field(factory=set, init=False)
    #: Where those were counted of which an exception from outside left open whether they are out of the queue.
    _doubtful: dict[int, tuple[dict[str, int] | None, str]] = field(factory=dict, init=False)
    _highest: int = field(default=0, init=False)  # number accepted so far
    _barriers: list[Barrier] = field(factory=list, init=False)
    _room: threading.Condition = field(init=False)
    _room_wanted: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._room = threading.Condition(self._lock)

    def accept(self, seq: int) -> None:
        """A queue is about to hold it. Counted first, so that it can never be settled before it was accepted."""
        if self._held:
            self._give_way()
        with self._lock:
            self._held = True
            # No call comes between these lines, so Ctrl-C cannot either: it is counted and coming, or neither.
            self.accepted += 1
            self.pending += 1
            if seq > self._highest:
                self._highest = seq
            self.coming.add(seq)
            for barrier in self._barriers:
                # Its number was drawn before the mark, yet it comes only now: it is waited for as well.
                barrier.remaining += seq <= barrier.mark
            self._held = False

    def adopt(self, count: int) -> None:
        """Messages that a process left behind wait in the queue, with numbers below all others; below zero: no more."""
        with self._lock:
            self.accepted += count
            self.pending += count
            for barrier in self._barriers:
                barrier.remaining += count
            cleared = self._cleared_by(()) if count < 0 else []
        _call(cleared)

    def revive(self, reason: str, seq: int) -> None:
        """A dead letter is on its way back into the queue. It may be one that another process buried."""
        with self._lock:
            if self.dead[reason]:
                self.dead[reason] -= 1
            else:
                self.accepted += 1
            self.pending += 1
            self.coming.add(seq)

    def known(self, seq: int) -> None:
        """It was accepted, but the queue has a message with its id already."""
        with self._lock:
            self.pending -= 1
            self.filtered += 1
            self.coming.discard(seq)
            cleared = self._cleared_by([seq])
        _call(cleared)

    def filter(self) -> None:
        """It is not meant for this destination after all."""
        with self._lock:
            self.accepted += 1
            self.filtered += 1

    def refuse(self, reason: str) -> None:
        """It never reached the queue."""
        with self._lock:
            self.accepted += 1
            self.dropped[reason] += 1

    def reject(self, reason: str) -> None:
        """It is a dead letter that never reached the queue."""
        with self._lock:
            self.accepted += 1
            self.dead[reason] += 1

    def deliver(self, seqs: Iterable[int], *, sure: bool = True) -> None:
        """The vendor took them. For ``sure``, here and below, see :meth:`ascertain`."""
        self._settle(list(seqs), None, "", sure=sure)

    def drop(self, reason: str, seqs: Iterable[int], *, sure: bool = True) -> None:
        """They were taken out of the queue unsent."""
        self._settle(list(seqs), self.dropped, reason, sure=sure)

    def bury(self, reason: str, seqs: Iterable[int], *, sure: bool = True) -> None:
        """They are dead letters."""
        self._settle(list(seqs), self.dead, reason, sure=sure)

    def ascertain(self, seqs: Iterable[int]) -> None:
        """Those that were counted and not sure are.

        Until then they may be counted again, and that undoes what was counted first: by whoever was interrupted
        (Ctrl-C) and does not know how far it came, or by whoever finds them in the queue after all.
        """
        if self._held:
            self._give_way()
        with self._lock:
            self._held = True
            for seq in seqs:
                self._doubtful.pop(seq, None)
            self._held = False

    def interrupt(self, seq: int) -> None:
        """Ctrl-C came while it was on its way into the queue: nobody knows whether it is there.

        It is counted as dropped, so that nobody waits for it; if it comes out of the queue after all, that is undone.
        """
        with self._lock:
            if seq not in self.coming:
                return
            cleared = self._move([seq], self.dropped, "interrupted", sure=False)
        _call(cleared)

    def attempt(self, size: int) -> None:
        """A request goes out."""
        if self._held:
            self._give_way()
        with self._lock:
            self.requests += 1
            self.bytes_sent += size

    def again(self, count: int) -> None:
        """Messages have to be sent once more."""
        with self._lock:
            self.retried += count

    def omit(self, names: Iterable[str]) -> None:
        """Members have no place at the vendor."""
        with self._lock:
            self.omitted.update(names)

    def barrier(self, mark: int, on_clear: Callable[[], None]) -> Barrier:
        """Call ``on_clear`` once everything accepted with a number up to ``mark`` is settled; at once if it is."""
        barrier = Barrier(mark, on_clear, _NOT_YET)
        with self._lock:
            self._barriers.append(barrier)
            # All that is pending is waited for, so the mark must cover it: another thread may have drawn a number
            # after ours and yet been here before us.
            if self._highest > mark:
                barrier.mark = self._highest
            barrier.remaining = self.pending
            cleared = self._cleared_by(())
        _call(cleared)
        return barrier

    def lift(self, barrier: Barrier) -> None:
        """Stop waiting."""
        with self._lock:
            if barrier in self._barriers:
                self._barriers.remove(barrier)

    def ledger(self) -> Ledger:
        """Return the counts as they stand."""
        # While the interpreter ends, the lock may be held by a thread that is frozen for ever; then nobody counts.
        with nullcontext() if sys.is_finalizing() else self._lock:
            return Ledger(
                accepted=self.accepted,
                delivered=self.delivered,
                filtered=self.filtered,
                dropped={reason: count for reason, count in self.dropped.items() if count},
                dead={reason: count for reason, count in self.dead.items() if count},
                pending=self.pending,
                retried=self.retried,
                omitted=dict(self.omitted),
                held=self.held,
                requests=self.requests,
                bytes_sent=self.bytes_sent,
                warnings=self.warnings,
            )

    def wait_for_room(self, timeout: float) -> None:
        """Return when something was settled, or after ``timeout`` seconds."""
        with self._lock:
            self._room_wanted += 1
            try:
                self._room.wait(timeout)
            finally:
                self._room_wanted -= 1

    def _settle(self, seqs: Sequence[int], column: dict[str, int] | None, reason: str, *, sure: bool) -> None:
        if self._held:
            self._give_way()
        with self._lock:
            self._held = True
            cleared = self._move(seqs, column, reason, sure=sure)
            self._held = False
        _call(cleared)

    def _give_way(self) -> None:
        give_way(self._lock, lambda: self._held)

    def _move(self, seqs: Sequence[int], column: dict[str, int] | None, reason: str, *, sure: bool) -> list[Barrier]:
        """Move messages out of ``pending``: to ``delivered``, or to a reason's place in another column."""
        waited_for, doubtful = seqs, self._doubtful
        if doubtful and (found := doubtful.keys() & seqs):
            waited_for = [seq for seq in seqs if seq not in found]
            for seq in found:
                self._take_back(seq)
        count = len(seqs)
        marks: dict[int, tuple[dict[str, int] | None, str]] = {} if sure else dict.fromkeys(seqs, (column, reason))
        # As above: all of it or nothing, and so below.
        self.pending -= count
        if column is None:
            self.delivered += count
        else:
            column[reason] += count
        self._doubtful |= marks
        self.coming.difference_update(seqs)
        return self._cleared_by(waited_for)

    def _take_back(self, seq: int) -> None:
        column, reason = self._doubtful[seq]
        self.pending += 1
        if column is None:
            self.delivered -= 1
        else:
            column[reason] -= 1
        del self._doubtful[seq]

    def _cleared_by(self, seqs: Sequence[int]) -> list[Barrier]:
        cleared = []
        for barrier in list(self._barriers):
            mine = sum(seq <= barrier.mark for seq in seqs)
            barrier.remaining -= mine
            # Whoever was interrupted here may have left a number too high.
            if (barrier.remaining <= 0 or not self.pending) and barrier in self._barriers:
                self._barriers.remove(barrier)
                cleared.append(barrier)
        if self._room_wanted:
            self._room.notify_all()
        return cleared


#: More than can ever be pending: what a barrier waits for until that is known.
_NOT_YET = 1 << 62


def _call(cleared: Iterable[Barrier]) -> None:
    for barrier in cleared:
        barrier.on_clear()
