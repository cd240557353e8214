"""What becomes of messages after an answer: delivered, dead, kept for another attempt, and everyone told."""

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial

from attrs import define, evolve, field, frozen

from .answers import MAX_EXCERPT
from .branch import Branch, secrets_of, without
from .callbacks import Notifier
from .clock import Clock
from .errors import QueueError
from .gate import Gate
from .logs import QuietLog, emit
from .queue import Entry, Queue, Settled
from .results import Drop, Verdict
from .settings import DEADLINE_DURABLE, DEADLINE_IN_MEMORY
from .wire import Delivered, Hold, Outcome, Rejected, Retry

#: Attempts at a message whose answers the provider's own code cannot read.
MAX_PROVIDER_ERRORS = 3
EXPIRED_AT_ONCE = 1_000
#: A vendor's remarks on one message, as far as they are kept.
MAX_REMARKS = 20
#: How a reason begins when a provider's code, not its vendor, is at fault; also the word in the ledger.
PROVIDER_ERROR = "provider_error"
#: Seconds until dead letters that could not be kept are tried again; twice as long each time, up to the other.
BURY_AGAIN, BURY_AGAIN_MOST = 0.5, 60.0


@define
class Take:
    """The messages that one step took out of the queue."""

    #: Those that are not settled yet; whatever is left at the end goes back as it came.
    left: dict[int, Entry]
    #: Lanes with a message that must be sent again before their others may follow.
    blocked: set[int] = field(factory=set)
    #: When whoever asked for the step stops waiting for it, by the monotonic clock.
    until: float = math.inf


@frozen
class _Sentence:
    """Why a message is a dead letter that could not be kept so far."""

    reason: str
    detail: str
    attempts: int
    tell: Callable[[Entry], None]


