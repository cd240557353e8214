"""Thrivestack: two forms of one API, chosen by the credential: a token sends objects, a key sends arrays.

API: https://docs.app.thrivestack.ai/public/api/track.html (2026-03); its form changed four times, so each part of
the form is a setting.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar, Literal

from attrs import Factory, field, frozen

from ..errors import ConfigError, Unsupported
from ..forms import filled, instant_of, iso
from ..message import Alias, Group, Identify, Message, Page, Screen, Track
from ..phone import Phone
from ..secret import discreet
from ..settings import fits_a_header, one_of
from ..values import JsonObject, dumps
from ..wire import Capabilities, Outcome, Part, Request, Response, address, optional_secret
from ._thrivestack_answers import TRACK, outcome

PAGE = "/api/page"

# A group call sends its own group_id where the others send the tenant.
_CARRIES = frozenset(
    {"anonymous_id", "context", "identify.phone", "track.tenant_id", "identify.tenant_id", "page.tenant_id"}
)
_REFUSALS = {"screen": "Thrivestack has no screen call", "alias": "Thrivestack cannot join two users"}


def _by_credential(with_token: str, with_key: str) -> Any:
    return Factory(lambda self: with_token if self.token else with_key, takes_self=True)


@discreet
@frozen(kw_only=True)
class Thrivestack:
    """Send to Thrivestack.

    Args:
        token: an access token, sent as ``Authorization: Bearer``. Either this or ``api_key``.
        api_key: the key of Settings > API Keys, sent as ``x-api-key``.
        base_url: default ``https://api.app.thrivestack.ai``.
        event_key: the member for an event's name: ``"event"`` (default with a token), ``"event_name"`` (default with
            a key), or ``"both"``.
        body: ``"object"`` (default with a token): one message per request; ``"array"`` (default with a key): many.
        source: fills ``context.source`` where a message has none; the vendor wants ``"product"`` for back ends.
        page: ``"track"`` sends a page as the event ``page_visit``, ``"endpoint"`` to ``/api/page`` (docs of 2025-02).

    Raises:
        ConfigError: naming the setting that is wrong.
    """

    name: ClassVar[str] = "thrivestack"

    token: str | None = optional_secret()
    api_key: str | None = optional_secret()
    base_url: str = address("https://api.app.thrivestack.ai")
    event_key: Literal["event", "event_name", "both"] = field(
        default=_by_credential("event", "event_name"), validator=one_of("event", "event_name", "both")
    )
    body: Literal["object", "array"] = field(
        default=_by_credential("object", "array"), validator=one_of("object", "array")
    )
    source: str | None = None
    page: Literal["track", "endpoint"] = field(default="track", validator=one_of("track", "endpoint"))

    def __attrs_post_init__(self) -> None:
        if bool(self.token) == bool(self.api_key):
            raise ConfigError(f"Thrivestack needs token or api_key, {'not both' if self.token else 'and has neither'}")
        name, credential = ("token", self.token) if self.token else ("api_key", self.api_key)
        fits_a_header(name, credential)
        if self.source is not None and not isinstance(self.source, str):
            raise ConfigError(f"source must be text such as 'product', not {self.source!r}")

    @cached_property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            accepts=frozenset({"track", "identify", "group", "page"}),
            # At its own endpoint a page may be known by the session in its context; encode looks for that.
            identities=("user_id",) if self.page == "track" else ("user_id", "anonymous_id"),
            carries=_CARRIES,
            max_batch=1000 if self.body == "array" else 1,
            max_batch_bytes=2_000_000,
            refusals=_REFUSALS,
        )

    def encode(self, message: Message) -> Part:
        own: dict[str, Any]
        match message:
            case Track():
                path, own = TRACK, {**self._named(message.event), "properties": message.properties}
            case Page() if self.page == "endpoint":
                path, own = PAGE, {"properties": filled(message.properties, page_name=message.name)}
            case Page():
                properties = filled(message.properties, page_title=message.name)
                path, own = TRACK, {**self._named("page_visit"), "properties": properties}
            case Identify():
                phone = message.phone.e164 if isinstance(message.phone, Phone) else None
                path, own = "/api/identify", {"traits": filled(message.traits, phone=phone)}
            case Group():
                path, own = "/api/group", {"group_id": message.group_id, "traits": message.traits}
            case Screen() | Alias():
                raise Unsupported(_REFUSALS[message.kind])
        context: Mapping[str, Any] = self._context(message)
        who = {"user_id": message.user_id}
        if message.user_id is None:
            if path != PAGE or not context.get("session_id"):
                raise Unsupported("Thrivestack needs user_id")
            context = dict(context)
            who = {"session_id": context.pop("session_id")}  # one of the two, never both (vendor docs 2025-02)
        data = {**who, **own, "timestamp": iso(instant_of(message).astimezone(UTC))}
        if context:
            data["context"] = context
        return Part(path=path, body=dumps(data))

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        credential = {"Authorization": f"Bearer {self.token}"} if self.token else {"x-api-key": str(self.api_key)}
        headers = {"Content-Type": "application/json", **credential}
        body = b",".join(part.body for part in parts)
        body = b"[%b]" % body if self.body == "array" else body
        return Request(url=self.base_url + parts[0].path, headers=headers, body=body)

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        # A request counts as a whole: no partial success is documented.
        return [outcome(response, parts[0].path, self.event_key)] * len(parts) if parts else []

    def _named(self, event: str) -> dict[str, str]:
        names = ("event", "event_name") if self.event_key == "both" else (self.event_key,)
        return dict.fromkeys(names, event)

    def _context(self, message: Message) -> JsonObject:
        fills = {"group_id": message.tenant_id, "device_id": message.anonymous_id, "source": self.source}
        context = filled(message.context, **fills)
        return context.extended({"group_id": message.group_id}) if isinstance(message, Group) else context
