"""Check a message and copy what it holds, in the call: what is queued can be sent, and nothing can change it."""

import os
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timezone
from itertools import islice
from typing import Any

from attrs import evolve

from .attachment import Attachment, checked_attachments
from .errors import InvalidMessage
from .message import Alias, Group, Identify, Message, Page, Screen, Track, made
from .phone import Phone, checked_phone
from .values import JsonObject, encode_object, text

_IDENTIFIERS = ("user_id", "anonymous_id", "message_id", "idempotency_key", "tenant_id")
_OBJECTS = ("context", "integrations")
MAX_NAMES = 1_000


def snapshot(
    message: Message, new_id: Callable[[], str], now: Callable[[], datetime], before: Message | None = None
) -> tuple[Message, tuple[str, ...]]:
    """Return a checked copy with its id and time fixed, and the paths of values that became null.

    Args:
        message: as the caller built it.
        new_id: makes a message id where the caller gave none.
        now: tells the time, aware, where the caller gave none.
        before: the checked message from which a middleware made this one; tells whose id and time it has.

    Raises:
        InvalidMessage: naming the first value that cannot be sent anywhere.
    """
    problems: list[str] = []
    members = vars(message).copy()
    for name in _IDENTIFIERS:
        if (value := members[name]) is not None:
            members[name] = _identifier(value, "$." + name)
    for name in _OBJECTS:
        members[name] = encode_object(members[name], "$." + name, problems)
    members.update(_own_members(message, problems))
    if message.phone is not None:
        members["phone"] = None if _is_blank(message.phone) else checked_phone(message.phone)
    if message.attachments != ():
        members["attachments"] = _attachments(message.attachments)
    if type(message.options) is not dict or message.options:
        members["options"] = _options(message.options, problems)
    if message.only is not None:
        members["only"] = _names(message.only, "$.only")
    if message.exclude != ():
        members["exclude"] = _names(message.exclude, "$.exclude")
    if message.timestamp is None:
        members["timestamp"], members["has_own_time"] = now(), False
    else:
        time = members["timestamp"] = _timestamp(message.timestamp)
        other = _is_new(message) if before is None else time != before.timestamp
        members["has_own_time"] = bool(message.has_own_time or other)
    if members["message_id"] is None:
        members["message_id"], members["has_own_id"] = new_id(), False
    else:
        other = _is_new(message) if before is None else members["message_id"] != before.message_id
        members["has_own_id"] = bool(message.has_own_id or other)
    checked = made(type(message), members)
    _check_identity(checked)
    return checked, tuple(problems)


def _is_new(message: Message) -> bool:
    # Another one was taken out of a queue, for example; its id and time may be ours, not the caller's.
    return not isinstance(message.context, JsonObject)


def _own_members(message: Message, problems: list[str]) -> dict[str, Any]:
    match message:
        case Track(event=event):
            return {"event": _event(event), "properties": encode_object(message.properties, "$.properties", problems)}
        case Page(name=name, category=category) | Screen(name=name, category=category):
            return {
                "name": _optional_text(name, "$.name"),
                "category": _optional_text(category, "$.category"),
                "properties": encode_object(message.properties, "$.properties", problems),
            }
        case Identify():
            return {"traits": encode_object(message.traits, "$.traits", problems)}
        case Group(group_id=group_id):
            return {
                "group_id": _required(group_id, "$.group_id", "a group message needs it"),
                "traits": encode_object(message.traits, "$.traits", problems),
            }
        case Alias(previous_id=previous_id, user_id=user_id):
            _required(user_id, "$.user_id", "an alias message needs it")
            return {"previous_id": _required(previous_id, "$.previous_id", "an alias message needs it")}


