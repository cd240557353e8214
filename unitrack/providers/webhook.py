"""Webhook: any endpoint of yours that takes JSON, in unitrack's own words. The shortest provider there is."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlsplit

import orjson
from attrs import asdict, field, frozen

from ..answers import outcome_of
from ..errors import ConfigError
from ..message import Message
from ..phone import Phone
from ..secret import discreet, sealed_table
from ..settings import flag, one_of, whole
from ..values import dumps
from ..wire import OPTIONAL_MEMBERS, Capabilities, Outcome, Part, Request, Response, optional_secret, secret

_MEMBERS = (
    *("user_id", "anonymous_id", "event", "category", "name", "group_id", "previous_id", "tenant_id"),
    *("idempotency_key", "properties", "traits", "context", "integrations", "options"),
)

#: What stays as it is in an Idempotency-Key; the rest (blanks, letters beyond ASCII) is percent-encoded.
_SAFE = "!#$&'()*+,/:;=?@[]"


@discreet
@frozen(kw_only=True)
class Webhook:
    """Send messages as JSON to an address of your own.

    Args:
        url: where to, path and query included. Such an address often is a credential, so it is in no repr.
        token: sent as ``Authorization: Bearer``.
        headers: further headers by name; their values are secrets too.
        method: ``"POST"``, ``"PUT"`` or ``"PATCH"``.
        batch: send arrays of messages; otherwise one object per request, with an ``Idempotency-Key``.
        max_batch: messages in one array; default 100.

    Raises:
        ConfigError: naming the setting that is wrong.
    """

    name: ClassVar[str] = "webhook"

    url: str = secret("give a whole address, for example https://shop.example/events")
    token: str | None = optional_secret()
    headers: Mapping[str, str] = field(factory=dict, converter=sealed_table, repr=False, metadata={"secret": True})
    method: Literal["POST", "PUT", "PATCH"] = field(default="POST", validator=one_of("POST", "PUT", "PATCH"))
    batch: bool = field(default=False, validator=flag)
    max_batch: int = field(default=100, validator=whole(1))

    def __attrs_post_init__(self) -> None:
        if not _is_address(self.url):
            raise ConfigError("url must be a whole address in ASCII, for example https://shop.example/events")
        if not isinstance(self.headers, Mapping) or not all(map(_is_header_name, self.headers)):
            raise ConfigError("headers must be a table of header names and their values")
        for name, value in [*self.headers.items(), ("token", self.token or "")]:
            if not (isinstance(value, str) and value.isascii() and value.isprintable()):
                raise ConfigError(f"the value of {name} must be printable ASCII text on one line")

    @property
    def base_url(self) -> str:
        return "{}://{}".format(*urlsplit(self.url))

    @cached_property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            identities=("user_id", "anonymous_id", "phone"),
            carries=frozenset(OPTIONAL_MEMBERS),
            options=("*",),
            max_batch=self.max_batch if self.batch else 1,
            max_batch_bytes=1_000_000,
            deduplicates="message_id, if your endpoint looks at it",
        )

    def encode(self, message: Message) -> Part:
        data: dict[str, Any] = {"type": message.kind, "message_id": message.message_id, "timestamp": message.timestamp}
        data |= {name: value for name in _MEMBERS if (value := getattr(message, name, None))}
        if isinstance(message.phone, Phone):
            data["phone"] = message.phone.e164
        if message.attachments:
            data["attachments"] = [asdict(attachment) for attachment in message.attachments]
        # One path for all; the real one stays out of the part, whose repr shows it.
        return Part(path="/", body=dumps(data))

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        body = b",".join(part.body for part in parts)
        if self.batch:
            body = b"[%b]" % body
        else:
            message = orjson.loads(body)
            headers["idempotency-key"] = quote(message.get("idempotency_key") or message["message_id"], safe=_SAFE)
        headers |= {name.lower(): value for name, value in self.headers.items()}
        return Request(url=self.url, headers=headers, body=body, method=self.method)

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        return [outcome_of(response)] * len(parts)


def _is_address(url: object) -> bool:
    try:
        return isinstance(url, str) and re.fullmatch("[!-~]+", url) is not None and all(urlsplit(url)[:2])
    except ValueError:
        return False


def _is_header_name(name: object) -> bool:
    return isinstance(name, str) and name.isascii() and name.replace("-", "").replace("_", "").isalnum()
