"""SuprSend on 127.0.0.1: signed requests, events one by one or in bulk, profiles, and a verdict for each record."""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

from .answer import Answer, Taken, encoded
from .reading import Fault, Received, media_type, posted, same, strict_json
from .receiver import Receiver
from .shape import Shape, anything, content_key, each, json_bytes, text
from .suprsend_shapes import event_shape, profile_shape

CONTENT_TYPE = "application/json; charset=utf-8"
MAX_BYTES = 800 * 1024
MAX_PROFILE_BYTES = 10 * 1024
MAX_EVENTS = 100
#: How far a signed Date may be off; the vendor asks for a fresh one and names no number.
MAX_SKEW_SECONDS = 15 * 60.0


def signature(secret: str, request: Received) -> str:
    """Compute what must stand behind the workspace key in the Authorization header (SDK 0.20.0)."""
    digest = hashlib.md5(request.body, usedforsecurity=False).hexdigest() if request.body else ""
    lines = [request.method, digest, request.headers.get("content-type", ""), request.headers.get("date", "")]
    signed = "\n".join([*lines, request.path])
    return base64.b64encode(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()).decode()


class SuprSendReceiver(Receiver):
    """Takes what SuprSend documents and its Python SDK 0.20.0 sends.

    Args:
        workspace_key: sent as ``env``, together with ``workspace_secret``: requests must be signed.
        workspace_uid: sent as ``env``, together with ``api_key``: requests carry a bearer key.
        clock: seconds since 1970.
    """

    drops_repeats = True

    def __init__(
        self,
        *,
        workspace_key: str | None = None,
        workspace_secret: str | None = None,
        workspace_uid: str | None = None,
        api_key: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        signed, bearer = (workspace_key, workspace_secret), (workspace_uid, api_key)
        if not (all(signed) and not any(bearer)) and not (all(bearer) and not any(signed)):
            raise ValueError("give workspace_key and workspace_secret, or workspace_uid and api_key")
        super().__init__(workspace_secret or "", api_key or "", clock=clock)
        self._env = workspace_key or workspace_uid or ""
        self._secret = workspace_secret
        self._api_key = api_key
        self._event = event_shape(self._env)
        self._profile = profile_shape(self._env)

    def take(self, request: Received) -> Answer:
        user = _user_of(request.path)
        if user is None:
            posted(request, ["/v2/event/", "/v2/bulk/event/", "/event/"])
        self._authorize(request)
        media_type(request)
        if len(request.body) > MAX_BYTES:
            raise Fault(f"the body has more than {MAX_BYTES} bytes", 413)
        body = strict_json(request.body)
        if request.path == "/v2/bulk/event/":
            return self._bulk(body)
        if user is not None:
            taken, call = _edited(request.path, user, body)
        elif request.path == "/event/" and isinstance(body, dict) and "$user_operations" in body:
            self._profile(body, "$")
            _small(body)
            taken, call = Taken(body, body["distinct_id"], body["$insert_id"]), "profile"
        else:
            taken, call = self._one(body, "$"), "event"
        return Answer(status=202, body=encoded(status="success", message_id=taken.key), call=call, taken=(taken,))

    def refusal(self, fault: Fault) -> bytes:
        return encoded(status="error", error=_error(fault))

    def _authorize(self, request: Received) -> None:
        given = request.headers.get("authorization", "")
        if self._api_key:
            if not same(given, f"Bearer {self._api_key}"):
                raise Fault("the API key is missing or not known", 401)
            return
        if request.headers.get("content-type") != CONTENT_TYPE:
            raise Fault(f"the content type that is signed must be {CONTENT_TYPE!r}", 415)
        if abs((request.now - _date(request.headers.get("date", ""))).total_seconds()) > MAX_SKEW_SECONDS:
            raise Fault("the Date is too old or in the future: sign again for each attempt", 401)
        if not same(given, f"{self._env}:{signature(self._secret or '', request)}"):
            raise Fault("the signature does not fit the key and the bytes", 401)

    def _bulk(self, body: Any) -> Answer:
        each(anything)(body, "$")
        if not 1 <= len(body) <= MAX_EVENTS:
            raise Fault(f"a bulk holds 1 to {MAX_EVENTS} events, not {len(body)}")
        records: list[dict[str, Any]] = []
        taken: list[Taken] = []
        refused: list[str] = []
        for index, event in enumerate(body):
            try:
                taken.append(self._one(event, f"$[{index}]"))
                records.append({"status": "success", "message_id": taken[-1].key, "status_code": 202})
            except Fault as fault:
                refused.append(fault.reason)
                records.append({"status": "error", "error": _error(fault), "status_code": fault.status})
        status, word = (207, "partial") if refused else (202, "success")
        body = encoded(status=word, records=records)
        return Answer(status=status, body=body, call="bulk", taken=tuple(taken), refused=tuple(refused))

    def _one(self, event: Any, where: str) -> Taken:
        self._event(event, where)
        # The service trims the key itself.
        return Taken(event, event["distinct_id"], event.get("$idempotency_key", event["$insert_id"]).strip())


def _user_of(path: str) -> str | None:
    """Return the id in ``/v1/user/{id}/`` or ``/v1/user/{id}/merge/``; a slash of its own is percent-encoded."""
    match path.removeprefix("/v1/user/").split("/") if path.startswith("/v1/user/") else []:
        case [user, ""] | [user, "merge", ""] if user:
            return unquote(user)
    return None


def _edited(path: str, user: str, body: Any) -> tuple[Taken, str]:
    if path.endswith("/merge/"):
        Shape({"from_user_id": text})(body, "$")
        return Taken(body, user, content_key(path, body)), "merge"
    anything(body, "$")
    _small(body)
    return Taken(body, user, content_key(path, body)), "upsert"


def _small(profile: Any) -> None:
    if json_bytes(profile) > MAX_PROFILE_BYTES:
        raise Fault(f"a profile has at most {MAX_PROFILE_BYTES} bytes", 413)


def _date(value: str) -> datetime:
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError) as error:
        raise Fault("the Date header is missing or cannot be read", 401) from error
    if when.tzinfo is None:
        raise Fault("the Date header must be in GMT", 401)
    return when


def _error(fault: Fault) -> dict[str, str]:
    return {"type": "authentication_error" if fault.status == 401 else "invalid_request", "message": fault.reason}
