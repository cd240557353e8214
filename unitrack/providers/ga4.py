"""Google Analytics 4: events of one user per request, the secret in the query, and 2xx for whatever is sent.

API: https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference (2026).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlencode

from attrs import evolve, field, frozen

from ..answers import describe, json_body, outcome_of
from ..errors import ConfigError, Unsupported
from ..forms import epoch, instant_of
from ..message import Alias, Group, Identify, Message, Page, Screen, Track
from ..secret import discreet
from ..settings import flag, one_of, own_table, trimmed, whole
from ..values import dumps
from ..wire import (
    Capabilities,
    Delivered,
    Outcome,
    Part,
    Rejected,
    Request,
    Response,
    address,
    require_identity,
    secret,
    settle_address,
)
from ._ga4_fit import RESERVED, RESERVED_ON_WEB, Fit, Given
from ._ga4_members import chosen, exact, joined, members, seen, text, web_client

MAX_BATCH = 25
# "Less than 130 kB"; whether a kilobyte has 1,000 bytes there or 1,024 is not said.
MAX_BATCH_BYTES = 130_000
MAX_VALUE_CHARACTERS = 500
MAX_USER_ID_CHARACTERS = 256

_HOSTS = {"us": "https://www.google-analytics.com", "eu": "https://region1.google-analytics.com"}
_OPEN, _CLOSE = b',"events":[', b"]}"
_KINDS = frozenset({"track", "identify", "page", "screen", "group"})
_REFUSALS = {
    "identify": "GA4 has no identify call; set identify_event and user_properties to send chosen traits with an event",
    "screen": "GA4 web streams have no screen call; set screen_event, or use an app stream (firebase_app_id)",
    "alias": "GA4 has no alias call; send user_id and anonymous_id on one event",
}
#: Options that are objects; but for the first they go into the request as they are.
_OPTIONS = ("user_properties", "consent", "user_location", "device")
_PAGE_NAMES = {"url": "page_location", "referrer": "page_referrer"}


def _own_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value


@discreet
@frozen(kw_only=True)
class GA4:
    """Send to Google Analytics 4 by its Measurement Protocol.

    Args:
        measurement_id: of a web data stream, ``G-…``. Either this or ``firebase_app_id``.
        firebase_app_id: of an app data stream; a message's ``anonymous_id`` is then the ``app_instance_id``.
        api_secret: from Admin > Data streams > Measurement Protocol API secrets. It travels in the address.
        region: ``"us"``, or ``"eu"`` to have the data collected in the European Union.
        client_id: ``"derive"`` makes a web client's id from ``anonymous_id``, else from ``user_id``, where there is
            none in the web tag's form; ``"verbatim"`` sends ``anonymous_id`` as it is, and needs it.
        names: ``"convert"`` turns what is no letter, digit or underscore in a name into an underscore;
            ``"verbatim"`` refuses such names.
        event_names: the event name that GA4 gets, by the one that you track.
        unfit: what becomes of long and nested parameters: ``"refuse"`` the message, or ``"adapt"``: cut or leave out.
        value_limit: characters of a parameter's text: 100, in Analytics 360 up to 500.
        screen_event: the event that a screen becomes; default ``screen_view`` in app streams, none in web streams.
        identify_event: the event that an identify becomes, with the traits that ``user_properties`` lists.
        user_properties: names of traits; no other trait of an identify is sent.
        engagement_time_msec: milliseconds of engagement for events without; such events count as a user's activity.
        validate: ask the validation server, which records nothing, and believe its verdict.
        base_url: default: the host of the region.

    Raises:
        ConfigError: naming the setting that is wrong.
    """

    name: ClassVar[str] = "ga4"

    measurement_id: str | None = field(default=None, converter=trimmed)
    firebase_app_id: str | None = field(default=None, converter=trimmed)
    api_secret: str = secret("copy it from Admin > Data streams > Measurement Protocol API secrets")
    region: Literal["us", "eu"] = field(default="us", validator=one_of(*_HOSTS))
    client_id: Literal["derive", "verbatim"] = field(default="derive", validator=one_of("derive", "verbatim"))
    names: Literal["convert", "verbatim"] = field(default="convert", validator=one_of("convert", "verbatim"))
    event_names: Mapping[str, str] = field(factory=dict, converter=own_table)
    unfit: Literal["refuse", "adapt"] = field(default="refuse", validator=one_of("refuse", "adapt"))
    value_limit: int = field(default=100, validator=whole(1))
    screen_event: str | None = None
    identify_event: str | None = None
    user_properties: Sequence[str] = field(default=(), converter=_own_list)
    engagement_time_msec: int | None = field(default=None, validator=whole(1, optional=True))
    validate: bool = field(default=False, validator=flag)
    base_url: str = address()

    def __attrs_post_init__(self) -> None:
        settle_address(self, _HOSTS[self.region])
        if bool(self.measurement_id) == bool(self.firebase_app_id):
            both = "not both" if self.measurement_id else "and has neither"
            raise ConfigError(f"GA4 needs measurement_id (web stream) or firebase_app_id (app stream), {both}")
        for name, value in self._stream.items():
            if not isinstance(value, str) or not value:
                raise ConfigError(f"{name} must be text; copy it from Admin > Data streams in Google Analytics")
        if self.value_limit > MAX_VALUE_CHARACTERS:
            raise ConfigError(f"value_limit must be at most {MAX_VALUE_CHARACTERS}, not {self.value_limit}")
        if not isinstance(self.event_names, Mapping):
            raise ConfigError("event_names must be a table of names that you track and GA4's names for them")
        listed = self.user_properties
        if not isinstance(listed, (list, tuple)) or not all(isinstance(name, str) for name in listed):
            raise ConfigError("user_properties must be a list of names of traits")
        if bool(self.identify_event) != bool(listed):
            raise ConfigError("identify_event and user_properties go together: an event, and the traits it brings")
        self._check_names()

    def _check_names(self) -> None:
        events: dict[str, Any] = {f"event_names.{tracked}": said for tracked, said in self.event_names.items()}
        events |= {name: said for name in ("screen_event", "identify_event") if (said := getattr(self, name))}
        verbatim = evolve(self._fit, convert=False)
        for setting, said in events.items():
            if not isinstance(said, str):
                raise ConfigError(f"{setting} must be text, not {said!r}")
            _checked(setting, verbatim.event_name, said)
        _checked("user_properties", self._fit.user_properties, [(name, name, True) for name in self.user_properties])

    @cached_property
    def capabilities(self) -> Capabilities:
        events = {"screen": self._screen, "identify": self.identify_event}
        accepts = _KINDS - {kind for kind, event in events.items() if not event}
        by_client = self.firebase_app_id or self.client_id == "verbatim"
        return Capabilities(
            accepts=accepts,
            identities=("anonymous_id",) if by_client else ("user_id", "anonymous_id"),
            # Of a context only ip and userAgent.
            carries=frozenset({"anonymous_id", "context"}),
            options=_OPTIONS,
            max_batch=MAX_BATCH,
            max_batch_bytes=MAX_BATCH_BYTES,
            envelope_bytes=len(_OPEN + _CLOSE) - 1,
            deduplicates="transaction_id of a purchase; nothing else",
            # It answers 2xx also to bad data and to a wrong secret.
            confirms=False,
            refusals={kind: sentence for kind, sentence in _REFUSALS.items() if kind not in accepts},
        )

    def encode(self, message: Message) -> Part:
        event, given = self._event(message)
        require_identity(self, message)
        own = {"engagement_time_msec": self.engagement_time_msec} if self.engagement_time_msec else {}
        when = epoch(instant_of(message), timedelta(microseconds=1))
        body = dumps({"name": event, "params": self._fit.parameters(given, **own), "timestamp_micros": when})
        head = dumps(self._head(message))
        size = len(head) + self.capabilities.envelope_bytes + len(body)
        if size > MAX_BATCH_BYTES:
            raise Unsupported(f"GA4 takes {MAX_BATCH_BYTES:,} bytes in a request; this message needs {size:,}")
        return Part(path="/debug/mp/collect" if self.validate else "/mp/collect", head=head, body=body)

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        query = urlencode({**self._stream, "api_secret": self.api_secret}, quote_via=quote)
        return Request(
            url=f"{self.base_url}{parts[0].path}?{query}",
            headers={"Content-Type": "application/json"},
            body=parts[0].head[:-1] + _OPEN + b",".join(part.body for part in parts) + _CLOSE,
        )

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        # One verdict for all: the validation server names one event among many in prose only.
        verdict = outcome_of(response)
        if self.validate and isinstance(verdict, Delivered):
            verdict = _validated(response)
        return [verdict] * len(parts)

    @property
    def _stream(self) -> dict[str, Any]:
        name = "measurement_id" if self.measurement_id else "firebase_app_id"
        return {name: getattr(self, name)}

    @property
    def _screen(self) -> str | None:
        return self.screen_event or ("screen_view" if self.firebase_app_id else None)

    @cached_property
    def _fit(self) -> Fit:
        return Fit(
            convert=self.names == "convert",
            adapt=self.unfit == "adapt",
            value_limit=self.value_limit,
            reserved=RESERVED if self.firebase_app_id else RESERVED_ON_WEB,
        )

    def _event(self, message: Message) -> tuple[str, Iterable[Given]]:
        match message:
            case Track():
                name = self.event_names.get(message.event) or self._fit.event_name(message.event)
                return name, members("$.properties", message.properties)
            case Page():
                return "page_view", seen(message, "page_title", _PAGE_NAMES)
            case Screen() if self._screen:
                return self._screen, seen(message, "screen_name", {})
            case Group():
                return "join_group", joined(message)
            case Identify() if self.identify_event:
                return self.identify_event, ()
            case Screen() | Identify() | Alias():
                raise Unsupported(_REFUSALS[message.kind])

    def _head(self, message: Message) -> dict[str, Any]:
        if message.user_id and len(message.user_id) > MAX_USER_ID_CHARACTERS:
            raise Unsupported(f"GA4 takes {MAX_USER_ID_CHARACTERS} characters as user_id, not {len(message.user_id)}")
        options = {name: value for name, value in exact(message.options).items() if name in _OPTIONS}
        for name, value in options.items():
            if not isinstance(value, dict | None):
                raise Unsupported(f"GA4 takes an object as $.options.ga4.{name}")
        properties = chosen(message, options.get("user_properties") or {}, frozenset(self.user_properties))
        head = {
            **self._client(message),
            "user_id": message.user_id,
            "ip_override": text(message.context, "ip"),
            "user_agent": text(message.context, "userAgent"),
            **options,
            "user_properties": self._fit.user_properties(properties),
            "validation_behavior": "ENFORCE_RECOMMENDATIONS" if self.validate else None,
        }
        return {name: value for name, value in head.items() if value}

    def _client(self, message: Message) -> dict[str, str | None]:
        if self.firebase_app_id:
            return {"app_instance_id": message.anonymous_id}
        if self.client_id == "verbatim":
            return {"client_id": message.anonymous_id}
        return {"client_id": web_client(message.anonymous_id or message.user_id or "")}


def _checked(setting: str, check: Callable[[Any], object], value: Any) -> None:
    try:
        check(value)
    except Unsupported as error:
        raise ConfigError(f"{setting}: {error}") from None


def _validated(response: Response) -> Outcome:
    answer = json_body(response)
    found = answer.get("validationMessages") if isinstance(answer, dict) else None
    if not isinstance(found, list) or not found:
        return Delivered()
    said = found[0].get("description") if isinstance(found[0], dict) else None
    if isinstance(said, str):
        response = evolve(response, body=said.encode())
    return Rejected(describe(response), response.status)
