"""``unitrack dead``: messages that were given up, to look at, to send again, to forget."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
import orjson
from attrs import fields

from ..clock import Clock
from ..codec import UnreadableRecord, unpack
from ..config import Client, Configuration
from ..errors import ConfigError, nearest
from ..message import Message
from ..queue import DeadLetter
from ..queues import look_at, open_queue
from .options import config_option, configuration, format_option
from .output import as_json, fact, line, plain, table

F = TypeVar("F", bound=Callable[..., Any])

_WIDTH = 12


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


@click.group(short_help="Look at messages that were given up; send them again.", epilog="Example: unitrack dead list")
def dead() -> None:
    """Look at dead letters, send them again, or forget them; for queues that outlive their process."""


@dead.command("list", short_help="List dead letters.", epilog="Example: unitrack dead list --reason expired")
@filters
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The newest so many.")
@format_option("table", "json")
def list_(config: str | None, limit: int, output: str, **chosen: Any) -> None:
    """List dead letters, oldest first."""
    letters = found(configuration(config), **chosen)
    shown = letters[-limit:]
    if output == "json":
        as_json([described(letter) for letter in shown])
        return
    rows = [
        (
            letter.message_id,
            letter.destination,
            _event(letter),
            letter.reason,
            when(letter.buried_at)[:16],
            letter.attempts,
        )
        for letter in shown
    ]
    if rows:
        table(["message", "destination", "what", "reason", "given up, UTC", "attempts"], rows)
    more = f", the newest {len(shown)} shown" if len(shown) < len(letters) else ""
    line(f"{len(letters)} dead letter{'' if len(letters) == 1 else 's'}{more}")


@dead.command(short_help="Show one.", epilog="Example: unitrack dead show 1ce1c69c-699a-4c38-b187-265de485cb40")
@click.argument("message_id", metavar="MESSAGE")
@filters
@format_option("text", "json")
def show(config: str | None, message_id: str, output: str, **chosen: Any) -> None:
    """Show the dead letters of MESSAGE, with all that is in it."""
    letters = [one for one in found(configuration(config), **chosen) if one.message_id == message_id]
    if not letters:
        raise ConfigError(f"there is no dead letter of a message {message_id!r}; see unitrack dead list")
    if output == "json":
        as_json([described(letter, whole=True) for letter in letters])
        return
    for letter in letters:
        for title, value in described(letter, whole=True).items():
            if title == "message":
                for name, member in (value or {}).items():
                    fact(name, member, _WIDTH)
            else:
                line(f"{title:{_WIDTH}}  {plain(value)}")


@dead.command(short_help="Send them again.", epilog="Example: unitrack dead replay --destination cdp --reason rejected")
@filters
@click.option("--all", "everything", is_flag=True, help="Without any choice: all of them.")
def replay(config: str | None, everything: bool, **chosen: Any) -> None:
    """Put dead letters back into the queue, with the ids, the times and the keys that they had.

    They are sent by the programs that use the queue, or by unitrack worker.
    Exit code 1 if some had to stay.
    """
    _demand_choice(everything, chosen)
    setup = configuration(config)
    letters = found(setup, **chosen)
    ours = [letter for letter in letters if letter.destination in setup.destinations]
    # Puts them there and leaves the sending to others: this command has no time for it.
    with Client.from_config(setup, workers="external") as client:
        count = client.replay(ours)
    line(f"{count} of {len(letters)} wait again")
    if count < len(letters):
        click.get_current_context().exit(1)


@dead.command(short_help="Forget them.", epilog="Example: unitrack dead purge --before 2026-01-01 --yes")
@filters
@click.option("--all", "everything", is_flag=True, help="Without any choice: all of them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(config: str | None, everything: bool, yes: bool, **chosen: Any) -> None:
    """Forget dead letters for good."""
    _demand_choice(everything, chosen)
    setup = configuration(config)
    letters = found(setup, **chosen)
    if letters and not yes:
        click.confirm(f"Forget {len(letters)} dead letters for good?", abort=True)
    queue = open_queue(setup.settings)
    count = sum(queue.discard_dead(letter) for letter in letters)
    queue.close()
    line(f"{count} forgotten")


def found(
    setup: Configuration, destination: str | None, reason: str | None, since: float | None, before: float | None
) -> Sequence[DeadLetter]:
    """Return the letters that are asked for.

    Raises:
        ConfigError: the queue is in memory, or its broker does not answer.
    """
    if setup.settings.queue.startswith("memory:"):
        raise ConfigError("dead letters in memory die with their process; ask that one: Client.dead_letters()")
    if destination is not None and destination not in setup.destinations:
        raise ConfigError(f"there is no destination {destination!r}{nearest(destination, setup.destinations)}")
    if not setup.settings.queue.startswith("sqlite:"):
        look_at(setup.settings, 0.0)  # a queue whose broker is away would just show nothing
    queue = open_queue(setup.settings)
    try:
        letters = queue.dead_letters(destination, since or 0.0)
    finally:
        queue.close()
    return [
        letter
        for letter in letters
        if (reason is None or letter.reason == reason) and (before is None or letter.buried_at < before)
    ]


def described(letter: DeadLetter, *, whole: bool = False) -> dict[str, Any]:
    """Return a letter as plain data; it holds no credential."""
    shown: dict[str, Any] = {
        "message_id": letter.message_id, "destination": letter.destination, "reason": letter.reason,
        "detail": letter.detail, "attempts": letter.attempts, "accepted": when(letter.accepted_at),
        "given_up": when(letter.buried_at),
    }  # fmt: skip
    if whole:
        message = _message(letter)
        shown["message"] = None if message is None else _members(message)
    return shown


def when(steady: float) -> str:
    """Return a time of day, in UTC."""
    return datetime.fromtimestamp(steady, UTC).isoformat(" ", timespec="seconds")


def age(since: float | None) -> str:
    """Return how long ago something was, in words that a table has room for.

    >>> age(None)
    ''
    """
    if since is None:
        return ""
    seconds = max(0.0, Clock().steady() - since)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _demand_choice(everything: bool, chosen: dict[str, Any]) -> None:
    if everything == any(value is not None for value in chosen.values()):
        raise click.UsageError("choose by --destination, --reason, --since or --before, or say --all")


def _message(letter: DeadLetter) -> Message | None:
    try:
        return unpack(letter.record)
    except UnreadableRecord:
        return None


def _event(letter: DeadLetter) -> str:
    message = _message(letter)
    return "?" if message is None else getattr(message, "event", "") or message.kind


def _members(message: Message) -> dict[str, Any]:
    members: dict[str, Any] = {"kind": message.kind}
    for field in fields(type(message)):
        name, value = field.name, getattr(message, field.name)
        if name.startswith("has_own"):
            continue
        raw = getattr(value, "raw", None)
        if raw is not None:
            value = orjson.loads(raw)
        if value not in (None, (), {}, ""):
            members[name] = value if isinstance(value, (str, int, float, dict, list)) else str(value)
    return members
