"""What each provider can do, as a table: for ``unitrack providers``, for the documentation and its test."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from attrs import NOTHING, fields, frozen

from ..errors import ConfigError, UnitrackError
from ..message import KINDS
from ..providers import find, names
from ..wire import OPTIONAL_MEMBERS, Capabilities, Provider

HEADERS = (
    "provider",
    "calls",
    "known by",
    "messages per request",
    "bytes per request",
    "bytes per message",
    "requests per minute",
    "knows repeats by",
    "success means",
    "leaves out",
)

#: Long enough for every vendor's idea of a credential; it is never sent.
_PLACEHOLDER = "placeholder-placeholder-placeholder"
_ADDRESS = "https://example.com"


@frozen(kw_only=True)
class Ability:
    """What one provider takes with its default settings.

    Attributes:
        capabilities: ``None`` where the provider cannot be made without knowing more about it.
        batches: messages per request, one number for each form of credential that makes a difference.
    """

    name: str
    capabilities: Capabilities | None
    batches: tuple[int, ...] = ()
    problem: str = ""


def abilities() -> list[Ability]:
    """Describe every provider that can be had here, in alphabetical order."""
    return [_ability(name) for name in names()]


def rows() -> list[list[str]]:
    """Return the table's cells, a row for each provider; see :data:`HEADERS`."""
    return [_row(each) for each in abilities()]


def markdown() -> str:
    """Return the table in Markdown, as it stands in the documentation."""
    table = [list(HEADERS), ["---"] * len(HEADERS), *rows()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table) + "\n"


def data() -> list[dict[str, Any]]:
    """Return everything as plain data, for ``--format json``."""
    return [_plain(each) for each in abilities()]


def leaves_out(can: Capabilities) -> list[str]:
    """Name the optional members that a vendor has no place for; those with a place in some calls say in which."""
    found = []
    for member in OPTIONAL_MEMBERS:
        if member in can.carries or member in can.identities:
            continue
        kinds = [kind for kind in KINDS if f"{kind}.{member}" in can.carries]
        found.append(f"{member} (but for {', '.join(kinds)})" if kinds else member)
    return found


def success_means(can: Capabilities) -> str:
    """Say what a vendor's 2xx is worth, and with it what the ledger calls delivered."""
    return "stored" if can.confirms else "taken; bad data gets it too"


def _ability(name: str) -> Ability:
    try:
        made = examples(find(name))
        batches = tuple(sorted({each.capabilities.max_batch for each in made}))
        return Ability(name=name, capabilities=made[0].capabilities, batches=batches)
    except UnitrackError as error:
        return Ability(name=name, capabilities=None, problem=str(error))


def example(cls: type[Provider]) -> Provider:
    """Make a provider with the fewest settings it accepts; see :func:`examples`."""
    return examples(cls)[0]


def examples(cls: type[Provider]) -> list[Provider]:
    """Make a provider with the fewest settings it accepts, placeholders all, in every way that needs no more.

    Which credentials go together is known to the provider alone, so this tries: none but the required settings, then
    one more, then two more.

    Raises:
        ConfigError: none of these will do.
    """
    made: list[Provider] = []
    fewest = 0
    for settings in _attempts(cls):
        if made and len(settings) > fewest:
            break
        try:
            made.append(cls(**settings))
        except (ConfigError, TypeError, ValueError):
            continue
        fewest = len(settings)
    if not made:
        raise ConfigError("it cannot be made without settings of yours; see its page")
    return made


def _attempts(cls: Any) -> Iterator[dict[str, str]]:
    given = {str(f.alias): f for f in fields(cls) if f.init}
    required = {name: _value(name) for name, f in given.items() if f.default is NOTHING}
    optional = [name for name, f in given.items() if f.default is None]
    for count in range(3):
        for chosen in combinations(optional, count):
            yield required | {name: _value(name) for name in chosen}


def _value(name: str) -> str:
    return _ADDRESS if "url" in name else _PLACEHOLDER


def _row(each: Ability) -> list[str]:
    can = each.capabilities
    if can is None:
        return [each.name, each.problem, *[""] * (len(HEADERS) - 2)]
    return [
        each.name,
        _listed([kind for kind in KINDS if kind in can.accepts]),
        " or ".join(can.identities),
        " or ".join(f"{count:,}" for count in each.batches),
        _number(can.max_batch_bytes, "not stated"),
        _number(can.max_message_bytes, f"not stated ({can.message_bytes:,} of ours)"),
        _number(can.rate_per_minute, "not stated"),
        can.deduplicates or "nothing: a repeat counts twice",
        success_means(can),
        _listed(leaves_out(can)) or "nothing",
    ]


def _plain(each: Ability) -> dict[str, Any]:
    can = each.capabilities
    if can is None:
        return {"name": each.name, "problem": each.problem}
    return {
        "name": each.name,
        "accepts": [kind for kind in KINDS if kind in can.accepts],
        "refusals": dict(can.refusals),
        "identities": list(can.identities),
        "carries": sorted(can.carries),
        "leaves_out": leaves_out(can),
        "max_batch": can.max_batch,
        "max_batch_bytes": can.max_batch_bytes,
        "max_message_bytes": can.max_message_bytes,
        "rate_per_minute": can.rate_per_minute,
        "deduplicates": can.deduplicates,
        "confirms": can.confirms,
    }


def _number(value: float | None, missing: str) -> str:
    return missing if value is None else f"{value:,.0f}"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)
