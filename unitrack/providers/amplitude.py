"""Amplitude: everything is an event, also who somebody is; a group call can be two, and one bad event stops them all.

API: https://amplitude.com/docs/apis/analytics/http-v2, batch-event-upload and http-api-batching-retries (2026), and
the vendor's client (amplitude-analytics 1.3.0).
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, Literal

from attrs import field, frozen

from ..errors import Unsupported
from ..forms import epoch, filled, instant_of
from ..message import Alias, Group, Identify, Message, Page, Screen, Track
from ..secret import discreet
from ..settings import named, one_of, whole
from ..values import dumps
from ..wire import Capabilities, Outcome, Part, Request, Response, address, require_identity, secret, settle_address
from ._amplitude_answers import is_pair, outcomes
from ._amplitude_members import OPTIONS, event, members, of_group, operations

HOSTS = {"us": "https://api2.amplitude.com", "eu": "https://api.eu.amplitude.com"}
PATHS = {"httpapi": "/2/httpapi", "batch": "/batch"}
MAX_BYTES = {"httpapi": 1_000_000, "batch": 20_000_000}
# A request holds 2000 events, and each message of a group can be two.
MAX_BATCH = 1000
#: Characters of an id, where a request does not say otherwise.
MIN_ID_LENGTH = 5

_NO_ALIAS = "Amplitude has no alias call; send identify with user_id and anonymous_id"


@discreet
@frozen(kw_only=True)
class Amplitude:
    """Send to Amplitude.

    Args:
        api_key: of the project, from its settings. Not the secret key.
        region: ``"us"`` or ``"eu"``, where the project's data lives.
        endpoint: ``"httpapi"`` for live events, 30 a second for each user, or ``"batch"`` for backfills: 1000 a second
            and requests of 20 MB instead of 1.
        min_id_length: shortest id that is taken, in characters. With ``None`` the vendor's own rule applies, which is
            5: it loses an id such as ``42``.
        group_type: the kind of group that a group message is about, such as ``"company"``.
        page_event: name of the event that a page becomes.
        screen_event: name of the event that a screen becomes.
        base_url: default: the host of the region.

    Raises:
        ConfigError: naming the setting that is wrong.
    """

    name: ClassVar[str] = "amplitude"

    api_key: str = secret("copy it from the settings of the project in Amplitude")
    region: Literal["us", "eu"] = field(default="us", validator=one_of("us", "eu"))
    endpoint: Literal["httpapi", "batch"] = field(default="httpapi", validator=one_of("httpapi", "batch"))
    min_id_length: int | None = field(default=1, validator=whole(1, optional=True))
    group_type: str = field(default="group", validator=named)
    page_event: str = field(default="Page Viewed", validator=named)
    screen_event: str = field(default="Screen Viewed", validator=named)
    base_url: str = address()

    def __attrs_post_init__(self) -> None:
        settle_address(self, HOSTS[self.region])

    @cached_property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            accepts=frozenset({"track", "identify", "page", "screen", "group"}),
            identities=("user_id", "anonymous_id"),
            carries=frozenset({"anonymous_id", "context", "idempotency_key"}),
            options=tuple(OPTIONS),
            max_batch=MAX_BATCH,
            max_batch_bytes=MAX_BYTES[self.endpoint],
            envelope_bytes=len(self._enveloped(b"")),
            deduplicates="insert_id of one device, for 7 days",
            refusals={"alias": _NO_ALIAS},
        )

    def encode(self, message: Message) -> Part:
        events = self._events(message)
        return Part(path=PATHS[self.endpoint], body=dumps(events if len(events) > 1 else events[0]))

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        events = b",".join([part.body[1:-1] if is_pair(part) else part.body for part in parts])
        headers = {"Content-Type": "application/json"}
        return Request(url=self.base_url + parts[0].path, headers=headers, body=self._enveloped(events))

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        return outcomes(response, parts)

    def _enveloped(self, events: bytes) -> bytes:
        options = b"" if self.min_id_length is None else b',"options":{"min_id_length":%d}' % self.min_id_length
        return b'{"api_key":%b,"events":[%b]%b}' % (dumps(self.api_key), events, options)

    def _events(self, message: Message) -> list[dict[str, Any]]:
        given = members(message)
        group_type = given.pop("group_type", self.group_type)
        common = {
            "insert_id": message.idempotency_key or message.message_id,
            **self._ids(message),
            "time": epoch(instant_of(message)),
        }
        if isinstance(message, Group):
            return of_group(message, group_type, common, given)
        require_identity(self, message)
        match message:
            case Track():
                kind, own = message.event, {"event_properties": message.properties}
            case Page() | Screen():
                kind = self.page_event if isinstance(message, Page) else self.screen_event
                properties = filled(message.properties, name=message.name, category=message.category)
                own = {"event_properties": properties}
            case Identify():
                # Without traits too: with both ids it joins what the device did to the user.
                kind = "$identify"
                own = {"user_properties": operations(message.traits, given.pop("user_properties", {}))}
            case Alias():
                raise Unsupported(_NO_ALIAS)
        return [event(kind, {**common, **given}, **own)]

    def _ids(self, message: Message) -> dict[str, str]:
        found = {"user_id": message.user_id, "device_id": message.anonymous_id}
        ids = {name: value for name, value in found.items() if value is not None}
        least = self.min_id_length or MIN_ID_LENGTH
        if any(len(value) < least for value in ids.values()):
            # The service would drop such an id and, with it, the whole request.
            raise Unsupported(f"Amplitude takes ids of {least} characters or more here; lower min_id_length")
        return ids
