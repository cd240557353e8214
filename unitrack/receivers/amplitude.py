"""Amplitude on 127.0.0.1: up to 2000 events at ``/2/httpapi`` or ``/batch``, the key in the body, all or nothing."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from .answer import Answer, Taken, encoded
from .reading import Fault, Received, media_type, posted, same, strict_json
from .receiver import Receiver
from .shape import Check, Shape, anything, content_key, each, text

MAX_BODY_BYTES = {"/2/httpapi": 1_000_000, "/batch": 20_000_000}
MAX_EVENTS = 2000
MIN_ID_LENGTH = 5

_MISSING = "Request missing required field: api_key"
#: Faults that the sentence of an answer shows; its indexes name all of them.
_SHOWN = 10


def _string(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise Fault(f"{where} must be text")


def _number(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Fault(f"{where} must be a number")


def _whole(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Fault(f"{where} must be a whole number")


def _positive(value: Any, where: str) -> None:
    _whole(value, where)
    if value < 1:
        raise Fault(f"{where} must be at least 1")


def _milliseconds(value: Any, where: str) -> None:
    _whole(value, where)
    if abs(value) >= 2**53:
        raise Fault(f"{where} must be milliseconds since 1970")


_ENVELOPE = Shape({"api_key": _string, "events": each(anything)}, {"options": Shape({}, {"min_id_length": _positive})})
_OPERATIONS = Shape(
    {},
    {
        **dict.fromkeys(("$set", "$setOnce", "$add", "$append", "$prepend", "$preInsert", "$postInsert"), anything),
        **dict.fromkeys(("$remove", "$unset"), anything),
        "$clearAll": lambda value, where: None,
    },
)
#: What the vendor's Python client 1.3.0 knows of an event, and its types.
_EVENT: Mapping[str, Check] = {
    **dict.fromkeys(("event_type", "user_id", "device_id", "insert_id"), text),
    **dict.fromkeys(
        (
            *("library", "platform", "app_version", "version_name", "os_name", "os_version", "device_brand"),
            *("device_manufacturer", "device_model", "carrier", "country", "region", "city", "dma", "language"),
            *("currency", "productId", "revenueType", "ip", "user_agent", "idfa", "idfv", "adid", "android_id"),
            "partner_id",
        ),
        _string,
    ),
    **dict.fromkeys(("price", "revenue", "location_lat", "location_lng"), _number),
    **dict.fromkeys(("quantity", "event_id", "session_id"), _whole),
    **dict.fromkeys(
        ("event_properties", "user_properties", "group_properties", "groups", "plan", "ingestion_metadata"),
        anything,
    ),
    "time": _milliseconds,
}
#: By the kinds of event that change a profile: there properties must be operations.
_PROFILES: Mapping[str, Mapping[str, Check]] = {
    "$identify": {**_EVENT, "user_properties": _OPERATIONS},
    "$groupidentify": {**_EVENT, "group_properties": _OPERATIONS},
}

#: One fault: the vendor's list for it (none: of those silenced), the member at fault, a sentence.
_Flaw = tuple[str, str, str]


class AmplitudeReceiver(Receiver):
    """Takes what Amplitude documents and its Python SDK 1.3.0 sends.

    One bad event, and nothing of its request is taken; the answer names the index of each.
    The service drops an id that is too short and may take the event for its other id; this one refuses it.

    Args:
        api_key: the only key that is let in.
        silenced: users and devices of whom nothing more is taken.
        clock: seconds since 1970.
    """

    drops_repeats = True

    def __init__(self, *, api_key: str, silenced: Collection[str] = (), clock: Callable[[], float] = time.time) -> None:
        super().__init__(api_key, clock=clock)
        self._key = api_key
        self._silenced = tuple(silenced)

    def take(self, request: Received) -> Answer:
        path = posted(request, list(MAX_BODY_BYTES))
        media_type(request)
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Fault("no content coding is known here", 415)
        if len(request.body) > MAX_BODY_BYTES[path]:
            raise Fault(f"the body has more than {MAX_BODY_BYTES[path]} bytes", 413)
        envelope = strict_json(request.body)
        self._authorize(envelope)
        _ENVELOPE(envelope, "$")
        events = envelope["events"]
        if not events:
            raise Fault("$.events must hold at least one event")
        if len(events) > MAX_EVENTS:
            raise Fault(f"$.events must hold at most {MAX_EVENTS} events, not {len(events)}", 413)
        least = envelope.get("options", {}).get("min_id_length", MIN_ID_LENGTH)
        flaws = {index: found for index, event in enumerate(events) if (found := [*self._flaws(event, index, least)])}
        if flaws:
            return _named(flaws)
        about = {"events_ingested": len(events), "payload_size_bytes": len(request.body)}
        uploaded = int(request.now.timestamp() * 1000)
        body = encoded(code=200, **about, server_upload_time=uploaded)
        kind = events[-1]["event_type"]
        call = kind if kind in _PROFILES else "event"
        return Answer(status=200, body=body, call=call, taken=tuple(_taken(path, event) for event in events))

    def refusal(self, fault: Fault) -> bytes:
        missing = {"missing_field": "api_key"} if fault.reason == _MISSING else {}
        return encoded(code=fault.status, error=fault.reason, **missing)

    def _authorize(self, envelope: Any) -> None:
        key = envelope.get("api_key") if isinstance(envelope, dict) else None
        if not key:
            raise Fault(_MISSING)
        if not same(key, self._key):
            raise Fault("Invalid API key")  # the service repeats the key here, and logs would keep it

    def _flaws(self, event: dict[str, Any], index: int, least: int) -> Iterator[_Flaw]:
        yield from _flaws(event, f"$.events[{index}]", least)
        for name in ("user_id", "device_id"):
            if event.get(name) in self._silenced:
                yield "", name, f"$.events[{index}].{name} is silenced"


def _flaws(event: dict[str, Any], where: str, least: int) -> Iterator[_Flaw]:
    kind = event.get("event_type")
    if kind is None:
        yield "missing_fields", "event_type", f"{where}: event_type is missing"
    if kind != "$groupidentify" and "user_id" not in event and "device_id" not in event:
        yield "missing_fields", "user_id", f"{where} must have user_id or device_id"
    groups = event.get("groups")
    if kind == "$groupidentify" and not (isinstance(groups, dict) and len(groups) == 1):
        yield "invalid_fields", "groups", f"{where}.groups must name one group"
    checks = _PROFILES.get(str(kind), _EVENT)
    for name in sorted(event):
        try:
            _member(checks, event, name, where)
        except Fault as fault:
            yield "invalid_fields", name, fault.reason
        else:
            if name in ("user_id", "device_id") and len(event[name]) < least:
                yield "invalid_id_lengths", name, f"{where}.{name} must have at least {least} characters"


def _member(checks: Mapping[str, Check], event: Mapping[str, Any], name: str, where: str) -> None:
    if name not in checks:
        raise Fault(f"{where}: {name} is not known")
    checks[name](event[name], f"{where}.{name}")


def _named(flaws: Mapping[int, list[_Flaw]]) -> Answer:
    """Answer with the indexes of the bad events; nothing is taken."""
    lists: dict[str, Any] = {}
    for index, found in flaws.items():
        for kind, name, _ in found:
            if kind:
                lists.setdefault(f"events_with_{kind}", {}).setdefault(name, []).append(index)
            else:
                lists.setdefault("silenced_events", []).append(index)
    sentences = tuple(found[0][2] for found in flaws.values())
    body = encoded(code=400, error="; ".join(sentences[:_SHOWN]), **lists)
    return Answer(status=400, body=body, refused=sentences)


def _taken(path: str, event: dict[str, Any]) -> Taken:
    ids = [event.get(name) for name in ("user_id", "device_id")]
    group = " ".join(f"{kind}:{name}" for kind, name in event.get("groups", {}).items())
    # A repeat is one of the same device.
    key = f"{event['insert_id']}\n{ids[1] or ''}" if "insert_id" in event else content_key(path, event)
    return Taken(event, ids[0] or ids[1] or group, key)
