"""``unitrack track`` and ``unitrack identify``: one message from the shell, with each destination's verdict."""

import uuid
from collections.abc import Sequence
from typing import Any

import click
from attrs import evolve, frozen

from ..bulk import NO_VERDICT
from ..config import Client, Configuration
from ..message import Identify, Message, Track
from ..results import Report
from ..wire import Delivered
from .options import F, config_option, configuration, format_option, json_object, members
from .output import as_json, line, table


def common_options(function: F) -> F:
    """Add what both commands take."""
    options = (
        click.option("--anonymous-id", metavar="ID", help="The id before the user was known."),
        click.option("--phone", metavar="E164", help="Phone number with its country code: +919999999999."),
        click.option("--timestamp", metavar="TIME", help="When it happened: 2024-02-29T10:20:30Z. Default: now."),
        click.option("--message-id", metavar="ID", help="Default: a random UUID."),
        click.option("--idempotency-key", metavar="KEY", help="For destinations that know repeats by a key."),
        click.option("--tenant-id", metavar="ID", help="For destinations that know tenants."),
        click.option("--context", metavar="JSON", help="Where it happened, as a JSON object."),
        click.option("--only", multiple=True, metavar="NAME", help="Send to this destination only; repeatable."),
        click.option("--exclude", multiple=True, metavar="NAME", help="Do not send to this one; repeatable."),
        click.option("--timeout", type=click.FloatRange(min=0.1), default=30.0, show_default=True, metavar="SECONDS",
                     help="How long to wait for the verdicts."),
        config_option,
        format_option("table", "json"),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@click.command(
    short_help="Say that a user did something.",
    epilog="Example: unitrack track u-42 'Order Paid' -p total=19.9 -p currency=EUR",
)
@click.argument("user")
@click.argument("event")
@click.option("-p", "--property", "pairs", multiple=True, metavar="KEY=VALUE",
              help="A property; JSON values are taken as such, others as text. Repeatable.")  # fmt: skip
@click.option("--properties", metavar="JSON", help="All properties as one JSON object.")
@common_options
def track(user: str, event: str, pairs: tuple[str, ...], properties: str | None, **options: Any) -> None:
    """Say that USER did EVENT, and wait until every destination has a verdict.

    It is sent at once, by this command: the configured queue is not used.
    Exit code 1 if a destination did not take it.
    """
    facts = json_object("--properties", properties) | members("-p", pairs)
    _send(lambda common: Track(user_id=user or None, event=event, properties=facts, **common), options)


@click.command(
    short_help="Say who a user is.", epilog="Example: unitrack identify u-42 -t email=ada@example.com -t plan=pro"
)
@click.argument("user")
@click.option("-t", "--trait", "pairs", multiple=True, metavar="KEY=VALUE",
              help="A trait; JSON values are taken as such, others as text. Repeatable.")  # fmt: skip
@click.option("--traits", metavar="JSON", help="All traits as one JSON object.")
@common_options
def identify(user: str, pairs: tuple[str, ...], traits: str | None, **options: Any) -> None:
    """Say who USER is, and wait until every destination has a verdict.

    It is sent at once, by this command: the configured queue is not used.
    Exit code 1 if a destination did not take it.
    """
    facts = json_object("--traits", traits) | members("-t", pairs)
    _send(lambda common: Identify(user_id=user or None, traits=facts, **common), options)


@frozen
class Line:
    """One destination's verdict on one message, in words: ``delivered``, ``filtered`` or ``failed``."""

    destination: str
    message: Message
    verdict: str
    detail: str = ""
    code: int | None = None

    @property
    def was_asked(self) -> bool:
        """Whether the destination was sent anything."""
        return self.verdict != "filtered"


def _send(make: Any, options: dict[str, Any]) -> None:
    config, output, timeout = options.pop("config"), options.pop("output"), options.pop("timeout")
    options["context"] = json_object("--context", options.pop("context"))
    options["only"] = list(options["only"]) or None
    options["message_id"] = options["message_id"] or str(uuid.uuid4())
    message = make(options)
    lines = deliver(configuration(config), [message], timeout)
    if output == "json":
        verdicts = [
            {"destination": x.destination, "verdict": x.verdict, "detail": x.detail, "code": x.code} for x in lines
        ]
        as_json({"message_id": message.message_id, "verdicts": verdicts})
    else:
        table(["destination", "verdict", "detail"], [(x.destination, x.verdict, x.detail) for x in lines])
    if not any(x.was_asked for x in lines):
        line("Warning: no destination got the message", err=True)
    if any(x.verdict == "failed" for x in lines):
        click.get_current_context().exit(1)


def deliver(found: Configuration, messages: Sequence[Message], timeout: float) -> list[Line]:
    """Send messages to what a configuration names, and return every verdict."""
    # In memory, whatever the configuration says: a durable queue may belong to a program that is running.
    client = Client.from_config(found, strict=True, queue="memory:", workers="internal")
    try:
        report = client.send(messages, timeout)
        lines = [_line(report, message, name) for message in messages for name in client.destinations]
        return [evolve(each, detail=_final(each.detail, timeout)) for each in lines]
    finally:
        client.close(0.0)


def _final(detail: str, timeout: float) -> str:
    # The client speaks of what is still queued, but this one ends now.
    return detail.replace(NO_VERDICT, f"no verdict within {timeout:g} s; given up")


def _line(report: Report, message: Message, name: str) -> Line:
    for failure in report.failed_records:
        if failure.record is message and failure.destination == name:
            return Line(name, message, "failed", failure.error, failure.code)
    outcome = report.verdicts.get((message.message_id or "", name))
    if outcome is None:
        return Line(name, message, "filtered", _why_filtered(message, name))
    warnings = outcome.warnings if isinstance(outcome, Delivered) else ()
    return Line(name, message, "delivered", "; ".join(warnings))


def _why_filtered(message: Message, name: str) -> str:
    if message.only is not None and name not in message.only:
        return "left out by --only"
    return "left out by --exclude" if name in message.exclude else "its routing does not want this message"
