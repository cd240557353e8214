"""PostHog: all six calls are events of one batch; wire v0 answers 200 whatever becomes of them, v1 for each event.

API: https://posthog.com/docs/api/capture, the vendor's client (posthog 7.91.1) and its capture service (rust/capture).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar, Literal

from attrs import Attribute, field, frozen
from attrs.validators import optional

from ..answers import describe, json_body, one_line, outcome_of, retry_after
from ..errors import ConfigError, Unsupported
from ..forms import as_uuid, instant_of, repeat_key, zipped
from ..message import Message
from ..secret import discreet
from ..settings import flag, one_of
from ..values import dumps
from ..version import __version__
from ..wire import (
    Capabilities,
    Delivered,
    Outcome,
    Part,
    Rejected,
    Request,
    Response,
    Retry,
    address,
    require_identity,
    secret,
)
from ._posthog_event import check_names, said
from ._posthog_options import typed

# No number is documented; the vendor's client sends so many.
MAX_BATCH = 100
# The vendor's client aims at this and tests after adding, so it reaches 5,504,499 (measured); the service takes 20 MiB.
MAX_BATCH_BYTES = 5 * 1024 * 1024
# Where the vendor's client drops an event; the service adds to it and then takes 1 MiB.
MAX_MESSAGE_BYTES = 900 * 1024
# The service answers 401 to longer ones (capture service).
MAX_KEY = 64

PATHS = {"v0": "/batch/", "v1": "/i/v1/analytics/events"}

_CARRIES = frozenset({"anonymous_id", "idempotency_key"})
_INGESTION = {
    "app.posthog.com": "https://us.i.posthog.com",
    "us.posthog.com": "https://us.i.posthog.com",
    "eu.posthog.com": "https://eu.i.posthog.com",
}
_MARKS: dict[str, dict[str, Any]] = {
    "v0": {"$lib": "unitrack", "$lib_version": __version__, "$is_server": True},
    "v1": {"$is_server": True},
}


def _group_type(_: Any, attribute: "Attribute[Any]", value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{attribute.name} must be a group type of the project such as 'company', not {value!r}")


@discreet
@frozen(kw_only=True)
class PostHog:
    """Send to PostHog.

    Args:
        api_key: of the project, ``phc_...``, from its settings; not a personal key (``phx_...``).
        base_url: the ingestion host; default ``https://us.i.posthog.com``, in the EU ``https://eu.i.posthog.com``.
        wire: ``"v0"``, or ``"v1"`` where the host has it: a verdict for each event, and a quota that is told.
        historical_migration: mark everything as a back-fill, for data older than 48 hours.
        disable_geoip: keep this server's address from becoming the place of its users.
        group_type: of the groups that ``group`` is about; a project has five types.
        tenant_group_type: let ``tenant_id`` be a group of this type; without it a tenant has no place.
        gzip: compress bodies.

    Raises:
        ConfigError: naming the setting that is wrong.
    """

    name: ClassVar[str] = "posthog"

    api_key: str = secret("copy the project API key, phc_..., from the settings of the project")
    base_url: str = address("https://us.i.posthog.com")
    wire: Literal["v0", "v1"] = field(default="v0", validator=one_of("v0", "v1"))
    historical_migration: bool = field(default=False, validator=flag)
    disable_geoip: bool = field(default=True, validator=flag)
    group_type: str = field(default="company", validator=_group_type)
    tenant_group_type: str | None = field(default=None, validator=optional(_group_type))
    gzip: bool = field(default=False, validator=flag)

    def __attrs_post_init__(self) -> None:
        key = self.api_key
        if key.startswith("phx_"):
            raise ConfigError("api_key is a personal key, phx_...; PostHog takes events by the project's, phc_...")
        if len(key) > MAX_KEY or not (key.isascii() and key.isprintable()):
            raise ConfigError(f"api_key must be the key of a project: at most {MAX_KEY} printable ASCII characters")
        if ingestion := _INGESTION.get(_host(self.base_url)):
            raise ConfigError(f"base_url is where people look at PostHog; events go to {ingestion}")

    @cached_property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            identities=("user_id", "anonymous_id"),
            carries=_CARRIES | {"tenant_id"} if self.tenant_group_type else _CARRIES,
            options=("groups",),
            max_batch=MAX_BATCH,
            max_batch_bytes=MAX_BATCH_BYTES,
            max_message_bytes=MAX_MESSAGE_BYTES,
            envelope_bytes=len(self._body(b"", _utc(datetime.min.replace(tzinfo=UTC)))),
            deduplicates="uuid, with the same event, distinct_id and day; some time later, and without a promise",
            # v0 answers 200 also over the quota, when the events are dropped.
            confirms=self.wire == "v1",
        )

    def encode(self, message: Message) -> Part:
        require_identity(self, message)
        who = str(message.user_id or message.anonymous_id)
        event, given, own = said(message, self.group_type)
        check_names(event, who, own.get("$anon_distinct_id") or own.get("alias"), strict=self.wire == "v1")
        own |= {"$groups": self._groups(message), "$geoip_disable": self.disable_geoip or None}
        extra = {name: value for name, value in own.items() if value is not None and name not in given}
        properties = given.extended(extra | _MARKS[self.wire])
        data = {
            # The first two are read again for a request. Lower case, because the verdicts of v1 name them so.
            "uuid": as_uuid(repeat_key(message)).lower(),
            "timestamp": _utc(instant_of(message)),
            "event": event,
            "distinct_id": who,
            **(typed(properties) if self.wire == "v1" else {"properties": properties}),
        }
        return Part(path=PATHS[self.wire], body=dumps(data))

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        headers = {"Content-Type": "application/json"}
        time = _utc(now)
        if self.wire == "v1":
            marks = [_mark(part) for part in parts]
            headers |= {
                "Authorization": f"Bearer {self.api_key}",
                "PostHog-Sdk-Info": f"unitrack/{__version__}",
                "PostHog-Attempt": str(max(part.attempt for part in parts)),
                # As every attempt at a batch has one id and one time, they come from what does not change.
                "PostHog-Request-Id": as_uuid("\n".join(["batch", *(uuid for uuid, _ in marks)])),
                "PostHog-Request-Timestamp": time,
            }
            time = max(when for _, when in marks)
        body = self._body(b",".join([part.body for part in parts]), time)
        if self.gzip:
            headers, body = zipped(headers, body)
        return Request(url=self.base_url + PATHS[self.wire], headers=headers, body=body)

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        verdict, answer = outcome_of(response), json_body(response)
        if self.wire == "v1" and response.status == 404:
            why = f'{describe(response)} - a host without this wire answers so; try PostHog(wire="v0")'
            verdict = Retry(why, retry_after(response), 404)
        found = answer if isinstance(answer, dict) and isinstance(verdict, Delivered) else {}
        if self.wire == "v1" and isinstance(results := found.get("results"), dict):
            after = retry_after(response) or None
            return [_verdict(results.get(_mark(part)[0]), response.status, after) for part in parts]
        if isinstance(verdict, Delivered) and (self.wire == "v1" or found.get("quota_limited")):
            verdict = Delivered((f"PostHog does not say what became of each event: {describe(response)}",))
        return [verdict] * len(parts)

    def _groups(self, message: Message) -> dict[str, Any] | None:
        groups = message.options.get("groups") or {}
        if not isinstance(groups, Mapping) or not all(_is_name(one) for pair in groups.items() for one in pair):
            raise Unsupported("PostHog takes the option groups as types and keys of groups: {'company': 'acme'}")
        tenant = {self.tenant_group_type: message.tenant_id} if self.tenant_group_type and message.tenant_id else {}
        return {**tenant, **groups} or None

    def _body(self, batch: bytes, time: str) -> bytes:
        about: dict[str, Any]
        if self.wire == "v1":
            about = {"created_at": time, **({"historical_migration": True} if self.historical_migration else {})}
        else:
            about = {"api_key": self.api_key, "historical_migration": self.historical_migration, "sent_at": time}
        return b'%b,"batch":[%b]}' % (dumps(about)[:-1], batch)


def _utc(when: datetime) -> str:
    # The vendor orders events by their time, so all of it goes; and always in as many letters.
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def _host(url: object) -> str:
    return url.partition("://")[2].partition("/")[0].partition(":")[0].lower() if isinstance(url, str) else ""


def _is_name(value: object) -> bool:
    return type(value) is int or (isinstance(value, str) and bool(value.strip()))


def _mark(part: Part) -> tuple[str, str]:
    """Read the uuid and the time of an event, its first two members."""
    words = part.body.split(b'"', 8)
    return words[3].decode(), words[7].decode()


def _verdict(result: Any, status: int, after: float | None) -> Outcome:
    found = result if isinstance(result, dict) else {}
    word, details = found.get("result"), found.get("details")
    text = details if isinstance(details, str) else ""
    why = one_line(f"{word}: {text}")
    match word:
        case "retry":
            return Retry(why, after, status, own=True)
        case "drop":
            return Rejected(why, status, own=True)
        case "warning":
            return Delivered((why,))
        case _:
            return Delivered()
