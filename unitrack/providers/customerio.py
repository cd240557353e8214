"""Customer.io: the Track API has a verdict for each operation; Pipelines speaks Segment's dialect and has none.

API: https://docs.customer.io/integrations/api/track/ and https://docs.customer.io/integrations/api/cdp/ (2026), and
the vendor's clients (customerio 3.2.0, customerio-cdp-analytics 1.1.0).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

from attrs import field, frozen
from attrs.validators import optional

from .. import segment_dialect as dialect
from ..answers import outcome_of
from ..errors import ConfigError
from ..forms import basic, repeat_key, zipped
from ..message import Message
from ..secret import discreet
from ..settings import fits_a_header, flag, one_of, trimmed
from ..wire import Capabilities, Outcome, Part, Request, Response, address, require_identity, secret, settle_address
from . import _customerio_track as track

HOSTS = {
    "track": {"us": "https://track.customer.io", "eu": "https://track-eu.customer.io"},
    "cdp": {"us": "https://cdp.customer.io", "eu": "https://cdp-eu.customer.io"},
}
MAX_BYTES = 500_000
MAX_MESSAGE_BYTES = 32_768
# The Track API names no number; 500,000 bytes hold about 2,000 small operations, and a refused batch is halved.
MAX_OPERATIONS = 1000
MAX_MESSAGES = 100
REQUESTS_PER_MINUTE = 60 * 100.0

_CAPABILITIES = {
    "track": Capabilities(
        identities=("user_id", "anonymous_id"),
        carries=track.CARRIES,
        options=("object_type_id",),
        max_batch=MAX_OPERATIONS,
        max_batch_bytes=MAX_BYTES,
        max_message_bytes=MAX_MESSAGE_BYTES,
        envelope_bytes=len(track.envelope([])),
        rate_per_minute=REQUESTS_PER_MINUTE,
        deduplicates="id of track, page and screen; for how long is not documented",
    ),
    "cdp": Capabilities(
        identities=("user_id", "anonymous_id"),
        carries=dialect.CARRIES,
        max_batch=MAX_MESSAGES,
        max_batch_bytes=MAX_BYTES,
        max_message_bytes=MAX_MESSAGE_BYTES,
        envelope_bytes=dialect.envelope_bytes(),
        rate_per_minute=REQUESTS_PER_MINUTE,
        deduplicates="messageId; for how long is not documented",
        # It answers 200 to all that parses, also where the region is wrong and nothing ever appears.
        confirms=False,
    ),
}
#: Beginnings of the newer keys of Pipelines, and the region that they are for.
_REGIONS = {"pk_us_": "us", "sk_us_": "us", "pk_eu_": "eu", "sk_eu_": "eu"}
#: Settings that mean nothing to an API, and what they are when nobody sets them.
_FOREIGN: Mapping[str, Mapping[str, Any]] = {
    "track": {"gzip": False},
    "cdp": {"site_id": None, "id_type": "id", "object_type_id": "1"},
}


@discreet
@frozen(kw_only=True)
class CustomerIO:
    """Send to Customer.io: with ``site_id`` and ``api_key``, or with ``api="cdp"`` and the key of a source.

    Args:
        api_key: of the Track API, or of a source in Pipelines.
        site_id: stands beside the key of the Track API; an identifier, not a secret.
        api: ``"track"`` (default) has a verdict for each message; ``"cdp"`` (Pipelines) answers 200 to bad data too.
        region: ``"us"`` or ``"eu"``. Default: what a key such as ``sk_eu_…`` says, else ``"us"``.
        base_url: default: the host of the API in the region.
        id_type: what a ``user_id`` is: ``"id"`` (default), ``"email"`` or ``"cio_id"``. Track API.
        object_type_id: the type of object that a group is; default ``"1"``. Track API.
        gzip: compress bodies. Pipelines.

    Raises:
        ConfigError: naming the setting that is wrong.
    """

    name: ClassVar[str] = "customerio"

    api_key: str = secret("copy it from the API credentials or the source in Customer.io")
    site_id: str | None = field(default=None, converter=trimmed)
    api: Literal["track", "cdp"] = field(default="track", validator=one_of("track", "cdp"))
    region: Literal["us", "eu"] | None = field(default=None, validator=optional(one_of("us", "eu")))
    base_url: str = address()
    id_type: Literal["id", "email", "cio_id"] = field(default="id", validator=one_of("id", "email", "cio_id"))
    object_type_id: str = field(default="1", converter=trimmed)
    gzip: bool = field(default=False, validator=flag)

    def __attrs_post_init__(self) -> None:
        for name, unset in _FOREIGN[self.api].items():
            if getattr(self, name) != unset:
                raise ConfigError(f'{name} has no meaning with api="{self.api}"; leave it out')
        if self.api == "track":
            self._check_track()
        else:
            self._check_cdp()
        settle_address(self, HOSTS[self.api][self.region or self._region_of_key or "us"])

    def _check_track(self) -> None:
        if not isinstance(self.site_id, str) or not self.site_id or ":" in self.site_id:
            raise ConfigError(
                "site_id is missing, or is no site id; copy it from the API credentials in Customer.io,"
                ' or set api="cdp" if the api_key is that of a source'
            )
        if not isinstance(self.object_type_id, str) or not self.object_type_id:
            raise ConfigError("object_type_id must be text such as '1', as Customer.io shows it for the object type")

    def _check_cdp(self) -> None:
        if own := self._region_of_key:
            if self.region not in (None, own):
                raise ConfigError(f"region must be {own!r}, as the api_key says, not {self.region!r}; leave it out")
            fits_a_header("api_key", self.api_key)

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES[self.api]

    def encode(self, message: Message) -> Part:
        # An object can stand alone: a group with options and without an id.
        if not (self.api == "track" and message.kind == "group" and message.options):
            require_identity(self, message)
        if self.api == "track":
            return Part(path=track.PATH, body=track.operation(message, self.id_type, self.object_type_id))
        return Part(path=dialect.PATH, body=dialect.spoken(message, repeat_key(message)))

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        headers = {"Content-Type": "application/json", "Authorization": self._authorization}
        body = track.envelope(parts) if self.api == "track" else dialect.envelope(parts, now)
        if self.gzip:
            headers, body = zipped(headers, body)
        return Request(url=self.base_url + parts[0].path, headers=headers, body=body)

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        return track.verdicts(response, len(parts)) if self.api == "track" else [outcome_of(response)] * len(parts)

    @property
    def _authorization(self) -> str:
        if self.api == "track":
            return basic(self.site_id or "", self.api_key)
        return f"Bearer {self.api_key}" if self._region_of_key else basic(self.api_key)

    @property
    def _region_of_key(self) -> str | None:
        return _REGIONS.get(self.api_key[:6]) if self.api == "cdp" else None
