"""What Hightouch, RudderStack and Customer.io's Pipelines want in a message as Segment does, and where they differ."""

from collections.abc import Mapping
from typing import Any

from .answer import Taken
from .reading import Fault
from .shape import Check, Shape, anything, instant, json_bytes, nullable, text

COMMON: Mapping[str, Check] = {
    "type": text, "messageId": text, "timestamp": instant, "context": anything, "integrations": anything,
}  # fmt: skip


def text_or_number(value: Any, where: str) -> None:
    """Check for text; a number passes, because some vendors' own clients leave one as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        text(value, where)


def shapes(
    *, identify: Mapping[str, Check] | None = None, more: Mapping[str, Check] | None = None, other_id: Check = text
) -> Mapping[str, Shape]:
    """Return the shape of a message by its type.

    Args:
        identify: what that one must have; default: ``traits``.
        more: members that all of them may have as well.
        other_id: the check for ``groupId`` and ``previousId``.
    """
    common = dict(COMMON)
    maybe = {"userId": nullable(text), "anonymousId": nullable(text), **(more or {})}
    view = Shape(common | {"properties": anything}, maybe | {"name": nullable(text), "category": nullable(text)})
    return {
        "identify": Shape(common | dict(identify or {"traits": anything}), maybe),
        "track": Shape(common | {"event": text, "properties": anything}, maybe),
        "page": view,
        "screen": view,
        "group": Shape(common | {"groupId": other_id, "traits": anything}, maybe),
        "alias": Shape(common | {"userId": text, "previousId": other_id}, maybe),
    }


def entry(
    known: Mapping[str, Shape], message: dict[str, Any], where: str, *, most: int | None = None, too_large: int = 413
) -> Taken:
    """Judge one message of a batch.

    Args:
        known: the shapes, by type.
        message: an object.
        where: its place, for the sentence of a refusal.
        most: bytes of it; default: as many as the body has.
        too_large: the status for one that has more.
    """
    shape = known.get(str(message.get("type")))
    if shape is None:
        raise Fault(f"{where}.type must be one of {', '.join(known)}")
    shape(message, where)
    user = message.get("userId") or message.get("anonymousId")
    if user is None:
        raise Fault(f"{where} must have userId or anonymousId")
    if most is not None and (size := json_bytes(message)) > most:
        raise Fault(f"{where} has {size} bytes, more than {most}", too_large)
    return Taken(message, str(user), message["messageId"])
