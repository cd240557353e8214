"""Interakt (WhatsApp): one message per request, and a phone number cut into its country code and the rest.

API: https://www.interakt.shop/resource-center/track-api-integration-types and interakt-track-python 1.0.7.
"""

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

from attrs import field, frozen

from ..answers import describe, json_body, outcome_of
from ..errors import ConfigError, Unsupported
from ..forms import basic
from ..message import Alias, Group, Identify, Message, Page, PlainTrack, Screen, Track
from ..phone import CALLING_CODES, Phone
from ..secret import discreet
from ..settings import at_least, flag
from ..values import dumps
from ..wire import Capabilities, Outcome, Part, Rejected, Request, Response, address, require_identity, secret

_REFUSALS = {
    kind: f"Interakt has no {kind} call; send a track event instead" for kind in ("page", "screen", "group", "alias")
}

TRACK = "/v1/public/track/events/"

_WHERE = "copy the Secret Key from Settings > Developer Settings of Interakt"

_OPTIONS: Mapping[str, Callable[[Any], bool]] = {
    "tags": lambda value: isinstance(value, list) and all(isinstance(tag, str) for tag in value),
    "add_to_sales_cycle": lambda value: isinstance(value, bool),
    "fullPhoneNumber": lambda value: isinstance(value, str) and value.isascii() and value.isdigit(),
}


@discreet
@frozen(kw_only=True)
class Interakt:
    """Send to Interakt's Track API.

    Args:
        api_key: the Secret Key of Settings > Developer Settings, as shown there or decoded.
        base_url: default ``https://api.interakt.ai``.
        default_country_code: for a phone number that comes without one; the vendor's own default is ``+91``.
        rate_per_minute: requests that your plan allows: 300 (Growth) or 600 (Advanced).
        always_created_at: send ``createdAt`` also for messages whose time the caller did not choose, so that what
            arrives late is not dated late. Otherwise Interakt takes the time of arrival.

    Raises:
        ConfigError: naming the setting that is wrong.
    """

    name: ClassVar[str] = "interakt"

    api_key: str = secret(_WHERE)
    base_url: str = address("https://api.interakt.ai")
    default_country_code: str = "+91"
    rate_per_minute: float = field(default=300, validator=at_least(1))
    always_created_at: bool = field(default=False, validator=flag)

    def __attrs_post_init__(self) -> None:
        if not _plain(self.api_key):
            raise ConfigError(f"api_key is missing; {_WHERE}")
        code = self.default_country_code
        if not isinstance(code, str) or code.removeprefix("+") not in CALLING_CODES:
            raise ConfigError(f"default_country_code must be a country calling code such as '+91', not {code!r}")

    @cached_property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            accepts=frozenset({"identify", "track"}),
            identities=("user_id", "phone"),
            carries=frozenset({"phone"}),
            options=tuple(_OPTIONS),
            rate_per_minute=self.rate_per_minute,
            refusals=_REFUSALS,
        )

    def encode(self, message: Message) -> Part:
        options = _checked(message.options)
        full_number = options.pop("fullPhoneNumber", None)
        match message:
            case Track():
                path, own = TRACK, dict[str, Any](event=message.event, traits=message.properties)
            case Identify():
                path, own = "/v1/public/track/users/", {"traits": message.traits, **options}
            case Page() | Screen() | Group() | Alias():
                raise Unsupported(_REFUSALS[message.kind])
        if message.has_own_time or self.always_created_at:
            own["createdAt"] = message.timestamp
        return Part(path=path, body=dumps({**self._identity(message, full_number), **own}))

    def encode_plain(self, track: PlainTrack) -> Part | None:
        data = {"userId": track.user_id, "event": track.event, "traits": track.properties}
        return None if self.always_created_at else Part(path=TRACK, body=dumps(data))

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        headers = {"Authorization": basic(_plain(self.api_key)), "Content-Type": "application/json"}
        return Request(url=self.base_url + parts[0].path, headers=headers, body=parts[0].body)

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        answer = json_body(response)
        refused = 200 <= response.status < 300 and isinstance(answer, dict) and answer.get("result") is False
        return [Rejected(describe(response), response.status) if refused else outcome_of(response)] * len(parts)

    def _identity(self, message: Message, full_number: str | None) -> dict[str, Any]:
        user = {"userId": message.user_id} if message.user_id else {}
        # The full number stands instead of the two other members, never beside them (vendor docs).
        if full_number:
            return {**user, "fullPhoneNumber": full_number}
        require_identity(self, message)
        if not isinstance(message.phone, Phone):
            return user
        code = message.phone.country_code or self.default_country_code
        return {**user, "countryCode": code, "phoneNumber": message.phone.number}


def _plain(key: str) -> str:
    """Undo the base64 of ``key:`` in which the dashboard shows the key; leave any other text as it is."""
    try:
        decoded = b64decode(key, validate=True).decode()
    except ValueError:
        decoded = ""
    return (decoded if decoded.endswith(":") else key).removesuffix(":")


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in options.items() if name in _OPTIONS}
    if wrong := [name for name, value in known.items() if not _OPTIONS[name](value)]:
        raise Unsupported(
            f"Interakt cannot take this value for the option {wrong[0]!r}: tags is a list of texts, "
            "add_to_sales_cycle is true or false, fullPhoneNumber is digits with the country code"
        )
    return known
