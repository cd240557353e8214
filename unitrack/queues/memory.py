"""Messages wait in this process and go with it: fast, bounded, ordered per user."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..position import LEASE, Position
from ..queue import DeadLetter, Durability, Entry, News, Ready, Refusal

MAX_DEAD_LETTERS = 1_000
MAX_DEAD_BYTES = 16 * 1024 * 1024

_TAKEN: Mapping[str, Refusal] = {}


class MemoryQueue:
    """The default queue.

    All destinations share one copy of a record. Dead letters are kept for the newest only: 1,000 of them, or 16 MiB.
    """

    durability: Durability = "none"

    def __init__(self) -> None:
        self._positions: dict[str, Position] = {}
        self._dead_lock = threading.RLock()
        self._dead: dict[tuple[str, str], DeadLetter] = {}  # oldest first
        self._dead_size = 0

    def open(self, destination: str, *, max_events: int, max_bytes: int, lease: float = LEASE) -> None:
        self._positions[destination] = Position(max_events, max_bytes, lease)

    def look_around(self, now: float, tell: Callable[[str, News], None]) -> None:
        pass

    def put(
        self, seq: int, message_id: str, lane: int, record: bytes, accepted_at: float, destinations: Sequence[str]
    ) -> Mapping[str, Refusal]:
        item = (seq, message_id, lane, record, accepted_at, 0, 0)
        if len(destinations) == 1:  # as most clients have it
            [name] = destinations
            why = self._positions[name].put(item)
            return {name: why} if why else _TAKEN
        return {name: why for name in destinations if (why := self._positions[name].put(item))}

    def drop_oldest(self, destination: str, size: int, given_up: list[Entry] | None = None) -> Sequence[Entry]:
        return self._positions[destination].drop_oldest(size, given_up)

    def take(self, destination: str, limit: int, max_bytes: int | None, now: float) -> Sequence[Entry]:
        return self._positions[destination].take(limit, max_bytes, now)

    def renew(self, destination: str, lease: int, now: float) -> bool:
        return self._positions[destination].renew(lease, now)

    def absolve(self, destination: str, entry: Entry) -> None:
        pass

    def take_expired(self, destination: str, accepted_before: float, limit: int, now: float) -> Sequence[Entry]:
        return self._positions[destination].take_expired(accepted_before, limit, now)

    def done(self, destination: str, entries: Iterable[Entry]) -> Sequence[Entry]:
        return self._positions[destination].forget(entries)

    def retry(self, destination: str, entries: Sequence[Entry], due: float) -> Sequence[Entry]:
        return self._positions[destination].put_back(entries, due, counted=True)

    def release(self, destination: str, entries: Sequence[Entry]) -> None:
        self._positions[destination].put_back(entries, 0.0, counted=False)

    def bury(self, destination: str, entry: Entry, reason: str, detail: str, now: float) -> bool:
        if not self._positions[destination].owns(entry):
            return False
        self.keep_dead(
            DeadLetter(
                destination, entry.message_id, reason, detail, entry.attempts, entry.accepted_at, now, entry.record
            )
        )
        self._positions[destination].forget([entry])
        return True

    def waiting(self, destination: str) -> int:
        return len(self._positions[destination].fresh)

    def has_room(self, destination: str, size: int) -> bool:
        return self._positions[destination].has_room(size)

    def ready(self, destination: str, now: float) -> Ready:
        return self._positions[destination].ready(now)

    def dead_letters(self, destination: str | None = None, since: float = 0.0) -> Sequence[DeadLetter]:
        with self._dead_lock:
            letters = [letter for letter in self._dead.values() if letter.buried_at >= since]
        return [letter for letter in letters if destination in (None, letter.destination)]

    def keep_dead(self, letter: DeadLetter) -> None:
        with self._dead_lock:
            self._forget_dead(letter)
            self._dead[letter.destination, letter.message_id] = letter
            self._dead_size += len(letter.record)
            while len(self._dead) > MAX_DEAD_LETTERS or (len(self._dead) > 1 and self._dead_size > MAX_DEAD_BYTES):
                self._forget_dead(next(iter(self._dead.values())))

    def discard_dead(self, letter: DeadLetter) -> bool:
        with self._dead_lock:
            found = self._dead.get((letter.destination, letter.message_id))
            if found is None or found.buried_at != letter.buried_at:
                return False  # it was sent again, and may have been buried anew
            self._forget_dead(found)
            return True

    def _forget_dead(self, letter: DeadLetter) -> None:
        found = self._dead.pop((letter.destination, letter.message_id), None)
        if found is not None:
            self._dead_size -= len(found.record)

    def trouble(self) -> str | None:
        return None

    def stop_reading(self) -> None:
        pass

    def hand_over(self, timeout: float) -> bool:
        return False

    def close(self) -> None:
        pass
