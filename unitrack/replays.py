"""Dead letters on their way back into the queues: each once, however many bring them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from zlib import crc32

from .branch import Branch
from .clock import Clock
from .codec import UnreadableRecord, identity, unpack
from .queue import DeadLetter, Queue


class Replays:
    """Puts dead letters back.

    Args:
        branches: the destinations, by name.
        queue: where the letters are, and where they go.
        clock: tells when they were put back.
        numbers: from which every message of this client gets its own.
    """

    def __init__(self, branches: Mapping[str, Branch], queue: Queue, clock: Clock, numbers: Iterator[int]) -> None:
        self._branches = branches
        self._queue = queue
        self._clock = clock
        self._numbers = numbers
        # Letters on their way back, by whoever brings them.
        self._replaying: dict[tuple[str, str], object] = {}

    def replay(self, letters: Iterable[DeadLetter]) -> int:
        """Put dead letters back into the queues of their destinations, with their ids; return how many are there.

        Each of them once, however many replay it at the same time, as long as they use this client. Of two clients,
        such as those of two processes, both may put it back at the same moment; then it is sent twice.
        """
        me = object()
        try:
            mine = [letter for letter in letters if self._replaying.setdefault(_key(letter), me) is me]
            # Looked up now that nobody else of us brings them: they may have been brought since they were read.
            there: set[tuple[str, str, float]] = set()
            for name in {letter.destination for letter in mine}:
                there.update((*_key(letter), letter.buried_at) for letter in self._queue.dead_letters(name))
            number = 0
            for letter in mine:
                if (one := (*_key(letter), letter.buried_at)) in there:
                    there.remove(one)
                    with suppress(UnreadableRecord):
                        number += self._replay(letter)
            return number
        finally:
            for key in [key for key, whose in self._replaying.copy().items() if whose is me]:
                del self._replaying[key]

    def _replay(self, letter: DeadLetter) -> bool:
        """Put first and forget then: in between a crash would lose it the other way round."""
        branch, seq = self._branches[letter.destination], next(self._numbers)
        lane = crc32(identity(unpack(letter.record)).encode())
        branch.book.revive(letter.reason, seq)
        now = self._clock.steady()
        try:
            refused = self._queue.put(seq, letter.message_id, lane, letter.record, now, [letter.destination])
        except BaseException:  # it may be there after all if it was Ctrl-C
            branch.book.bury(letter.reason, [seq], sure=False)
            raise
        if "full" in refused.values():
            branch.book.bury(letter.reason, [seq])
        elif refused:
            branch.book.known(seq)
        branch.book.coming.discard(seq)
        return "full" not in refused.values() and self._queue.discard_dead(letter)


def _key(letter: DeadLetter) -> tuple[str, str]:
    return letter.destination, letter.message_id
