"""The main job on real input: 6,919 orders to local vendors, two of which stumble, and the books compared.

Everything happens on 127.0.0.1. Needs the extra ``cli``.
"""

import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live

from ..importing import Importer, Lines, Progress, Row, RowIds, RowMapping, RowSource, Stopped, open_rows
from . import view
from .account import Account, users_and_out_of_order
from .orders import BAD_ROWS, CUSTOMERS, ORDERS, first_of_each, order_file
from .stage import Stage
from .stands import FOUR, stands

#: Share of the orders that is read when the vendors begin to stumble, so that it happens amid the traffic.
STUMBLE_AT = 1 / 7
#: Without a single verdict for so long, something is wrong and the demo says so.
PATIENCE_SECONDS = 15.0
#: Wide enough for its tables where the output is no terminal and has no width.
PLAIN_WIDTH = 120


def run(console: Console | None = None, names: tuple[str, ...] = FOUR) -> int:
    """Play it, show it, and compare the books.

    Args:
        console: where to; default: the standard output, plain text if that is no terminal.
        names: of the vendors; default: the four that unitrack began with.

    Returns:
        0 if every ledger balances and equals what its receiver counted, else 1.
    """
    return play(order_file(), console or _console(), names)


def play(content: bytes, console: Console, names: tuple[str, ...] = FOUR) -> int:
    """Like :func:`run`, with a file of your own; see :func:`unitrack.demo.orders.order_file` for its columns."""
    rows = content.decode().splitlines()
    console.print(view.headline(len(rows) - 1 - len(BAD_ROWS), len(BAD_ROWS), len(names)))
    began = time.monotonic()
    try:
        with Stage(stands(names)) as stage:
            customers, orders = _imported(stage, content, console)
    except Stopped as stopped:
        console.print(view.stopped(str(stopped)))
        return 1
    seconds = time.monotonic() - began
    accounts = _accounts(stage, customers.rows + orders.rows - orders.rejected)
    faults = [fault for account in accounts for fault in account.faults]
    samples = {name: receiver.samples for name, receiver in stage.receivers.items()}
    console.print(view.samples(samples, min(console.width, PLAIN_WIDTH)))
    console.print(view.bad_rows(orders.reasons, rows))
    console.print(view.log(stage.log.lines))
    console.print(view.comparison(accounts))
    console.print(view.verdict(accounts, faults, seconds))
    return 1 if faults else 0


def _console() -> Console:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a ✓ must not end the demo where the output is ASCII
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def _imported(stage: Stage, content: bytes, console: Console) -> tuple[Importer, Importer]:
    """Import the customers, then their orders; the vendors stumble while the orders are on their way."""
    threshold = content.count(b"\n") * STUMBLE_AT
    stumbled = False

    def stumble(progress: Progress) -> None:
        nonlocal stumbled
        if not stumbled and progress.rows >= threshold:
            stumbled = True
            stage.stumble()

    expected = content.count(b"\n") - 1 + sum(1 for _ in first_of_each(_rows(content)))
    with _shown(stage, expected, console):
        customers = _import(stage, CUSTOMERS, content, first_of_each)
        orders = _import(stage, ORDERS, content, iter, on_progress=stumble)
    return customers, orders


def _import(
    stage: Stage,
    mapping: RowMapping,
    content: bytes,
    chosen: Callable[[Iterable[Row]], Iterator[Row]],
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Importer:
    importer = Importer(stage.client, mapping, stage.failures, patience=PATIENCE_SECONDS, on_progress=on_progress)
    importer.run(chosen(_rows(content)), RowIds(mapping))
    return importer


def _rows(content: bytes) -> RowSource:
    return open_rows(Lines(io.BytesIO(content)), "csv")


@contextmanager
def _shown(stage: Stage, expected: int, console: Console) -> Iterator[None]:
    """Draw the bars while the import runs; without a terminal there is nothing to see before the end."""
    if not console.is_terminal:
        yield
        return
    bars = view.Bars(expected)

    def picture() -> RenderableType:
        return bars.render(stage.client.stats(), {name: each.tally for name, each in stage.receivers.items()})

    with Live(get_renderable=picture, console=console, refresh_per_second=10):
        yield
        # Rows that were rejected never became messages, so the bars are full without them.
        bars.expected = max(ledger.accepted for ledger in stage.client.stats().values())


def _accounts(stage: Stage, meant: int) -> list[Account]:
    ledgers = stage.client.stats()
    accounts = []
    for name, receiver in stage.receivers.items():
        users, wrong = users_and_out_of_order(receiver.taken)
        tally = receiver.tally
        accounts.append(
            Account(name=name, meant=meant, ledger=ledgers[name], tally=tally, users=users, out_of_order=wrong)
        )
    return accounts
