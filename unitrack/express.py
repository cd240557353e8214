"""The short way for the call that is made most: a track with nothing but a user, a name and properties.

What comes out is what :func:`unitrack.snapshot.snapshot` and :func:`unitrack.codec.pack` make of such a message, byte
for byte; a property test compares them. It takes two fifths of their time, because sixteen members that nobody gave are
not looked at one by one. ``benchmarks/express.py`` prints both.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from .codec import VERSION
from .message import Track, made
from .values import EMPTY, dumps, encode_object

#: A checked message, its record, and the paths of values that became null.
Plain = tuple[Track, bytes, tuple[str, ...]]

_BLANK: dict[str, Any] = vars(Track(context=EMPTY, integrations=EMPTY))


def express(
    user_id: object, event: object, properties: object, new_id: Callable[[], str], now: Callable[[], datetime]
) -> Plain | None:
    """Check, copy and pack; ``None``: it has to go the long way, which mends what is wrong with it or says so."""
    if type(user_id) is not str or type(event) is not str or not user_id or not event:
        return None
    if user_id.isspace() or event.isspace():
        return None
    problems: list[str] = []
    try:
        body = EMPTY if properties is None else encode_object(properties, "$.properties", problems)
        when, message_id = now(), new_id()
        head = {"v": VERSION, "kind": "track", "timestamp": when, "user_id": user_id, "message_id": message_id}
        head["event"] = event
        record = b"%b\n%b" % (dumps(head), body.raw)
    except Exception:  # noqa: BLE001  half a surrogate pair in a text, for one; and objects can raise anything
        return None
    members = _BLANK.copy()
    members["user_id"], members["event"], members["properties"] = user_id, event, body
    members["timestamp"], members["message_id"], members["options"] = when, message_id, {}
    return made(Track, members), record, tuple(problems)
