"""Segment: a write key in the body and in a header, and message ids that are known in all workspaces at once.

API: https://segment.com/docs/connections/sources/catalog/libraries/server/http-api and segment-analytics-python 2.4.0.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import ClassVar, Literal

from attrs import field, frozen

from ..answers import describe, outcome_of, retry_after
from ..errors import ConfigError
from ..forms import basic, iso_in_utc, plain_in_utc, repeat_key, scoped, zipped
from ..message import Message, PlainTrack
from ..secret import discreet
from ..segment_dialect import CARRIES, PATH, envelope, envelope_bytes, spoken, spoken_plain
from ..settings import flag, one_of, whole
from ..wire import (
    Capabilities,
    Outcome,
    Part,
    Request,
    Response,
    Retry,
    address,
    require_identity,
    secret,
    settle_address,
)

HOSTS = {"us": "https://api.segment.io", "eu": "https://eu1.api.segmentapis.com"}

#: What the service takes (docs of 2024); the vendor's client stops at 100.
MOST_IN_A_BATCH = 2_500
# The vendor's Python client looks after it has added a message and so reaches 507,646 (measured).
MAX_BATCH_BYTES = 500_000
# Measured by the vendor's client on its own text, which escapes every non-Latin letter; we count bytes as sent.
MAX_MESSAGE_BYTES = 32_768
#: No standard knows this status; the vendor's client repeats after it.
RETRY_TOO = 460


@discreet
@frozen(kw_only=True)
class Segment:
    """Send to Segment.

    Args:
        write_key: of the source, from Settings > API Keys.
        region: where the workspace lives, ``"us"`` or ``"eu"``. A wrong one answers 200 and the events never appear.
        base_url: default: the host of the region.
        auth: ``"both"`` sends the key in the ``Authorization`` header and beside the batch, as the vendor's Python
            client does; ``"basic"`` or ``"body"``: in one of them.
        gzip: compress bodies.
        max_batch: messages in a request, up to 2,500; default 100.
        tenant_as_group_id: put ``tenant_id`` into ``context.groupId``; without it a tenant has no place.
        id_scope: makes the message ids those of this destination alone. A client with several Segment destinations
            sets it to their names; alone, a destination sends ids as they are.

    Raises:
        ConfigError: naming the setting that is wrong.
    """

    name: ClassVar[str] = "segment"

    write_key: str = secret("copy it from Settings > API Keys of the source in Segment")
    region: Literal["us", "eu"] = field(default="us", validator=one_of(*HOSTS))
    base_url: str = address()
    auth: Literal["both", "basic", "body"] = field(default="both", validator=one_of("both", "basic", "body"))
    gzip: bool = field(default=False, validator=flag)
    max_batch: int = field(default=100, validator=whole(1))
    tenant_as_group_id: bool = field(default=False, validator=flag)
    id_scope: str = ""

    def __attrs_post_init__(self) -> None:
        settle_address(self, HOSTS[self.region])
        if self.max_batch > MOST_IN_A_BATCH:
            raise ConfigError(f"max_batch must be at most {MOST_IN_A_BATCH}, not {self.max_batch}")
        if not isinstance(self.id_scope, str):
            raise ConfigError(f"id_scope must be text, not {self.id_scope!r}")

    @cached_property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            identities=("user_id", "anonymous_id"),
            carries=CARRIES | {"tenant_id"} if self.tenant_as_group_id else CARRIES,
            max_batch=self.max_batch,
            max_batch_bytes=MAX_BATCH_BYTES,
            max_message_bytes=MAX_MESSAGE_BYTES,
            envelope_bytes=envelope_bytes(**self._key),
            deduplicates="messageId, for about 24 hours, across workspaces",
            # It answers 200 also for a wrong key, a wrong region, and what it then drops.
            confirms=False,
            shared_ids=True,
        )

    def encode(self, message: Message) -> Part:
        require_identity(self, message)
        message_id = scoped(repeat_key(message), self.id_scope)
        body = spoken(message, message_id, tenant_as_group=self.tenant_as_group_id, stamp=iso_in_utc)
        return Part(path=PATH, body=body)

    def encode_plain(self, track: PlainTrack) -> Part:
        message_id = scoped(track.message_id, self.id_scope)
        return Part(path=PATH, body=spoken_plain(track, message_id, plain_in_utc(track)))

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        headers = {"Content-Type": "application/json"}
        if self.auth != "body":
            headers["Authorization"] = basic(self.write_key)
        if repeats := max(part.attempt for part in parts) - 1:
            headers["X-Retry-Count"] = str(repeats)
        body = envelope(parts, now, **self._key)
        if self.gzip:
            headers, body = zipped(headers, body)
        return Request(url=self.base_url + PATH, headers=headers, body=body)

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        # One verdict for all: there is no partial success.
        if response.status == RETRY_TOO:
            return [Retry(describe(response), retry_after(response), RETRY_TOO)] * len(parts)
        return [outcome_of(response)] * len(parts)

    @property
    def _key(self) -> dict[str, str]:
        return {} if self.auth == "basic" else {"writeKey": self.write_key}
