"""The queues of one machine against the contract that all queues share."""

from pathlib import Path

from unitrack.queue import Queue
from unitrack.queues.memory import MemoryQueue
from unitrack.queues.sqlite import SqliteQueue
from unitrack.settings import Settings
from unitrack.testing import QueueConformance


class TestMemory(QueueConformance):
    def make(self, folder: Path) -> Queue:
        return MemoryQueue()


class TestSqlite(QueueConformance):
    settings = Settings()

    def make(self, folder: Path) -> Queue:
        return SqliteQueue(folder / "queue", self.settings)

    def die(self, queue: Queue) -> None:
        assert isinstance(queue, SqliteQueue)
        queue.abandon()


class TestSqliteThatSurvivesALossOfPower(TestSqlite):
    settings = Settings(durability="power")
    many = 200
