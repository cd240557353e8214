"""Hightouch Events: all six calls share one batch, and the write key travels in the body.

API: https://hightouch.com/docs/events/sdks/http and the vendor's clients (events-sdk-python 0.0.4).
"""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from gzip import compress
from typing import Any, ClassVar, Literal

import orjson
from attrs import field, frozen

from ..answers import outcome_of
from ..errors import ConfigError
from ..message import Alias, Group, Identify, Message, Page, Screen, Track
from ..secret import discreet
from ..settings import flag, one_of
from ..values import dumps
from ..version import __version__
from ..wire import Capabilities, Outcome, Part, Request, Response, address, require_identity, secret

PATH = "/v1/batch"

MAX_BATCH = 100
# The vendor's Python client starts a new body after 475,000 bytes and so reaches 507,636 (measured);
# its Go client names the limit, 500,000. We count what is sent, envelope included.
MAX_BATCH_BYTES = 500_000
# Measured by the vendor's client on its own text, which escapes every non-Latin letter; we count bytes as sent.
MAX_MESSAGE_BYTES = 32_768

_CARRIES = frozenset({"anonymous_id", "context", "integrations", "idempotency_key"})


_LIBRARY = {"library": {"name": "unitrack", "version": __version__}}
_CONTEXT = orjson.Fragment(dumps(_LIBRARY))


@discreet
@frozen(kw_only=True)
class Hightouch:
    """Send to Hightouch Events.

    Args:
        write_key: of the event source, from its page in Hightouch.
        base_url: the host of your workspace's region; default ``https://us-east-1.hightouch-events.com``.
            A wrong region answers 200 and the events never appear.
        auth: ``"body"`` puts the key beside the batch as the vendor's Python client does,
            ``"basic"`` into the ``Authorization`` header as the HTTP docs do.
        gzip: compress bodies.
        tenant_as_group_id: put ``tenant_id`` into ``context.groupId``; without it a tenant has no place.

    Raises:
        ConfigError: naming the setting that is wrong.
    """

    name: ClassVar[str] = "hightouch"

    write_key: str = secret()
    base_url: str = address("https://us-east-1.hightouch-events.com")
    auth: Literal["body", "basic"] = field(default="body", validator=one_of("body", "basic"))
    gzip: bool = field(default=False, validator=flag)
    tenant_as_group_id: bool = field(default=False, validator=flag)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.write_key, str) or not self.write_key:
            raise ConfigError("write_key is missing; copy it from the page of the event source in Hightouch")

    @cached_property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            identities=("user_id", "anonymous_id"),
            carries=_CARRIES | {"tenant_id"} if self.tenant_as_group_id else _CARRIES,
            max_batch=MAX_BATCH,
            max_batch_bytes=MAX_BATCH_BYTES,
            max_message_bytes=MAX_MESSAGE_BYTES,
            envelope_bytes=len(self._body(b"", datetime.min.replace(tzinfo=UTC))),
            deduplicates="messageId; for how long is not documented",
            # It answers 200 also where a contract or a missing member makes it drop the event.
            confirms=False,
        )

    def encode(self, message: Message) -> Part:
        require_identity(self, message)
        data: dict[str, Any] = {
            "type": message.kind,
            "userId": message.user_id,
            "anonymousId": message.anonymous_id,
            "messageId": _message_id(message),
            "timestamp": _instant(message.timestamp),
            "context": self._context(message),
            "integrations": message.integrations,
        }
        match message:
            case Track():
                data["event"] = message.event
                data["properties"] = message.properties
            case Identify():
                data["traits"] = message.traits
            case Page() | Screen():
                data["category"] = message.category
                data["name"] = message.name
                data["properties"] = message.properties
            case Group():
                data["groupId"] = message.group_id
                data["traits"] = message.traits
            case Alias():
                data["previousId"] = message.previous_id
        return Part(path=PATH, body=dumps(data))

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        headers = {"Content-Type": "application/json"}
        if self.auth == "basic":
            headers["Authorization"] = "Basic " + base64.b64encode(f"{self.write_key}:".encode()).decode()
        body = self._body(b",".join([part.body for part in parts]), now)
        if self.gzip:
            headers["Content-Encoding"] = "gzip"
            # Level 1: three times smaller already. Without a time in its header the same batch is the same bytes.
            body = compress(body, 1, mtime=0)
        return Request(url=self.base_url + PATH, headers=headers, body=body)

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        # One verdict for all. Every 2xx counts: the vendor's client doubts a 202 and uploads it 11 times.
        return [outcome_of(response)] * len(parts)

    def _context(self, message: Message) -> Any:
        context: Any = message.context  # a JsonObject by now
        if self.tenant_as_group_id and message.tenant_id:
            return context.extended({"groupId": message.tenant_id, **_LIBRARY})
        return context.extended(_LIBRARY) if context else _CONTEXT

    def _body(self, batch: bytes, now: datetime) -> bytes:
        key = b"" if self.auth == "basic" else b',"writeKey":' + dumps(self.write_key)
        return b'{"batch":[%b],"sentAt":"%b"%b}' % (batch, _instant(now.astimezone(UTC)).encode(), key)


def _message_id(message: Message) -> str | None:
    # The only member by which Hightouch knows a repeat, so a key that the caller chose goes before an id of ours.
    return message.message_id if message.has_own_id or not message.idempotency_key else message.idempotency_key


def _instant(when: datetime | None) -> str:
    assert when is not None  # noqa: S101  # the snapshot sets it
    text = when.isoformat(timespec="milliseconds")  # cuts, as the vendor's client does
    return text[:-6] + "Z" if text.endswith("+00:00") else text
