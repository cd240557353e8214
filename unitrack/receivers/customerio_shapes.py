"""What Customer.io wants in an operation of its Track API, and in a call of version 1."""

from collections.abc import Mapping, Sequence
from typing import Any

from .reading import Fault
from .shape import Check, Shape, anything, each, matching, text

MAX_ATTRIBUTES = 300
MAX_NAME_BYTES = 150
MAX_VALUE_BYTES = 1000
MAX_ID_BYTES = 150

_ULID = matching(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", "a ULID")


def identifier(value: Any, where: str) -> None:
    """Check for an id of a person, in whatever form."""
    text(value, where)
    if len(value.encode()) > MAX_ID_BYTES:
        raise Fault(f"{where} must have at most {MAX_ID_BYTES} bytes")


def profile(value: Any, where: str) -> None:
    """Check the attributes of a person; null and empty text are right, they take an attribute away."""
    anything(value, where)
    if len(value) > MAX_ATTRIBUTES:
        raise Fault(f"{where} must have at most {MAX_ATTRIBUTES} attributes, not {len(value)}")
    for name, item in value.items():
        if len(name.encode()) > MAX_NAME_BYTES:
            raise Fault(f"{where} has a name of more than {MAX_NAME_BYTES} bytes")
        if isinstance(item, str) and len(item.encode()) > MAX_VALUE_BYTES:
            raise Fault(f"{where}.{name} must have at most {MAX_VALUE_BYTES} bytes")


def _one_of(*names: str) -> Check:
    shape = Shape({}, dict.fromkeys(names, identifier))

    def check(value: Any, where: str) -> None:
        shape(value, where)
        if len(value) != 1:
            raise Fault(f"{where} must have exactly one of {', '.join(names)}")

    return check


def _seconds(value: Any, where: str) -> None:
    # The service drops any other form in silence, and then the event happens when it arrives.
    if isinstance(value, bool) or not isinstance(value, int):
        raise Fault(f"{where} must be whole seconds since 1970")


_KNOWN = _one_of("id", "email", "cio_id")
_ANONYMOUS = _one_of("anonymous_id")
_ANYBODY = _one_of("id", "email", "cio_id", "anonymous_id")


def _person(required: Mapping[str, Check], optional: Mapping[str, Check]) -> Shape:
    return Shape({"type": text, "action": text, **required}, optional)


def _object(related: Check) -> Shape:
    identifiers = Shape({"object_type_id": text, "object_id": text})
    relationships = each(Shape({"identifiers": related}))
    return _person({"identifiers": identifiers}, {"attributes": anything, "cio_relationships": relationships})


# Names of events may be of any length: the service trims them.
_EVENT = _person({"identifiers": _ANYBODY, "name": text}, {"id": _ULID, "timestamp": _seconds, "attributes": anything})
#: By type and action.
OPERATIONS: Mapping[tuple[str, str], Shape] = {
    ("person", "identify"): _person({"identifiers": _KNOWN}, {"timestamp": _seconds, "attributes": profile}),
    ("person", "event"): _EVENT,
    ("person", "page"): _EVENT,
    ("person", "screen"): _EVENT,
    ("person", "merge"): _person({"primary": _KNOWN, "secondary": _KNOWN}, {}),
    ("object", "identify"): _object(_KNOWN),
    ("object", "identify_anonymous"): _object(_ANONYMOUS),
}

_V1_OPTIONAL = {
    "type": matching("event|page|screen", "event, page or screen"),
    "data": anything,
    "id": _ULID,
    "timestamp": _seconds,
}
_V1_EVENT = Shape({"name": text}, _V1_OPTIONAL)
_V1_ANONYMOUS_EVENT = Shape({"name": text, "anonymous_id": identifier}, _V1_OPTIONAL)
_V1_MERGE = Shape({"primary": _KNOWN, "secondary": _KNOWN})
#: Of version 1: method, path, body, and a word for the call.
V1_CALLS: Sequence[tuple[str, str, Check, str]] = (
    ("PUT", "customers/([^/]+)", profile, "identify"),
    ("POST", "customers/([^/]+)/events", _V1_EVENT, "event"),
    ("POST", "events", _V1_ANONYMOUS_EVENT, "event"),
    ("POST", "merge_customers", _V1_MERGE, "merge"),
)
