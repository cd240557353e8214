"""Brings what waits in the local spool to the broker: in order, in batches, each written once."""

import threading
import time
from collections.abc import Callable, Sequence

from ..logs import QuietLog
from ..queue import DeadLetter, Entry, Queue
from ._redis_broker import Broker
from ._redis_envelope import Envelope, Newer, Unreadable, unpack
from ._redis_letters import Letters
from ._redis_line import BrokerRefused

#: What the spool takes the broker for: its only destination.
BROKER = "broker"
BATCH, BATCH_BYTES = 500, 1024 * 1024
#: Seconds between looks for spools that a dead process left behind.
LOOK_EVERY = 5.0
#: There is one taker in a process, so nobody else has to get what it holds.
FOR_EVER = 1e9


class Forwarder:
    """The only taker of the spool.

    A batch is written again and again, always the same, until the broker has said that it has it: so the broker can
    tell a repeat from a new one.

    Args:
        forwarded: called with what this process put and the broker has now.
    """

    def __init__(
        self,
        spool: Queue,
        broker: Broker,
        letters: Letters,
        log: QuietLog,
        forwarded: Callable[[Sequence[Envelope]], None],
    ) -> None:
        self._spool = spool
        self._broker = broker
        self._letters = letters
        self._log = log
        self._forwarded = forwarded
        self._lock = threading.Lock()  # for whoever forwards: the thread, or who closes
        self._taking = False  # between the spool and the batch
        self._batch: Sequence[Entry] = ()
        self._envelopes: Sequence[Envelope] = ()
        self._written = 0
        self._at_once = BATCH
        self._looked_at = -LOOK_EVERY
        self._opening = threading.RLock()
        self._opened = False

    def open(self) -> None:
        """Open the spool, once. Its bounds are kept by whoever puts."""
        if self._opened:
            return
        with self._opening:
            if not self._opened:
                self._spool.open(BROKER, max_events=1 << 50, max_bytes=1 << 50, lease=FOR_EVER)
                self._opened = True

    def empty(self, now: float) -> bool:
        """Tell whether everything is with the broker."""
        # Without the lock, which is held while a batch is written. So each place is looked at in the order in which a
        # message passes through them, or one that moves on between two looks would be in none.
        ready = self._spool.ready(BROKER, now)
        waits = ready.count or ready.due is not None or self._spool.waiting(BROKER)
        return not waits and not self._taking and not self._batch

    def look_around(self, now: float) -> None:
        """Take over what dead processes left in their spools; now and then."""
        if time.monotonic() - self._looked_at >= LOOK_EVERY:
            self._looked_at = time.monotonic()
            self._spool.look_around(now, lambda *_: None)

    def forward(self, now: float) -> bool:
        """Bring one batch to the broker; tell whether there was one."""
        with self._lock:
            if not self._batch:
                self._taking = True
                try:
                    self._batch = self._spool.take(BROKER, BATCH, BATCH_BYTES, now)
                finally:
                    self._taking = False
                self._envelopes = [one for entry in self._batch if (one := self._read(entry, now)) is not None]
                self._written = 0
            if not self._batch:
                return False
            while self._written < len(self._envelopes):
                self._write(self._envelopes[self._written : self._written + self._at_once])
            if len(self._envelopes) < len(self._batch):
                self._letters.hand_in()  # first: the spool forgets now what they hold
            self._spool.done(BROKER, self._batch)
            mine = [one for one in self._envelopes if one.origin == self._broker.token]
            self._batch = ()
            self._forwarded(mine)
            return True

    def _write(self, part: Sequence[Envelope]) -> None:
        try:
            self._broker.write(part, first=not self._written)
        except BrokerRefused:
            # Of none of it, for want of memory: what is being sent takes some, too.
            self._at_once = max(1, self._at_once // 2)
            raise
        self._written += len(part)
        self._at_once = min(BATCH, 2 * self._at_once)

    def _read(self, entry: Entry, now: float) -> Envelope | None:
        try:
            return unpack(entry.record)
        except Unreadable as why:
            detail = f"{'of a later version' if isinstance(why, Newer) else 'damaged'}: {why}"
            id_, at = entry.message_id, entry.accepted_at
            self._log.warning("spool", "unitrack: %s cannot go from the spool to the broker: %s", id_, detail)
            self._letters.keep(DeadLetter(BROKER, id_, "unreadable", detail, 0, at, now, entry.record))
            return None
