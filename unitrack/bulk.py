"""Many messages at once, and one report with a verdict for each of them at each destination."""

from collections.abc import Callable

from attrs import define, field

from .intake import Taken
from .message import Message
from .results import FailedRecord, Report
from .waiting import Collector
from .wire import Delivered, Hold, Outcome, Rejected, Retry

NO_VERDICT = "no verdict in time; it is still queued"


@define
class Bulk:
    """The messages of one :meth:`unitrack.Client.send`."""

    _take: Callable[[Message, Collector], Taken]
    collector: Collector = field(factory=Collector, init=False)
    taken: list[tuple[Message, Taken]] = field(factory=list, init=False)

    def add(self, message: Message) -> None:
        """Hand one in."""
        self.taken.append((message, self._take(message, self.collector)))

    def report(self) -> Report:
        """Return what is known now."""
        outcomes = self.collector.outcomes()
        success = 0
        failed: list[FailedRecord] = []
        verdicts: dict[tuple[str, str], Outcome] = {}
        for message, taken in self.taken:
            message_id = taken.receipt.message_id
            for name, reason in taken.failed.items():
                verdicts[message_id, name] = Rejected(reason)
                failed.append(FailedRecord(message, name, reason))
            for name in taken.receipt.destinations:
                # Without one of its own it has the id of another, which alone was sent.
                outcome = outcomes.get((taken.seq, name)) or verdicts.get((message_id, name))
                if outcome is not None:
                    verdicts[message_id, name] = outcome
                match outcome:
                    case Delivered():
                        success += 1
                    case Rejected():
                        failed.append(FailedRecord(message, name, outcome.reason, outcome.code))
                    case Retry() | Hold():
                        error = f"{outcome.reason} ({NO_VERDICT})" if isinstance(outcome, Retry) else outcome.reason
                        failed.append(FailedRecord(message, name, error, outcome.code))
                    case None:
                        failed.append(FailedRecord(message, name, NO_VERDICT))
        return Report(success=success, failure=len(failed), failed_records=tuple(failed), verdicts=verdicts)
