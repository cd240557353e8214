"""The contract of a queue: where messages wait for each of their destinations.

One write serves all destinations of a message; each destination has its own position, bounds and dead letters.
A *lane* is everything about one user: its messages are handed out in order, and to one taker at a time.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

from attrs import define, frozen

Durability = Literal["none", "process", "power", "shared"]


@define
class Entry:
    """One message, taken out of the queue for one destination."""

    seq: int  #: grows with every message that a client takes
    message_id: str
    lane: int
    record: bytes  #: see :mod:`unitrack.codec`
    accepted_at: float  #: steady seconds, so that an age survives a restart
    attempts: int = 1  #: this one included; counted before each send


@frozen
class Ready:
    """What waits for a destination right now."""

    count: int  #: messages that could be taken
    size: int  #: bytes of those that nobody took before
    oldest: float | None  #: ``accepted_at`` of the oldest; 0.0 if one was taken before and need not wait for company
    due: float | None  #: when the next lane that waits for a time may go on


@frozen
class DeadLetter:
    """A message that will not be sent again, kept for whoever asks why. Holds no credential."""

    destination: str
    message_id: str
    reason: str
    detail: str
    attempts: int
    accepted_at: float
    buried_at: float
    record: bytes


class Queue(Protocol):
    """Where messages wait.

    Times are those of :meth:`unitrack.clock.Clock.steady`. Calls may come from any thread, and from a signal
    handler in the middle of another call.
    """

    @property
    def durability(self) -> Durability:
        """What a put survives: ``none``, the end of the ``process``, a loss of ``power``; or ``shared`` by hosts."""

    def open(self, destination: str, *, max_events: int, max_bytes: int) -> int:
        """Make room for a destination and return how many messages already wait for it."""

    def put(
        self, seq: int, message_id: str, lane: int, record: bytes, accepted_at: float, destinations: Sequence[str]
    ) -> Sequence[str]:
        """Store a record once for all destinations; return those that have no room for it.

        Raises whatever a disk or a broker raises; then it is stored for none of them.
        """

    def drop_oldest(self, destination: str, size: int) -> Sequence[Entry]:
        """Give up waiting messages, oldest first, until a record of ``size`` bytes fits; return what was given up.

        Messages that are being sent stay. Nothing is given up where the record could not fit even then.
        """

    def take(self, destination: str, limit: int, max_bytes: int | None, now: float) -> Sequence[Entry]:
        """Hand out the oldest entries that are due, of lanes that nobody holds, and count the attempt.

        Entries of one lane come in order. A lane is held until each of its entries is settled by a call below.
        """

    def take_expired(self, destination: str, accepted_before: float, limit: int) -> Sequence[Entry]:
        """Hand out waiting entries that are too old, due or not, for the caller to bury."""

    def done(self, destination: str, entries: Iterable[Entry]) -> None:
        """Forget entries that were delivered."""

    def retry(self, destination: str, entries: Sequence[Entry], due: float) -> None:
        """Put entries back where they stood in their lanes, which are not to be taken from before ``due``."""

    def release(self, destination: str, entries: Sequence[Entry]) -> None:
        """Put entries back as if they had not been taken: the attempt is not counted."""

    def bury(self, destination: str, entry: Entry, reason: str, detail: str, now: float) -> None:
        """Move a taken entry to the dead letters; its lane goes on."""

    def waiting(self, destination: str) -> int:
        """Count what nobody took yet; cheap enough to be asked at every put."""

    def has_room(self, destination: str, size: int) -> bool:
        """Tell whether a record of ``size`` bytes would fit at this moment."""

    def ready(self, destination: str, now: float) -> Ready:
        """Tell what could be taken now, and when more becomes due."""

    def dead_letters(self, destination: str | None = None) -> Sequence[DeadLetter]:
        """Return what was buried, oldest first."""

    def keep_dead(self, letter: DeadLetter) -> None:
        """Keep a message that was refused before it was ever queued."""

    def close(self) -> None:
        """Let go of files and connections."""
