"""How an import looks while it runs: a bar on a terminal, else a plain line every so many rows."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ..importing import Progress as Done
from .import_job import STDIN
from .output import plain


class View(Protocol):
    """Is told how far an import is."""

    def __call__(self, done: Done) -> Any: ...


@contextmanager
def view(file: str, every: int) -> Iterator[View]:
    """Show progress on standard error until the block ends."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(every)
        return
    total = None if file == STDIN else Path(file).stat().st_size
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows  {task.fields[rate]:,.0f}/s  rejected {task.fields[rejected]:,}"),
        TextColumn("failed {task.fields[failed]:,}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Bar(bar, bar.add_task("", total=total, rows=0, rate=0.0, rejected=0, failed=0))


class _Bar:
    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task
        self._rate = _Rate()
        self._held = _Held()

    def __call__(self, done: Done) -> None:
        if news := self._held.news(done):
            self._bar.console.print(Text(news, style="yellow"))
        self._bar.update(self._task, completed=done.end, rows=done.rows, rate=self._rate.of(done.rows),
                         rejected=done.rejected, failed=done.failed)  # fmt: skip


class _Lines:
    def __init__(self, every: int) -> None:
        self._every = every
        self._next: int | None = None
        self._held = _Held()
        self._rate = _Rate()

    def __call__(self, done: Done) -> None:
        rate = self._rate.of(done.rows)
        if news := self._held.news(done):
            click.echo(news, err=True)
        if self._next is not None and done.rows < self._next:
            return
        begins, self._next = self._next is None, done.rows - done.rows % self._every + self._every
        if begins:
            if done.rows:
                click.echo(f"Going on after row {done.rows}.", err=True)
            return
        click.echo(f"{done.rows} rows, {done.rejected} rejected, {done.failed} failed, {rate:.0f} rows/s", err=True)


class _Held:
    """Tells when a destination begins or ceases to take nothing."""

    def __init__(self) -> None:
        self._last = ""

    def news(self, done: Done) -> str:
        if done.held == self._last:
            return ""
        self._last = done.held
        return f"Waiting for {plain(done.held)}" if done.held else "Going on."


class _Rate:
    """Rows per second of this run, in all."""

    def __init__(self) -> None:
        self._began: tuple[float, int] | None = None

    def of(self, rows: int) -> float:
        now = time.monotonic()
        if self._began is None:
            self._began = (now, rows)  # an import that goes on begins with the rows of earlier runs
        since, before = self._began
        return (rows - before) / max(now - since, 0.1)
