"""Moves the rows of a file through a client: never more in flight than has room, never past what is not settled."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import Factory, define, field, frozen

from ..client import Client
from ..errors import InvalidMessage
from ..results import Drop, Ledger, Receipt
from .cells import BadRow
from .mapping import RowIds, RowMapping
from .rejects import Rejects, rejected_before
from .rows import Row

#: Rows between two points at which everything is settled: as many as take about this long.
WINDOW_SECONDS = 2.0
MIN_WINDOW, MAX_WINDOW = 50, 5_000
MAX_WINDOW_BYTES = 8 * 1024 * 1024
#: How often the import looks up while it waits.
_GLANCE = 0.2


class Stopped(Exception):
    """The import ended before its file did; the text says why.

    Attributes:
        hopeless: waiting for the verdicts that are still out makes no sense.
    """

    def __init__(self, why: str, *, hopeless: bool = False) -> None:
        super().__init__(why)
        self.hopeless = hopeless


@define
class Failures:
    """What a client says of messages that will not arrive; hand it to the client as ``on_drop``."""

    _found: list[Drop] = Factory(list)

    def __call__(self, drops: Sequence[Drop]) -> None:
        # An invalid message is the row's fault, not a destination's; the importer hears of it from the receipt.
        self._found.extend(drop for drop in drops if drop.reason != "invalid")

    def take(self) -> list[Drop]:
        """Return what was said since the last time."""
        found, self._found = self._found, []
        return found


@frozen
class Progress:
    """How far an import is.

    Attributes:
        rows: read so far, rejected ones included.
        end: bytes of the file.
        settled: whether every one of these rows has its verdict everywhere.
        held: destinations that take nothing at the moment, and why.
    """

    rows: int
    rejected: int
    failed: int
    end: int
    settled: bool
    held: str = ""


@define
class Importer:
    """Imports rows.

    Args:
        client: takes the messages; nothing else should use it meanwhile.
        mapping: makes them.
        failures: the client's ``on_drop``, so that failed rows can be written beside rejected ones.
        rejects: where rows that did not make it are written.
        strict: stop at the first bad row.
        patience: seconds without a single verdict after which the import stops instead of letting messages expire.
        interrupted: asked at every row and while waiting; True stops the import.
        on_progress: called now and then, also while waiting.
        on_settled: called when all rows so far are settled: the place to remember how far it came.
    """

    client: Client
    mapping: RowMapping
    failures: Failures = Factory(Failures)
    rejects: Rejects | None = None
    strict: bool = False
    patience: float = 60.0
    interrupted: Callable[[], bool] = lambda: False
    on_progress: Callable[[Progress], Any] = lambda _: None
    on_settled: Callable[[Progress], Any] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    rows: int = 0
    rejected: int = 0
    #: Rows that at least one destination did not take.
    failed: int = 0
    #: Rows by what was wrong with them, the first few.
    reasons: list[tuple[int, str]] = Factory(list)
    _end: int = field(default=0, init=False)
    _window: int = field(default=100, init=False)
    _in_flight: dict[str, Row] = field(factory=dict, init=False)
    _in_flight_bytes: int = field(default=0, init=False)

    MAX_REASONS = 20

    def skip(self, rows: Iterable[Row], end: int, ids: RowIds) -> None:
        """Read over rows that an earlier run settled; they are counted, so that the ids after them stay the same."""
        for row in rows:
            self._end = row.end
            if not row.error and self.mapping.message_id is None:
                ids.next(row.values)
            if row.end >= end:
                return

    def run(self, rows: Iterable[Row], ids: RowIds) -> None:
        """Import rows until there are none.

        Raises:
            Stopped: interrupted, a bad row under ``strict``, or no destination takes anything any more.
        """
        self._settle()
        began = self.clock()
        for row in rows:
            self._check_interrupt()
            self._import(row, ids)
            self.rows += 1
            self._end = row.end
            if len(self._in_flight) >= self._most() or self._in_flight_bytes > self._most_bytes():
                self._settle()
                began = self._fit_window(began)
            elif self.rows % 100 == 0:
                self._report()
        self._settle()

    def stop(self, timeout: float) -> bool:
        """Wait for the verdicts that are still out, at most ``timeout`` seconds; tell whether all came."""
        if not self.client.flush(timeout):
            return False
        self._settled()
        return True

    def _import(self, row: Row, ids: RowIds) -> None:
        if why := row.error or rejected_before(row.values):
            self._reject(row, why)
            return
        try:
            message = self.mapping.message(row.values, ids)
        except BadRow as error:
            self._reject(row, str(error))
            return
        receipt = self._take(message)
        if not receipt and receipt.reason and receipt.reason.startswith("invalid"):
            self._reject(row, receipt.reason)
            return
        self._in_flight[receipt.message_id] = row
        self._in_flight_bytes += len(row.raw)

    def _take(self, message: Any) -> Receipt:
        try:
            return self.client.enqueue(message)
        except InvalidMessage as error:  # the client is strict
            return Receipt("", False, f"invalid: {error}")

    def _reject(self, row: Row, reason: str) -> None:
        if self.strict:
            # The row does not count as read, so the next run begins with it.
            raise Stopped(f"line {row.line}: {reason}")
        self.rejected += 1
        self._note(row, reason)

    def _check_interrupt(self) -> None:
        if self.interrupted():
            raise Stopped("interrupted")

    def _note(self, row: Row, reason: str) -> None:
        if len(self.reasons) < self.MAX_REASONS:
            self.reasons.append((row.line, reason))
        if self.rejects is not None:
            self.rejects.write(row, reason)

    def _settle(self) -> None:
        """Wait until everything has its verdict; report on the way."""
        before, quiet_since = self._verdicts(), self.clock()
        while not self.client.flush(_GLANCE):
            self._check_interrupt()
            self._report()
            verdicts = self._verdicts()
            if verdicts != before:
                before, quiet_since = verdicts, self.clock()
            elif self.clock() - quiet_since > self.patience:
                raise Stopped(self._why_quiet(), hopeless=True)
        self._settled()

    def _settled(self) -> None:
        by_message: dict[str, list[str]] = {}
        for drop in self.failures.take():
            said = f"{drop.destination}: {drop.reason}" + (f": {drop.detail}" if drop.detail else "")
            by_message.setdefault(drop.message_id, []).append(said)
        for message_id, reasons in by_message.items():
            self.failed += 1
            if row := self._in_flight.get(message_id):
                self._note(row, "; ".join(reasons))
        self._in_flight = {}
        self._in_flight_bytes = 0
        progress = Progress(self.rows, self.rejected, self.failed, self._end, True)
        self.on_settled(progress)
        self.on_progress(progress)

    def _report(self) -> None:
        held = "; ".join(f"{name}: {ledger.held}" for name, ledger in self.client.stats().items() if ledger.held)
        self.on_progress(Progress(self.rows, self.rejected, self.failed, self._end, False, held))

    def _verdicts(self) -> int:
        ledgers = self.client.stats().values()
        return sum(ledger.accepted - ledger.pending for ledger in ledgers)

    def _why_quiet(self) -> str:
        waiting = {name: ledger for name, ledger in self.client.stats().items() if ledger.pending}
        said = "; ".join(f"{name}: {_state(ledger)}" for name, ledger in waiting.items())
        return f"nothing was taken for {self.patience:g} s ({said})"

    def _fit_window(self, began: float) -> float:
        now = self.clock()
        took = max(now - began, 0.001)
        self._window = max(MIN_WINDOW, min(MAX_WINDOW, int(self._window * WINDOW_SECONDS / took)))
        return now

    def _most(self) -> int:
        # A quarter of the bounds: full queues would have to drop, and here nothing is dropped.
        common = self.client.settings
        bounds = [each.settings(common).max_events for each in self.client.destinations.values()]
        return max(1, min(self._window, *(bound // 4 for bound in bounds)))

    def _most_bytes(self) -> int:
        common = self.client.settings
        bounds = [each.settings(common).max_bytes for each in self.client.destinations.values()]
        return min(MAX_WINDOW_BYTES, *(bound // 4 for bound in bounds))


def _state(ledger: Ledger) -> str:
    return ledger.held or f"{ledger.pending} messages wait"
