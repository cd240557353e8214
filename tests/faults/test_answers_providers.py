"""Fault row H19: the same contract for every provider: each message is delivered or is a dead letter, the right one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from tests.faults.vendors import enqueue_all, hightouch, interakt, suprsend, thrivestack, tracks, webhook
from tests.faults.world import CANARIES, FaultServer, assert_conserved, facts_of, stored
from tests.sockets import Script, play, reply, reset
from unitrack import Client
from unitrack.providers import BUILT_IN, GA4, Amplitude, CustomerIO, Mixpanel, PostHog, RudderStack, Segment, Snowplow
from unitrack.wire import Provider

KEY = CANARIES["api_key"]

#: Each provider in each of its forms that share requests differently.
FORMS: Mapping[str, Callable[[FaultServer], Provider]] = {
    "amplitude": lambda server: Amplitude(api_key=KEY, base_url=server.url),
    "customerio": lambda server: CustomerIO(site_id="site", api_key=KEY, base_url=server.url),
    "customerio cdp": lambda server: CustomerIO(api="cdp", api_key=KEY, base_url=server.url),
    "ga4": lambda server: GA4(measurement_id="G-TEST000001", api_secret=KEY, base_url=server.url),
    "hightouch": hightouch,
    "hightouch basic": lambda server: hightouch(server, auth="basic"),
    "interakt": interakt,
    "mixpanel": lambda server: Mixpanel(token=KEY, base_url=server.url),
    "mixpanel track": lambda server: Mixpanel(token=KEY, endpoint="track", base_url=server.url),
    "posthog": lambda server: PostHog(api_key=KEY, base_url=server.url),
    "posthog v1": lambda server: PostHog(api_key=KEY, wire="v1", base_url=server.url),
    "rudderstack": lambda server: RudderStack(write_key=KEY, data_plane_url=server.url, gzip=False),
    "segment": lambda server: Segment(write_key=KEY, base_url=server.url),
    "snowplow": lambda server: Snowplow(base_url=server.url, app_id="a", vendor="com.acme", encode_base64=False),
    "suprsend": suprsend,
    "thrivestack": thrivestack,
    "thrivestack object": lambda server: thrivestack(server, body="object"),
    "webhook": webhook,
    "webhook batch": lambda server: webhook(server, batch=True),
}

NOT_NOW = [reply(503), reply(500, b"oops"), reply(429, b"", {"Retry-After": "0.01"}), play(reset()), reply(408)]


def test_H19_covers_every_provider() -> None:
    """Every provider that comes with unitrack is held to the contract below."""
    assert {name.partition(" ")[0] for name in FORMS} == set(BUILT_IN)


def number(message: Mapping[str, Any]) -> int:
    return int(facts_of(message)["n"])


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS.keys())
def test_H19_thirds(make: Callable[[FaultServer], Provider]) -> None:
    """Of messages that fail for now, for ever or not at all, exactly the second are dead letters, at every provider."""
    count = 150
    messages = tracks(count, users=25)

    def act(found: Sequence[Mapping[str, Any]]) -> Script:
        numbers = [number(message) for message in found]
        if any(n % 3 == 1 for n in numbers):
            return reply(400, b'{"message":"never"}')
        first = [n for n in numbers if n % 3 == 2 and seen.setdefault(n, 0) < 2]
        for n in first:
            seen[n] += 1
        return NOT_NOW[first[0] % len(NOT_NOW)] if first else stored(202)

    seen: dict[int, int] = {}
    with FaultServer(by_message=act) as server:
        with Client({"it": make(server)}, dice=lambda: 0.0) as client:
            enqueue_all(client, messages)
            assert client.flush(60)
            ledger = assert_conserved(client, server.oracle, accepted=count)["it"]
            dead = {letter.message_id for letter in client.dead_letters()}
        arrived = {number(message) for message in server.oracle.messages.values()}
    never = {n for n in range(count) if n % 3 == 1}
    assert dead == {messages[n].message_id for n in never}
    assert arrived == set(range(count)) - never
    assert (ledger.delivered, ledger.dead) == (100, {"rejected": 50})
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0
