"""The short way for the call that is made most: a track with nothing but a user, a name and properties.

What comes out is what :func:`unitrack.snapshot.snapshot` and :func:`unitrack.codec.pack` make of such a message, byte
for byte; a property test compares them. It takes a third of their time, because no message is made and sixteen members
that nobody gave are not looked at one by one. ``benchmarks/express.py`` prints both.
"""

from collections.abc import Callable
from datetime import datetime

import orjson

from .codec import VERSION
from .values import EMPTY, encode_text

#: Its id and whose it is, its record, how many bytes of that are its properties, the paths of values that became null.
Plain = tuple[str, str, bytes, int, tuple[str, ...]]


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
        raw = EMPTY.raw if properties is None else encode_text(properties, "$.properties", problems)
        message_id = new_id()
        head = {
            "v": VERSION,
            "kind": "track",
            "timestamp": now(),
            "user_id": user_id,
            "message_id": message_id,
            "event": event,
        }
        record = b"%b\n%b" % (orjson.dumps(head), raw)
    except Exception:  # noqa: BLE001  half a surrogate pair in a text, for one; and objects can raise anything
        return None
    return message_id, user_id, record, len(raw), tuple(problems)
