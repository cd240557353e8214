"""What stands on an Amplitude event beside its kind: members from the context and the options, and operations."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ..errors import Unsupported
from ..message import Group, Message
from ..values import JsonObject, dumps

#: Where in the context a member of the event comes from.
_CONTEXT: Mapping[str, tuple[str, ...]] = {
    "ip": ("ip",),
    "user_agent": ("userAgent",),
    "language": ("locale",),
    "app_version": ("app", "version"),
    "os_name": ("os", "name"),
    "os_version": ("os", "version"),
    "device_manufacturer": ("device", "manufacturer"),
    "device_model": ("device", "model"),
}

_TEXT = ("text", (str,))
_NUMBER = ("a number", (int, Decimal))
_WHOLE = ("a whole number", (int,))
_OBJECT = ("an object", (dict,))
#: Names and types of the vendor's Python client; a wrong type would cost a request of up to 2000 events.
OPTIONS: Mapping[str, tuple[str, tuple[type, ...]]] = {
    **dict.fromkeys(
        (
            *("platform", "app_version", "version_name", "os_name", "os_version", "device_brand"),
            *("device_manufacturer", "device_model", "carrier", "country", "region", "city", "dma", "language"),
            *("currency", "productId", "revenueType", "ip", "user_agent", "idfa", "idfv", "adid", "android_id"),
            *("partner_id", "group_type"),
        ),
        _TEXT,
    ),
    **dict.fromkeys(("price", "revenue", "location_lat", "location_lng"), _NUMBER),
    **dict.fromkeys(("quantity", "event_id", "session_id"), _WHOLE),
    **dict.fromkeys(("groups", "user_properties", "group_properties", "plan", "ingestion_metadata"), _OBJECT),
}

_OPERATIONS = frozenset(
    {
        "$set", "$setOnce", "$add", "$append", "$prepend", "$preInsert", "$postInsert", "$remove", "$unset",
        "$clearAll",
    }
)  # fmt: skip


def members(message: Message) -> dict[str, Any]:
    """Return what the context and the options say; options win, and what is empty or not known is left out.

    Raises:
        Unsupported: an option has a type that Amplitude does not take.
    """
    found = _of_context(message.context) if message.context else {}
    options: Any = message.options
    for name, value in options.exact().items() if options else ():
        if name in OPTIONS and value not in (None, "", {}):
            what, types = OPTIONS[name]
            if isinstance(value, bool) or not isinstance(value, types):
                raise Unsupported(f"Amplitude takes the option {name} as {what}")
            found[name] = value
    return found


def operations(traits: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``$set`` of the traits beside the caller's operations, whose own ``$set`` wins member by member.

    Raises:
        Unsupported: the caller gave something else than operations, which Amplitude refuses beside them.
    """
    for name, value in given.items():
        if name not in _OPERATIONS or not (isinstance(value, dict) or name == "$clearAll"):
            raise Unsupported(f"Amplitude takes operations with an object, such as $setOnce; make {name!r:.60} a trait")
    traits = traits.extended(given.get("$set", {}))
    return {**given, "$set": traits} if traits else dict(given)


def event(kind: str, common: Mapping[str, Any], **objects: Any) -> dict[str, Any]:
    """Return an event with those of the objects that are not empty."""
    return {"event_type": kind, **common, **{name: value for name, value in objects.items() if value}}


def of_group(message: Group, group_type: str, common: Mapping[str, Any], given: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the membership, which needs a user, and what is said of the group itself, which needs none."""
    group = {group_type: message.group_id}
    about = operations(message.traits, given.pop("group_properties", {}))
    of_user = operations(JsonObject(dumps(group)), given.pop("user_properties", {}))
    groups = {**given.pop("groups", {}), **group}
    events = []
    if message.user_id or message.anonymous_id:
        events.append(event("$identify", {**common, **given}, groups=groups, user_properties=of_user))
    if about:
        insert_id = f"{common['insert_id']}:g"
        events.append(event("$groupidentify", common, insert_id=insert_id, groups=group, group_properties=about))
    if not events:
        raise Unsupported("Amplitude needs user_id or anonymous_id, or traits of the group")
    return events


def _of_context(context: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for member, path in _CONTEXT.items():
        value: Any = context
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, str) and value:
            found[member] = value
    return found
