"""Snowplow: a collector of your own, which says yes to everything; a schema decides later what an event may hold.

API: https://docs.snowplow.io/docs/events and the vendor's client (snowplow-tracker 1.1.0).
"""

import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, Literal
from uuid import NAMESPACE_URL, uuid5

from attrs import field, frozen

from ..answers import outcome_of
from ..errors import ConfigError, Unsupported
from ..forms import as_uuid, epoch, instant_of
from ..message import Group, Identify, Message, Page, Screen, Track
from ..secret import discreet
from ..settings import flag, one_of, own_table, whole
from ..values import JsonObject, dumps
from ..version import __version__
from ..wire import Capabilities, Outcome, Part, Request, Response, require_identity
from ._snowplow_members import page_view, screen_view, structured, texts

PATH = "/com.snowplowanalytics.snowplow/tp2"
MAX_BATCH = 100  # the vendor's client sends 10 and names no limit
# What a record of the streams behind a collector commonly holds; no document of the vendor's has a number.
MAX_BODY_BYTES = 1_000_000

_VENDORS_OWN = "iglu:com.snowplowanalytics.snowplow/"
_EVENT = _VENDORS_OWN + "unstruct_event/jsonschema/1-0-0"
_ENTITIES = _VENDORS_OWN + "contexts/jsonschema/1-0-1"
_SCREEN = "iglu:com.snowplowanalytics.mobile/screen_view/jsonschema/1-0-0"
_ENVELOPE = b'{"schema":"%bpayload_data/jsonschema/1-0-4","data":[%%b]}' % _VENDORS_OWN.encode()
# The time of the attempt stands in each event. There it comes first and is always as long, so that an attempt can
# replace it and the bytes that were counted stay right.
_SENT_AT = b'{"stm":"%013d",'
_NOT_SENT = _SENT_AT % 0

_CONTEXT = {"ip": "ip", "ua": "userAgent", "lang": "locale", "tz": "timezone"}
_NEEDED = {
    "base_url": "the address of your Snowplow collector",
    "app_id": "a name for your application",
    "namespace": "a name for this tracker",
}
_REFUSALS = {
    "alias": "Snowplow has no alias call; send events with user_id and anonymous_id",
    "identify": "Snowplow has no identify call; user_id travels on every event, set identify_schema to send traits as"
    " an event",
    "group": "Snowplow has no group call; set group_schema to send it as an event",
}
_FORM = "iglu:vendor/name/jsonschema/1-0-0"
_vendor = re.compile(r"[A-Za-z0-9_.-]+")
_schema = re.compile(r"iglu:[A-Za-z0-9_.-]+/[A-Za-z0-9_-]+/jsonschema/[0-9]+-[0-9]+-[0-9]+")


def _with_scheme(url: Any) -> Any:
    if not isinstance(url, str):
        return url
    url = url.strip().rstrip("/")
    return f"https://{url}" if url and "://" not in url else url


