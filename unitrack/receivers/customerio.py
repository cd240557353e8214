"""Customer.io on 127.0.0.1: the Track API with a verdict for each operation, or Pipelines with one for all."""

import base64
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from .answer import Answer, Taken, encoded
from .customerio_shapes import OPERATIONS, V1_CALLS, identifier
from .reading import Fault, Received, media_type, posted, same, strict_json, unzipped
from .receiver import Receiver
from .segment_shapes import entry, shapes
from .shape import Shape, anything, content_key, each, instant, json_bytes

MAX_BODY_BYTES = 500_000
MAX_MESSAGE_BYTES = 32_768
MAX_MESSAGES = 100

_BATCH = Shape({"batch": each(lambda operation, where: None)})
_ENVELOPE = Shape({"batch": each(anything)}, {"sentAt": instant})
_EVENTS = ("event", "page", "screen")
_MESSAGES = shapes()
_place_of = re.compile(r"\$(?:\.batch\[\d+\])?[.:] ?([\w.]+)").match


class CustomerIOReceiver(Receiver):
    """Takes what Customer.io documents and its Python SDKs send: versions 1 and 2 of the Track API, or Pipelines.

    Where the service drops a message or a member in silence, this one refuses it and says what is wrong: anything
    bad in Pipelines, a time as text in the Track API.

    Args:
        api_key: the only key that is let in.
        site_id: stands beside the key of the Track API; without it this is Pipelines.
        clock: seconds since 1970.
    """

    # By id or messageId. What has neither is about a profile, where the same once more changes nothing.
    drops_repeats = True

    def __init__(self, *, api_key: str, site_id: str | None = None, clock: Callable[[], float] = time.time) -> None:
        super().__init__(api_key, clock=clock)
        self._is_track = site_id is not None
        bearer = not self._is_track and re.match("[ps]k_(us|eu)_", api_key)
        credentials = f"{site_id}:{api_key}" if self._is_track else f"{api_key}:"
        basic = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        self._authorization = f"Bearer {api_key}" if bearer else basic

    def take(self, request: Received) -> Answer:
        if not self._is_track:
            return self._pipelines(request)
        if request.path.startswith("/api/v1/"):
            return self._version_1(request)
        path = posted(request, ["/api/v2/batch", "/api/v2/entity"])
        body = self._read(request)
        if path == "/api/v2/entity":
            body = {"batch": [body]}
        _BATCH(body, "$")
        if not body["batch"]:
            raise Fault("$.batch must hold at least one operation")
        return _judged(body["batch"], "$" if path == "/api/v2/entity" else "$.batch[{}]", request)

    def refusal(self, fault: Fault) -> bytes:
        if self._is_track:
            return encoded(errors=[_error(fault)])
        return encoded(code="unauthorized" if fault.status == 401 else "invalid_request", message=fault.reason)

    def _read(self, request: Received) -> Any:
        if not same(request.headers.get("authorization"), self._authorization):
            raise Fault("the credentials are missing or not known", 401)
        media_type(request)
        if self._is_track and "content-encoding" in request.headers:
            raise Fault("no content coding is documented", 415)
        body = unzipped(request, MAX_BODY_BYTES)
        if len(body) > MAX_BODY_BYTES:
            raise Fault(f"the body has more than {MAX_BODY_BYTES} bytes", 413)
        return strict_json(body)

    def _version_1(self, request: Received) -> Answer:
        try:
            taken, call = _called(request, self._read(request))
        except Fault as fault:
            body = encoded(meta={"error": fault.reason})
            return Answer(status=fault.status, body=body, refused=(fault.reason,))
        return Answer(status=200, body=b"{}", call=call, taken=(taken,))

    def _pipelines(self, request: Received) -> Answer:
        posted(request, ["/v1/batch"])
        body = self._read(request)
        _ENVELOPE(body, "$")
        batch = body["batch"]
        if not 1 <= len(batch) <= MAX_MESSAGES:
            raise Fault(f"$.batch must hold 1 to {MAX_MESSAGES} messages, not {len(batch)}")
        taken = tuple(
            entry(_MESSAGES, message, f"$.batch[{index}]", most=MAX_MESSAGE_BYTES)
            for index, message in enumerate(batch)
        )
        return Answer(status=200, body=encoded(success=True), call=batch[-1]["type"], taken=taken)


def _judged(batch: list[Any], place: str, request: Received) -> Answer:
    taken: list[Taken] = []
    faults: dict[int, Fault] = {}
    for index, operation in enumerate(batch):
        where = place.format(index)
        try:
            taken.append(_operation(operation, where, request))
        except Fault as fault:
            faults[index] = fault
    refused = tuple(fault.reason for fault in faults.values())
    if not taken:
        return Answer(status=400, body=encoded(errors=[_error(fault) for fault in faults.values()]), refused=refused)
    call = taken[-1].message
    errors = [{"batch_index": index, **_error(fault)} for index, fault in faults.items()]
    return Answer(
        status=207 if faults else 200,
        body=encoded(errors=errors) if faults else b"{}",
        call=call["action"] if call["type"] == "person" else "object",
        taken=tuple(taken),
        refused=refused,
    )


def _operation(operation: Any, where: str, request: Received) -> Taken:
    anything(operation, where)
    kind = operation.get("type"), operation.get("action")
    shape = OPERATIONS.get((str(kind[0]), str(kind[1])))
    if shape is None:
        known = ", ".join(" ".join(names) for names in OPERATIONS)
        raise Fault(f"{where}: type and action must be one of {known}")
    shape(operation, where)
    _small(operation, where)
    if kind[0] == "object":
        related = operation.get("cio_relationships")
        user = _only(related[0]["identifiers"]) if related else operation["identifiers"]["object_id"]
    else:
        user = _only(operation.get("identifiers") or operation["primary"])
    return Taken(operation, user, _key(operation, kind[1] in _EVENTS, where, request))


def _called(request: Received, body: Any) -> tuple[Taken, str]:
    """Judge a call of version 1; return what is taken, and the word for it."""
    path = request.path.removeprefix("/api/v1/")
    calls = [
        (found, check, call)
        for method, pattern, check, call in V1_CALLS
        if method == request.method and (found := re.fullmatch(pattern, path))
    ]
    if not calls:
        raise Fault(f"no such call: {request.method} {request.path}", 404)
    found, check, call = calls[0]
    check(body, "$")
    _small(body, "$")
    user = unquote(found[1]) if found.groups() else body.get("anonymous_id") or _only(body["primary"])
    identifier(user, "the id in the path")
    call = body.get("type", call) if call == "event" else call
    return Taken(body, user, _key(body, call in _EVENTS, request.path, request)), call


def _key(entry: dict[str, Any], is_event: bool, where: str, request: Received) -> str:
    if not is_event:
        return content_key(where.partition("[")[0], entry)
    # Without an id the same event is another one each time that it comes.
    return str(entry.get("id") or content_key(f"{where} {request.now.isoformat()}", entry))


def _only(identifiers: dict[str, str]) -> str:
    (value,) = identifiers.values()
    return value


def _small(entry: Any, where: str) -> None:
    size = json_bytes(entry)
    if size > MAX_MESSAGE_BYTES:
        raise Fault(f"{where} has {size} bytes, more than {MAX_MESSAGE_BYTES}", 413)


def _error(fault: Fault) -> dict[str, str]:
    found = _place_of(fault.reason)
    reason = "required" if fault.reason.endswith("is missing") else "invalid"
    return {"reason": reason, "field": found[1] if found else "", "message": fault.reason}
