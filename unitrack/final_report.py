"""What a client says when it is closed."""

from collections.abc import Iterable, Mapping

from .codec import UnreadableRecord, unpack
from .queue import DeadLetter
from .results import FailedRecord, Ledger, Report


def final_report(ledgers: Mapping[str, Ledger], letters: Iterable[DeadLetter], *, elsewhere: bool) -> Report:
    """Return the sum of the ledgers, with the dead letters that are still kept.

    Args:
        ledgers: of all destinations.
        letters: that were buried since the client began.
        elsewhere: what is pending is where the processes that send will find it, so it is no failure.
    """
    failed = [_failed(letter) for letter in letters]
    pending = {name: ledger for name, ledger in ledgers.items() if ledger.pending and not elsewhere}
    for name, ledger in pending.items():
        why = f"; {ledger.held}" if ledger.held else ""
        failed.append(FailedRecord(None, name, f"{ledger.pending} messages were not sent{why}"))
    lost = sum(sum(one.dropped.values()) + sum(one.dead.values()) for one in ledgers.values())
    return Report(
        success=sum(one.delivered for one in ledgers.values()),
        failure=lost + sum(one.pending for one in pending.values()),
        failed_records=tuple(failed),
    )


def _failed(letter: DeadLetter) -> FailedRecord:
    error = f"{letter.reason}: {letter.detail}"
    try:
        return FailedRecord(unpack(letter.record), letter.destination, error)
    except UnreadableRecord:
        return FailedRecord(None, letter.destination, error)
