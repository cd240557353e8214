"""Who someone is, in SuprSend's words: traits are properties of a profile, addresses are its channels."""

from collections.abc import Mapping
from typing import Any

from ..errors import Unsupported
from ..message import Identify
from ..phone import Phone
from ..values import JsonObject, dumps

MAX_PROFILE_BYTES = 10_240


def traits_and_channels(message: Identify, phone_channel: str | None) -> tuple[JsonObject, dict[str, str]]:
    """Return the traits without the email, and what becomes a channel: ``{"$email": …, "$sms": …}``."""
    traits: Any = message.traits  # a JsonObject by now
    channels: dict[str, str] = {}
    # Looking at the text first spares most profiles from being parsed.
    email = traits.get("email") if b'"email"' in traits.raw else None
    if isinstance(email, str) and email.strip():
        channels["$email"] = email.strip()
        traits = JsonObject(dumps({name: value for name, value in traits.items() if name != "email"}))
    if phone_channel is not None and isinstance(message.phone, Phone):
        channels[phone_channel] = _e164(message.phone)
    return traits, channels


def operations(traits: JsonObject, channels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what the asynchronous form asks for: one object for each change."""
    return ([{"$set": traits}] if traits else []) + [{"$append": {name: value}} for name, value in channels.items()]


def upsert(traits: JsonObject, channels: Mapping[str, str], given: Mapping[str, Any]) -> JsonObject:
    """Return the body of the synchronous form; channels in the caller's own words (``given``) gain ours."""
    return traits.extended({**given, **{name: _with(given.get(name), value) for name, value in channels.items()}})


def sized(body: bytes) -> bytes:
    """Return a profile that is not too large.

    Raises:
        Unsupported: it is larger than 10 KiB (SDK 0.20.0).
    """
    if len(body) > MAX_PROFILE_BYTES:
        raise Unsupported(f"SuprSend takes a profile of at most {MAX_PROFILE_BYTES} bytes, not {len(body)}")
    return body


def _with(given: Any, value: str) -> list[Any]:
    known = given if isinstance(given, list) else [] if given is None else [given]
    return known if value in known else [*known, value]


def _e164(phone: Phone) -> str:
    if phone.country_code is None:
        raise Unsupported("SuprSend needs the country code of a phone: Phone('9999999999', country_code='+91')")
    return phone.e164
