"""PostHog's wire v1: what was written among the properties until then has members and types of its own."""

from decimal import Decimal
from typing import Any

from ..values import JsonObject

_TEXTS = {"$session_id": "session_id", "$window_id": "window_id"}
_FLAGS = {
    "$cookieless_mode": "cookieless_mode",
    "$ignore_sent_at": "disable_skew_correction",
    "$process_person_profile": "process_person_profile",
}
_TOUR = "$product_tour_id"
#: The service writes them itself, by the header that names the client.
_MARKS = ("$lib", "$lib_version")
_NAMES = frozenset({*_TEXTS, *_FLAGS, _TOUR, *_MARKS})
_WORDS = {"true": True, "1": True, "false": False, "0": False}


def typed(properties: JsonObject) -> dict[str, Any]:
    """Return the members of an event that say what its properties said.

    A value of the wrong type fails the whole batch at the vendor, so one that cannot be read as the right type is left
    out, as the vendor's client does.

    >>> typed(JsonObject(b'{"a":1,"$process_person_profile":"false"}'))
    {'options': {'process_person_profile': False}, 'properties': {'a': 1}}
    """
    if _NAMES.isdisjoint(properties):
        return {"options": {}, "properties": properties}
    left = properties.exact()
    members = {to: text for name, to in _TEXTS.items() if (text := _text(left.pop(name, None))) is not None}
    options: dict[str, Any] = {to: flag for name, to in _FLAGS.items() if (flag := _flag(left, name)) is not None}
    if (tour := _text(left.pop(_TOUR, None))) is not None:
        options["product_tour_id"] = tour
    for name in _MARKS:
        left.pop(name, None)
    return {**members, "options": options, "properties": left}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _flag(left: dict[str, Any], name: str) -> bool | None:
    value = left.pop(name, None)
    if isinstance(value, str):
        return _WORDS.get(value.strip().lower())
    return value != 0 if isinstance(value, (int, float, Decimal)) else None
