"""``unitrack worker``: sends what others put into a shared queue, until it is told to stop."""

import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

import click
from attrs import asdict
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..config import Client
from ..errors import ConfigError, nearest
from ..results import Ledger
from .health import Health, answering
from .options import config_option, configuration
from .output import is_terminal, line, plain

#: Seconds between two looks at the books; a health file is touched as often.
ROUND = 0.25
#: Rounds in a row in which nothing waited, after which a queue counts as empty: the files of dead processes are
#: looked for every two seconds.
EMPTY_ROUNDS = 12


@click.command(
    short_help="Send what waits in a shared queue.", epilog="Example: unitrack worker --config unitrack.toml"
)
@config_option
@click.option("--destination", "names", metavar="NAME", multiple=True, help="Send to this one only; repeatable.")
@click.option("--until-empty", is_flag=True, help="End when nothing waits any more.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long SIGTERM or Ctrl-C may take: what is being sent is finished, the rest stays queued.",
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Print a line so often where there is no terminal.",
)
@click.option(
    "--health-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Touch this file all the time, for whoever watches.",
)
@click.option("--health-port", type=click.IntRange(0, 65535), metavar="PORT",
              help="Answer on 127.0.0.1:PORT with the ledgers as JSON; with 503 when the worker is stuck.")  # fmt: skip
def worker(
    config: str | None, names: tuple[str, ...], until_empty: bool, timeout: float, interval: float,
    health_file: Path | None, health_port: int | None,
) -> None:  # fmt: skip
    """Send what other processes put into a SQLite directory or a broker, until SIGTERM or Ctrl-C.

    Start as many as you like on a broker; they share the users among them, and each user's messages stay in order.
    Of a SQLite directory one process at a time takes what others left.
    Exit code 0 after a stop in order, 1 if messages stay queued with --until-empty.
    """
    setup = configuration(config)
    if setup.settings.queue.startswith("memory:"):
        raise ConfigError(
            "messages in memory are sent by their own process; set delivery.queue to sqlite:// or redis://"
        )
    for name in names:
        if name not in setup.destinations:
            raise ConfigError(f"there is no destination {name!r}{nearest(name, setup.destinations)}")
    chosen = {name: one for name, one in setup.destinations.items() if not names or name in names}
    settings = asdict(setup.settings, recurse=False) | {"workers": "internal", "mode": "background"}
    with ExitStack() as stack:
        stop = stack.enter_context(_told_to_stop())
        client = Client(chosen, **settings)
        health = Health()
        if health_port is not None:
            stack.enter_context(answering(health, health_port))
        show = stack.enter_context(_progress(interval))
        empty = 0
        while not stop.is_set() and not (until_empty and empty > EMPTY_ROUNDS):
            ledgers = client.stats()
            show(ledgers)
            health.note(ledgers)
            empty = 0 if client.look_around() else empty + 1
            if health_file is not None:
                health_file.touch()
            stop.wait(ROUND)
        client.stop_reading()
        client.close(timeout)
        ledgers = client.stats()
        show(ledgers)
    left = {name: ledger.pending for name, ledger in ledgers.items() if ledger.pending}
    sent = sum(ledger.delivered for ledger in ledgers.values())
    kept = ", ".join(f"{count} for {name}" for name, count in left.items())
    line(f"{sent} delivered" + (f"; they stay queued: {kept}" if kept else ""))
    if left and until_empty:
        click.get_current_context().exit(1)


class _Stop:
    """Becomes set once. Not an Event: a handler that sets one may have interrupted the thread that waits for it."""

    def __init__(self) -> None:
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._told = False

    def tell(self) -> None:
        self._told = True
        self._tokens.put(None)

    def is_set(self) -> bool:
        return self._told

    def wait(self, seconds: float) -> None:
        with suppress(Empty):
            self._tokens.get(timeout=seconds)


@contextmanager
def _told_to_stop() -> Any:
    stop = _Stop()
    before: dict[signal.Signals, Any] = {}

    def told(number: int, frame: FrameType | None) -> None:
        stop.tell()

    for each in (signal.SIGTERM, signal.SIGINT):
        before[each] = signal.signal(each, told)
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _progress(interval: float) -> Any:
    if is_terminal():
        with Live(refresh_per_second=4) as live:
            yield lambda ledgers: live.update(_table(ledgers))
        return
    yield _Lines(interval)


class _Lines:
    """Prints a line now and then, for logs."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._last = time.monotonic()

    def __call__(self, ledgers: Mapping[str, Ledger]) -> None:
        if time.monotonic() - self._last >= self._interval:
            self._last = time.monotonic()
            line(plain("; ".join(f"{name}: {_words(ledger)}" for name, ledger in ledgers.items())))


def _words(ledger: Ledger) -> str:
    dead = sum(ledger.dead.values())
    held = f", on hold: {ledger.held}" if ledger.held else ""
    return f"{ledger.delivered} delivered, {ledger.pending} waiting, {dead} dead{held}"


def _table(ledgers: Mapping[str, Ledger]) -> Table:
    table = Table("destination", "delivered", "waiting", "retried", "dead", "on hold", box=None, pad_edge=False)
    for name, ledger in ledgers.items():
        dead = ", ".join(f"{count} {reason}" for reason, count in ledger.dead.items())
        counts = (str(ledger.delivered), str(ledger.pending), str(ledger.retried))
        # Text, not str: what a server said must not be read as instructions for the terminal.
        table.add_row(name, *counts, dead or "-", Text(plain(ledger.held or "-")))
    return table
