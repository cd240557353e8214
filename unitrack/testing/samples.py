"""One plain message of each kind, for tests that need an example rather than a property."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from attrs import evolve, fields

from ..message import KINDS, Message
from ..snapshot import MessageIds, snapshot
from ..values import JsonObject
from ..wire import Capabilities

#: "Now" of every test here: a Thursday noon after all dates that vendors refuse as too old.
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)

_IDENTITIES: dict[str, str] = {"user_id": "user-1", "anonymous_id": "anon-1", "phone": "+919999999999"}
_MEMBERS: dict[str, dict[str, Any]] = {
    "track": {"event": "Order Paid"},
    "identify": {},
    "page": {"category": "Docs", "name": "Python", "properties": {"url": "https://shop.example/docs/python"}},
    "screen": {"category": "Docs", "name": "Python"},
    "group": {"group_id": "group-1"},
    "alias": {"previous_id": "anon-1"},
}
#: Kinds with a free object in them, and its name.
FREE_MEMBER = {
    "track": "properties",
    "identify": "traits",
    "page": "properties",
    "screen": "properties",
    "group": "traits",
}
_IDS = MessageIds()


def sample(kind: str, identity: str = "user_id", /, **members: Any) -> Message:
    """Return a checked message of a kind, as a queue would hand it to a provider.

    Args:
        kind: ``track``, ``identify``, ….
        identity: the one member that says who it was.
        members: in place of, or besides, the plain ones.

    >>> sample("track").event
    'Order Paid'
    >>> sample("track", "anonymous_id", properties={"total": 19.9}).user_id is None
    True
    """
    chosen = {identity: _IDENTITIES[identity]} | _MEMBERS[kind] | members
    return checked(KINDS[kind](**chosen), _IDS)


def checked(message: Message, new_id: Callable[[], str]) -> Message:
    """Check a message as a client does, at :data:`NOW`.

    Nothing in it is shared with another message, so that one who changes it on the sly leaves no trace elsewhere.
    """
    sound, _ = snapshot(message, new_id, lambda: NOW)
    own: dict[str, Any] = {}
    for member in fields(type(sound)):
        value = getattr(sound, member.name)
        if isinstance(value, JsonObject):
            own[member.name] = JsonObject(value.raw)
    return evolve(sound, **own)


def identity_for(kind: str, capabilities: Capabilities) -> str:
    """Return the identity that a vendor most likely wants for a kind of message."""
    known = capabilities.identities
    return "user_id" if "user_id" in known or kind == "alias" else known[0]


def samples(capabilities: Capabilities) -> list[Message]:
    """Return a plain message of each kind that a vendor accepts."""
    return [sample(kind, identity_for(kind, capabilities)) for kind in KINDS if kind in capabilities.accepts]
