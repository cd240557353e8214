"""Options that several commands share, and their values."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from .. import config
from ..config import Configuration, Outline, load

F = TypeVar("F", bound=Callable[..., Any])


def config_option(function: F) -> F:
    """Add ``--config``."""
    return click.option(
        "-c",
        "--config",
        metavar="FILE",
        help="Configuration; default: $UNITRACK_CONFIG, ./unitrack.toml or [tool.unitrack] in ./pyproject.toml.",
    )(function)


def format_option(*choices: str) -> Callable[[F], F]:
    """Add ``--format``; the first choice is the default."""
    return click.option(
        "--format", "output", type=click.Choice(choices), default=choices[0], show_default=True, help="How to print it."
    )


def configuration(path: str | None) -> Configuration:
    """Load what ``--config`` names, or the first of the usual places."""
    return load(None if path is None else Path(path))


def outline(path: str | None) -> Outline:
    """Load only what concerns the queue, for commands that need no vendor's secrets."""
    return config.outline(None if path is None else Path(path))


def members(option: str, pairs: tuple[str, ...]) -> dict[str, Any]:
    """Read ``key=value`` options.

    A value that is JSON (a number, true, false, null, a list, an object, "text in quotes") is taken as that, any
    other as text.

    Raises:
        click.BadParameter: there is no ``=``, or no key before it.

    >>> members("-p", ("total=19.9", "zip=01234", 'code="7"', "name=Ada Lovelace"))
    {'total': 19.9, 'zip': '01234', 'code': '7', 'name': 'Ada Lovelace'}
    """
    found = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise click.BadParameter(f"{option} {pair!r} must be key=value, for example {option} total=19.9")
        found[key] = _value(value)
    return found


def json_object(option: str, text: str | None) -> dict[str, Any]:
    """Read an option whose value is a JSON object; nothing is an empty one.

    Raises:
        click.BadParameter: it is something else.
    """
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{option} must be a JSON object: {error}") from error
    if not isinstance(found, Mapping):
        raise click.BadParameter(
            f'{option} must be a JSON object such as {{"total": 19.9}}, not {type(found).__name__}'
        )
    return dict(found)


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: text)
    except (ValueError, RecursionError):
        return text
