"""Customer.io's Track API, version 2: the operation that each kind of message becomes, and the verdicts on them."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from attrs import evolve

from ..answers import describe, json_body, outcome_of
from ..errors import Unsupported
from ..forms import epoch, filled, instant_of
from ..message import Alias, Group, Identify, Message, Page, Screen, Track
from ..phone import Phone
from ..values import dumps
from ..wire import Delivered, Outcome, Part, Rejected, Response

PATH = "/api/v2/batch"
MAX_ID_BYTES = 150

_EVENTS = ("track", "page", "screen")
#: Members of a message that have a place here.
CARRIES = frozenset(
    {
        "identify.phone",
        *(f"{kind}.anonymous_id" for kind in (*_EVENTS, "identify", "group")),
        *(f"{kind}.idempotency_key" for kind in _EVENTS),
    }
)

_NAMELESS = {
    "page": "CustomerIO names a page by properties.url, else by its name; give one of them",
    "screen": "CustomerIO needs the name of a screen",
}
_SECOND = timedelta(seconds=1)
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# In capitals, as they are written by rule; other letters are hashed, for nobody says that the service knows them.
_is_ulid = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}").fullmatch


def operation(message: Message, id_type: str, object_type_id: str) -> bytes:
    """Say one message as an operation of a batch.

    Args:
        message: with an identity; a group may do without.
        id_type: the identifier that a ``user_id`` is.
        object_type_id: of a group whose options name none.

    Raises:
        Unsupported: the operation would lack what the vendor needs, or an id is too long.
    """
    match message:
        case Identify():
            said = _identify(message, id_type)
        case Track():
            said = _event("event", message, id_type, message.event, message.properties)
        case Page():
            url = message.properties.get("url")
            name = url if isinstance(url, str) and url.strip() else message.name
            attributes = filled(message.properties, name=message.name, category=message.category)
            said = _event("page", message, id_type, name, attributes)
        case Screen():
            attributes = filled(message.properties, category=message.category)
            said = _event("screen", message, id_type, message.name, attributes)
        case Group():
            said = _object(message, id_type, object_type_id)
        case Alias():
            primary, secondary = {id_type: _id(message.user_id)}, {id_type: _id(message.previous_id)}
            said = {"type": "person", "action": "merge", "primary": primary, "secondary": secondary}
    return dumps(said)


def envelope(parts: Sequence[Part]) -> bytes:
    """Return the body of a request."""
    return b'{"batch":[%b]}' % b",".join([part.body for part in parts])


def ulid(key: str, when: datetime) -> str:
    """Return a key that is a ULID as it is, and of any other text one that is always the same at the same time.

    >>> from datetime import UTC
    >>> ulid("order-7", datetime(2024, 2, 29, 10, 20, 30, 123456, UTC))
    '01HQT62FHBVY6FG0H7XGS3F4HD'
    """
    if _is_ulid(key):
        return key
    # A time before 1970 has no place in it; the rest still tells one key from another.
    number = max(0, epoch(when)) << 80 | int.from_bytes(sha256(key.encode()).digest()[:10])
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def verdicts(response: Response, count: int) -> list[Outcome]:
    """Give one verdict for each of ``count`` operations; what the answer does not list was taken."""
    verdict = outcome_of(response)
    if response.status in (401, 403):
        # The host in the EU knows no credentials of the US; that in the US passes on what is for the EU.
        return [outcome_of(response, reason=describe(response) + " - check site_id, api_key and region")] * count
    data = json_body(response)
    errors = data.get("errors") if isinstance(data, Mapping) else None
    if response.status == 207 and not isinstance(errors, list):
        if count == 1:
            return [Delivered((f"207 without a verdict that can be read: {describe(response)}",))]
        errors = [None]  # some are bad, and nobody can read which
    if not isinstance(verdict, (Delivered, Rejected)) or not isinstance(errors, list) or not errors:
        return [verdict] * count
    faults: dict[int, list[Any]] = {}
    for error in errors:
        faults.setdefault(_place(error), []).append(error)
    if isinstance(verdict, Rejected) or not all(0 <= place < count for place in faults):
        # The delivery halves the batch. What was taken and goes again is known by its id, or says the same once more.
        return [_rejected(errors, response)] * count
    return [
        evolve(_rejected(faults[place], response), own=True) if place in faults else verdict for place in range(count)
    ]


def _event(action: str, message: Message, id_type: str, name: str | None, attributes: Any) -> dict[str, Any]:
    if not name or name.isspace():
        raise Unsupported(_NAMELESS[action])
    when = instant_of(message)
    return {
        "type": "person",
        "identifiers": _who(message, id_type),
        "action": action,
        "name": name,
        "id": ulid(message.idempotency_key or message.message_id or "", when),
        "timestamp": epoch(when, _SECOND),
        "attributes": attributes,
    }


def _identify(message: Identify, id_type: str) -> dict[str, Any]:
    if message.user_id is None:
        raise Unsupported("Customer.io identifies people by user_id; anonymous_id alone can only have events")
    return {
        "type": "person",
        "identifiers": _who(message, id_type),
        "action": "identify",
        "timestamp": epoch(instant_of(message), _SECOND),
        # The anonymous id joins the events that it had in the last 30 days.
        "attributes": filled(message.traits, anonymous_id=message.anonymous_id, phone=_phone(message)),
    }


def _phone(message: Identify) -> str | None:
    if not isinstance(message.phone, Phone) or "phone" in message.traits:
        return None
    if message.phone.country_code is None:
        raise Unsupported("CustomerIO needs a phone with its country code; a guess would reach a stranger")
    return message.phone.e164


def _object(message: Group, id_type: str, object_type_id: str) -> dict[str, Any]:
    type_id = message.options.get("object_type_id")
    if type_id is None:
        type_id = object_type_id
    if isinstance(type_id, bool) or not isinstance(type_id, (str, int)) or not str(type_id).strip():
        raise Unsupported("CustomerIO needs options.object_type_id as text such as '1', or as a whole number")
    said: dict[str, Any] = {
        "type": "object",
        "identifiers": {"object_type_id": str(type_id), "object_id": message.group_id},
        "action": "identify" if message.user_id or not message.anonymous_id else "identify_anonymous",
        "attributes": message.traits,
    }
    if message.user_id or message.anonymous_id:
        said["cio_relationships"] = [{"identifiers": _who(message, id_type)}]
    return said


def _who(message: Message, id_type: str) -> dict[str, str]:
    return {id_type: _id(message.user_id)} if message.user_id else {"anonymous_id": _id(message.anonymous_id)}


def _id(value: str | None) -> str:
    assert value is not None  # noqa: S101  # the snapshot and require_identity see to it
    if len(value.encode()) > MAX_ID_BYTES:
        raise Unsupported(f"CustomerIO takes ids of at most {MAX_ID_BYTES} bytes")
    return value


def _place(error: Any) -> int:
    index = error.get("batch_index") if isinstance(error, Mapping) else None
    return index if isinstance(index, int) and not isinstance(index, bool) else -1


def _rejected(errors: Sequence[Any], response: Response) -> Rejected:
    """Say in one line what the errors say: ``400: name: must be text; …``."""
    text = "; ".join(filter(None, map(_said, errors)))
    return Rejected(describe(evolve(response, body=text.encode()) if text else response), response.status)


def _said(error: Any) -> str:
    words = [error.get("field"), error.get("message") or error.get("reason")] if isinstance(error, Mapping) else []
    return ": ".join(word for word in words if isinstance(word, str) and word)
