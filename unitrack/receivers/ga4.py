"""Google Analytics 4 on 127.0.0.1: up to 25 events of one user per request, and what it would drop in silence, said."""

import re
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from attrs import evolve

from .answer import Answer, Taken, encoded
from .reading import Fault, Received, media_type, posted, same, strict_json
from .receiver import Receiver
from .shape import Check, Shape, anything, at_most, content_key, each, exactly, flag, text

COLLECT = "/mp/collect"
VALIDATE = "/debug/mp/collect"
MAX_BODY_BYTES = 130_000
MAX_EVENTS = 25
MAX_PARAMETERS = 25
MAX_USER_PROPERTIES = 25
MAX_AGE = timedelta(hours=72)
#: Text may be longer in these, whatever the property's limit is.
LONG = {"page_title": 300, "page_referrer": 420, "page_location": 1000}

_EVENTS_OF_ITS_OWN = re.compile(
    "ad_(activeview|click|exposure|query|reward)|adunit_exposure"
    "|app_(clear_data|exception|install|remove|store_refund|update|upgrade)"
    "|dynamic_link_(app_open|app_update|first_open)|error"
    "|firebase_(campaign|in_app_message_(action|dismiss|impression))|first_(open|visit)"
    "|notification_(dismiss|foreground|open|receive|send)|os_update|session_start|user_engagement"
)
_EVENTS_OF_APPS = {"ad_impression", "in_app_purchase", "screen_view"}
_USER_PROPERTIES_OF_ITS_OWN = re.compile(
    "(_|firebase_|ga_|google_).*"
    "|first_open_time|first_visit_time|last_deep_link_referrer|user_id|first_open_after_install"
)
_PARAMETERS_OF_ITS_OWN = re.compile(r"(_|firebase_|ga_|google_|gtag\.).*")
_WORD = re.compile(r"[^\W\d_]\w*")


class _Named(Fault):
    """A fault with the vendor's word for it."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(reason)
        self.code = code


class GA4Receiver(Receiver):
    """Takes what Google documents for the Measurement Protocol.

    Where the service answers 204 to bad data and to a wrong secret, this one says 400 or 401 and what is wrong, in the
    words of its validation server. At the path of that server it answers as Google does, takes nothing and looks at
    neither the secret nor the stream. A second ``purchase`` with the same ``transaction_id`` counts as a repeat.

    Args:
        measurement_id: of the only web stream; give this or ``firebase_app_id``.
        firebase_app_id: of the only app stream.
        api_secret: the only secret that is let in.
        value_limit: characters of a parameter's text.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        *,
        measurement_id: str | None = None,
        firebase_app_id: str | None = None,
        api_secret: str,
        value_limit: int = 100,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if (measurement_id is None) == (firebase_app_id is None):
            raise ValueError("give measurement_id or firebase_app_id, one of them")
        super().__init__(api_secret, clock=clock)
        self._secret = api_secret
        self._stream = ("measurement_id", measurement_id) if measurement_id else ("firebase_app_id", firebase_app_id)
        self._client = "client_id" if measurement_id else "app_instance_id"
        self._value_limit = value_limit

    def take(self, request: Received) -> Answer:
        address = urlsplit(request.path)
        path = posted(evolve(request, path=address.path), [COLLECT, VALIDATE])
        if path == VALIDATE:
            return self._validated(request, address.query)
        self._authorize(address.query, strictly=True)
        body = self._body(request)
        if "validation_behavior" in body:
            raise Fault("$.validation_behavior belongs to the validation server; here it only makes GA4 reject more")
        return Answer(status=204, body=b"", call="collect", taken=tuple(_taken(body, self._client)))

    def refusal(self, fault: Fault) -> bytes:
        code = fault.code if isinstance(fault, _Named) else "VALUE_INVALID"
        place = re.match(r"\$\.?([\w.\[\]]*)", fault.reason)
        said = {"fieldPath": place[1] if place else "", "description": fault.reason, "validationCode": code}
        return encoded(validationMessages=[said])

    def _validated(self, request: Received, query: str) -> Answer:
        try:
            self._authorize(query, strictly=False)
            body = self._body(request)
            if body.get("validation_behavior") == "ENFORCE_RECOMMENDATIONS":
                _not_too_old(body["events"], request)
        except Fault as fault:
            return Answer(status=200, body=self.refusal(fault), call="validate", refused=(fault.reason,))
        return Answer(status=200, body=encoded(validationMessages=[]), call="validate")

    def _authorize(self, query: str, *, strictly: bool) -> None:
        name, value = self._stream
        pairs = parse_qsl(query, keep_blank_values=True)
        given = dict(pairs)
        if given.keys() != {name, "api_secret"} or len(pairs) != 2 or not all(given.values()):
            raise Fault(
                f"the query must hold {name} and api_secret, once each and nothing else", 401 if strictly else 400
            )
        if strictly and (given[name] != value or not same(given["api_secret"], self._secret)):
            raise Fault(f"the {name} or the api_secret is not known", 401)

    def _body(self, request: Received) -> dict[str, Any]:
        media_type(request)
        if "content-encoding" in request.headers:
            raise Fault("no content coding is documented", 415)
        if len(request.body) > MAX_BODY_BYTES:
            raise Fault(f"the body has more than {MAX_BODY_BYTES} bytes", 413)
        body: dict[str, Any] = strict_json(request.body)
        Shape({self._client: text, "events": each(self._event)}, _OF_THE_USER)(body, "$")
        if not 1 <= len(body["events"]) <= MAX_EVENTS:
            raise _Named(
                f"$.events must hold 1 to {MAX_EVENTS} events, not {len(body['events'])}", "EXCEEDED_MAX_ENTITIES"
            )
        return body

    def _event(self, value: Any, where: str) -> None:
        Shape({"name": self._event_name}, {"params": self._parameters, "timestamp_micros": _microseconds})(value, where)

    def _event_name(self, value: Any, where: str) -> None:
        _name(value, where, 40)
        if _EVENTS_OF_ITS_OWN.fullmatch(value) or (self._client == "client_id" and value in _EVENTS_OF_APPS):
            raise _Named(f"{where} must not be {value}, which is reserved", "NAME_RESERVED")

    def _parameters(self, value: Any, where: str) -> None:
        anything(value, where)
        if len(value) > MAX_PARAMETERS:
            raise _Named(
                f"{where} must hold at most {MAX_PARAMETERS} parameters, not {len(value)}", "EXCEEDED_MAX_ENTITIES"
            )
        for name, parameter in value.items():
            self._parameter(name, parameter, where)

    def _parameter(self, name: str, value: Any, where: str) -> None:
        _parameter_name(name, where)
        if name == "items" and isinstance(value, list):
            each(self._item)(value, f"{where}.items")
        else:
            _scalar(value, f"{where}.{name}", LONG.get(name, self._value_limit))

    def _item(self, value: Any, where: str) -> None:
        anything(value, where)
        for name, parameter in value.items():
            _parameter_name(name, where)
            _scalar(parameter, f"{where}.{name}", self._value_limit)


