"""The contract of a queue: where messages wait for each of their destinations.

One write serves all destinations of a message; each destination has its own position, bounds and dead letters.
A *lane* is everything about one user: its messages are handed out in order, and to one taker at a time.
What was taken is *leased*: it is its taker's until it is settled, or until the lease ends because the taker vanished.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol

from attrs import Factory, define, frozen

Durability = Literal["none", "process", "power", "shared"]

#: Bytes of a record at most, context and all; more is damage to whoever reads a queue.
MAX_RECORD = 8 * 1024 * 1024

#: Why a put did not store a message: no room, or a message with its id waits there already.
Refusal = Literal["full", "duplicate"]


@define
class Entry:
    """One message, taken out of the queue for one destination."""

    seq: int  #: grows with every message that a client takes
    message_id: str
    lane: int
    record: bytes  #: see :mod:`unitrack.codec`
    accepted_at: float  #: steady seconds, so that an age survives a restart
    attempts: int = 1  #: this one included; stored before each send
    abandoned: int = 0  #: times that a taker vanished with it
    lease: int = 0  #: of the take that handed it out

    def put_back(self, *, counted: bool) -> tuple[int, int]:
        """Return the ``attempts`` and ``abandoned`` with which it is put back.

        An attempt that counts came to an end, so it does not kill whoever makes it.

        >>> Entry(1, "m", 0, b"", 0.0, attempts=3, abandoned=2).put_back(counted=True)
        (3, 0)
        >>> Entry(1, "m", 0, b"", 0.0, attempts=3, abandoned=2).put_back(counted=False)
        (2, 2)
        """
        return (self.attempts, 0) if counted else (self.attempts - 1, self.abandoned)


@frozen
class Ready:
    """What waits for a destination right now."""

    count: int  #: messages that could be taken
    size: int  #: bytes of those that nobody took before
    oldest: float | None  #: ``accepted_at`` of the oldest; 0.0 if one was taken before and need not wait for company
    due: float | None  #: when the next lane that waits for a time may go on


@frozen
class Settled:
    """The end of one of this client's messages, as another process told it."""

    seq: int
    message_id: str
    attempts: int
    reason: str | None = None  #: of a dead letter; ``None``: it was delivered
    detail: str = ""


@frozen
class News:
    """What happened to a destination's messages without this process."""

    arrived: int = 0  #: messages of others that are this client's from now on; below zero: they are not any more
    settled: Sequence[Settled] = ()


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


@define
class QueueView:
    """What waits for one destination, as seen from outside."""

    destination: str
    messages: int = 0
    size: int | None = 0  #: bytes of their records; ``None``, here and below: it cannot be seen from outside
    oldest: float | None = None  #: when it was accepted, in steady seconds
    lanes: int | None = 0  #: users with something there
    delayed: int = 0  #: messages that wait for a time
    delayed_lanes: int | None = 0
    abandoned: int = 0  #: messages whose sender vanished with them before
    dead: dict[str, int] = Factory(dict)  #: dead letters by reason

    def plus(self, other: "QueueView") -> "QueueView":
        """Return both together; a user who has something in both counts twice."""
        ages = [age for age in (self.oldest, other.oldest) if age is not None]
        return QueueView(
            self.destination, self.messages + other.messages, _sum(self.size, other.size), min(ages, default=None),
            _sum(self.lanes, other.lanes), self.delayed + other.delayed,
            _sum(self.delayed_lanes, other.delayed_lanes), self.abandoned + other.abandoned, self.dead,
        )  # fmt: skip


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


