"""What a caller gets back: a receipt per call, a report per bulk, a ledger per destination."""

from collections.abc import Mapping
from typing import Literal

from attrs import Factory, field, frozen

from .message import Message
from .wire import Delivered, Outcome

Status = Literal["success", "partial", "fail"]

#: Why messages are given up after they were accepted; the table in docs/delivery.md says what each means.
DEAD_REASONS = (
    *("unsupported", "too_large", "rejected", "expired", "exhausted"),
    *("provider_error", "unreadable", "poison", "damaged"),
)


@frozen(slots=False)  # as a message: made with each call, and so in half the time
class Receipt:
    """Whether a call's message was taken; truthy when at least one destination took it.

    Attributes:
        message_id: the id that goes out; empty for a message that could not even be read.
        accepted: at least one destination's queue holds the message (in sync mode: at least one delivered it).
        reason: why not, or ``None``.
        destinations: names of those that took it.
        nulled: paths of values that JSON does not know (NaN, infinity) and that became null.
    """

    message_id: str
    accepted: bool
    reason: str | None = None
    destinations: tuple[str, ...] = ()
    nulled: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.accepted


@frozen
class Verdict:
    """How one message ended at one destination; what ``on_delivery`` is called with, in lists."""

    message_id: str
    destination: str
    outcome: Outcome
    attempts: int = 1


@frozen
class Drop:
    """One message that one destination will never get; what ``on_drop`` is called with, in lists.

    Attributes:
        reason: the word in the ledger: ``invalid``, ``queue_full``, ``closed``, ``rejected``, ``expired``, ….
        detail: the sentence.
    """

    message_id: str
    destination: str
    reason: str
    detail: str = ""


@frozen
class FailedRecord:
    """One failure in a :class:`Report`: the message where it is at hand, where it was meant to go, and why not."""

    record: Message | None
    destination: str
    error: str
    code: int | None = None


@frozen(kw_only=True)
class Report:
    """The end of a bulk or of a client, counted per message and destination.

    Attributes:
        status: ``success`` when nothing failed, ``fail`` when nothing succeeded, else ``partial``.
        total: verdicts asked for; ``success`` + ``failure``.
        failed_records: what failed and why; a message without a verdict yet says so.
        verdicts: ``(message_id, destination)`` to its outcome, for those that have one.
    """

    success: int
    failure: int
    failed_records: tuple[FailedRecord, ...] = ()
    verdicts: Mapping[tuple[str, str], Outcome] = Factory(dict)

    @property
    def total(self) -> int:
        return self.success + self.failure

    @property
    def status(self) -> Status:
        if not self.failure:
            return "success"
        return "partial" if self.success else "fail"

    @property
    def delivered(self) -> tuple[tuple[str, str], ...]:
        """``(message_id, destination)`` of all that arrived."""
        return tuple(key for key, outcome in self.verdicts.items() if isinstance(outcome, Delivered))


@frozen(kw_only=True)
class Ledger:
    """Where every message meant for one destination is. It balances at every moment:

    ``accepted == delivered + filtered + sum(dropped) + sum(dead) + pending``.

    The counters after ``pending`` stand beside the equation, not in it.
    """

    accepted: int = 0
    delivered: int = 0
    #: Not meant for it after all: routing, sampling, consent, ``unsupported="skip"``, a middleware's ``None``.
    filtered: int = 0
    #: Refused before or taken out of the queue, by reason.
    dropped: Mapping[str, int] = Factory(dict)
    #: Given up after it was queued, by reason; see the dead letters.
    dead: Mapping[str, int] = Factory(dict)
    pending: int = 0
    #: Attempts that had to be repeated, per message.
    retried: int = 0
    #: Members left out because the vendor has no place for them, by name.
    omitted: Mapping[str, int] = Factory(dict)
    #: Whether the destination is on hold, and why.
    held: str | None = None
    requests: int = 0
    bytes_sent: int = 0
    #: The vendor's latest remarks on messages that it took.
    warnings: tuple[str, ...] = field(default=())

    @property
    def balanced(self) -> bool:
        """Whether every accepted message is accounted for."""
        gone = self.delivered + self.filtered + sum(self.dropped.values()) + sum(self.dead.values())
        return self.accepted == gone + self.pending
