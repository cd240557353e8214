"""What commands print: for people on a terminal, and plain, stable text for everything else."""

import json
import textwrap
from collections.abc import Mapping, Sequence
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


#: Columns that are left of a text that is cut, and of one that is folded.
CUT, FOLDED = 8, 5


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

    Args:
        headers: of the columns.
        rows: their cells.
        whole: the column that stays on one line, however narrow the terminal is, so that it can be copied.
        cut: the column that is cut rather than folded.
    """
    cells = [[plain(cell) for cell in row] for row in rows]
    console = Console()
    if not console.is_terminal:
        click.echo(aligned(headers, cells))
        return
    shown = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    gaps = 2 * (len(headers) - 1)
    widths = fitted(headers, cells, console.width - gaps, whole, cut)
    for header, width in zip(headers, widths, strict=True):
        kept = header in (whole, cut)
        shown.add_column(header, width=width if whole else None, no_wrap=kept, overflow="ellipsis" if kept else "fold")
    for row in cells:
        shown.add_row(*(Text(cell, style=_STYLES.get(cell.partition(" ")[0], "")) for cell in row))
    if whole:
        console.width = max(console.width, sum(widths) + gaps)
    console.print(shown)


def fitted(headers: Sequence[str], rows: Sequence[Sequence[str]], room: int, whole: str, cut: str) -> list[int]:
    """Return widths of columns that fit into ``room``, if they can: first one is cut, then the others are folded.

    >>> fitted(["id", "what", "why"], [["m-1", "Order Completed", "not allowed"]], 24, "id", "what")
    [3, 10, 11]
    >>> fitted(["id", "what", "why"], [["m-1", "Order Completed", "not allowed"]], 18, "id", "what")
    [3, 8, 7]
    """
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    others = [header for header in headers if header not in (whole, cut)]
    # Cut a text, fold between words, fold anywhere.
    for names, least in (([cut], CUT), (others, 0), (others, FOLDED)):
        for index, (header, *cells) in enumerate(columns):
            if header in names:
                longest = max((len(word) for cell in cells for word in cell.split()), default=0)
                floor = min(widths[index], least or max(FOLDED, longest))
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
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset, tuple)):
        return sorted(map(str, value))
    return str(value)


def fail(sentence: str) -> None:
    """Print an error the way click does."""
    click.echo(f"Error: {sentence}", err=True)
