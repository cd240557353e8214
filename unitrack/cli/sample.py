"""The request that a destination would get for a harmless message, with credentials masked. Sends nothing."""

import gzip
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from attrs import evolve, fields, frozen

from ..branch import secrets_of, without
from ..config import is_secret
from ..errors import InvalidMessage, Unsupported
from ..message import Identify, Message, Track
from ..snapshot import MessageIds, snapshot
from ..wire import Provider, Request, refusal

MASK = "***"
#: Who and what the harmless messages are about.
USER, EVENT = "unitrack-check", "Unitrack Check"


@frozen(kw_only=True)
class Shown:
    """A request as people may see it."""

    method: str
    url: str
    headers: dict[str, str]
    body: str


def messages() -> list[Message]:
    """Make one harmless message of each of the two kinds that every vendor knows."""
    return [Identify(user_id=USER, traits={"source": "unitrack check"}),
            Track(user_id=USER, event=EVENT, properties={"source": "unitrack check"})]  # fmt: skip


def dry_run(provider: Provider, now: datetime) -> Shown | str:
    """Return the request for the first harmless message that the provider takes, or why there is none."""
    why = ""
    for message in reversed(messages()):
        try:
            checked, _ = snapshot(message, MessageIds(), lambda: now)
            why = refusal(provider, checked) or ""
            if not why:
                return masked(provider, provider.request([provider.encode(evolve(checked, options={}))], now))
        except (Unsupported, InvalidMessage) as error:
            why = str(error)
    return why


def masked(provider: Provider, request: Request) -> Shown:
    """Return a request without anything that its provider calls a secret."""
    secrets = secrets_of(provider)
    exact = {value for value in _settings(provider) if value}
    headers = {name: MASK if name.lower() == "authorization" else without(secrets, value)
               for name, value in request.headers.items()}  # fmt: skip
    headers = {name: MASK if value in exact else value for name, value in headers.items()}
    url = request.url if without(secrets, request.url) == request.url else f"{provider.base_url}/{MASK}"
    return Shown(method=request.method, url=url, headers=headers, body=_body(request, secrets, exact))


def _settings(provider: Any) -> list[str]:
    found = []
    for attribute in fields(type(provider)):
        value = getattr(provider, attribute.name)
        if is_secret(attribute):
            found += [value] if isinstance(value, str) else list(value.values()) if isinstance(value, dict) else []
    return found


def _body(request: Request, secrets: Sequence[str], exact: set[str]) -> str:
    encoding = {name.lower(): value for name, value in request.headers.items()}.get("content-encoding")
    content = gzip.decompress(request.body) if encoding == "gzip" else request.body
    try:
        shown = orjson.dumps(_without(orjson.loads(content), exact), option=orjson.OPT_INDENT_2).decode()
    except ValueError:
        shown = content.decode("utf-8", "replace")
    return without(secrets, shown)


def _without(value: Any, exact: set[str]) -> Any:
    # Also a secret too short to be looked for inside other text.
    match value:
        case dict():
            return {name: _without(item, exact) for name, item in value.items()}
        case list():
            return [_without(item, exact) for item in value]
        case str() if value in exact:
            return MASK
    return value
