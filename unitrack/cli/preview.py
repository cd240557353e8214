"""``unitrack import --dry-run``: what the messages would be, and who could not take them. Sends nothing."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import Any

import click
from attrs import Factory, define, fields

from ..clock import utc_now
from ..config import Configuration
from ..errors import InvalidMessage
from ..importing import BadRow, RowIds, rejected_before
from ..message import Message
from ..snapshot import MessageIds, snapshot
from ..wire import omitted, refusal
from .import_job import Job
from .output import as_json, plain

FIRST = 3
MAX_REASONS = 20


@define
class Preview:
    """What a dry run saw."""

    rows: int = 0
    rejected: int = 0
    first: list[dict[str, Any]] = Factory(list)
    reasons: list[tuple[int, str]] = Factory(list)
    #: Messages that a destination could not take, by destination and reason.
    refused: dict[str, Counter[str]] = Factory(dict)
    #: Members that a destination would leave out, by destination.
    omitted: dict[str, Counter[str]] = Factory(dict)


def preview(job: Job, found: Configuration | None) -> Preview:
    """Read a file as an import would."""
    seen = Preview()
    destinations = found.destinations if found else {}
    ids, spare = RowIds(job.mapping), MessageIds()
    with job.rows() as (_, source):
        for row in islice(source, job.limit):
            seen.rows += 1
            try:
                if unreadable := row.error or rejected_before(row.values):
                    raise BadRow(unreadable)
                message, _nulled = snapshot(job.mapping.message(row.values, ids), spare, utc_now)
            except (BadRow, InvalidMessage) as error:
                seen.rejected += 1
                if len(seen.reasons) < MAX_REASONS:
                    seen.reasons.append((row.line, str(error)))
                continue
            if len(seen.first) < FIRST:
                seen.first.append(as_data(message))
            for name, destination in destinations.items():
                if why := refusal(destination.provider, message):
                    seen.refused.setdefault(name, Counter())[why] += 1
                else:
                    seen.omitted.setdefault(name, Counter()).update(omitted(destination.provider.capabilities, message))
    return seen


def as_data(message: Message) -> dict[str, Any]:
    """Return a message as plain data, without what is not set."""
    values = {f.name: getattr(message, f.name) for f in fields(type(message)) if not f.name.startswith("has_own")}
    return {"kind": message.kind} | {name: _plain(value) for name, value in values.items() if value}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return dict(value) if isinstance(value, Mapping) else value


def show(seen: Preview, output: str) -> None:
    """Print a preview."""
    if output == "json":
        as_json({
            "dry_run": True, "rows": seen.rows, "rejected": seen.rejected, "first": seen.first,
            "reasons": [{"line": number, "reason": reason} for number, reason in seen.reasons],
            "refused": seen.refused, "omitted": seen.omitted,
        })  # fmt: skip
        return
    for each in seen.first:
        as_json(each)
    click.echo(
        f"dry run: {seen.rows} rows, {seen.rows - seen.rejected} messages, {seen.rejected} rejected; nothing was sent"
    )
    for number, reason in seen.reasons:
        click.echo(f"  line {number}: {plain(reason)}")
    for name, reasons in seen.refused.items():
        for why, count in reasons.items():
            click.echo(f"  {name} cannot take {count}: {plain(why)}")
    for name, members in seen.omitted.items():
        for member, count in members.items():
            click.echo(f"  {name} leaves out {member}: {count} times")