def _parameter_name(name: str, where: str) -> None:
    if name == "firebase_conversion" or _PARAMETERS_OF_ITS_OWN.fullmatch(name):
        raise _Named(f"{where} must not hold {name}, which is reserved", "NAME_RESERVED")
    _name(name, f"{where}: the name {name!r}", 40)


def _name(value: Any, where: str, most: int) -> None:
    at_most(most)(value, where)
    if not _WORD.fullmatch(value):
        raise _Named(
            f"{where} must be of letters, digits and underscores and start with a letter, not {value!r}", "NAME_INVALID"
        )


def _scalar(value: Any, where: str, most: int) -> None:
    if isinstance(value, str):
        if len(value) > most:
            raise _Named(f"{where} must have at most {most} characters, not {len(value)}", "VALUE_OUT_OF_BOUNDS")
    elif not isinstance(value, (bool, int, float)):
        raise Fault(f"{where} must be text, a number, true or false")


def _microseconds(value: Any, where: str) -> None:
    # Before September 2001 they have fewer digits: those are seconds or milliseconds in the wrong place.
    if isinstance(value, bool) or not isinstance(value, int) or value < 10**15:
        raise Fault(f"{where} must be whole microseconds since 1970, a number of 16 digits")


def _user_properties(value: Any, where: str) -> None:
    anything(value, where)
    if len(value) > MAX_USER_PROPERTIES:
        raise _Named(f"{where} must hold at most {MAX_USER_PROPERTIES}, not {len(value)}", "EXCEEDED_MAX_ENTITIES")
    for name, one in value.items():
        if _USER_PROPERTIES_OF_ITS_OWN.fullmatch(name):
            raise _Named(f"{where} must not hold {name}, which is reserved", "NAME_RESERVED")
        _name(name, f"{where}: the name {name!r}", 24)
        Shape({"value": _user_value}, {"timestamp_micros": _microseconds})(one, f"{where}.{name}")


def _user_value(value: Any, where: str) -> None:
    _scalar(value, where, 36)


_OF_THE_USER: Mapping[str, Check] = {
    "user_id": at_most(256),
    "user_properties": _user_properties,
    "timestamp_micros": _microseconds,
    "ip_override": text,
    "user_agent": text,
    "consent": anything,
    "user_location": anything,
    "device": anything,
    "user_data": anything,
    "non_personalized_ads": flag,
    "validation_behavior": exactly("ENFORCE_RECOMMENDATIONS"),
}


def _not_too_old(events: list[dict[str, Any]], request: Received) -> None:
    oldest = int((request.now - MAX_AGE).timestamp() * 1_000_000)
    for index, event in enumerate(events):
        if event.get("timestamp_micros", oldest) < oldest:
            raise _Named(f"$.events[{index}].timestamp_micros is more than 72 hours ago", "VALUE_OUT_OF_BOUNDS")


def _taken(body: dict[str, Any], client: str) -> list[Taken]:
    """Store each event with what its request says of the user."""
    head = {name: value for name, value in body.items() if name != "events"}
    found = []
    for event in body["events"]:
        message = {**head, **event}
        purchase = event["name"] == "purchase" and event.get("params", {}).get("transaction_id")
        key = f"purchase {purchase}" if purchase else content_key(COLLECT, message)
        found.append(Taken(message, body.get("user_id") or body[client], key))
    return found
