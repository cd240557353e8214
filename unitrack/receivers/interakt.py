"""Interakt on 127.0.0.1: one message per request, users and events at paths that end in a slash."""

import time
from collections.abc import Callable
from typing import Any

from .answer import Answer, Taken, encoded
from .reading import Fault, Received, basic_user, media_type, posted, same, strict_json
from .receiver import Receiver
from .shape import Shape, anything, content_key, each, flag, instant, matching, text

USERS = "/v1/public/track/users/"
EVENTS = "/v1/public/track/events/"

_IDENTITY = {
    "userId": text,
    "phoneNumber": matching(r"[0-9]{1,15}", "digits without the country code"),
    "countryCode": matching(r"\+?[1-9][0-9]{0,2}", "a calling code such as +91"),
    "fullPhoneNumber": matching(r"[1-9][0-9]{4,17}", "digits with the country code and without a plus"),
    "createdAt": instant,
}
_SHAPES = {
    USERS: Shape({"traits": anything}, _IDENTITY | {"tags": each(text), "add_to_sales_cycle": flag}),
    EVENTS: Shape({"event": text, "traits": anything}, _IDENTITY),
}


class InteraktReceiver(Receiver):
    """Takes what Interakt documents and its Python SDK 1.0.7 sends.

    Args:
        api_key: the only key that is let in, decoded: what stands before the colon.
        clock: seconds since 1970.
    """

    def __init__(self, *, api_key: str, clock: Callable[[], float] = time.time) -> None:
        super().__init__(api_key, clock=clock)
        self._key = api_key

    def take(self, request: Received) -> Answer:
        path = posted(request, [USERS, EVENTS])
        if not same(basic_user(request), self._key):
            raise Fault("the API key is not known", 401)
        media_type(request)
        message = strict_json(request.body)
        _SHAPES[path](message, "$")
        key = content_key(path, message)
        taken = (Taken(message, _identity(message), key),)
        if path == USERS:
            return Answer(status=202, body=encoded(result=True, message="user taken"), call="users", taken=taken)
        body = encoded(result=True, message="event taken", id=key[:32])
        return Answer(status=201, body=body, call="events", taken=taken)

    def refusal(self, fault: Fault) -> bytes:
        return encoded(result=False, message=fault.reason)


def _identity(message: dict[str, Any]) -> str:
    """Return whom a message is about; the number as a pair and in full must not be mixed (vendor docs)."""
    pair = message.keys() & {"phoneNumber", "countryCode"}
    if pair and "fullPhoneNumber" in message:
        raise Fault("$: fullPhoneNumber stands for phoneNumber and countryCode, not beside them")
    if len(pair) == 1:
        raise Fault("$: phoneNumber and countryCode go together")
    number = message.get("fullPhoneNumber") or message.get("countryCode", "") + message.get("phoneNumber", "")
    user = message.get("userId") or number
    if not user:
        raise Fault("$ must have userId or a phone number")
    return str(user)