class Settlement:
    """Settles the messages of one destination, in the queue, in the book, and with whoever waits for them."""

    def __init__(
        self, branch: Branch, queue: Queue, notifier: Notifier, log: QuietLog, *, gate: Gate, clock: Clock
    ) -> None:
        self._branch = branch
        self._name = branch.name
        self._book = branch.book
        self._queue = queue
        self._notifier = notifier
        self._log = log
        self._gate = gate
        self._clock = clock
        self._secrets = secrets_of(branch.provider)
        self._max_retries = branch.settings.max_retries
        self._deadline = _deadline(branch, queue)
        self.sweep_every = min(1.0, max(0.01, self._deadline / 4))
        self._swept_at = 0.0
        self._last_problem = ""
        # By number, in memory only: after a restart they are sent once more and judged anew.
        self._sentenced: dict[int, _Sentence] = {}
        self._bury_from = 0.0
        self._bury_again = BURY_AGAIN

    def deliver(self, delivered: Sequence[tuple[Entry, Delivered]], take: Take) -> None:
        """The vendor took them."""
        if any(outcome.warnings for _, outcome in delivered):
            delivered = [(entry, self._harmless(outcome)) for entry, outcome in delivered]
        with self._notifier.soon():
            try:
                mine = {entry.seq for entry in self._queue.done(self._name, [entry for entry, _ in delivered])}
                self._book.deliver(mine, sure=False)
            except Exception:
                raise
            except BaseException:  # Ctrl-C: what is still in the queue is sent once more, and that undoes this
                self._book.deliver([entry.seq for entry, _ in delivered], sure=False)
                raise
            self._book.ascertain(mine)
            for entry, outcome in delivered:
                del take.left[entry.seq]
                self._sentenced.pop(entry.seq, None)
                if outcome.warnings:
                    self._book.warnings = outcome.warnings
            # What was not ours any more has another taker by now, who will count it.
            self._tell(delivered if len(mine) == len(delivered) else [one for one in delivered if one[0].seq in mine])

    def reject(self, rejected: Sequence[tuple[Entry, Rejected]], take: Take) -> None:
        """The vendor will never take them."""
        safe = [(entry, evolve(outcome, reason=self._safe(outcome.reason))) for entry, outcome in rejected]
        with self._notifier.soon():
            for entry, outcome in safe:
                word = PROVIDER_ERROR if outcome.reason.startswith(PROVIDER_ERROR) else "rejected"
                told = partial(self._tell_one, outcome)
                self._bury(entry, _Sentence(word, outcome.reason, entry.attempts, told), take)

    def give_up(self, entry: Entry, reason: str, detail: str, take: Take) -> None:
        """Make one a dead letter without an answer that says so."""
        detail = self._safe(detail)
        told = partial(self._note, outcome=Rejected(f"{reason}: {detail}"), settled=True)
        with self._notifier.soon():
            self._bury(entry, _Sentence(reason, detail, entry.attempts, told), take)

    def bury_again(self, entry: Entry, take: Take) -> bool:
        """Make one a dead letter that could not be kept as one before; False if it is none of those."""
        sentence = self._sentenced.get(entry.seq)
        if sentence is not None:
            with self._notifier.soon():
                self._bury(entry, sentence, take)
        return sentence is not None

    def hold(self, kept: Sequence[tuple[Entry, Hold]], take: Take, now: float) -> None:
        """The destination is at fault: keep them as they were, and say so once."""
        reason = self._last_problem = self._safe(kept[0][1].reason)
        if self._gate.hold(now, reason):
            self._book.held = reason
            emit(
                logging.WARNING,
                "unitrack: %s is on hold: %s. Its messages are kept; it is tried again from time to time",
                self._name, reason,
            )  # fmt: skip
        take.blocked.update(entry.lane for entry, _ in kept)
        # All that wait, not only those that were sent: nothing more is sent until a probe succeeds.
        self._branch.tell_all(evolve(kept[0][1], reason=reason))

    def retry(self, again: Sequence[tuple[Entry, Retry]], due: float, take: Take) -> None:
        """Send them again, not before ``due``, unless they had their chances."""
        waiting: list[Entry] = []
        for entry, outcome in again:
            self._last_problem = reason = self._safe(outcome.reason)
            if word := self._exhausted(entry, reason):
                tries = f"{entry.attempts} attempt{'s' if entry.attempts != 1 else ''}"
                self.give_up(entry, word, f"{tries}; the last: {reason}", take)
                continue
            take.blocked.add(entry.lane)
            waiting.append(entry)
            self._note(entry, evolve(outcome, reason=reason), settled=False)
        if waiting:
            mine = self._queue.retry(self._name, waiting, due)
            for entry in waiting:
                del take.left[entry.seq]
            self._book.again(len(mine))

    def hear(self, settled: Sequence[Settled]) -> None:
        """Another process settled messages of ours."""
        for one in settled:
            self._sentenced.pop(one.seq, None)
            entry = Entry(one.seq, one.message_id, 0, b"", 0.0, one.attempts)
            with self._notifier.soon():
                if one.reason is None:
                    self._book.deliver([one.seq])
                    self._tell([(entry, Delivered())])
                else:
                    self._book.bury(one.reason, [one.seq])
                    self._note(entry, Rejected(f"{one.reason}: {one.detail}"), settled=True)
                    self._notifier.dropped([Drop(one.message_id, self._name, one.reason, one.detail)])

    def passed(self) -> None:
        """The destination answered well."""
        if self._gate.passed():
            self._book.held = None
            emit(logging.WARNING, "unitrack: %s takes messages again", self._name)

    def sweep(self) -> None:
        """Bury what has waited longer than the delivery deadline, even while nothing may be sent."""
        now = self._clock.steady()
        if now - self._swept_at < self.sweep_every or now < self._bury_from:
            return
        self._swept_at = now
        old = self._queue.take_expired(self._name, now - self._deadline, EXPIRED_AT_ONCE, now)
        last = f"; {self._last_problem}" if self._last_problem else ""
        take = Take({entry.seq: entry for entry in old})
        try:
            for entry in old:
                self.give_up(entry, "expired", f"not delivered within {self._deadline:g} s{last}", take)
        finally:
            if take.left:
                self._queue.release(self._name, list(take.left.values()))

    def _exhausted(self, entry: Entry, reason: str) -> str | None:
        if reason.startswith(PROVIDER_ERROR) and entry.attempts >= MAX_PROVIDER_ERRORS:
            return PROVIDER_ERROR
        return "exhausted" if self._max_retries is not None and entry.attempts > self._max_retries else None

    def _bury(self, entry: Entry, sentence: _Sentence, take: Take) -> None:
        now = self._clock.steady()
        sentence = self._sentenced.get(entry.seq, sentence)  # the first one, which was the vendor's
        reason, detail = sentence.reason, sentence.detail
        entry = evolve(entry, attempts=sentence.attempts)
        if now < self._bury_from:
            self._bury_later(entry, sentence, take)
            return
        try:
            mine = self._queue.bury(self._name, entry, reason, detail, now)
        except QueueError as error:
            self._bury_from, self._bury_again = now + self._bury_again, min(2 * self._bury_again, BURY_AGAIN_MOST)
            self._log.warning(
                f"bury:{self._name}",
                "unitrack: a dead letter of %s cannot be kept (%s); it waits, and is not sent again", self._name, error,
            )  # fmt: skip
            self._bury_later(entry, sentence, take)
            return
        except Exception:
            raise
        except BaseException:  # Ctrl-C: as above
            self._book.bury(reason, [entry.seq], sure=False)
            raise
        self._bury_again = BURY_AGAIN
        del take.left[entry.seq]
        self._sentenced.pop(entry.seq, None)
        if not mine:
            return  # another taker has it by now
        self._book.bury(reason, [entry.seq])
        self._log.warning(
            f"dead:{self._name}:{reason}", "unitrack: %s: %s is a dead letter (%s: %s)",
            self._name, entry.message_id, reason, detail,
        )  # fmt: skip
        self._notifier.dropped([Drop(entry.message_id, self._name, reason, detail)])
        sentence.tell(entry)

    def _bury_later(self, entry: Entry, sentence: _Sentence, take: Take) -> None:
        self._sentenced[entry.seq] = sentence
        if not self._queue.retry(self._name, [entry], self._bury_from):
            del self._sentenced[entry.seq]  # another taker has it, and may come to another end
        del take.left[entry.seq]
        take.blocked.add(entry.lane)

    def _tell_one(self, outcome: Outcome, entry: Entry) -> None:
        self._tell([(entry, outcome)])

    def _tell(self, settled: Sequence[tuple[Entry, Outcome]]) -> None:
        if self._branch.watched:
            for entry, outcome in settled:
                self._note(entry, outcome, settled=True)
        self._notifier.delivered(
            Verdict(entry.message_id, self._name, outcome, entry.attempts) for entry, outcome in settled
        )

    def _note(self, entry: Entry, outcome: Outcome, *, settled: bool) -> None:
        watched = self._branch.watched
        if not watched:
            return
        collector = watched.pop(entry.seq, None) if settled else watched.get(entry.seq)
        if collector is not None:
            collector.note(entry.seq, self._name, outcome)

    def _harmless(self, outcome: Delivered) -> Delivered:
        if not outcome.warnings:
            return outcome
        shown = (self._safe(remark)[:MAX_EXCERPT] for remark in outcome.warnings[:MAX_REMARKS])
        return evolve(outcome, warnings=tuple(shown))

    def _safe(self, text: str) -> str:
        return without(self._secrets, text)


def _deadline(branch: Branch, queue: Queue) -> float:
    settings = branch.settings
    if settings.delivery_deadline is not None:
        return settings.delivery_deadline
    if settings.mode == "sync":
        return settings.timeout  # the caller waits, so a quarter of an hour would be a hang
    return DEADLINE_IN_MEMORY if queue.durability == "none" else DEADLINE_DURABLE
