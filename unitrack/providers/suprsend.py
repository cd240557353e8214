"""SuprSend: every request is signed over its exact bytes, and a bulk answer has a verdict for each event.

API: https://docs.suprsend.com/reference and the vendor's client (suprsend-py-sdk 0.20.0).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cached_property
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlsplit

from attrs import field, frozen
from attrs.validators import optional

from ..attachment import Attachment
from ..errors import ConfigError, Unsupported
from ..forms import as_uuid, epoch, instant_of
from ..message import Alias, Group, Identify, Message, Page, Screen, Track
from ..secret import discreet
from ..settings import flag, one_of, trimmed, whole
from ..values import EMPTY, dumps
from ..wire import Capabilities, Outcome, Part, Request, Response, address, optional_secret, require_identity
from ._suprsend_answers import outcomes
from ._suprsend_profile import operations, sized, traits_and_channels, upsert
from ._suprsend_signature import CONTENT_TYPE, signature, text_to_sign

EVENT, BULK, PROFILE_EVENT = "/v2/event/", "/v2/bulk/event/", "/event/"

MAX_BATCH = 100
MAX_BYTES = 819_200  # 800 KiB, an event and a bulk alike; the vendor's client forgets the commas of a bulk
MAX_KEY = 255
MAX_TENANT = 64
MIN_ENV = 20
#: Names that start like reserved ones and are allowed (SDK 0.20.0).
BUILT_IN_EVENTS = frozenset(
    {
        "$identify", "$notification_delivered", "$notification_dismiss", "$notification_clicked",
        "$app_launched", "$user_login", "$user_logout",
    }
)  # fmt: skip

_EARLIEST = datetime(2022, 1, 1, tzinfo=UTC)
_NO_CALL = "SuprSend has no {} call; send a track event"
_REFUSALS = {kind: _NO_CALL.format(kind) for kind in ("page", "screen", "group")}


@discreet
@frozen(kw_only=True)
class SuprSend:
    """Send to SuprSend, with ``workspace_key`` and ``workspace_secret``, or ``workspace_uid`` and ``api_key``.

    Args:
        workspace_key: with ``workspace_secret``: requests are signed. The key is an identifier, not a secret.
        workspace_uid: with ``api_key``: a bearer token, no signature.
        base_url: default ``https://hub.suprsend.com``; a base path is kept and signed.
        max_event_bytes: of one event as sent, at most and by default 819,200 (800 KiB); the limit was
            102,400 before April 2025.
        phone_channel: what an ``identify`` with a phone adds it to: ``"$sms"``, ``"$whatsapp"`` or ``None``.
        profile: how ``identify`` goes out: ``"async"`` as operations on the profile, ``"sync"`` as an upsert.
        anonymous_as_distinct_id: let an anonymous id stand for a missing user id.

    Raises:
        ConfigError: naming the setting that is wrong.
    """

    name: ClassVar[str] = "suprsend"

    workspace_key: str | None = field(default=None, converter=trimmed)
    workspace_secret: str | None = optional_secret()
    workspace_uid: str | None = field(default=None, converter=trimmed)
    api_key: str | None = optional_secret()
    base_url: str = address("https://hub.suprsend.com")
    max_event_bytes: int = field(default=MAX_BYTES, validator=whole(1))
    phone_channel: Literal["$sms", "$whatsapp"] | None = field(
        default="$sms", validator=optional(one_of("$sms", "$whatsapp"))
    )
    profile: Literal["async", "sync"] = field(default="async", validator=one_of("async", "sync"))
    anonymous_as_distinct_id: bool = field(default=False, validator=flag)

    def __attrs_post_init__(self) -> None:
        signed, bearer = ("workspace_key", "workspace_secret"), ("workspace_uid", "api_key")
        given = tuple(name for name in signed + bearer if getattr(self, name))
        if given not in (signed, bearer):
            raise ConfigError(
                "SuprSend needs workspace_key and workspace_secret, or workspace_uid and api_key;"
                f" given: {', '.join(given) or 'none of them'}"
            )
        for name in given:
            value = getattr(self, name)
            # All but the secret, which only signs, stand in a header or beside it.
            if not isinstance(value, str) or (name != "workspace_secret" and not _is_word(value)):
                raise ConfigError(f"{name} must be one word of plain ASCII text; copy it again")
        if len(self._env) < MIN_ENV:
            raise ConfigError(f"{given[0]} must have at least {MIN_ENV} characters; copy the whole of it")
        if self.max_event_bytes > MAX_BYTES:
            raise ConfigError(f"max_event_bytes must be at most {MAX_BYTES}, which is what SuprSend takes")

    @cached_property
    def capabilities(self) -> Capabilities:
        carries = {"track.tenant_id", "track.idempotency_key", "track.attachments"}
        if self.phone_channel is not None:
            carries.add("identify.phone")
        if self.anonymous_as_distinct_id:
            carries.add("anonymous_id")
        return Capabilities(
            accepts=frozenset({"track", "identify", "alias"}),
            identities=("user_id", "anonymous_id") if self.anonymous_as_distinct_id else ("user_id",),
            carries=frozenset(carries),
            options=("brand_id", "upsert", "$*"),
            max_batch=MAX_BATCH,
            max_batch_bytes=MAX_BYTES,
            max_message_bytes=self.max_event_bytes,
            envelope_bytes=2,
            deduplicates="$idempotency_key, for 24 hours",
            refusals=_REFUSALS,
        )

    def encode(self, message: Message) -> Part:
        require_identity(self, message)
        match message:
            case Track():
                return self._event(message)
            case Identify():
                return self._profile(message)
            case Alias():
                path = f"/v1/user/{_segment(self._distinct_id(message))}/merge/"
                merged = (message.previous_id or "").strip()
                return Part(path=path, body=dumps({"from_user_id": merged}), alone=True)
            case Page() | Screen() | Group():
                raise Unsupported(_REFUSALS[message.kind])

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        path, body = parts[0].path, parts[0].body
        if len(parts) > 1:
            path, body = BULK, b"[%b]" % b",".join([part.body for part in parts])
        headers = {"Content-Type": CONTENT_TYPE}
        if self.workspace_secret:
            date = headers["Date"] = format_datetime(now.astimezone(UTC), usegmt=True)
            text = text_to_sign("POST", urlsplit(self.base_url).path + path, body, date)
            headers["Authorization"] = f"{self.workspace_key}:{signature(self.workspace_secret, text)}"
        else:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return Request(url=self.base_url + path, headers=headers, body=body)

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        return outcomes(response, len(parts))

    @property
    def _env(self) -> str:
        return self.workspace_key or self.workspace_uid or ""

    def _distinct_id(self, message: Message) -> str:
        return (message.user_id or message.anonymous_id or "").strip()

    def _event(self, message: Track) -> Part:
        event = message.event.strip()
        if len(event) < 2:
            raise Unsupported("SuprSend takes event names of 2 characters or more")
        if (event[0] == "$" or event[:3].lower() == "ss_") and event not in BUILT_IN_EVENTS:
            raise Unsupported("SuprSend reserves event names that start with $ or ss_; choose another name")
        properties: Any = message.properties
        if message.attachments:
            properties = properties.extended({"$attachments": [_attached(file) for file in message.attachments]})
        data = {
            "$insert_id": _insert_id(message),
            "$time": _time(message),
            "event": event,
            "env": self._env,
            "distinct_id": self._distinct_id(message),
            "properties": properties,
        }
        if key := _idempotency_key(message):
            data["$idempotency_key"] = key
        if message.tenant_id:
            data["tenant_id"] = _short(message.tenant_id, "tenant_id")
        if message.options and (brand := message.options.get("brand_id")):
            data["brand_id"] = _short(brand, "brand_id")
        return Part(path=EVENT, body=dumps(data))

    def _profile(self, message: Identify) -> Part:
        traits, channels = traits_and_channels(message, self.phone_channel)
        given = {name: value for name, value in message.options.items() if name.startswith("$")}
        distinct_id = self._distinct_id(message)
        # A profile without any member has no operation to ask for; the upsert creates it.
        if given or message.options.get("upsert", self.profile == "sync") or not (traits or channels):
            path = f"/v1/user/{_segment(distinct_id)}/"
            body = dumps(upsert(traits, channels, given))
        else:
            path = PROFILE_EVENT
            body = dumps(
                {
                    "$schema": "2",
                    "$insert_id": _insert_id(message),
                    "$time": _time(message),
                    "env": self._env,
                    "distinct_id": distinct_id,
                    "$user_operations": operations(traits, channels),
                    "properties": EMPTY,
                }
            )
        return Part(path=path, body=sized(body), alone=True)


def _is_word(value: str) -> bool:
    return value.isascii() and value.isprintable() and " " not in value


def _segment(distinct_id: str) -> str:
    # Clients and proxies resolve these two, some even percent-encoded, and so call another endpoint.
    if distinct_id in (".", ".."):
        raise Unsupported(f"SuprSend cannot be asked about a user called {distinct_id!r}; choose another id")
    return quote(distinct_id, safe="")


def _insert_id(message: Message) -> str:
    return as_uuid(message.message_id or "")


def _time(message: Message) -> int:
    when = instant_of(message)
    if when < _EARLIEST:
        raise Unsupported("SuprSend takes times from 2022-01-01 on")
    return epoch(when)


def _idempotency_key(message: Message) -> str | None:
    # Only what the caller chose, as from the vendor's client: the recorded requests have no key otherwise.
    # A repeat of ours still shows by its $insert_id, although nobody says that the service looks at that.
    key = message.idempotency_key
    if key is not None:
        if len(key) > MAX_KEY:
            raise Unsupported(f"SuprSend takes an idempotency_key of at most {MAX_KEY} characters")
        return key
    if not message.has_own_id:
        return None
    own = message.message_id or ""
    return own if len(own) <= MAX_KEY else _insert_id(message)


def _short(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TENANT:
        raise Unsupported(f"SuprSend takes a {name} of at most {MAX_TENANT} characters of text")
    return value


def _attached(file: Attachment) -> dict[str, Any]:
    return {
        "filename": file.filename or None,
        "contentType": file.content_type,
        "data": file.data,
        "url": file.url,
        "ignore_if_error": file.ignore_if_error,
    }
