"""Providers with canaries for credentials, and messages that the oracle can tell apart."""

import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid5

import orjson

from tests.faults.world import CANARIES, messages_in
from tests.sockets import Server
from unitrack import Client, Message, Track
from unitrack.providers import Hightouch, Interakt, SuprSend, Thrivestack, Webhook

_NAMESPACE = UUID("0d9c5a4e-6c55-4b0c-8d7f-1f4a6a0f3b11")


def hightouch(server: Server, **settings: Any) -> Hightouch:
    """Batches of 100."""
    return Hightouch(write_key=CANARIES["write_key"], base_url=server.url, **settings)


def interakt(server: Server, **settings: Any) -> Interakt:
    """One message per request; the rate limit is out of the way."""
    return Interakt(api_key=CANARIES["api_key"], base_url=server.url, rate_per_minute=600_000, **settings)


def suprsend(server: Server, **settings: Any) -> SuprSend:
    """Bulks of 100, signed, with a verdict for each message."""
    key, secret = CANARIES["workspace_key"], CANARIES["workspace_secret"]
    return SuprSend(workspace_key=key, workspace_secret=secret, base_url=server.url, **settings)


def thrivestack(server: Server, **settings: Any) -> Thrivestack:
    """Arrays of up to 1,000."""
    return Thrivestack(api_key=CANARIES["api_key"], base_url=server.url, **settings)


def webhook(server: Server, **settings: Any) -> Webhook:
    """One message per request, with an ``Idempotency-Key``."""
    return Webhook(url=server.url + "/events", token=CANARIES["token"], **settings)


def tracks(count: int, users: int = 100, **properties: Any) -> list[Track]:
    """Make messages whose ``n`` grows, whose ``i`` grows per user, and whose id each vendor sends as it is."""
    return [
        Track(
            user_id=f"u{n % users}",
            event="Order Paid",
            properties={"i": n // users, "n": n, "id": message_id(n), **properties},
            message_id=message_id(n),
            idempotency_key=f"key-{n}",
        )
        for n in range(count)
    ]


def message_id(number: int) -> str:
    """Name the message of a number; a UUID, because SuprSend keeps those."""
    return str(uuid5(_NAMESPACE, str(number)))


def enqueue_all(client: Client, messages: Iterable[Message]) -> list[float]:
    """Hand in every message and return how many seconds each call took; all of them must be accepted."""
    took = []
    for message in messages:
        began = time.perf_counter()
        receipt = client.enqueue(message)
        took.append(time.perf_counter() - began)
        assert receipt, receipt
    return took


def renderings(server: Server, member: str = "messageId") -> dict[str, set[bytes]]:
    """Return how each message looked on the wire, by its id; more than one look means that a repeat was altered."""
    found: dict[str, set[bytes]] = {}
    for request in server.requests:
        for message in messages_in(request):
            found.setdefault(str(message[member]), set()).add(orjson.dumps(message))
    return found
