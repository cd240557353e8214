"""PostHog on 127.0.0.1: batches of events at ``/batch/`` (v0), and with a verdict for each at the path of v1."""

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import UUID, uuid4

from .answer import Answer, Taken, encoded
from .reading import Fault, Received, media_type, posted, same, strict_json, unzipped
from .receiver import Receiver
from .shape import Check, Shape, anything, each, flag, instant, json_bytes, matching, text

V0, V1 = "/batch/", "/i/v1/analytics/events"
DOCS = "https://posthog.com/docs/api"
MAX_BODY_BYTES = 20 * 1024 * 1024
MAX_EVENT_BYTES = 1024 * 1024
MAX_NAME = 200

#: Ids of nobody, as v1 compares them: without case and blanks around them.
NOBODY = frozenset(
    {
        "0", "00000000-0000-0000-0000-000000000000", "[object object]", "anonymous", "anonymous-user", "backend",
        "distinct_id", "distinctid", "email", "false", "guest", "id", "nan", "none", "not_authenticated", "null",
        "system", "true", "undefined", "user",
    }
)  # fmt: skip
#: Properties that v1 wants as members of an event, or in its options, or not at all.
LIFTED = (
    *("$session_id", "$window_id", "$cookieless_mode", "$ignore_sent_at", "$product_tour_id"),
    *("$process_person_profile", "$lib", "$lib_version"),
)
#: Events about a person, and properties about one.
PERSONAL = ("$identify", "$create_alias", "$merge_dangerously", "$groupidentify")
OF_A_PERSON = ("$set", "$set_once", "$unset")

#: Properties without which an event of this name has no meaning, and the one that names a second id of the person.
_NEEDED = {"$groupidentify": ("$group_type", "$group_key"), "$create_alias": ("alias",)}
_MERGED = {"$identify": "$anon_distinct_id", "$create_alias": "alias"}
_TAGS = {401: "invalid_api_token", 413: "payload_too_large", 415: "unsupported_content_type"}

