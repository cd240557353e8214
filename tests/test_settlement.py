"""Dead letters that cannot be kept: judged once, sent once, and buried when that is possible again."""

import logging
from typing import Any

import pytest

from tests.desk import CDP
from unitrack import Client
from unitrack.errors import QueueError
from unitrack.queues.memory import MemoryQueue
from unitrack.testing import FakeTransport


class Locked(MemoryQueue):
    """Its dead letters cannot be written, for a number of times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times, self.tries = times, 0

    def keep_dead(self, letter: Any) -> None:
        self.tries += 1
        if self.tries <= self.times:
            raise QueueError("dead letters: database is locked")
        super().keep_dead(letter)


def test_a_message_whose_dead_letter_cannot_be_kept_is_not_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    queue, sent = Locked(times=2), []

    def refuse(request: Any) -> int:
        sent.append(request)
        return 400

    client = Client({"a": CDP}, transport=FakeTransport(refuse), queue=queue, mode="sync", timeout=20.0)
    with caplog.at_level(logging.WARNING):
        client.track("u", "E")
        assert client.flush(15)
    assert (len(sent), queue.tries) == (1, 3)
    ledger = client.stats()["a"]
    assert (ledger.dead, ledger.pending, ledger.balanced) == ({"rejected": 1}, 0, True)
    [letter] = client.dead_letters()
    assert (letter.reason, letter.attempts) == ("rejected", 1)
    assert sum("cannot be kept" in line.getMessage() for line in caplog.records) == 1
    client.close()


def test_ctrl_c_while_a_verdict_is_noted_leaves_the_books_right() -> None:
    class Pressed(MemoryQueue):
        def done(self, destination: str, entries: Any) -> Any:
            super().done(destination, entries)
            raise KeyboardInterrupt

    client = Client({"a": CDP}, transport=FakeTransport(200), queue=Pressed(), mode="sync")
    with pytest.raises(KeyboardInterrupt):
        client.track("u", "E")
    ledger = client.stats()["a"]
    assert (ledger.delivered, ledger.pending, ledger.balanced) == (1, 0, True)
    assert client.flush(10)
