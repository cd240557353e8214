"""``send`` and ``asend`` with more messages than fit: they wait for room where it can come, and nowhere else."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from unitrack import Client, Destination, Report, Track
from unitrack.message import Message
from unitrack.providers import Hightouch, Interakt
from unitrack.testing import FakeTransport

Send = Callable[[Client, Sequence[Message]], Report]


def send(client: Client, messages: Sequence[Message]) -> Report:
    return client.send(messages, timeout=60)


def asend(client: Client, messages: Sequence[Message]) -> Report:
    return asyncio.run(client.asend(messages, timeout=60))


@pytest.mark.parametrize("call", [send, asend])
def test_a_destination_on_hold_takes_nothing_from_the_others(call: Send) -> None:
    """It cannot make room, so whoever waited for it would fill the queues of all once the time is over."""
    destinations = {
        "good": Destination(Hightouch(write_key="k1"), transport=FakeTransport()),
        "bad": Destination(Interakt(api_key="k2"), transport=FakeTransport(401)),
    }
    messages = [Track(user_id="u", event="E") for _ in range(500)]
    with Client(destinations, max_events=50, shutdown_timeout=0) as client:
        report = call(client, messages)
        ledgers = client.stats()
        assert (ledgers["good"].delivered, ledgers["good"].dropped) == (500, {})
        assert ledgers["bad"].pending <= 50
        assert all(ledger.balanced for ledger in ledgers.values())
        assert (report.success, report.failure) == (500, 500)


@pytest.mark.parametrize("call", [send, asend])
def test_a_queue_of_few_bytes_takes_what_fits(call: Send) -> None:
    """A message is assumed to need some bytes; where that is more than a queue may ever hold, it has to be empty."""
    with Client({"cdp": Hightouch(write_key="k1")}, transport=FakeTransport(), max_bytes=600) as client:
        report = call(client, [Track(user_id="u", event="E") for _ in range(5)])
        assert (report.success, report.failure) == (5, 0)
