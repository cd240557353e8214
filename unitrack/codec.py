"""A checked message as bytes, and back: the form in which it waits in a queue, in memory or on disk.

A record is two lines of JSON: first everything but the properties or traits, then those, exactly as they were
encoded in the call. So reading a record back never parses them, and an adapter splices them into its envelope.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
from attrs import fields

from .attachment import Attachment, checked_attachments
from .errors import UnitrackError
from .message import KINDS, Message, PlainTrack, made
from .phone import Phone
from .values import EMPTY, JsonObject, dumps, whole_number

VERSION = 1

#: The member that holds most of the bytes, by kind.
_BODY = {"track": "properties", "page": "properties", "screen": "properties", "identify": "traits", "group": "traits"}
#: The members that are plain data, with their defaults, by kind.
_PLAIN = {
    kind: tuple(
        (f.name, f.default)
        for f in fields(cls)
        if f.name
        not in {"timestamp", "properties", "traits", "phone", "attachments", "context", "integrations", "options"}
    )
    for kind, cls in KINDS.items()
}


#: A message of each kind without members, to be filled from a record.
_BLANK: Mapping[str, Message] = {
    kind: cls(context=EMPTY, integrations=EMPTY, options=EMPTY) for kind, cls in KINDS.items()
}

#: What is not text in the head of a record.
_TYPES: Mapping[str, type] = {
    "context": dict,
    "integrations": dict,
    "options": dict,
    "only": list,
    "exclude": list,
    "phone": list,
    "attachments": list,
    "has_own_time": bool,
    "has_own_id": bool,
}


#: What may be a number that a float would round, or make zero; in a text it costs a look more, and nothing else.
_LONG_NUMBER = re.compile(rb"[0-9.]{16}|[0-9][eE]-[0-9]{3}")


#: What most messages have, by kind: text, and nothing that would have to be made of it.
_TEXTS = {kind: frozenset({"timestamp", "user_id", "message_id"}) for kind in KINDS}
_TEXTS["track"] |= {"event"}
_ONLY_TEXT = frozenset({str})


#: Of a plain track: how many members its head has, version and kind included; how many letters its time has, which is
#: in UTC with microseconds, and how many of those tell the milliseconds.
_PLAIN_MEMBERS, _PLAIN_TIME, _MILLISECONDS = 6, 32, 23


class UnreadableRecord(UnitrackError, ValueError):
    """A record in a queue is not one of ours, or of a later version."""


def pack(message: Message) -> bytes:
    """Encode a checked message."""
    kind = message.kind
    head: dict[str, Any] = {"v": VERSION, "kind": kind, "timestamp": message.timestamp}
    members = vars(message)
    for name, default in _PLAIN[kind]:
        if (value := members[name]) != default:
            head[name] = value
    for name in ("context", "integrations"):
        if value := members[name]:
            head[name] = value
    if message.options:
        head["options"] = dict(message.options)
    if isinstance(message.phone, Phone):
        head["phone"] = [message.phone.number, message.phone.country_code]
    if message.attachments:
        head["attachments"] = [
            [a.url, a.filename, a.ignore_if_error, a.content_type, a.data] for a in message.attachments
        ]
    body = _BODY.get(kind)
    raw: bytes = members[body].raw if body else b""
    # orjson hands out bytes whose buffer stays at 4 KB; this copy has the exact size, so it may wait in a queue.
    return b"%b\n%b" % (dumps(head), raw)


def unpack(record: bytes, *, trusted: bool = False) -> Message:
    """Decode what :func:`pack` made.

    Args:
        record: as it was in the queue.
        trusted: it never left this process, so its properties or traits need not be looked at. They are spliced into
            requests as they are; what somebody else wrote there could spoil a whole batch.

    Raises:
        UnreadableRecord: it is something else.
    """
    try:
        head, _, raw = record.partition(b"\n")
        data = orjson.loads(head)
        if data.pop("v") != VERSION:
            raise ValueError("another version")
        kind = data.pop("kind")
        plain = data.keys() <= _TEXTS[kind] and _ONLY_TEXT.issuperset(map(type, data.values()))
        if not plain:
            if _LONG_NUMBER.search(head):
                data = {name: value for name, value in _read_exactly(head).items() if name in data}
            _check_head(kind, data)
        _check_body(kind, raw, trusted)
        return made(KINDS[kind], vars(_BLANK[kind]) | _members(kind, data, raw, plain))
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        raise UnreadableRecord(f"not a record of version {VERSION}: {error}") from error


def unpack_plain(record: bytes, *, trusted: bool = False) -> PlainTrack | None:
    """Decode the record of a plain track; ``None``: it is of something else, and :func:`unpack` says what.

    Args:
        record, trusted: as there.
    """
    head, _, raw = record.partition(b"\n")
    try:
        data = orjson.loads(head)
        when, user_id, event, message_id = data["timestamp"], data["user_id"], data["event"], data["message_id"]
        plain = len(data) == _PLAIN_MEMBERS and data["kind"] == "track" and data["v"] == VERSION
        if not (plain and len(when) == _PLAIN_TIME and when.endswith("+00:00")):
            return None
        if not trusted:
            texts = (user_id, event, message_id)
            if not (all(texts) and _ONLY_TEXT.issuperset(map(type, texts))):
                return None
            if datetime.fromisoformat(when).isoformat() != when:
                return None
            _check_body("track", raw, trusted)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return PlainTrack(user_id, event, message_id, when[:_MILLISECONDS] + "Z", orjson.Fragment(raw))


def _read_exactly(head: bytes) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(head, parse_float=_number, parse_int=whole_number)
    return data


def _number(text: str) -> float | Decimal:
    exact, rounded = Decimal(text), float(text)
    return rounded if Decimal(repr(rounded)) == exact else exact


def _check_head(kind: str, data: Mapping[str, Any]) -> None:
    if not data.keys() <= vars(_BLANK[kind]).keys():
        raise TypeError(f"a {kind} has no {', '.join(sorted(data.keys() - vars(_BLANK[kind]).keys()))}")
    for name, value in data.items():
        if type(value) is not _TYPES.get(name, str):
            raise TypeError(f"{name} is {type(value).__name__}")


def _check_body(kind: str, raw: bytes, trusted: bool) -> None:
    if body := _BODY.get(kind):
        if not (raw.startswith(b"{") and raw.endswith(b"}")):
            raise ValueError(f"its {body} are cut off")
        if not trusted:
            orjson.loads(raw)  # more than one object is none


def _members(kind: str, data: dict[str, Any], raw: bytes, plain: bool) -> dict[str, Any]:
    when = datetime.fromisoformat(data["timestamp"])
    data["timestamp"] = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    if body := _BODY.get(kind):
        data[body] = JsonObject(raw)
    if plain:
        return data
    for name in ("context", "integrations"):
        if name in data:
            data[name] = _object(data[name])
    if "options" in data:
        data["options"] = {name: _object(part) for name, part in data["options"].items()}
    for name in ("only", "exclude"):
        if name in data:
            data[name] = tuple(_text(item) for item in data[name])
    if "phone" in data:
        number, code = data["phone"]
        data["phone"] = Phone(_text(number), code if code is None else _text(code))
    if "attachments" in data:
        data["attachments"] = checked_attachments([_attachment(*item) for item in data["attachments"]])
    return data


def _object(value: object) -> JsonObject:
    if type(value) is not dict:
        raise TypeError(f"{type(value).__name__} where an object should be")
    return JsonObject(dumps(value))


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError(f"{type(value).__name__} where text should be")
    return value


def _attachment(url: Any, filename: Any, ignore_if_error: Any, content_type: Any, data: Any) -> Attachment:
    return Attachment(url, filename, ignore_if_error, content_type=content_type, data=data)


def identity(message: Message) -> str:
    """Name whom a message is about; messages with the same identity keep their order."""
    phone = message.phone
    return message.user_id or message.anonymous_id or (phone.e164 if isinstance(phone, Phone) else "")
