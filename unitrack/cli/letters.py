"""``unitrack dead``: messages that were given up, to look at, to send again, to forget."""

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
import orjson
from attrs import asdict, fields

from ..clock import Clock
from ..codec import UnreadableRecord, unpack
from ..config import Client, Outline
from ..errors import ConfigError, QueueError
from ..message import Message
from ..providers import Webhook
from ..queue import DeadLetter
from ..queues import open_queue
from .letter_choice import demand_choice, filters, found
from .options import format_option, outline
from .output import as_json, fact, line, plain, table

_WIDTH = 12


@click.group(short_help="Look at messages that were given up; send them again.", epilog="Example: unitrack dead list")
def dead() -> None:
    """Look at dead letters, send them again, or forget them; for queues that outlive their process."""


@dead.command("list", short_help="List dead letters.", epilog="Example: unitrack dead list --reason expired")
@filters
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The newest so many.")
@format_option("table", "json")
def list_(config: str | None, limit: int, output: str, **chosen: Any) -> None:
    """List dead letters, oldest first."""
    letters = found(outline(config), **chosen)
    shown = letters[-limit:]
    if output == "json":
        as_json([described(letter) for letter in shown])
        return
    rows = [
        (letter.message_id, letter.destination, _event(letter), letter.reason, _minute(letter.buried_at))
        for letter in shown
    ]
    if rows:
        table(["message", "to", "what", "reason", "given up, UTC"], rows, whole="message", cut="what")
    more = f", the newest {len(shown)} shown" if len(shown) < len(letters) else ""
    line(f"{_counted(len(letters))}{more}")


@dead.command(short_help="Show one.", epilog="Example: unitrack dead show 1ce1c69c")
@click.argument("message_id", metavar="MESSAGE")
@filters
@format_option("text", "json")
def show(config: str | None, message_id: str, output: str, **chosen: Any) -> None:
    """Show the dead letters of MESSAGE, an id or its beginning, with all that is in it."""
    letters = _of_message(found(outline(config), **chosen), message_id)
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
    Exit code 1 if some had to stay; it says why.
    """
    demand_choice(everything, chosen)
    setup = outline(config)
    letters = found(setup, **chosen)
    stay = put_back(setup, letters)
    line(f"{len(letters) - stay.total()} of {len(letters)} wait again")
    for why, count in stay.items():
        line(plain(f"{count} stay{'s' if count == 1 else ''}: {why}"))
    if stay:
        click.get_current_context().exit(1)


@dead.command(short_help="Forget them.", epilog="Example: unitrack dead purge --before 2026-01-01 --yes")
@filters
@click.option("--all", "everything", is_flag=True, help="Without any choice: all of them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(config: str | None, everything: bool, yes: bool, **chosen: Any) -> None:
    """Forget dead letters for good."""
    demand_choice(everything, chosen)
    setup = outline(config)
    letters = found(setup, **chosen)
    if letters and not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nobody can be asked here; say --yes to purge without a terminal")
        click.confirm(f"Forget {_counted(len(letters))} for good?", abort=True)
    count = 0
    if letters:
        queue = open_queue(setup.settings)
        count = sum(queue.discard_dead(letter) for letter in letters)
        queue.close()
    line(f"{count} forgotten")


def put_back(setup: Outline, letters: Sequence[DeadLetter]) -> Counter[str]:
    """Put letters back into the queue; return why others stay, and how many of them."""
    stay = Counter(_not_configured(one.destination) for one in letters if one.destination not in setup.names)
    ours = [letter for letter in letters if letter.destination in setup.names]
    if not ours:
        return stay
    # Puts them there and leaves the sending to others: this command has no time for it, nor the vendors' secrets.
    nobody = Webhook(url="https://nobody.invalid")
    settings = asdict(setup.settings, recurse=False) | {"workers": "external", "mode": "background"}
    error = "the queue takes no more at once; run this again"
    with Client(dict.fromkeys(setup.names, nobody), **settings) as client:
        try:
            client.replay(ours)
        except QueueError as broken:
            error = str(broken)
        there = {(letter.destination, letter.message_id) for letter in client.dead_letters()}
    for letter in ours:
        if (letter.destination, letter.message_id) in there:
            stay["this version cannot read the message" if _message(letter) is None else error] += 1
    return stay


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
    """Return a time of day in ISO 8601, in UTC.

    >>> when(0.0)
    '1970-01-01T00:00:00+00:00'
    """
    return datetime.fromtimestamp(steady, UTC).isoformat(timespec="seconds")


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


def _of_message(letters: Sequence[DeadLetter], beginning: str) -> Sequence[DeadLetter]:
    """Return the letters of the message with this id, or of the only one whose id begins so.

    Raises:
        ConfigError: there is none, or there are several.
    """
    ids = {letter.message_id for letter in letters if letter.message_id.startswith(beginning)}
    if beginning in ids:
        ids = {beginning}
    if not ids:
        raise ConfigError(f"there is no dead letter of a message {beginning!r}; see unitrack dead list")
    if len(ids) > 1:
        raise ConfigError(f"{len(ids)} messages begin with {beginning!r}; write more of the id")
    return [letter for letter in letters if letter.message_id in ids]


def _not_configured(destination: str) -> str:
    return f"destination {destination!r} is not configured"


def _minute(steady: float) -> str:
    return when(steady)[:16].replace("T", " ")  # with a blank, where a narrow column can fold it


def _counted(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"


def _message(letter: DeadLetter) -> Message | None:
    try:
        return unpack(letter.record)
    except UnreadableRecord:
        return None


def _event(letter: DeadLetter) -> str:
    message = _message(letter)
    return "?" if message is None else getattr(message, "event", "") or message.kind


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, (str, int, float, dict, list)) else str(value)


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
            members[name] = _plain(value)
    return members
