"""The queue in a broker against the contract that all queues share, on a real server."""

import hashlib
from pathlib import Path
from typing import ClassVar

import pytest

from tests.broker import BrokerServer
from unitrack.queue import Queue
from unitrack.queues.memory import MemoryQueue
from unitrack.queues.redis import RedisQueue
from unitrack.settings import Settings
from unitrack.testing import QueueConformance
from unitrack.testing.queue_desk import LEASE


@pytest.fixture(autouse=True, scope="module")
def served(server: BrokerServer) -> None:
    TestRedis.server = server


class TestRedis(QueueConformance):
    server: ClassVar[BrokerServer]
    many = 300

    def make(self, folder: Path) -> Queue:
        prefix = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
        url = f"{self.server.url}?prefix={prefix}&partitions=4&spool={folder}"
        return RedisQueue(url, Settings(), spool=MemoryQueue())

    def open(self, max_events: int = 1_000_000, max_bytes: int = 1 << 40, lease: float = LEASE) -> Queue:
        while self._queues:  # two at a time would share what one of them is asked for
            self._queues.pop().close()
        return super().open(max_events, max_bytes, lease)

    def look(self, queue: Queue) -> None:
        super().look(queue)
        self.settle(queue)  # what an earlier process left comes a moment later

    def settle(self, queue: Queue) -> None:
        assert isinstance(queue, RedisQueue)
        assert queue.settle_down(10)

    def die(self, queue: Queue) -> None:
        assert isinstance(queue, RedisQueue)
        self.settle(queue)  # a spool in memory would die with it
        queue.abandon()
        with self.server.client() as client:  # as if its leases had run out
            for key in client.scan_iter("*:lease:*"):
                client.delete(key)
            for key in client.scan_iter("*:workers:*"):
                client.delete(key)
