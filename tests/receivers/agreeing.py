"""What a provider sends, and what the receiver that plays its vendor makes of it."""

from collections.abc import Sequence

from unitrack.batching import batches
from unitrack.errors import Unsupported
from unitrack.message import Message
from unitrack.receivers import Received, Receiver
from unitrack.wire import Part, Provider, Request, refusal

from .posting import NOW

URL = "http://127.0.0.1:1"


def received(request: Request) -> Received:
    headers = {name.lower(): value for name, value in request.headers.items()}
    path = request.url.removeprefix(URL)
    return Received(method=request.method, path=path, headers=headers, body=request.body, now=NOW)


def encoded(provider: Provider, drawn: Sequence[Message]) -> list[Part]:
    parts = []
    for message in drawn:
        try:
            if refusal(provider, message) is None:
                parts.append(provider.encode(message))
        except Unsupported:
            continue
    return [part for part in parts if len(part.body) <= provider.capabilities.message_bytes]


def assert_agreed(provider: Provider, receiver: Receiver, drawn: Sequence[Message]) -> None:
    """Check that the receiver takes every message that the provider sends; ``base_url`` must be :data:`URL`."""
    parts = encoded(provider, drawn)
    for batch in batches(parts, provider.capabilities):
        answer = receiver.judge(received(provider.request(batch, NOW)))
        assert answer.refused == ()
        assert len(answer.taken) == len(batch)
