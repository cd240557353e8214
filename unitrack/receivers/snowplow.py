"""A Snowplow collector on 127.0.0.1: events whose members are all text at ``/com.snowplowanalytics.snowplow/tp2``."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from .answer import Answer, Taken, encoded
from .reading import Fault, Received, media_type, posted, strict_json
from .receiver import Receiver
from .shape import Check, Shape, anything, at_most, content_key, each, matching, text

PATH = "/com.snowplowanalytics.snowplow/tp2"
# The collector passes on what a record of its stream holds, commonly this much.
MAX_BODY_BYTES = 1_000_000

_SCREEN_VIEW = "iglu:com.snowplowanalytics.mobile/screen_view/jsonschema/1-0-0"


def _of_the_vendors(name: str, versions: str) -> Check:
    schema = f"iglu:com.snowplowanalytics.snowplow/{name}/jsonschema/{versions}"
    return matching(schema.replace(".", r"\."), f"the schema of {name}")


_schema = matching(
    r"iglu:[A-Za-z0-9_.-]+/[A-Za-z0-9_-]+/jsonschema/[0-9]+-[0-9]+-[0-9]+", "iglu:vendor/name/jsonschema/N-N-N"
)
_uuid = matching(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", "a UUID")
_milliseconds = matching(r"-?[0-9]{1,15}", "milliseconds since 1970 as text")
# Thirteen digits from 2001 to 2286: neither seconds nor a place that was never filled.
_now = matching(r"[1-9][0-9]{12}", "milliseconds since 1970 as text")

_ENVELOPE = Shape({"schema": _of_the_vendors("payload_data", "1-0-[0-4]"), "data": each(anything)})
_EVENT = Shape(
    {"schema": _of_the_vendors("unstruct_event", "1-0-0"), "data": Shape({"schema": _schema, "data": anything})}
)
_ENTITIES = Shape(
    {
        "schema": _of_the_vendors("contexts", "1-0-[01]"),
        "data": each(Shape({"schema": _schema, "data": lambda value, where: None})),
    }
)
_SCREEN = Shape(
    {"name": text, "id": at_most(36)},
    dict.fromkeys(("type", "previousName", "previousId", "previousType", "transitionType"), text),
)

# Lengths are those of the vendor's table of fields; a customer can allow more.
_COMMON: dict[str, Check] = {
    "e": text,
    "eid": _uuid,
    "tv": at_most(100),
    "p": matching("web|mob|pc|srv|app|tv|cnsl|iot|headset", "a platform such as srv"),
    "aid": at_most(255),
}
_OPTIONAL: dict[str, Check] = {
    "tna": at_most(128),
    "uid": at_most(255),
    "duid": at_most(128),
    "tnuid": at_most(128),
    "dtm": _milliseconds,
    "ttm": _milliseconds,
    "stm": _now,
    "ip": at_most(128),
    "ua": at_most(1000),
    "lang": at_most(255),
    "tz": at_most(255),
    "res": matching("[0-9]+x[0-9]+", "width x height"),
    "vp": matching("[0-9]+x[0-9]+", "width x height"),
    "cd": matching("[0-9]+", "a number as text"),
    "page": at_most(2000),
    "refr": at_most(10_000),
    "cx": text,
    "co": text,
}
_URL: dict[str, Check] = {"url": at_most(10_000)}
_SHAPES = {
    "ue": Shape(_COMMON, _OPTIONAL | _URL | {"ue_px": text, "ue_pr": text}),
    "pv": Shape(_COMMON | _URL, _OPTIONAL),
    "se": Shape(
        _COMMON | {"se_ca": at_most(1000), "se_ac": at_most(1000)},
        _OPTIONAL
        | _URL
        | {
            "se_la": at_most(1000),
            "se_pr": at_most(1000),
            "se_va": matching(r"-?[0-9]+(\.[0-9]+)?([Ee][+-]?[0-9]+)?", "a number as text"),
        },
    ),
}
_FOLDED = {"ue_px", "ue_pr", "cx", "co"}


class SnowplowReceiver(Receiver):
    """Takes what the vendor documents and its Python SDK 1.1.0 sends.

    A collector answers 200 to everything, and hours later an event that does not fit is a failed event; this one says
    400 and what is wrong. Of schemas it knows the vendor's own, not those of a customer.

    What it keeps has ``schema`` and ``data`` in place of ``ue_px`` or ``ue_pr``, ``contexts`` in place of ``cx`` or
    ``co``. An event of nobody is refused, though a collector takes it: no table of users would ever show it.

    Args:
        clock: seconds since 1970.
    """

    # The pipeline does, by eid and content, where it is set up for it.
    drops_repeats = True

    def take(self, request: Received) -> Answer:
        posted(request, [PATH])
        media_type(request)
        if len(request.body) > MAX_BODY_BYTES:
            raise Fault(f"the body has more than {MAX_BODY_BYTES} bytes", 413)
        envelope = strict_json(request.body)
        _ENVELOPE(envelope, "$")
        events = envelope["data"]
        if not events:
            raise Fault("$.data must hold at least one event")
        taken = tuple(_event(event, f"$.data[{index}]") for index, event in enumerate(events))
        headers = {"content-type": "text/plain; charset=utf-8"}
        return Answer(status=200, body=b"ok", call=events[-1]["e"], taken=taken, headers=headers)

    def refusal(self, fault: Fault) -> bytes:
        return encoded(message=fault.reason)


def _event(event: dict[str, Any], where: str) -> Taken:
    shape = _SHAPES.get(str(event.get("e")))
    if shape is None:
        raise Fault(f"{where}.e must be one of {', '.join(_SHAPES)}")
    shape(event, where)
    user = event.get("uid") or event.get("duid")
    if user is None:
        raise Fault(f"{where} must have uid or duid")
    message = {name: value for name, value in event.items() if name not in _FOLDED}
    if event["e"] == "ue":
        message |= _self_describing(event, where)
    if "cx" in event or "co" in event:
        message["contexts"] = _unfolded(event, "cx", "co", _ENTITIES, where)
    # The time of the attempt makes no other event of it.
    return Taken(message, user, content_key(PATH, {**message, "stm": None}))


def _self_describing(event: Mapping[str, Any], where: str) -> dict[str, Any]:
    if "ue_px" not in event and "ue_pr" not in event:
        raise Fault(f"{where}: ue_px is missing")
    inner: dict[str, Any] = _unfolded(event, "ue_px", "ue_pr", _EVENT, where)
    if inner["schema"] == _SCREEN_VIEW:
        _SCREEN(inner["data"], f"{where}: the data of the screen view")
    return inner


def _unfolded(event: Mapping[str, Any], in_base64: str, plain: str, shape: Shape, where: str) -> Any:
    """Return the data of the JSON that stands as text in one of two members."""
    if in_base64 in event and plain in event:
        raise Fault(f"{where}: {in_base64} and {plain} say the same; send one of them")
    name = in_base64 if in_base64 in event else plain
    try:
        value = strict_json(_from_base64(event[name]) if name == in_base64 else event[name].encode())
    except Fault as fault:
        raise Fault(f"{where}.{name}: {fault.reason.replace('the body', 'it')}") from fault
    shape(value, f"{where}.{name}")
    return value["data"]


def _from_base64(value: str) -> bytes:
    matching("[A-Za-z0-9_-]+={0,2}", "base64 for addresses")(value, "it")
    try:
        # Its padding may be missing.
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except binascii.Error as error:
        raise Fault("it is cut off") from error
