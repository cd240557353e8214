"""The client's ledger beside what the vendor counted, and every way in which the two could differ."""

from collections.abc import Iterable, Iterator

from attrs import frozen

from ..receivers import Taken, Tally
from ..results import Ledger

#: What the vendors call the place for the properties of an event.
_PLACES = ("properties", "traits", "attributes", "data", "event_properties", "params")


@frozen(kw_only=True)
class Account:
    """One destination at the end.

    Attributes:
        meant: messages that were meant for it, counted by who made them.
        out_of_order: users whose messages arrived in another order than they were made.
    """

    name: str
    meant: int
    ledger: Ledger
    tally: Tally
    users: int
    out_of_order: int

    @property
    def faults(self) -> tuple[str, ...]:
        """What does not fit, one sentence each; empty when all is well."""
        return tuple(f"{self.name}: {fault}" for fault in self._faults())

    def _faults(self) -> Iterator[str]:
        ledger, tally = self.ledger, self.tally
        if not ledger.balanced:
            yield "the ledger does not balance"
        if ledger.accepted != self.meant:
            yield f"{self.meant:,} messages were meant for it, the ledger accepted {ledger.accepted:,}"
        if ledger.pending:
            yield f"{ledger.pending:,} messages still wait"
        if ledger.delivered != tally.distinct:
            yield f"the ledger says {ledger.delivered:,} delivered, the receiver took {tally.distinct:,}"
        if tally.repeats:
            yield f"{tally.repeats:,} messages arrived twice"
        if tally.refused:
            yield f"the receiver refused {sum(tally.refused.values()):,}: {next(iter(tally.refused))}"
        if ledger.requests != tally.requests:
            yield f"the ledger says {ledger.requests:,} requests, the receiver saw {tally.requests:,}"
        if ledger.bytes_sent != tally.bytes:
            yield f"the ledger says {ledger.bytes_sent:,} bytes, the receiver saw {tally.bytes:,}"
        if self.out_of_order:
            yield f"the messages of {self.out_of_order:,} users are out of order"


def users_and_out_of_order(taken: Iterable[Taken]) -> tuple[int, int]:
    """Count the users, and those whose orders arrived in another sequence than in the file, or before the user did."""
    latest: dict[str, int] = {}
    wrong = set()
    for one in taken:
        number = _order_id(one)
        # A user becomes known first; then the numbers rise.
        if (one.user in latest) == (number is None) or (number or 0) < latest.get(one.user, 0):
            wrong.add(one.user)
        latest[one.user] = number or 0
    return len(latest), len(wrong)


def _order_id(one: Taken) -> int | None:
    for place in _PLACES:
        if "order_id" in (one.message.get(place) or {}):
            return int(one.message[place]["order_id"])
    return None
