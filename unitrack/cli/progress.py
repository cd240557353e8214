"""How a worker gets on: a table on a terminal, else a line now and then; and its warnings."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..results import Ledger
from .output import is_terminal, line, plain

#: Called with the ledgers and with what keeps the queue from working.
Show = Callable[[Mapping[str, Ledger], str | None], None]


@contextmanager
def progress(interval: float) -> Iterator[Show]:
    """Show how it goes, every ``interval`` seconds where there is no terminal."""
    if is_terminal():
        with Live(refresh_per_second=4) as live:
            yield lambda ledgers, trouble: live.update(_table(ledgers, trouble))
        return
    yield _Lines(interval)


class _Lines:
    """Prints a line now and then, for logs."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._last = time.monotonic()

    def __call__(self, ledgers: Mapping[str, Ledger], trouble: str | None) -> None:
        if time.monotonic() - self._last >= self._interval:
            self._last = time.monotonic()
            parts = [f"{name}: {_words(ledger)}" for name, ledger in ledgers.items()]
            line(plain("; ".join([*parts, *([trouble] if trouble else [])])))


def _words(ledger: Ledger) -> str:
    dead = sum(ledger.dead.values())
    held = f", on hold: {ledger.held}" if ledger.held else ""
    return f"{ledger.delivered} delivered, {ledger.pending} waiting, {dead} dead{held}"


def _table(ledgers: Mapping[str, Ledger], trouble: str | None) -> Table:
    table = Table("destination", "delivered", "waiting", "retried", "dead", "on hold", box=None, pad_edge=False)
    for name, ledger in ledgers.items():
        dead = ", ".join(f"{count} {reason}" for reason, count in ledger.dead.items())
        counts = (str(ledger.delivered), str(ledger.pending), str(ledger.retried))
        # Text, not str: what a server said must not be read as instructions for the terminal.
        table.add_row(name, *counts, dead or "-", Text(plain(ledger.held or "-")))
    table.caption = Text(plain(trouble)) if trouble else None
    table.caption_justify = "left"
    return table


class _Echo(logging.Handler):
    """Prints warnings: nobody watches a worker but through them."""

    def emit(self, record: logging.LogRecord) -> None:
        # Not line(): a console of its own would write into the table that stands there.
        sys.stderr.write(plain(record.getMessage()) + "\n")


@contextmanager
def warnings() -> Iterator[None]:
    """Print what is logged as a warning, unless ``unitrack -v`` prints all of it already."""
    log, echo = logging.getLogger("unitrack"), _Echo(logging.WARNING)
    if log.isEnabledFor(logging.DEBUG):
        yield
        return
    log.addHandler(echo)
    try:
        yield
    finally:
        log.removeHandler(echo)