@discreet
@frozen(kw_only=True)
class Snowplow:
    """Send to a Snowplow collector.

    Args:
        base_url: of your collector; ``https`` if it names no scheme.
        app_id: tells your applications apart.
        namespace: names this tracker; default ``"unitrack"``.
        platform: where the application runs; default ``"srv"``, a server.
        encode_base64: put data and its schema into an event as base64; default true, as the vendor's client does.
        vendor: of your schemas, such as ``"com.acme"``; ``Order Paid`` then follows
            ``iglu:com.acme/order_paid/jsonschema/1-0-0``.
        schemas: by event name, for events that ``vendor`` does not name rightly.
        identify_schema: of the event that an identify becomes; without it an identify is refused.
        group_schema: of the event that a group becomes; without it a group is refused.
        max_body_bytes: of a request; default 1,000,000.

    Raises:
        ConfigError: naming the setting that is wrong.
    """

    name: ClassVar[str] = "snowplow"

    base_url: str = field(converter=_with_scheme)
    app_id: str
    namespace: str = "unitrack"
    platform: Literal["web", "mob", "pc", "srv", "app", "tv", "cnsl", "iot", "headset"] = field(
        default="srv", validator=one_of("web", "mob", "pc", "srv", "app", "tv", "cnsl", "iot", "headset")
    )
    encode_base64: bool = field(default=True, validator=flag)
    vendor: str | None = None
    schemas: Mapping[str, str] = field(factory=dict, converter=own_table)
    identify_schema: str | None = None
    group_schema: str | None = None
    max_body_bytes: int = field(default=MAX_BODY_BYTES, validator=whole(1_000))

    def __attrs_post_init__(self) -> None:
        for name, what in _NEEDED.items():
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise ConfigError(f"{name} is missing; give {what}")
        if self.vendor is not None and not (isinstance(self.vendor, str) and _vendor.fullmatch(self.vendor)):
            raise ConfigError(f"vendor must be a name such as 'com.acme', not {self.vendor!r}")
        if not isinstance(self.schemas, Mapping):
            raise ConfigError("schemas must be a table of event names and their schemas")
        given = {f"schemas.{event}": schema for event, schema in self.schemas.items()}
        given |= {f"{kind}_schema": schema for kind, schema in self._by_kind.items() if schema is not None}
        for name, schema in given.items():
            if not _is_schema(schema):
                raise ConfigError(f"{name} must read {_FORM}, not {schema!r}")

    @cached_property
    def capabilities(self) -> Capabilities:
        refusals = {kind: why for kind, why in _REFUSALS.items() if self._by_kind.get(kind) is None}
        return Capabilities(
            accepts=frozenset({"track", "page", "screen", "identify", "group"} - refusals.keys()),
            identities=("user_id", "anonymous_id"),
            carries=frozenset({"anonymous_id", "context", "idempotency_key"}),
            options=("schema", "structured", "contexts"),
            max_batch=MAX_BATCH,
            max_batch_bytes=self.max_body_bytes,
            envelope_bytes=len(_ENVELOPE % b""),
            deduplicates="eid, where the pipeline is set up for it",
            # The pipeline looks at schemas long after the collector's answer.
            confirms=False,
            refusals=refusals,
        )

    def encode(self, message: Message) -> Part:
        require_identity(self, message)
        options: Mapping[str, Any] = message.options
        if isinstance(options, JsonObject):
            options = options.exact()
        event_id, when = _event_id(message), epoch(instant_of(message))
        event = {
            "eid": event_id,
            # With dtm alone the pipeline moves the time by how far the sender's clock seems to be off.
            "dtm": when,
            "ttm": when,
            "tv": f"unitrack-{__version__}",
            "tna": self.namespace,
            "aid": self.app_id,
            "p": self.platform,
            "uid": message.user_id,
            "duid": message.anonymous_id,
            **{member: message.context.get(name) for member, name in _CONTEXT.items()},
            **self._own(message, options, event_id),
            **self._entities(options.get("contexts")),
        }
        return Part(path=PATH, body=_NOT_SENT + dumps(texts(event))[1:])

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        sent_at = _SENT_AT % epoch(now)
        events = b",".join([sent_at + part.body[len(_NOT_SENT) :] for part in parts])
        headers = {"Content-Type": "application/json; charset=utf-8"}
        return Request(url=self.base_url + PATH, headers=headers, body=_ENVELOPE % events)

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        return [outcome_of(response)] * len(parts)

    @property
    def _by_kind(self) -> Mapping[str, str | None]:
        return {"identify": self.identify_schema, "group": self.group_schema}

    def _own(self, message: Message, options: Mapping[str, Any], event_id: str) -> Mapping[str, Any]:
        """Return the members that only this kind of event has."""
        data: Any
        given = options.get("schema")
        match message:
            case Track() if (places := options.get("structured")) is not None:
                return structured(places, message.event)
            case Track():
                data, schema = message.properties, given or self._schema_for(message.event)
            case Page():
                return page_view(message)
            case Screen():
                return self._self_describing(_SCREEN, screen_view(message, event_id))
            case Identify() if self.identify_schema:
                data, schema = message.traits, given or self.identify_schema
            case Group() if self.group_schema:
                data, schema = message.traits, given or self.group_schema
                data = data.extended({"group_id": message.group_id})
            case _:
                raise Unsupported(_REFUSALS[message.kind])
        if not _is_schema(schema):
            raise Unsupported(f"Snowplow needs options.schema to read {_FORM}")
        return self._self_describing(schema, data)

    def _schema_for(self, event: str) -> str:
        if event in self.schemas:
            return self.schemas[event]
        # Letters beyond ASCII stay, and such a name is no schema's: rather refused than a letter short.
        name = re.sub(r"[\W_]+", "_", event.lower()).strip("_")
        schema = f"iglu:{self.vendor}/{name}/jsonschema/1-0-0"
        if self.vendor is None or not _is_schema(schema):
            raise Unsupported(
                f"Snowplow needs a schema for {event!r}; set schemas or vendor, or give options.structured"
            )
        return schema

    def _self_describing(self, schema: str, data: Any) -> dict[str, str]:
        return {"e": "ue", **self._json("ue_px", "ue_pr", _EVENT, {"schema": schema, "data": data})}

    def _entities(self, given: Any) -> dict[str, str]:
        if not given:
            return {}
        if not isinstance(given, list) or not all(map(_is_entity, given)):
            raise Unsupported(
                f"Snowplow needs options.contexts to be a list of tables, each with data and a schema like {_FORM}"
            )
        return self._json("cx", "co", _ENTITIES, given)

    def _json(self, in_base64: str, plain: str, schema: str, data: Any) -> dict[str, str]:
        said = dumps({"schema": schema, "data": data})
        return {in_base64: urlsafe_b64encode(said).decode()} if self.encode_base64 else {plain: said.decode()}


def _event_id(message: Message) -> str:
    key = message.idempotency_key or message.message_id or ""
    return key if as_uuid(key) == key else str(uuid5(NAMESPACE_URL, f"unitrack:{key}"))


def _is_schema(value: Any) -> bool:
    return isinstance(value, str) and _schema.fullmatch(value) is not None


def _is_entity(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"schema", "data"} and _is_schema(value["schema"])
