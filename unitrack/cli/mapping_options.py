"""The options that say which column becomes what, for ``unitrack import``."""

from typing import Any, get_args

import click
from attrs import evolve

from ..importing import Cell, RowMapping, Time
from ..importing.cells import TYPES
from ..importing.mapping import Kind
from .options import F

#: Options whose value is a column, by their member of a message.
_COLUMNS = {
    "user_id": "Column that tells who it was.",
    "anonymous_id": "Column with the id before the user was known.",
    "phone": "Column with the phone number.",
    "group_id": "Column with the id of the group (kind group).",
    "previous_id": "Column with the id to merge (kind alias).",
    "message_id": "Column with unique ids. Default: made from the row, the same in every run.",
}


def mapping_options(function: F) -> F:
    """Add them."""
    fact = "-p total=amount:float sends column 'amount' as number 'total'; types: " + ", ".join(TYPES)
    options = [
        click.option("--mapping", metavar="FILE", help="Mapping as a TOML file; the options here win over it."),
        click.option("--kind", type=click.Choice(get_args(Kind)), help="Of all messages. Default: track."),
        click.option("--event", metavar="NAME", help="What happened, the same for all rows."),
        click.option("--event-column", metavar="COLUMN", help="Column that tells what happened."),
        *(
            click.option("--" + name.replace("_", "-"), metavar="COLUMN", help=text)
            for name, text in _COLUMNS.items()
        ),
        click.option("--timestamp", metavar="COLUMN", help="Column that tells when it happened. Default: now."),
        click.option("--timestamp-format", metavar="FORMAT", help="iso (default), unix, unix-ms, or like '%d/%m/%Y'."),
        click.option("--time-zone", metavar="ZONE", help="Of times without an offset: Asia/Kolkata. Default: UTC."),
        click.option("--shift", metavar="SPAN", help="Move all times: 28y, -12h; units y, w, d, h, m, s."),
        click.option("-p", "--property", "properties", multiple=True, metavar="NAME[=COLUMN][:TYPE]",
                     help=f"A property; repeatable. {fact}. Default: all other columns."),
        click.option("-t", "--trait", "traits", multiple=True, metavar="NAME[=COLUMN][:TYPE]",
                     help="A trait, for kind identify and group; as --property."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def mapping(given: dict[str, Any]) -> RowMapping:
    """Take the options of :func:`mapping_options` out of ``given`` and make a mapping of them.

    Raises:
        ConfigError: they do not fit each other.
        click.UsageError: an option needs another one.
    """
    path = given.pop("mapping")
    event, event_column = given.pop("event"), given.pop("event_column")
    if event and event_column:
        raise click.UsageError("give --event or --event-column, not both")
    members: dict[str, Any] = {name: given.pop(name) for name in ("kind", *_COLUMNS)}
    members["event"] = Cell(event_column) if event_column else event
    members["timestamp"] = given.pop("timestamp")
    details = {"format": given.pop("timestamp_format"), "zone": given.pop("time_zone"), "shift": given.pop("shift")}
    for option in ("properties", "traits"):
        members[option] = dict(_fact(text) for text in given.pop(option)) or None
    changes = {name: value for name, value in members.items() if value is not None}
    found = RowMapping.from_file(path, **changes) if path else RowMapping(**changes)
    return _with_time(found, {name: value for name, value in details.items() if value is not None})


def _with_time(found: RowMapping, details: dict[str, str]) -> RowMapping:
    if not details:
        return found
    if not isinstance(found.timestamp, Time):
        raise click.UsageError("--timestamp-format, --time-zone and --shift need --timestamp")
    return evolve(found, timestamp=evolve(found.timestamp, **details))


def _fact(text: str) -> tuple[str, Cell]:
    """Read ``NAME[=COLUMN][:TYPE]``.

    >>> _fact("total=amount:float")
    ('total', Cell(column='amount', type='float', value=None))
    """
    name, _, rest = text.partition("=")
    named = rest or name
    column, kind = named, TYPES[0]
    for word in TYPES:
        if named.endswith(f":{word}") and len(named) > len(word) + 1:
            column, kind = named.removesuffix(f":{word}"), word
    if not rest:
        name = column
    if not name:
        raise click.BadParameter(f"{text!r} must be NAME, NAME=COLUMN or NAME=COLUMN:TYPE")
    return name, Cell(column, kind)
