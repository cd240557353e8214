"""A request kept for people to read, without its credentials."""

import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from attrs import frozen

from .reading import Received, unzipped
from .server import MAX_BODY_BYTES

MASK = "••••"


@frozen(kw_only=True)
class Sample:
    """The first request of its kind that was taken; ``body`` is its JSON as sent, gzip removed."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: str


def sample_of(request: Received, secrets: Sequence[str]) -> Sample:
    """Keep a request; credentials in headers and query, and secrets that are whole texts in its JSON, are masked."""
    body = unzipped(request, MAX_BODY_BYTES).decode("utf-8", "replace")
    for secret in secrets:
        body = body.replace(json.dumps(secret, ensure_ascii=False), f'"{MASK}"')
    path = request.path
    for secret in secrets:
        path = path.replace(quote(secret, safe=""), MASK)
    headers = {name: _masked(name, value) for name, value in request.headers.items()}
    return Sample(method=request.method, path=path, headers=headers, body=body)


def _masked(name: str, value: str) -> str:
    """Leave the scheme and the key's public half: ``Basic ••••``, ``workspace:••••``."""
    if name == "x-api-key":
        return MASK
    if name != "authorization":
        return value
    public, mark, _ = value.partition(" " if " " in value else ":")
    return f"{public}{mark}{MASK}" if mark else MASK
