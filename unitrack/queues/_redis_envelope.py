"""A message on its way through the broker: what everyone must know of it, and its record as it is."""

from collections.abc import Mapping
from typing import Any

import orjson
from attrs import frozen

VERSION = 1


class Unreadable(ValueError):
    """It is no envelope of ours."""


class Newer(Unreadable):
    """It was written by a later version, which can read it."""


@frozen
class Envelope:
    """One message for several destinations."""

    origin: str  #: the queue object that put it
    number: int  #: of all that were put there
    seq: int  #: of its client
    message_id: str
    lane: int
    accepted_at: float
    to: tuple[str, ...]
    record: bytes

    @property
    def head(self) -> bytes:
        """All but the record, as JSON."""
        return orjson.dumps(
            {
                "v": VERSION, "origin": self.origin, "number": self.number, "seq": self.seq, "id": self.message_id,
                "lane": self.lane, "at": self.accepted_at, "to": self.to,
            }
        )  # fmt: skip


def pack(envelope: Envelope) -> bytes:
    """Write an envelope as one piece."""
    return envelope.head + b"\n" + envelope.record


def unpack(piece: bytes) -> Envelope:
    """Read what :func:`pack` wrote.

    Raises:
        Unreadable: it is something else.
    """
    head, found, record = piece.partition(b"\n")
    if not found:
        raise Unreadable("there is no record")
    return read(head, record)


def read(head: bytes | None, record: bytes | None) -> Envelope:
    """Read an envelope from its two parts.

    Raises:
        Newer: it has a version that is not known yet.
        Unreadable: it is something else.
    """
    if head is None or record is None:
        raise Unreadable("a part is missing")
    try:
        data: Any = orjson.loads(head)
        version = data["v"]
    except (ValueError, TypeError, KeyError, IndexError):
        raise Unreadable("its head is no envelope") from None
    if version != VERSION:
        if isinstance(version, int) and version > VERSION:
            raise Newer(f"version {version}")
        raise Unreadable("it has no version")
    try:
        return _envelope(data, record)
    except (ValueError, TypeError, KeyError) as error:
        raise Unreadable(f"its head is damaged: {error}") from None


def _envelope(data: Mapping[str, Any], record: bytes) -> Envelope:
    origin, message_id, to = data["origin"], data["id"], data["to"]
    numbers = (data["number"], data["seq"], data["lane"])
    if not isinstance(origin, str) or not isinstance(message_id, str) or any(type(n) is not int for n in numbers):
        raise TypeError("a member has another type")
    if not isinstance(to, list) or not all(isinstance(name, str) for name in to):
        raise TypeError("no destinations")
    return Envelope(origin, numbers[0], numbers[1], message_id, numbers[2], float(data["at"]), tuple(to), record)