def _event(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidMessage("$.event", f"must be text, not {type(value).__name__}")
    if not value or value.isspace():
        raise InvalidMessage("$.event", "is empty; say what happened, for example 'Order Paid'")
    return text(value, "$.event")


def _required(value: object, path: str, why: str) -> str:
    found = _identifier(value, path)
    if found is None:
        raise InvalidMessage(path, f"is missing; {why}")
    return found


def _identifier(value: object, path: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        raise InvalidMessage(path, "has too many digits; send it as text")
    if not isinstance(value, str):
        raise InvalidMessage(path, f"must be text, a whole number or a UUID, not {type(value).__name__}")
    return text(value, path) if value and not value.isspace() else None


def _is_blank(phone: object) -> bool:
    number = phone.number if isinstance(phone, Phone) else phone
    return isinstance(number, str) and not number.strip()


def _attachments(value: object) -> tuple[Attachment, ...]:
    return tuple(
        evolve(item, filename=text(item.filename, "$.attachments")) if item.filename else item
        for item in checked_attachments(value)
    )


def _optional_text(value: object, path: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidMessage(path, f"must be text, not {type(value).__name__}")
    return None if value is None else text(value, path)


def _timestamp(value: object) -> datetime:
    if isinstance(value, datetime):
        try:
            offset = value.utcoffset()
            if offset is None:
                return value.replace(tzinfo=UTC)  # its tzinfo does not know
            in_utc = value.astimezone(UTC)
        except (OverflowError, ValueError):  # pandas' NaT ends here too
            raise InvalidMessage("$.timestamp", "is no time in the years 1 to 9999 of UTC") from None
        # Before 1900 places had offsets with seconds, which ISO-8601 text cannot hold. And the caller's own zone must
        # not reach orjson, which ends the process if that raises (measured with 3.13).
        return in_utc if offset.total_seconds() % 60 else in_utc.astimezone(timezone(offset))
    if isinstance(value, str):
        raise InvalidMessage("$.timestamp", "must be ISO-8601 with an offset, for example 2024-02-29T10:20:30Z")
    raise InvalidMessage(
        "$.timestamp", f"must be a datetime or ISO-8601 text with an offset, not {type(value).__name__}"
    )


def _options(value: object, problems: list[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidMessage("$.options", f"must be an object by destination name, not {type(value).__name__}")
    parts = {name: value[name] for name in islice(value, MAX_NAMES + 1)}
    if len(parts) > MAX_NAMES:
        raise InvalidMessage("$.options", f"holds more than {MAX_NAMES} names; they are those of destinations")
    if not all(issubclass(type(name), str) for name in parts):
        raise InvalidMessage("$.options", "has a key that is not text; keys are destination names")
    return {text(name, "$.options"): encode_object(part, f"$.options.{name}", problems) for name, part in parts.items()}


def _names(value: object, path: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset)):
        raise InvalidMessage(path, "must be a list of destination names")
    if not all(isinstance(name, str) for name in value):
        raise InvalidMessage(path, "holds something that is not text; it lists destination names")
    return tuple(text(name, path) for name in value)


def _check_identity(message: Message) -> None:
    if message.user_id is None and message.anonymous_id is None and message.phone is None and not message.options:
        raise InvalidMessage("$.user_id", "is missing, and so are anonymous_id and phone; say who it was")


_BLOCK = 256
#: Of each id in a block: the bits to clear and to set, so that all of them say that they are random UUIDs.
_CLEAR = int.from_bytes((b"\xff" * 6 + b"\x0f\xff\x3f" + b"\xff" * 7) * _BLOCK)
_SET = int.from_bytes((b"\0" * 6 + b"\x40\0\x80" + b"\0" * 7) * _BLOCK)
_cut = struct.Struct("8s4s4s4s12s").iter_unpack
_NOWHERE: Iterator[tuple[bytes, ...]] = iter(())


class MessageIds:
    """Makes random UUIDs (version 4), many times faster than :func:`uuid.uuid4`; safe between threads.

    The random block is tied to the process, so that a forked child cannot repeat its parent's ids.
    """

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._entropy = entropy
        self._local = threading.local()

    def __call__(self) -> str:
        local = self._local
        try:
            block, pid = local.state
        except AttributeError:
            block, pid = _NOWHERE, 0
        # An iterator hands out each place once, even to a signal handler that comes between any two lines here.
        groups = next(block, None) if pid == os.getpid() else None
        while groups is None:
            bits = int.from_bytes(self._entropy(16 * _BLOCK)) & _CLEAR | _SET
            block = _cut(bits.to_bytes(16 * _BLOCK).hex().encode())
            local.state = (block, os.getpid())
            groups = next(block, None)
        return b"-".join(groups).decode()
