"""Which partitions this process reads for one destination: leased, shared fairly, given back in order."""

import random
import time
from collections.abc import Callable, Iterator

from attrs import define

from ._redis_broker import Broker

#: Of a lease's time, after how much it is begun anew, and after how much it is no longer relied on.
RENEW_AFTER, RELY_FOR = 1 / 3, 0.9
#: Seconds between looks for partitions that became free; less where leases are short.
SEEK_EVERY = 0.5
FROM_THE_START = b"0-0"


@define(eq=False)
class Share:
    """A partition that is read here."""

    until: float  #: monotonic; after that somebody else may have it
    cursor: bytes | None = FROM_THE_START  #: where to go on with what was pending; ``None``: all of that is here
    leaving: bool = False  #: another worker is to have it


class Leases:
    """The partitions of one destination that are ours.

    Each of n live workers may hold one n-th of them, rounded up. One that holds more reads no further from the rest,
    and lets go of a partition when nothing of it is being sent.

    Args:
        name: the destination.
        lost: called with a partition that is not ours any more, and with one that has just become ours: what is here
            of it belongs to an earlier time.
        clear: called with a partition that is to leave; tells whether nothing of it is out.
    """

    def __init__(self, name: str, broker: Broker, lost: Callable[[int], None], clear: Callable[[int], bool]) -> None:
        self._name = name
        self._broker = broker
        self._lost = lost
        self._clear = clear
        self.held: dict[int, Share] = {}
        self._most = broker.partitions
        self._beat_at = 0.0
        self._seek_at = 0.0
        #: There was nothing more to be had the last time.
        self.content = False
        #: Everything is to be given back, and nothing more is looked for.
        self.over = False
        self._counted = False  # among the workers, as far as the broker knows

    @property
    def gone(self) -> bool:
        """Whether others need not wait for us: nothing is held, and they do not count us."""
        return not self.held and not self._counted

    def tend(self, first: list[int]) -> None:
        """Do what is due: keep what we have, let go of what is too much, look for more, ``first`` these."""
        now = time.monotonic()
        if self.over:
            self._retire()
        if now >= self._beat_at:
            self._beat(now)
        if self.over:
            self._most = 0
            for share in list(self.held.values()):
                share.leaving = True
        self._give_back()
        if len(self.held) < self._most and now >= self._seek_at:
            self._seek(now, first)

    def relies_on(self, partition: int) -> bool:
        """Tell whether a partition is ours for sure at this moment."""
        share = self.held.get(partition)
        return share is not None and time.monotonic() < share.until

    def readable(self) -> Iterator[tuple[int, Share]]:
        """Return the partitions to read from."""
        return ((partition, share) for partition, share in list(self.held.items()) if not share.leaving)

    def leave(self) -> None:
        """Let go of everything."""
        held = list(self.held)
        self.held.clear()
        self._broker.release(self._name, held)
        self._broker.retire(self._name)

    def _retire(self) -> None:
        if self._counted:
            self._broker.retire(self._name)
            self._counted = False

    def _beat(self, now: float) -> None:
        workers = 1
        if not self.over:
            self._counted = True  # before the answer, which can be lost
            workers = self._broker.beat(self._name)
        held = list(self.held)
        for partition, ours in zip(held, self._broker.renew(self._name, held), strict=True):
            if not ours:
                self._lost(partition)
            elif (share := self.held.get(partition)) is not None:
                share.until = now + RELY_FOR * self._broker.ttl
        self._most = -(-self._broker.partitions // workers)
        for place, share in enumerate(list(self.held.values())):
            share.leaving = place >= self._most
        self._beat_at = now + RENEW_AFTER * self._broker.ttl

    def _give_back(self) -> None:
        free = [partition for partition, share in list(self.held.items()) if share.leaving and self._clear(partition)]
        self._broker.release(self._name, free)
        for partition in free:
            self.held.pop(partition, None)

    def _seek(self, now: float, first: list[int]) -> None:
        others = [i for i in range(self._broker.partitions) if i not in self.held and i not in first]
        random.shuffle(others)
        wanted = [i for i in first if i not in self.held] + others
        most = self._most - len(self.held)
        got = self._broker.acquire(self._name, wanted, most)
        for partition in got:
            self._lost(partition)
            self.held[partition] = Share(now + RELY_FOR * self._broker.ttl)
        self.content = len(got) < most or len(self.held) >= self._most
        self._seek_at = now + min(SEEK_EVERY, RENEW_AFTER * self._broker.ttl)
