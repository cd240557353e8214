"""The contract of a queue: where messages wait for each of their destinations.

One write serves all destinations of a message; each destination has its own position, bounds and dead letters.
A *lane* is everything about one user: its messages are handed out in order, and to one taker at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol

from attrs import define, frozen

Durability = Literal["none", "process", "power", "shared"]


@define
class Entry:
    """One message that waits for one destination."""

    message_id: str
    lane: int
    record: bytes  #: see :mod:`unitrack.codec`
    accepted_at: float  #: seconds of the wall clock, so that an age survives a restart
    attempts: int = 0  #: counted before each send


@frozen
class DeadLetter:
    """A message that will not be sent again, kept for whoever asks why. Holds no credential."""

    destination: str
    message_id: str
    reason: str
    detail: str
    attempts: int
    accepted_at: datetime
    buried_at: datetime
    record: bytes


class Queue(Protocol):
    """Where messages wait. Times are seconds of the wall clock; calls may come from any thread."""

    @property
    def durability(self) -> Durability:
        """What a put survives: ``none``, the end of the ``process``, a loss of ``power``; or ``shared`` by hosts."""

    def open(self, destination: str, *, max_events: int, max_bytes: int) -> int:
        """Make room for a destination and return how many messages already wait for it."""

    def put(self, entry: Entry, destinations: Sequence[str]) -> Mapping[str, str]:
        """Store an entry once for all of them; return the reason (``queue_full``, …) of each that has no room."""

    def drop_oldest(self, destination: str, size: int) -> Sequence[Entry]:
        """Give up waiting entries, oldest first, until one of ``size`` bytes fits; return what was given up."""

    def take(self, destination: str, limit: int, max_bytes: int, now: float) -> Sequence[Entry]:
        """Hand out the oldest entries that are due, of lanes that nobody holds, and count the attempt.

        Entries of one lane come in order. Their lanes are held until each is settled by one of the calls below.
        """

    def done(self, destination: str, entries: Iterable[Entry]) -> None:
        """Forget entries that were delivered."""

    def retry(self, destination: str, entries: Sequence[Entry], due: float) -> None:
        """Put entries back to the front of their lanes, not to be taken before ``due``."""

    def release(self, destination: str, entries: Sequence[Entry]) -> None:
        """Put entries back as if they had not been taken: the attempt is not counted."""

    def bury(self, destination: str, entry: Entry, reason: str, detail: str, now: datetime) -> None:
        """Move a taken entry to the dead letters; its lane goes on."""

    def ready(self, destination: str, now: float) -> tuple[int, int, float | None, float | None]:
        """Tell what waits: entries and bytes that could be taken now, the oldest's ``accepted_at``, the next due time."""

    def dead_letters(self, destination: str | None = None) -> Sequence[DeadLetter]:
        """Return what was buried, oldest first."""

    def close(self) -> None:
        """Let go of files and connections."""
