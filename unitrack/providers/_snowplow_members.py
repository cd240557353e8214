"""What stands in a Snowplow event whose places the vendor has fixed: page views, screen views, structured events."""

from collections.abc import Mapping
from typing import Any

from ..errors import Unsupported
from ..message import Page, Screen

MAX_SCREEN_ID = 36  # the vendor's schema for screens; its names for the rest are ours, too

_STRUCTURED = {"category": "se_ca", "action": "se_ac", "label": "se_la", "property": "se_pr", "value": "se_va"}
_FROM_BEFORE = ("previousName", "previousId", "previousType", "transitionType")


def text(value: Any) -> str | None:
    """Return text, or a number as text; nothing else has a place in a member of an event.

    >>> text("a"), text(7), text(" "), text(True)
    ('a', '7', None, None)
    """
    said = "" if value is None or isinstance(value, (bool, list, dict)) else str(value)
    return said if said.strip() else None


def texts(members: Mapping[str, Any]) -> dict[str, str]:
    """Return the members that have a text."""
    return {name: said for name, value in members.items() if (said := text(value))}


def page_view(message: Page) -> dict[str, Any]:
    properties = message.properties
    if not text(properties.get("url")):
        raise Unsupported("Snowplow page views need properties.url")
    title = message.name or properties.get("title")
    return {"e": "pv", "url": properties["url"], "page": title, "refr": properties.get("referrer")}


def screen_view(message: Screen, event_id: str) -> dict[str, str]:
    """Return the data of a screen view. What its schema refuses would be lost in the pipeline, and nobody told."""
    properties = message.properties
    screen = texts(
        {
            "id": text(properties.get("id")) or event_id,
            "name": message.name,
            "type": text(properties.get("type")) or message.category,
            **{name: properties.get(name) for name in _FROM_BEFORE},
        }
    )
    if "name" not in screen:
        raise Unsupported("Snowplow screen views need a name")
    if len(screen["id"]) > MAX_SCREEN_ID:
        raise Unsupported(f"Snowplow screen views need a properties.id of at most {MAX_SCREEN_ID} characters")
    return screen


def structured(given: Any, event: str) -> dict[str, Any]:
    """Return the members of a structured event; ``given`` is ``options.structured``."""
    if not _is_structured(given):
        raise Unsupported(
            "Snowplow needs options.structured to be a table of texts: category, and if you like action, label,"
            " property, and a number as value"
        )
    said = {"action": event, **texts(given)}
    return {"e": "se", **{_STRUCTURED[name]: value for name, value in said.items()}}


def _is_structured(given: Any) -> bool:
    return (
        isinstance(given, dict)
        and given.keys() <= _STRUCTURED.keys()
        and text(given.get("category")) is not None
        and not any(isinstance(value, (bool, list, dict)) for value in given.values())
        and not isinstance(given.get("value"), str)
    )
