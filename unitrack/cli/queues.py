"""``unitrack queue``: what waits, seen from outside."""

from typing import Any

import click
from attrs import asdict

from ..clock import Clock
from ..queues import absent, look_at
from .letters import age
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

    Exit code 2 for a queue in memory: that is seen by its own process only.
    """
    settings = outline(config).settings
    views, remarks = look_at(settings, Clock().steady())
    nothing = absent(settings)
    if output == "json":
        as_json({"destinations": [asdict(view) for view in views], "remarks": [nothing] if nothing else list(remarks)})
        return
    rows: list[tuple[Any, ...]] = [
        (
            view.destination, view.messages, _bytes(view.size), age(view.oldest), view.lanes or "",
            f"{view.delayed} ({view.delayed_lanes} users)" if view.delayed_lanes else view.delayed or "",
            ", ".join(f"{count} {reason}" for reason, count in sorted(view.dead.items())),
        )
        for view in views
    ]  # fmt: skip
    if rows:
        table(["destination", "waiting", "bytes", "oldest", "users", "wait for a time", "dead"], rows)
    else:
        line(plain(f"nothing waits: {nothing}" if nothing else "nothing waits"))
    for remark in remarks:
        line(plain(remark), err=True)


def _bytes(size: int | None) -> str:
    if size is None:
        return ""
    for unit, length in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= 10 * length:
            return f"{size / length:.0f} {unit}"
    return str(size) if size else ""
