"""RudderStack: no host of its own, but a data plane for each workspace; the traits of identify go into the context.

API: https://www.rudderstack.com/docs/api/http-api, rudder-sdk-python 2.1.9 and the gateway of rudder-server.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import ClassVar

from attrs import field, frozen

from ..address import checked_base_url
from ..answers import outcome_of
from ..errors import ConfigError
from ..forms import basic, iso_in_utc, plain_in_utc, repeat_key, scoped, zipped
from ..message import Message, PlainTrack
from ..secret import discreet
from ..segment_dialect import CARRIES, PATH, envelope, envelope_bytes, spoken, spoken_plain
from ..settings import flag, whole
from ..wire import Capabilities, Outcome, Part, Request, Response, require_identity, secret

# Whether the vendor counts before or after gzip is not stated; before is the safe reading.
MAX_BATCH_BYTES = 4_194_304


@discreet
@frozen(kw_only=True)
class RudderStack:
    """Send to RudderStack.

    Args:
        write_key: of the source, from its page in RudderStack.
        data_plane_url: of your workspace, from its home page, or of your own server. There is no default that could
            be right.
        gzip: compress bodies, as the vendor's client does; default: yes.
        max_batch: messages in a request; default 100.
        max_message_bytes: of one message; default and most 4,194,304. The docs say 32 KB, which neither the vendor's
            client nor its server checks.
        tenant_as_group_id: put ``tenant_id`` into ``context.groupId``; without it a tenant has no place.
        id_scope: makes the message ids those of this destination alone. A client with several RudderStack
            destinations sets it to their names; alone, a destination sends ids as they are.

    Raises:
        ConfigError: naming the setting that is wrong.
    """

    name: ClassVar[str] = "rudderstack"

    write_key: str = secret("copy it from the page of the source in RudderStack")
    data_plane_url: str
    gzip: bool = field(default=True, validator=flag)
    max_batch: int = field(default=100, validator=whole(1))
    max_message_bytes: int = field(default=MAX_BATCH_BYTES, validator=whole(1))
    tenant_as_group_id: bool = field(default=False, validator=flag)
    id_scope: str = ""

    def __attrs_post_init__(self) -> None:
        try:
            _ = self.base_url
        except ConfigError as error:
            raise ConfigError(str(error).replace("base_url", "data_plane_url")) from None
        if self.max_message_bytes > MAX_BATCH_BYTES:
            raise ConfigError(f"max_message_bytes must be at most {MAX_BATCH_BYTES}, not {self.max_message_bytes}")
        if not isinstance(self.id_scope, str):
            raise ConfigError(f"id_scope must be text, not {self.id_scope!r}")

    @cached_property
    def base_url(self) -> str:
        return checked_base_url(self.data_plane_url, allow_http=True)  # the client says where http is allowed

    @cached_property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            identities=("user_id", "anonymous_id"),
            carries=CARRIES | {"tenant_id"} if self.tenant_as_group_id else CARRIES,
            max_batch=self.max_batch,
            max_batch_bytes=MAX_BATCH_BYTES,
            max_message_bytes=min(self.max_message_bytes, MAX_BATCH_BYTES - envelope_bytes()),
            envelope_bytes=envelope_bytes(),
            deduplicates="messageId, across the workspace; for how long is not documented",
            shared_ids=True,
        )

    def encode(self, message: Message) -> Part:
        require_identity(self, message)
        body = spoken(
            message,
            scoped(repeat_key(message), self.id_scope),
            tenant_as_group=self.tenant_as_group_id,
            traits_in_context=True,
            stamp=iso_in_utc,
        )
        return Part(path=PATH, body=body)

    def encode_plain(self, track: PlainTrack) -> Part:
        message_id = scoped(track.message_id, self.id_scope)
        return Part(path=PATH, body=spoken_plain(track, message_id, plain_in_utc(track)))

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        headers = {"Content-Type": "application/json", "Authorization": basic(self.write_key)}
        body = envelope(parts, now)
        if self.gzip:
            headers, body = zipped(headers, body)
        return Request(url=self.base_url + PATH, headers=headers, body=body)

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        # One verdict for all, and every 2xx counts: the vendor's client doubts a 202 and uploads it 11 times.
        return [outcome_of(response)] * len(parts)