_uuid = matching("(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "a UUID")
_HEADERS: Mapping[str, Check] = {
    "posthog-sdk-info": matching(r"[^/]+(/[^/]+)+", "the client's name, a slash and its version"),
    "posthog-attempt": matching("[1-9][0-9]{0,8}", "a whole number from 1"),
    "posthog-request-id": _uuid,
    "posthog-request-timestamp": instant,
}


def _string(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise Fault(f"{where} must be text")


_V0_EVENT = Shape(
    {"event": _string, "distinct_id": _string},
    {"uuid": _uuid, "timestamp": instant, "properties": anything, "$set": anything, "$set_once": anything},
)
_OPTIONS = Shape(
    {},
    {"product_tour_id": _string}
    | dict.fromkeys(("cookieless_mode", "disable_skew_correction", "process_person_profile"), flag),
)
# What is wrong with these texts costs the one event only, and is judged later.
_V1_EVENT = Shape(
    dict.fromkeys(("event", "distinct_id", "timestamp"), _string)
    | {"uuid": _uuid, "options": _OPTIONS, "properties": anything},
    {"session_id": _string, "window_id": _string},
)
_V0_BODY = Shape({"api_key": _string, "batch": each(_V0_EVENT)}, {"historical_migration": flag, "sent_at": instant})
_V1_BODY = Shape({"created_at": instant, "batch": each(_V1_EVENT)}, {"historical_migration": flag})


class _Dropped(Fault):
    """What is wrong with one event, and the vendor's word for it in the verdicts of v1."""

    def __init__(self, reason: str, tag: str) -> None:
        super().__init__(reason)
        self.tag = tag


class PostHogReceiver(Receiver):
    """Takes what PostHog documents and its Python SDK 7.91.1 sends in either mode; of the codings only gzip.

    Where the service answers 200 and cuts, ignores or loses something in silence, this one says 400 and what is wrong.
    Only the quota is as silent as it is there.

    Args:
        api_key: of the only project that is let in.
        over_quota: names of events that the project has no quota left for: v0 answers as if it took them, v1 drops
            them by name.
        clock: seconds since 1970.
    """

    # Equal uuid, event, distinct_id and day are merged some time later; what is kept in the end is played.
    drops_repeats = True

    def __init__(
        self, *, api_key: str, over_quota: Collection[str] = (), clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(api_key, clock=clock)
        self._key = api_key
        self._over_quota = frozenset(over_quota)

    def take(self, request: Received) -> Answer:
        try:
            return self._take_v1(request) if request.path == V1 else self._take_v0(request)
        except Fault as fault:
            if request.path != V1:
                return _refused(fault, self.refusal(fault), **{"content-type": "text/plain"})
            tag = _TAGS.get(fault.status, "invalid_batch")
            return _refused(fault, encoded(error=tag, error_description=fault.reason, error_uri=DOCS))

    def refusal(self, fault: Fault) -> bytes:
        return fault.reason.encode()

    def _take_v0(self, request: Received) -> Answer:
        posted(request, [V0])
        if "authorization" in request.headers:
            raise Fault("v0 has its key in the body and no Authorization header", 401)
        envelope = _json(request, too_large=400)
        if isinstance(envelope, dict) and not same(envelope.get("api_key"), self._key):
            raise Fault("$.api_key is missing or not known", 401)
        _V0_BODY(envelope, "$")
        events = _events(envelope)
        for index, event in enumerate(events):
            _check_event(event, f"$.batch[{index}]", len, "characters")
            _check_person(event, f"$.batch[{index}]", event.get("properties", {}).get("$process_person_profile"))
        kept = [event for event in events if event["event"] not in self._over_quota]
        return Answer(
            status=200,
            body=encoded(status="Ok"),
            call=_call(events),
            taken=tuple(map(_taken, kept)),
            refused=("over the quota: lost in silence",) * (len(events) - len(kept)),
        )

    def _take_v1(self, request: Received) -> Answer:
        posted(request, [V1])
        if not same(request.headers.get("authorization"), f"Bearer {self._key}"):
            raise Fault("the Authorization header must be Bearer and the key of the project", 401)
        for name, check in _HEADERS.items():
            check(request.headers.get(name), f"the header {name}")
        envelope = _json(request, too_large=413)
        _V1_BODY(envelope, "$")
        events = _events(envelope)
        ids = [str(UUID(event["uuid"])) for event in events]
        for index, uuid in enumerate(ids):
            if uuid in ids[:index]:
                raise Fault(f"$.batch[{index}].uuid is that of another event in the batch")
        results: dict[str, dict[str, str]] = {}
        taken, refused = [], []
        for index, (uuid, event) in enumerate(zip(ids, events, strict=True)):
            try:
                self._judge_v1(event, f"$.batch[{index}]")
            except _Dropped as fault:
                results[uuid] = {"result": "drop", "details": fault.tag}
                refused.append(fault.reason)
            else:
                results[uuid] = {"result": "ok"}
                taken.append(_taken(event))
        body = encoded(results=results)
        return Answer(status=200, body=body, call=_call(events), taken=tuple(taken), refused=tuple(refused))

    def _judge_v1(self, event: Mapping[str, Any], where: str) -> None:
        _check_event(event, where, lambda name: len(name.encode()), "bytes")
        if event["distinct_id"].strip().lower() in NOBODY:
            raise _Dropped(f"{where}.distinct_id is the id of nobody", "malformed_distinct_id")
        try:
            instant(event["timestamp"], f"{where}.timestamp")
        except Fault as fault:
            raise _Dropped(fault.reason, "invalid_event_timestamp") from None
        if event["event"] in self._over_quota:
            raise _Dropped(f"{where} is over the quota", "billing_limit_exceeded")
        for name in LIFTED:
            if name in event["properties"]:
                raise Fault(f"{where}.properties.{name} has no meaning among the properties of v1")
        _check_person(event, where, event["options"].get("process_person_profile"))


def _json(request: Received, *, too_large: int) -> Any:
    media_type(request)
    body = unzipped(request, MAX_BODY_BYTES)
    if len(body) > MAX_BODY_BYTES:
        raise Fault(f"the body has more than {MAX_BODY_BYTES} bytes", too_large)
    return strict_json(body)


def _events(envelope: Mapping[str, Any]) -> list[dict[str, Any]]:
    batch: list[dict[str, Any]] = envelope["batch"]
    if not batch:
        raise Fault("$.batch holds no event")
    return batch


def _check_event(event: Mapping[str, Any], where: str, size: Callable[[str], int], unit: str) -> None:
    """Check what both wires ask of an event; v0 refuses the whole batch for it."""
    for member, absent, long in (
        ("event", "missing_event_name", "event_name_too_long"),
        ("distinct_id", "missing_distinct_id", "distinct_id_too_large"),
    ):
        if not event[member].strip():
            raise _Dropped(f"{where}.{member} is empty", absent)
        if size(event[member]) > MAX_NAME:
            raise _Dropped(f"{where}.{member} has more than {MAX_NAME} {unit}", long)
    if json_bytes(event) > MAX_EVENT_BYTES:
        raise _Dropped(f"{where} has more than {MAX_EVENT_BYTES} bytes", "event_too_big")
    _check_properties(event, f"{where}.properties")


def _check_properties(event: Mapping[str, Any], where: str) -> None:
    properties = event.get("properties", {})
    for name in {"$set", "$set_once", "$group_set", "$groups"} & properties.keys():
        anything(properties[name], f"{where}.{name}")
    for kind, key in properties.get("$groups", {}).items():
        if isinstance(key, bool) or not isinstance(key, int):
            text(key, f"{where}.$groups.{kind}")
    for name in _NEEDED.get(event["event"], ()):
        text(properties.get(name), f"{where}.{name}")
    merged = _MERGED.get(event["event"])
    if merged is not None and merged in properties:
        text(properties[merged], f"{where}.{merged}")
        for one in (properties[merged], event["distinct_id"]):
            if one.strip().lower() in NOBODY:
                raise Fault(f"{where}.{merged}: {one} is the id of nobody, which is never merged")


def _check_person(event: Mapping[str, Any], where: str, allowed: object) -> None:
    """Check that nothing is said about a person where the event allows none to be processed."""
    if allowed is not False:
        return
    if event["event"] in PERSONAL:
        raise Fault(f"{where}.event is about a person, and none may be processed")
    for name in OF_A_PERSON:
        if name in event or name in event.get("properties", {}):
            raise Fault(f"{where} has {name}, and no person may be processed")


def _call(events: list[dict[str, Any]]) -> str:
    name = str(events[-1]["event"])
    return name if name.startswith("$") else "capture"


def _taken(event: dict[str, Any]) -> Taken:
    # Without a uuid the service makes one up.
    uuid, day = str(event.get("uuid") or uuid4()).lower(), str(event.get("timestamp"))[:10]
    return Taken(event, event["distinct_id"], "\n".join((uuid, event["event"], event["distinct_id"], day)))


def _refused(fault: Fault, body: bytes, **headers: str) -> Answer:
    return Answer(status=fault.status, body=body, headers=headers, refused=(fault.reason,))
