"""What commands print: for people on a terminal, and plain, stable text for everything else."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Colours by the word that a cell begins with; only on a terminal, and never the only sign.
_STYLES = {
    "delivered": "green",
    "ready": "green",
    "filtered": "yellow",
    "rejected": "red",
    "failed": "red",
    "no": "dim",
}


#: Columns that are left of a text that is cut.
CUT = 8


def is_terminal() -> bool:
    """Tell whether a person reads standard output."""
    return Console().is_terminal


def plain(value: object) -> str:
    """Return text on one line, without control characters: a server's answer must not steer the terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())


def line(text: str = "", *, style: str = "", err: bool = False) -> None:
    """Print one line; ``style`` counts on a terminal only."""
    console = Console(stderr=err)
    if console.is_terminal:
        console.print(Text(text, style=style), soft_wrap=True)
    else:
        click.echo(text, err=err)


def fact(title: str, text: object, width: int) -> None:
    """Print what belongs to a title of ``width`` columns; on a terminal, long text goes on under its beginning."""
    console = Console()
    start = f"  {title:{width}}"
    whole = start + plain(text)
    if console.is_terminal:
        room = max(40, console.width)
        whole = textwrap.fill(whole, room, subsequent_indent=" " * len(start), break_on_hyphens=False)
    line(whole)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, whole: str = "", cut: str = "") -> None:
    """Print a table: with rules and colours on a terminal, else columns of text two blanks apart.

    Where a terminal is so narrow that words would break, each row is a list of its own.

    Args:
        headers: of the columns.
        rows: their cells.
        whole: the column that stays on one line, so that it can be copied.
        cut: the column that is cut rather than folded.
    """
    cells = [[plain(cell) for cell in row] for row in rows]
    console = Console()
    if not console.is_terminal:
        click.echo(aligned(headers, cells))
        return
    gaps = 2 * (len(headers) - 1)
    widths = fitted(headers, cells, console.width - gaps, whole, cut)
    if sum(widths) + gaps > console.width:
        stacked(headers, cells)
        return
    shown = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for header, width in zip(headers, widths, strict=True):
        kept = header in (whole, cut)
        shown.add_column(header, width=width, no_wrap=kept, overflow="ellipsis" if kept else "fold")
    for row in cells:
        shown.add_row(*(Text(cell, style=_STYLES.get(cell.partition(" ")[0], "")) for cell in row))
    console.print(shown)


def stacked(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print each row as a list under its first cell, without the cells that are empty."""
    width = max(map(len, headers)) + 2
    for name, *cells in rows:
        line(plain(name), style="bold")
        for header, cell in zip(headers[1:], cells, strict=True):
            if plain(cell):
                fact(header, cell, width)


def fitted(headers: Sequence[str], rows: Sequence[Sequence[str]], room: int, whole: str, cut: str) -> list[int]:
    """Return widths of columns that fit into ``room``, if they can: first one is cut, then the others are folded.

    No word is broken for it, so their sum may be larger than ``room``.

    >>> fitted(["id", "what", "why"], [["m-1", "Order Completed", "not allowed"]], 24, "id", "what")
    [3, 10, 11]
    >>> fitted(["id", "what", "why"], [["m-1", "Order Completed", "not allowed"]], 18, "id", "what")
    [3, 8, 7]
    """
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    others = [header for header in headers if header not in (whole, cut)]
    for names, least in (([cut], CUT), (others, 0)):
        for index, column in enumerate(columns):
            if column[0] in names:
                longest = max((len(word) for cell in column for word in cell.split()), default=0)
                floor = min(widths[index], least or longest)
                widths[index] = max(floor, widths[index] - max(0, sum(widths) - room))
    return widths


def aligned(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return columns of text, as wide as they need to be.

    >>> print(aligned(["name", "kind"], [["cdp", "hightouch"]]))
    name  kind
    cdp   hightouch
    """
    everything = [list(headers), *[list(row) for row in rows]]
    widths = [max(len(row[index]) for row in everything) for index in range(len(headers))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in everything
    )


def as_json(value: Any) -> None:
    """Print data as indented JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_json_default))


def _json_default(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset, tuple)):
        return sorted(map(str, value))
    return str(value)


def fail(sentence: str) -> None:
    """Print an error the way click does."""
    click.echo(f"Error: {sentence}", err=True)
