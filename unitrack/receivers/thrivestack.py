"""Thrivestack on 127.0.0.1: a path for each kind of call; one object under a token, an array under an API key."""

import time
from collections.abc import Callable
from typing import Any

from .answer import Answer, Taken, encoded
from .reading import Fault, Received, media_type, posted, same, strict_json
from .receiver import Receiver
from .shape import Check, Shape, anything, content_key, instant, text

MAX_BODY_BYTES = 2_000_000
MAX_MESSAGES = 1000

_CONTEXT_TEXTS = ("group_id", "device_id", "session_id", "source")


def _context(value: Any, where: str) -> None:
    anything(value, where)
    for name in _CONTEXT_TEXTS:
        if name in value:
            text(value[name], f"{where}.{name}")


_REQUIRED: dict[str, Check] = {"user_id": text, "timestamp": instant}
_OPTIONAL: dict[str, Check] = {"context": _context}
_SHAPES = {
    "/api/track": Shape(_REQUIRED | {"properties": anything}, _OPTIONAL | {"event": text, "event_name": text}),
    "/api/identify": Shape(_REQUIRED | {"traits": anything}, _OPTIONAL),
    "/api/group": Shape(_REQUIRED | {"group_id": text, "traits": anything}, _OPTIONAL),
    "/api/page": Shape(
        {"timestamp": instant, "properties": anything}, _OPTIONAL | {"user_id": text, "session_id": text}
    ),
}


class ThrivestackReceiver(Receiver):
    """Takes the two forms that Thrivestack has documented: bearer token (older) and API key (2026-03).

    Under a token an array is let in as well (vendor docs 2024); under an API key an object is not.

    Args:
        token: the only bearer token that is let in; give this or ``api_key``.
        api_key: the only ``x-api-key`` that is let in.
        clock: seconds since 1970.
    """

    def __init__(
        self, *, token: str | None = None, api_key: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        if (token is None) == (api_key is None):
            raise ValueError("give token or api_key, one of them")
        super().__init__(token or "", api_key or "", clock=clock)
        self._token = token
        self._api_key = api_key

    def take(self, request: Received) -> Answer:
        path = posted(request, list(_SHAPES))
        self._authorize(request)
        media_type(request)
        if len(request.body) > MAX_BODY_BYTES:
            raise Fault(f"the body has more than {MAX_BODY_BYTES} bytes")
        body = strict_json(request.body)
        if isinstance(body, dict) and self._api_key:
            raise Fault("the body must be an array of messages")
        messages = body if isinstance(body, list) else [body]
        if not 1 <= len(messages) <= MAX_MESSAGES:
            raise Fault(f"a request holds 1 to {MAX_MESSAGES} messages, not {len(messages)}")
        taken = tuple(self._message(path, message, f"$[{index}]") for index, message in enumerate(messages))
        about = (
            {"eventId": taken[0].key[:32]} if self._api_key else {"message": "taken", "response_id": taken[0].key[:32]}
        )
        return Answer(status=200, body=encoded(success=True, **about), call=path.rpartition("/")[2], taken=taken)

    def refusal(self, fault: Fault) -> bytes:
        return encoded(success=False, message=fault.reason)

    def _authorize(self, request: Received) -> None:
        if self._api_key:
            known = same(request.headers.get("x-api-key"), self._api_key) and "authorization" not in request.headers
        else:
            known = same(request.headers.get("authorization"), f"Bearer {self._token}")
        if not known:
            raise Fault("the credential is missing or not known", 401)

    def _message(self, path: str, message: Any, where: str) -> Taken:
        _SHAPES[path](message, where)
        if path == "/api/track":
            self._event_name(message, where)
        if path == "/api/group" and message.get("context", {}).get("group_id") != message["group_id"]:
            raise Fault(f"{where}.context.group_id must equal group_id")
        if path == "/api/page" and ("user_id" in message) == ("session_id" in message):
            raise Fault(f"{where} must have user_id or session_id, one of them")
        return Taken(message, message.get("user_id") or message["session_id"], content_key(path, message))

    def _event_name(self, message: dict[str, Any], where: str) -> None:
        names = {message[name] for name in ("event", "event_name") if name in message}
        if len(names) > 1:
            raise Fault(f"{where}: event and event_name differ")
        if not names or (self._api_key and "event_name" not in message):
            raise Fault(f"{where}: event_name is missing")
