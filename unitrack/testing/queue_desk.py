"""A queue under test, and what its suite needs beside it."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

try:
    import pytest
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"QueueConformance needs {error.name}: pip install 'unitrack-sdk[testing]'", name=error.name
    ) from error

from ..queue import Entry, News, Queue, Refusal

#: Destinations that every queue of the suite is opened for.
A, B = "a", "b"
RECORD = b'{"v":1}\n{"n":1}'
LEASE = 60.0
FAR = 1e9  # seconds: longer than any wait here


class QueueDesk:
    """Makes queues in a folder of the test's own, and closes them."""

    #: Numbers: of threads and messages in the test that runs for long.
    many = 1_000

    def make(self, folder: Path) -> Queue:
        """Make a queue, or open what an earlier one left in the same place."""
        raise NotImplementedError

    def die(self, queue: Queue) -> None:
        """Leave the queue as a killed process does."""

    def settle(self, queue: Queue) -> None:
        """Wait until what was put can be taken, where that takes a while."""

    # -- tools

    @pytest.fixture(autouse=True)
    def _prepared(self, tmp_path: Path) -> Iterator[None]:
        self.folder = tmp_path
        self.told: dict[str, int] = defaultdict(int)
        self._queues: list[Queue] = []
        self.now = time.time()
        self._numbers = count(1)
        self.queue = self.open()
        yield
        for queue in self._queues:
            queue.close()

    def open(self, max_events: int = 1_000_000, max_bytes: int = 1 << 40, lease: float = LEASE) -> Queue:
        queue = self.make(self.folder)
        self._queues.append(queue)
        for name in (A, B):
            queue.open(name, max_events=max_events, max_bytes=max_bytes, lease=lease)
        self.look(queue)
        return queue

    def look(self, queue: Queue) -> None:
        def tell(name: str, news: News) -> None:
            self.told[name] += news.arrived

        queue.look_around(self.now, tell)

    def put(
        self,
        lane: int = 1,
        names: Sequence[str] = (A,),
        *,
        queue: Queue | None = None,
        message_id: str = "",
        record: bytes = RECORD,
    ) -> Mapping[str, Refusal]:
        seq = next(self._numbers)
        self.now += 0.001
        return (queue or self.queue).put(seq, message_id or f"m{seq}", lane, record, self.now, names)

    def fill(self, *lanes: int, names: Sequence[str] = (A,), queue: Queue | None = None) -> None:
        for lane in lanes:
            assert self.put(lane, names, queue=queue) == {}
        self.settle(queue or self.queue)

    def take(self, limit: int = 100, name: str = A, *, queue: Queue | None = None, later: float = 0.0) -> list[Entry]:
        return list((queue or self.queue).take(name, limit, None, self.now + later))

    def ids(self, limit: int = 100, name: str = A, *, queue: Queue | None = None, later: float = 0.0) -> list[str]:
        return ids(self.take(limit, name, queue=queue, later=later))

    def again(self) -> Queue:
        """Kill the process that has the queue, and open what it left behind in another."""
        self.die(self.queue)
        self._queues.remove(self.queue)
        self._killed = self.queue  # so that it is not cleaned up as a process that ends in order would be
        self.queue = self.open()
        return self.queue

    @property
    def survives(self) -> bool:
        """Whether what waits outlives its process."""
        return self.queue.durability != "none"


def ids(entries: Sequence[Entry]) -> list[str]:
    """Return the ids of entries, as they come."""
    return [entry.message_id for entry in entries]


def lines(entries: Sequence[Entry]) -> dict[int, list[str]]:
    """Return the ids of entries by lane."""
    found: dict[int, list[str]] = {}
    for entry in entries:
        found.setdefault(entry.lane, []).append(entry.message_id)
    return found
