"""``unitrack queue``: what waits, seen from outside."""

from collections.abc import Sequence
from typing import Any

import click
from attrs import asdict

from ..clock import Clock
from ..queue import QueueView
from ..queues import absent, look_at
from .letters import age, when
from .options import config_option, format_option, outline
from .output import as_json, line, plain, table


@click.group(short_help="Look at what waits in a queue.", epilog="Example: unitrack queue stats")
def queue() -> None:
    """Look at a queue that outlives its process, also while programs use it."""


@queue.command(short_help="Count what waits.", epilog="Example: unitrack queue stats --config unitrack.toml")
@config_option
@format_option("table", "json")
def stats(config: str | None, output: str) -> None:
    """Show for each destination what waits, since when, what waits for a time, and the dead letters.

    Every configured destination has a line; so has one of which something is left in the queue.
    Exit code 2 for a queue in memory: that is seen by its own process only.
    """
    setup = outline(config)
    found, remarks = look_at(setup.settings, Clock().steady())
    views = _with_empty(found, setup.names)
    nothing = absent(setup.settings)
    if output == "json":
        as_json({"destinations": [_data(view) for view in views], "remarks": [nothing] if nothing else list(remarks)})
        return
    rows: list[tuple[Any, ...]] = [
        (
            view.destination, view.messages, _bytes(view.size), age(view.oldest), view.lanes or "",
            f"{view.delayed} ({view.delayed_lanes} users)" if view.delayed_lanes else view.delayed or "",
            ", ".join(f"{count} {reason}" for reason, count in sorted(view.dead.items())),
        )
        for view in views
    ]  # fmt: skip
    table(["destination", "waiting", "bytes", "oldest", "users", "wait for a time", "dead"], rows)
    if nothing:
        line(plain(f"nothing waits: {nothing}"))
    for remark in remarks:
        line(plain(remark), err=True)


def _with_empty(found: Sequence[QueueView], names: Sequence[str]) -> list[QueueView]:
    """Return what was found, and for each other name that there is nothing: whoever watches a line must not lose it."""
    views = {view.destination: view for view in found}
    return list(({name: QueueView(name) for name in names} | views).values())


def _data(view: QueueView) -> dict[str, Any]:
    return asdict(view) | {"oldest": None if view.oldest is None else when(view.oldest)}


def _bytes(size: int | None) -> str:
    if size is None:
        return ""
    for unit, length in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= 10 * length:
            return f"{size / length:.0f} {unit}"
    return str(size) if size else ""