class Queue(Protocol):
    """Where messages wait.

    Times are those of :meth:`unitrack.clock.Clock.steady`. Calls may come from any thread, and from a signal
    handler in the middle of another call.

    :class:`unitrack.testing.QueueConformance` is this contract as tests.
    """

    @property
    def durability(self) -> Durability:
        """What a put survives: ``none``, the end of the ``process``, a loss of ``power``; or ``shared`` by hosts."""

    def open(self, destination: str, *, max_events: int, max_bytes: int, lease: float) -> None:
        """Make room for a destination.

        Args:
            destination: its name.
            max_events, max_bytes: how much may wait, what is out included.
            lease: seconds for which a take is its taker's; longer than any request lasts.
        """

    def look_around(self, now: float, tell: Callable[[str, News], None]) -> None:
        """Look for what happened elsewhere: messages that a dead process left, verdicts that another one reached.

        Asked at the first use of a client in a process, and then again and again; cheap when there is nothing new.
        Raises nothing.

        Args:
            now: the time.
            tell: called with a destination and its news; before any message that it is about is handed out.
        """

    def put(
        self, seq: int, message_id: str, lane: int, record: bytes, accepted_at: float, destinations: Sequence[str]
    ) -> Mapping[str, Refusal]:
        """Store a record once for all destinations; return those that did not take it, and why.

        Returns when the stated durability is reached. Raises whatever a disk or a broker raises; then it is stored
        for none of them.
        """

    def drop_oldest(self, destination: str, size: int, given_up: list[Entry] | None = None) -> Sequence[Entry]:
        """Give up waiting messages, oldest first, until a record of ``size`` bytes fits; return what was given up.

        Messages that are being sent stay. Nothing is given up where the record could not fit even then.

        Args:
            destination: its name.
            size: bytes that are to fit.
            given_up: filled with what is returned, each before it is gone, so that whoever is interrupted in the
                middle of this can count them.
        """

    def take(self, destination: str, limit: int, max_bytes: int | None, now: float) -> Sequence[Entry]:
        """Hand out the oldest entries that are due, of lanes that nobody holds, and store that they were tried.

        Entries of one lane come in order. A lane is held until each of its entries is settled by a call below.
        """

    def renew(self, destination: str, lease: int, now: float) -> bool:
        """Begin the time of a take anew, before each request; False if it has ended and somebody else may have it."""

    def absolve(self, destination: str, entry: Entry) -> None:
        """Note that this taker only waits for an answer from now on; if it vanishes, the message is hardly to blame.

        Only asked for messages whose takers vanished before, and that travel alone; may do nothing.
        """

    def take_expired(self, destination: str, accepted_before: float, limit: int, now: float) -> Sequence[Entry]:
        """Hand out waiting entries that are too old, due or not, for the caller to bury."""

    def done(self, destination: str, entries: Iterable[Entry]) -> Sequence[Entry]:
        """Forget entries that were delivered; return those that were still the caller's to settle."""

    def retry(self, destination: str, entries: Sequence[Entry], due: float) -> Sequence[Entry]:
        """Put entries back where they stood in their lanes, which are not to be taken from before ``due``.

        Returns those that were still the caller's. They were sent, and whoever did it lived: that takes a suspicion
        away (:meth:`Entry.put_back`).
        """

    def release(self, destination: str, entries: Sequence[Entry]) -> None:
        """Put entries back as if they had not been taken: the attempt is not counted."""

    def bury(self, destination: str, entry: Entry, reason: str, detail: str, now: float) -> bool:
        """Move a taken entry to the dead letters; its lane goes on. False if it was not the caller's any more."""

    def waiting(self, destination: str) -> int:
        """Count what nobody took yet; cheap enough to be asked at every put."""

    def has_room(self, destination: str, size: int) -> bool:
        """Tell whether a record of ``size`` bytes would fit at this moment."""

    def ready(self, destination: str, now: float) -> Ready:
        """Tell what could be taken now, and when more becomes due."""

    def dead_letters(self, destination: str | None = None, since: float = 0.0) -> Sequence[DeadLetter]:
        """Return what was buried since then, oldest first."""

    def keep_dead(self, letter: DeadLetter) -> None:
        """Keep a message that was refused before it was ever queued."""

    def discard_dead(self, letter: DeadLetter) -> bool:
        """Forget a dead letter; False if it is not there any more, because somebody else did."""

    def trouble(self) -> str | None:
        """Say what keeps it from working just now, such as a broker that does not answer; ``None``: nothing known."""

    def stop_reading(self) -> None:
        """Take on nothing more that other processes could send as well."""

    def hand_over(self, timeout: float) -> bool:
        """Bring everything to where workers in other processes find it; tell whether that is done."""

    def close(self) -> None:
        """Let go of files and connections. What waits in a durable queue is left to whoever opens it next."""
