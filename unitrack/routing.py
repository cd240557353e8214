"""Which destinations take a message: by kind, by name, by share of users, by consent, by the caller's word."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate

from .codec import identity
from .destination import Destination
from .errors import InvalidMessage, nearest
from .message import Message, Track


def route(message: Message, routes: Mapping[str, "Route"]) -> tuple[list[str], list[str]]:
    """Return the destinations that take a message, and those that filter it out.

    A destination that the caller left out with ``only`` or ``exclude`` is in neither: it was not meant.

    Raises:
        InvalidMessage: ``only`` or ``exclude`` names a destination that does not exist.
    """
    if message.only is not None:
        _check(message.only, "$.only", routes)
    if message.exclude:
        _check(message.exclude, "$.exclude", routes)
    taken: list[str] = []
    filtered: list[str] = []
    for name, wants in routes.items():
        if (message.only is None or name in message.only) and name not in message.exclude:
            (taken if wants(message) else filtered).append(name)
    return taken, filtered


class Route:
    """One destination's rules, made ready: tells whether it wants a message."""

    def __init__(self, destination: Destination) -> None:
        self._rules = list(_rules(destination))

    @property
    def has_rules(self) -> bool:
        """Whether there is a message that the destination does not want."""
        return bool(self._rules)

    def __call__(self, message: Message) -> bool:
        return not self._rules or all(rule(message) for rule in self._rules)


def _rules(destination: Destination) -> Sequence[Callable[[Message], bool]]:
    rules: list[Callable[[Message], bool]] = []
    if destination.kinds is not None:
        kinds = frozenset(destination.kinds)
        rules.append(lambda message: message.kind in kinds)
    if destination.events is not None:
        named = re.compile("|".join(translate(pattern) for pattern in destination.events) or "(?!)").match
        rules.append(lambda message: not isinstance(message, Track) or named(message.event) is not None)
    if destination.consent:
        consent = destination.consent
        rules.append(lambda message: _allowed(message, consent))
    if destination.sample < 1.0:
        share = destination.sample
        rules.append(lambda message: position(identity(message)) < share)
    return rules


def position(key: str) -> float:
    """Return where a user stands between 0 and 1: the same in every process and every release.

    So a share of 0.1 is always the same tenth of the users, not a tenth of each one's messages.
    """
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") / 2**64


def _allowed(message: Message, categories: Sequence[str]) -> bool:
    # The place that Segment's consent managers write to; a missing answer is no consent.
    consent = message.context.get("consent")
    given = consent.get("categoryPreferences") if isinstance(consent, Mapping) else None
    return isinstance(given, Mapping) and all(given.get(category) is True for category in categories)


def _check(names: Sequence[str], path: str, known: Mapping[str, object]) -> None:
    for name in names:
        if name not in known:
            raise InvalidMessage(path, f"{name!r} is no destination of this client{nearest(name, known)}")
