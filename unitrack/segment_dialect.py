"""The words that Segment made common, and that Hightouch, RudderStack and Customer.io's Pipelines speak too.

Each of these providers names what it takes of this: :func:`spoken` for a message, :func:`envelope` for a batch.
What differs (the key's place, limits, answers) stays in its own module.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from .forms import instant_of, iso
from .message import Alias, Group, Identify, Message, Page, PlainTrack, Screen, Track
from .values import JsonObject, dumps, spliced
from .version import __version__
from .wire import Part

PATH = "/v1/batch"

#: Members of a message that have a place in the dialect.
CARRIES = frozenset({"anonymous_id", "context", "integrations", "idempotency_key"})

_LIBRARY = {"library": {"name": "unitrack", "version": __version__}}
_BARE_CONTEXT = orjson.Fragment(dumps(_LIBRARY))


def spoken(
    message: Message,
    message_id: str,
    *,
    tenant_as_group: bool = False,
    traits_in_context: bool = False,
    stamp: Callable[[datetime], str] = iso,
) -> bytes:
    """Say one message as an entry of a batch; ``context.library`` is ours and wins.

    Args:
        message: any of the six kinds.
        message_id: the vendor's member by which it knows a repeat.
        tenant_as_group: put ``tenant_id`` into ``context.groupId``.
        traits_in_context: put the traits of an identify into ``context.traits``, in front of those that are there.
        stamp: how ``timestamp`` is written.
    """
    extra: dict[str, Any] = {}
    if tenant_as_group and message.tenant_id:
        extra["groupId"] = message.tenant_id
    data: dict[str, Any] = {
        "type": message.kind,
        "userId": message.user_id,
        "anonymousId": message.anonymous_id,
        "messageId": message_id,
        "timestamp": stamp(instant_of(message)),
        "context": None,  # keeps its place
        "integrations": spliced(message.integrations),
    }
    match message:
        case Track():
            data["event"] = message.event
            data["properties"] = spliced(message.properties)
        case Identify() if traits_in_context:
            extra["traits"] = _merged(message)
        case Identify():
            data["traits"] = message.traits
        case Page() | Screen():
            data["category"] = message.category
            data["name"] = message.name
            data["properties"] = message.properties
        case Group():
            data["groupId"] = message.group_id
            data["traits"] = message.traits
        case Alias():
            data["previousId"] = message.previous_id
    data["context"] = _context(message, extra)
    return dumps(data)


def spoken_plain(track: PlainTrack, message_id: str, timestamp: str) -> bytes:
    """Say a plain track as :func:`spoken` says its message."""
    return dumps(
        {
            "type": "track",
            "userId": track.user_id,
            "anonymousId": None,
            "messageId": message_id,
            "timestamp": timestamp,
            "context": _BARE_CONTEXT,
            "integrations": {},
            "event": track.event,
            "properties": track.properties,
        }
    )


def envelope(parts: Sequence[Part], now: datetime, **extra: str) -> bytes:
    """Return the body of a batch; ``sentAt`` is the time of this attempt, by which the vendor corrects clocks."""
    return surround(b",".join([part.body for part in parts]), now, **extra)


def surround(batch: bytes, now: datetime, **extra: str) -> bytes:
    """Return what stands around a batch, and the batch."""
    more = b"".join(b',"%b":%b' % (name.encode(), dumps(value)) for name, value in extra.items())
    return b'{"batch":[%b],"sentAt":"%b"%b}' % (batch, iso(now.astimezone(UTC)).encode(), more)


def envelope_bytes(**extra: str) -> int:
    """Return how many bytes stand around a batch, whenever it is sent."""
    return len(surround(b"", datetime.min.replace(tzinfo=UTC), **extra))


def _context(message: Message, extra: Mapping[str, Any]) -> Any:
    context: Any = message.context  # a JsonObject by now
    return context.extended({**extra, **_LIBRARY}) if context or extra else _BARE_CONTEXT


def _merged(message: Identify) -> Any:
    there: Any = message.context
    traits: Any = message.traits
    there = there.exact().get("traits") if there else None
    if not isinstance(there, Mapping):
        return traits
    return JsonObject(dumps(there)).extended(traits.exact()) if traits else there
