"""What one destination has on disk only: in which order, and which users have something there."""

from array import array
from collections.abc import Iterable

#: Bits of the sketch of lanes: 8 MiB that are touched only where they are used.
_BITS = 26
_MASK = (1 << _BITS) - 1


class Lanes:
    """Remembers lanes in a fixed space. It never forgets one, and rarely thinks that it knows another."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, lane: int) -> None:
        if not self._bits:
            self._bits = bytearray(1 << (_BITS - 3))
        place = lane & _MASK
        self._bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, lane: int) -> bool:
        place = lane & _MASK
        return bool(self._bits) and bool(self._bits[place >> 3] >> (place & 7) & 1)

    def clear(self) -> None:
        self._bits = bytearray()


class Backlog:
    """Numbers of messages that are not in memory, eight bytes each, in the order in which they are to be read.

    A message whose user has others here must wait behind them, so it comes here as well; all others pass by.
    """

    def __init__(self) -> None:
        self._seqs = array("q")
        self._lanes = Lanes()
        self._coming = 0  # bound to come here, but not written yet

    def __len__(self) -> int:
        return len(self._seqs)

    @property
    def first(self) -> int | None:
        """The number that is to be read next."""
        return self._seqs[0] if self._seqs else None

    def holds(self, lane: int) -> bool:
        """Tell whether a message of this lane has to come here."""
        return lane in self._lanes

    def announce(self, lane: int) -> None:
        """One more will come here as soon as it is written."""
        self._coming += 1
        self._lanes.add(lane)

    def add(self, seq: int) -> None:
        """It is written."""
        self._coming -= 1
        self._seqs.append(seq)

    def withdraw(self) -> None:
        """It could not be written."""
        self._coming -= 1

    def extend(self, messages: Iterable[tuple[int, int]]) -> None:
        """Take in numbers and lanes of messages that were written by another process."""
        for seq, lane in messages:
            self._seqs.append(seq)
            self._lanes.add(lane)

    def pop(self, count: int) -> list[int]:
        """Take out the first numbers."""
        first = self._seqs[:count]
        del self._seqs[:count]
        return first.tolist()

    def give_back(self, seqs: list[int]) -> None:
        """Put numbers back that were taken out last."""
        self._seqs[:0] = array("q", seqs)

    def settle_down(self) -> None:
        """Forget the lanes once nothing of them is here."""
        if not self._seqs and not self._coming:
            self._lanes.clear()
