"""What a receiver makes of one request: the answer that goes back, and which messages were taken or refused."""

import json
from collections.abc import Mapping
from typing import Any

from attrs import Factory, frozen


@frozen
class Taken:
    """One message that the vendor keeps.

    Attributes:
        message: its members as they came.
        user: whom it is about, in the vendor's words.
        key: what tells it from others: the vendor's id for it, or all of its content.
    """

    message: Mapping[str, Any]
    user: str
    key: str


@frozen(kw_only=True)
class Answer:
    """What goes back. ``call`` is the vendor's word for what was asked; ``refused`` has a sentence per message."""

    status: int
    body: bytes
    call: str = ""
    taken: tuple[Taken, ...] = ()
    refused: tuple[str, ...] = ()
    headers: Mapping[str, str] = Factory(dict)


def encoded(**members: Any) -> bytes:
    """Return the JSON body of an answer."""
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
