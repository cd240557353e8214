"""``Client.close`` that is interrupted, and called again."""

import threading

from tests.interrupting import at_look, interrupted, press
from unitrack import Client, engine
from unitrack.providers import Hightouch
from unitrack.testing import FakeTransport


def closed(client: Client, at: int) -> bool:
    """Close a client with Ctrl-C at the so-manieth moment in its engine; tell whether there are so many."""
    try:
        return interrupted(lambda: client.close(1.0), at, at_look, press, {engine.__file__})
    except KeyboardInterrupt:
        return True


def test_a_close_that_was_interrupted_anywhere_can_be_called_again() -> None:
    """Also right after the lock was taken."""
    number, hit = 1, True
    while hit:
        transport = FakeTransport()
        client = Client({"cdp": Hightouch(write_key="k")}, transport=transport, linger=60.0)
        client.track("u", "E")
        hit = closed(client, number)
        elsewhere = threading.Thread(target=client.close, args=(5.0,))
        elsewhere.start()
        elsewhere.join(2.0)
        assert not elsewhere.is_alive(), f"interrupted at {number}: another thread cannot close"
        assert client.close(1.0).status == "success"
        assert client.stats()["cdp"].delivered == len(transport.requests) == 1
        number += 1
    assert number > 30
