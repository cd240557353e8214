"""``unitrack check``: what a configuration says, what each destination cannot take, what it would be sent."""

import uuid
from collections.abc import Mapping
from typing import Any

import click
from attrs import asdict, evolve

from ..clock import utc_now
from ..config import Client, Configuration
from ..destination import Destination
from ..message import KINDS
from ..routing import Route
from ..settings import Settings
from ..transport import DryRun
from . import capabilities
from .options import config_option, configuration, format_option
from .output import as_json, fact, fail, line, plain, table
from .sample import Shown, dry_run, messages
from .send import Line, deliver

#: Of the titles before the facts about a destination.
_WIDTH = 13


@click.command(
    short_help="Check the configuration, and show what would be sent.",
    epilog="Example: unitrack check --config unitrack.toml",
)
@config_option
@click.option("--live", is_flag=True, help="Really send one harmless identify and track (user unitrack-check).")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=30.0, show_default=True, metavar="SECONDS",
              help="With --live: how long to wait for the verdicts.")  # fmt: skip
@format_option("text", "json")
def check(config: str | None, live: bool, timeout: float, output: str) -> None:
    """Check the configuration, and show what each destination takes, leaves out and would be sent.

    Sends nothing without --live, and with it at once: the configured queue is not used. Secrets are never shown.
    The dry run is of a harmless message, whatever the routing says; --live passes over events, sample and consent,
    and keeps to kinds.
    Exit code 2 if the configuration is wrong, 1 if a destination did not take a message of --live, or got none.
    """
    found = configuration(config)
    # A client makes the checks that need more than the tables: the queue, for one.
    Client.from_config(found, transport=DryRun()).close()
    described = found.describe()
    for name, destination in found.destinations.items():
        described["destinations"][name] |= _abilities(destination)
    verdicts = _probe(found, timeout) if live else []
    if output == "json":
        as_json(described | ({"verdicts": [_verdict(each) for each in verdicts]} if live else {}))
    else:
        _print(found, described, verdicts)
    untested = {each.destination for each in verdicts} - {each.destination for each in verdicts if each.was_asked}
    for name in sorted(untested):
        fail(f"{name}: not tested, its routing filters the test messages (identify and track)")
    if untested or any(each.verdict == "failed" for each in verdicts):
        click.get_current_context().exit(1)


def _probe(found: Configuration, timeout: float) -> list[Line]:
    # No rule of the user's is about our user and our event; a green check that sent nothing would say nothing.
    everyone = {name: each.for_everyone() for name, each in found.destinations.items()}
    sent = [evolve(each, message_id=str(uuid.uuid4())) for each in messages()]
    return deliver(evolve(found, destinations=everyone), sent, timeout)


def _abilities(destination: Destination) -> dict[str, Any]:
    provider = destination.provider
    can = provider.capabilities
    shown = dry_run(provider, utc_now())
    return {
        "cannot_take": {
            kind: can.refusals.get(kind) or f"{type(provider).__name__} has no {kind} call"
            for kind in KINDS
            if kind not in can.accepts
        },
        "leaves_out": capabilities.leaves_out(can),
        "success_means": capabilities.success_means(can),
        "dry_run": asdict(shown) if isinstance(shown, Shown) else {"none": shown},
    }


def _print(found: Configuration, described: Mapping[str, Any], verdicts: list[Line]) -> None:
    line(f"configuration: {plain(found.origin)}")
    defaults = asdict(Settings())
    changed = {name: value for name, value in described["delivery"].items() if value != defaults[name]}
    line(f"delivery: {_listed(changed) or 'defaults'}")
    for name, each in described["destinations"].items():
        line()
        line(f"{name} ({each['provider']})", style="bold")
        _print_facts(each)
        _print_request(each["dry_run"], routed=Route(found.destinations[name]).has_rules)
    if verdicts:
        line()
        rows = [(each.destination, each.message.kind, each.verdict, each.detail) for each in verdicts]
        table(["destination", "call", "verdict", "detail"], rows)


def _print_facts(each: Mapping[str, Any]) -> None:
    given = [f"{name} = {_toml(value)}" for name, value in each["settings"].items() if value is not None]
    for number, setting in enumerate(given):
        fact("" if number else "settings", setting, _WIDTH)
    facts = {
        "routing": _listed(each["routing"]),
        "delivery": _listed(each["delivery"]),
        "leaves out": ", ".join(each["leaves_out"]) or "nothing",
        "success is": each["success_means"],
    }
    for title, text in facts.items():
        if text:
            fact(title, text, _WIDTH)
    for number, (kind, why) in enumerate(each["cannot_take"].items()):
        fact("" if number else "cannot take", f"{kind}: {why}", _WIDTH)


def _print_request(shown: Mapping[str, Any], *, routed: bool) -> None:
    if "none" in shown:
        fact("dry run", f"nothing to send: {shown['none']}", _WIDTH)
        return
    fact("dry run", f"{shown['method']} {shown['url']}{' (whatever its routing says)' if routed else ''}", _WIDTH)
    for name, value in shown["headers"].items():
        line(f"  {'':{_WIDTH}}{name}: {plain(value)}", style="dim")
    for text in shown["body"].splitlines():
        line(f"  {'':{_WIDTH}}{text}", style="dim")


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {_toml(value)}" for name, value in values.items() if value is not None)


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case tuple() | list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case str() if value not in ("(set)", "(not set)"):
            return f'"{value}"'
        case Mapping():
            return "{ " + _listed(value) + " }"
        case _:
            return str(value)


def _verdict(each: Line) -> dict[str, Any]:
    return {"destination": each.destination, "call": each.message.kind, "verdict": each.verdict,
            "detail": each.detail, "code": each.code}  # fmt: skip
