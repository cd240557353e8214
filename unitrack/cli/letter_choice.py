"""Which dead letters a command is about: its options, and the letters that they choose."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from ..config import Outline
from ..errors import ConfigError, nearest
from ..queue import DeadLetter
from ..queues import dead_letters
from ..results import DEAD_REASONS
from .options import config_option

F = TypeVar("F", bound=Callable[..., Any])


def moment(_: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Read a time: ISO, UTC where it has no offset.

    Raises:
        click.BadParameter: it is none.
    """
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time; write it as 2026-02-28 or 2026-02-28T10:20:30Z") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def filters(function: F) -> F:
    """Add the options that choose letters."""
    for option in reversed(
        [
            click.option("--destination", metavar="NAME", help="Only those for this destination."),
            click.option("--reason", metavar="WORD", help="Only those with this reason: rejected, expired, ...."),
            click.option("--since", metavar="TIME", callback=moment, help="Only those given up since then."),
            click.option("--before", metavar="TIME", callback=moment, help="Only those given up before."),
        ]
    ):
        function = option(function)
    return config_option(function)


def demand_choice(everything: bool, chosen: dict[str, Any]) -> None:
    """See that a command that changes something says which letters it means.

    Raises:
        click.UsageError: it says nothing, or two things.
    """
    if everything == any(value is not None for value in chosen.values()):
        raise click.UsageError("choose by --destination, --reason, --since or --before, or say --all")


def found(
    setup: Outline, destination: str | None, reason: str | None, since: float | None, before: float | None
) -> Sequence[DeadLetter]:
    """Return the letters that are asked for.

    Raises:
        ConfigError: the queue is in memory, or its broker does not answer; or nobody knows the destination or the
            reason: neither unitrack nor a letter.
    """
    letters = dead_letters(setup.settings)
    _demand_known("destination", destination, {*setup.names, *(letter.destination for letter in letters)})
    _demand_known("reason", reason, {*DEAD_REASONS, *(letter.reason for letter in letters)})
    return [
        letter
        for letter in letters
        if destination in (None, letter.destination)
        and reason in (None, letter.reason)
        and (since is None or letter.buried_at >= since)
        and (before is None or letter.buried_at < before)
    ]


def _demand_known(what: str, word: str | None, known: Iterable[str]) -> None:
    if word is not None and word not in known:
        hint = nearest(word, known) or f"; there are {', '.join(sorted(known))}"
        raise ConfigError(f"there is no {what} {word!r}{hint}")
