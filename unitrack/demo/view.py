"""What the demo shows while it runs, and the tables at its end."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import Factory, define
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.highlighter import JSONHighlighter
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..receivers import Sample, Tally
from ..results import Ledger
from .account import Account

NONE = "–"
#: Destinations in one table.
BESIDE = 4
SHOWN_HEADERS = ("authorization", "x-api-key", "date", "content-type")


@define
class Bars:
    """The picture of a running import: a bar for each destination, full at so many messages."""

    expected: int
    _rates: dict[str, tuple[float, int, float]] = Factory(dict)

    def render(self, ledgers: Mapping[str, Ledger], tallies: Mapping[str, Tally]) -> Table:
        """Draw it as it is now."""
        table = Table.grid(padding=(0, 2))
        for name in ("name", "bar"):
            table.add_column(name)
        for name in ("delivered", "pending", "rate"):
            table.add_column(name, justify="right", min_width=14)
        table.add_column("faults", min_width=20)
        for name, ledger in ledgers.items():
            table.add_row(
                Text(name, "bold"),
                ProgressBar(total=self.expected, completed=ledger.accepted - ledger.pending, width=30),
                f"{ledger.delivered:,} delivered",
                f"{ledger.pending:,} pending",
                f"{self._rate(name, ledger.delivered):,.0f}/s",
                Text(_faults(tallies[name]), "yellow"),
            )
        return table

    def _rate(self, name: str, delivered: int) -> float:
        """Return messages per second, measured twice a second."""
        now = time.monotonic()
        since, before, rate = self._rates.setdefault(name, (now, delivered, 0.0))
        if now - since >= 0.5:
            rate = (delivered - before) / (now - since)
            self._rates[name] = (now, delivered, rate)
        return rate


def headline(orders: int, bad: int, vendors: int) -> Text:
    """Say what is going to happen."""
    return Text.assemble(
        (f"{orders:,} real orders", "bold"),
        f" (CDNOW 1997-98, moved by 28 years) and {bad} bad rows, to {vendors} vendors played on 127.0.0.1.\n",
        "Every customer is identified first, so there are more messages than orders.\n",
        "Thrivestack will be down for two seconds, and SuprSend will ask three times for a pause.\n",
        ("Interakt's limit of 300 requests a minute is lifted, or this would take half an hour.\n", "dim"),
    )


def stopped(reason: str) -> Text:
    """Say why the import ended before the file did."""
    return Text(f"✗ The import stopped: {reason}", "bold red")


def log(lines: Sequence[str]) -> Text:
    """Show what the client said in its log."""
    return Text("\n".join(["In the client's log:", *(f"  {line}" for line in lines)]) if lines else "", "dim")


def bad_rows(found: Sequence[tuple[int, str]], lines: Sequence[str]) -> Table:
    """Show what became of the rows that are bad on purpose."""
    table = _table(f"The {len(found)} bad rows, and what became of them")
    table.add_column("line", justify="right")
    table.add_column("row", style="cyan", no_wrap=True)
    table.add_column("what became of it")
    for line, reason in found:
        table.add_row(f"{line:,}", lines[line - 1], Text(reason))
    return table


def comparison(accounts: Sequence[Account]) -> Group:
    """Show the ledgers beside what the receivers counted, as many in a table as fit."""
    title = "The client's ledgers, and what the receivers counted themselves"
    runs = [accounts[start : start + BESIDE] for start in range(0, len(accounts), BESIDE)]
    return Group(*(_compared(run, title if number == 0 else "") for number, run in enumerate(runs)))


def _compared(accounts: Sequence[Account], title: str) -> Table:
    table = _table(title)
    table.add_column("", no_wrap=True)
    for account in accounts:
        table.add_column(account.name, justify="right")

    def row(name: str, cell: Callable[[Account], Text | str], *, end: bool = False) -> None:
        table.add_row(name, *map(cell, accounts), end_section=end)

    row("accepted", lambda a: f"{a.ledger.accepted:,}")
    row("delivered", lambda a: Text(f"{a.ledger.delivered:,}", "bold"))
    row("dead", lambda a: _by_reason(a.ledger.dead))
    row("dropped", lambda a: _by_reason(a.ledger.dropped))
    row("pending", lambda a: f"{a.ledger.pending:,}")
    row("tried again", lambda a: f"{a.ledger.retried:,}", end=True)
    row("receiver took", lambda a: Text(f"{a.tally.distinct:,}", "bold"))
    row("  twice", lambda a: f"{a.tally.repeats:,}")
    row("  refused", lambda a: f"{sum(a.tally.refused.values()):,}")
    row("  answered", lambda a: _by_status(a.tally.answers), end=True)
    row("delivered = took", lambda a: _both(a.ledger.delivered, a.tally.distinct))
    row("requests", lambda a: _both(a.ledger.requests, a.tally.requests))
    row("bytes", lambda a: _both(a.ledger.bytes_sent, a.tally.bytes))
    row("customers in order", lambda a: _both(a.users, a.users - a.out_of_order))
    row("ledger balances", lambda a: Text("yes", "green") if a.ledger.balanced else Text("no", "bold red"))
    return table


def _table(title: str) -> Table:
    return Table(title=Text(title, "bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)


def samples(by_name: Mapping[str, dict[str, Sample]], width: int) -> RenderableType:
    """Show one request for each vendor as it came off the wire, credentials masked."""
    panels = [_request(name, found, width - 4) for name, calls in by_name.items() if (found := _best(calls))]
    return Group(Text("One request to each as it came off the wire, credentials masked", "bold"), *panels)


def _best(calls: dict[str, Sample]) -> Sample | None:
    """Prefer a request with orders to one with a customer; that came first."""
    return next(reversed(calls.values()), None)


def _request(name: str, sample: Sample, width: int) -> Panel:
    headers = [f"{header}: {sample.headers[header]}" for header in SHOWN_HEADERS if header in sample.headers]
    head = Text("\n".join([f"{sample.method} {sample.path}", *headers]), "dim")
    body = JSONHighlighter()(Text(laid_out(excerpt(json.loads(sample.body)), width)))
    return Panel(Group(head, body), title=name, title_align="left", width=width + 4)


def excerpt(value: Any) -> Any:
    """Keep the last message of a batch, which is an order, and say how many others there are.

    >>> excerpt({"batch": [{"n": 1}, {"n": 2}, {"n": 3}]})
    {'batch': ['… 2 more …', {'n': 3}]}
    """
    if isinstance(value, dict):
        return {name: excerpt(member) for name, member in value.items()}
    if isinstance(value, list) and len(value) > 1:
        return [f"… {len(value) - 1:,} more …", value[-1]]
    return value


def laid_out(value: Any, width: int, indent: int = 0) -> str:
    """Write JSON with everything on one line that fits into the width.

    >>> print(laid_out({"user_id": "00429", "properties": {"cds": 2, "total": 31.14}}, 44))
    {
      "user_id": "00429",
      "properties": {"cds": 2, "total": 31.14}
    }
    """
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or not value or indent + len(line) <= width:
        return line
    deeper = indent + 2
    if isinstance(value, dict):
        names = [f"{json.dumps(name, ensure_ascii=False)}: " for name in value]
        lines = [
            name + laid_out(member, width - len(name), deeper)
            for name, member in zip(names, value.values(), strict=True)
        ]
    else:
        lines = [laid_out(item, width, deeper) for item in value]
    inside = ",\n".join(" " * deeper + text for text in lines)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{inside}\n{' ' * indent}{closing}"


def verdict(accounts: Sequence[Account], faults: Sequence[str], seconds: float) -> Text:
    """Say in one line whether every ledger is right, else each way in which one is not."""
    if faults:
        return Text("\n".join(["✗ The books do not agree:", *(f"  {fault}" for fault in faults)]), "bold red")
    delivered = sum(account.ledger.delivered for account in accounts)
    accepted = sum(account.ledger.accepted for account in accounts)
    dead = sum(sum(account.ledger.dead.values()) for account in accounts)
    return Text(
        f"✓ Every ledger equals what its receiver counted. Of {accepted:,} messages {delivered:,} arrived, each once "
        f"and in order;\n  dead letters that say why: {dead:,}; lost: {accepted - delivered - dead:,}; "
        f"{seconds:.1f} s.",
        "bold green",
    )


def _by_reason(counts: Mapping[str, int]) -> str:
    return "\n".join(f"{count:,} {reason}" for reason, count in counts.items()) or NONE


def _by_status(counts: Mapping[int, int]) -> str:
    return "\n".join(f"{status} × {count:,}" for status, count in sorted(counts.items()))


def _faults(tally: Tally) -> str:
    return ", ".join(f"answered {status} × {count}" for status, count in tally.answers.items() if status >= 400)


def _both(ours: int, theirs: int) -> Text:
    return Text(f"{ours:,} = {theirs:,}", "green") if ours == theirs else Text(f"{ours:,} ≠ {theirs:,}", "bold red")
