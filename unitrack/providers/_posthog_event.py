"""PostHog's events: which one a message becomes, and which names and ids the vendor takes."""

from typing import Any

from ..errors import Unsupported
from ..message import Alias, Group, Identify, Message, Page, Screen, Track
from ..values import EMPTY

MAX_NAME = 200

#: Ids that stand for nobody, without case and blanks around them (capture service). v1 refuses their events; v0 takes
#: them, and never merges such an id with another.
NOBODY = frozenset(
    {
        "0", "00000000-0000-0000-0000-000000000000", "[object object]", "anonymous", "anonymous-user", "backend",
        "distinct_id", "distinctid", "email", "false", "guest", "id", "nan", "none", "not_authenticated", "null",
        "system", "true", "undefined", "user",
    }
)  # fmt: skip
#: What is about a person: without one the vendor drops these events, and these properties of the others.
_PERSONAL_EVENTS = frozenset({"$identify", "$create_alias", "$merge_dangerously", "$groupidentify"})
_PERSONAL = frozenset({"$set", "$set_once", "$unset"})


def said(message: Message, group_type: str) -> tuple[str, Any, dict[str, Any]]:
    """Return an event's name, the properties of the caller, and ours; of those ``None`` stands for nothing."""
    own: dict[str, Any] = {"$device_id": message.anonymous_id if message.user_id else None}
    match message:
        case Track(event=event, properties=properties):
            return event, properties, own | _without_person(message, event)
        case Page(properties=properties):
            url = properties.get("url")
            own |= {"$current_url": url if isinstance(url, str) else None, "title": message.name or None}
            own["category"] = message.category or None
            return "$pageview", properties, own | _without_person(message)
        case Screen(properties=properties):
            own |= {"$screen_name": message.name or None, "category": message.category or None}
            return "$screen", properties, own | _without_person(message)
        case Identify(user_id=None):
            # $identify would make the anonymous id a known person, which no later identify could merge.
            return "$set", EMPTY, {"$set": message.traits}
        case Identify():
            return "$identify", EMPTY, {"$set": message.traits, "$anon_distinct_id": message.anonymous_id}
        case Group():
            own |= {"$group_type": group_type, "$group_key": message.group_id, "$group_set": message.traits}
            return "$groupidentify", EMPTY, own
        case Alias():
            own |= {"distinct_id": message.user_id, "alias": message.previous_id}
            return "$create_alias", EMPTY, own


def check_names(event: str, who: str, merged: str | None, *, strict: bool) -> None:
    """Refuse what the vendor cuts, drops or does not merge, without a word or with one that comes too late.

    Args:
        event: its name.
        who: its ``distinct_id``.
        merged: the id that is to become one person with ``who``.
        strict: as wire v1 is, which counts bytes and refuses. v0 cuts after so many characters, so that two people can
            become one, and takes the ids of nobody unless they are merged.

    Raises:
        Unsupported: naming what is too long, or the id.
    """
    ids = [who] if merged is None else [who, merged]
    for what, text in [("event names", event), *(("ids", one) for one in ids)]:
        unit, size = ("bytes", len(text.encode())) if strict else ("characters", len(text))
        if size > MAX_NAME:
            raise Unsupported(f"PostHog takes {what} of at most {MAX_NAME} {unit}, not {size}; shorten it")
    if strict or merged is not None:
        for one in ids:
            if one.strip().lower() in NOBODY:
                raise Unsupported(f"PostHog takes the id {one!r} for that of nobody; send the real one, or none")


def _without_person(message: Track | Page | Screen, event: str = "") -> dict[str, bool]:
    """Spare an anonymous id a person where nothing is said about one."""
    if message.user_id is not None or event in _PERSONAL_EVENTS or not _PERSONAL.isdisjoint(message.properties):
        return {}
    return {"$process_person_profile": False}
