"""Ends of messages on their way to the broker: being told, or owed to it because it was away."""

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

from ._redis_broker import Broker, Verdict
from ._redis_letters import Letters


class Verdicts:
    """What one destination's messages came to, until the broker knows it.

    What the broker did not hear when it happened is said again when it is back. It may be heard twice.
    """

    def __init__(self, name: str, broker: Broker, letters: Letters) -> None:
        self._name = name
        self._broker = broker
        self._letters = letters
        self._lock = threading.RLock()
        self._under_way: set[tuple[int, str]] = set()
        self._owed: dict[int, list[Verdict]] = {}

    @property
    def owed(self) -> list[int]:
        """The partitions that something is owed to."""
        return list(self._owed)

    def ids(self, partition: int) -> set[str]:
        """Return what is settled here, while it may still seem to be pending there."""
        with self._lock:
            return {id_ for at, id_ in self._under_way if at == partition}

    def begin(self, partition: int, id_: str) -> None:
        """An entry is settled from now on."""
        with self._lock:
            self._under_way.add((partition, id_))

    def end(self, partition: int, ids: Iterable[str]) -> None:
        """The broker knows."""
        with self._lock:
            self._under_way.difference_update([(partition, id_) for id_ in ids])

    def owe(self, verdicts: Mapping[int, Sequence[Verdict]]) -> None:
        """The broker was away. A dead letter goes there with its verdict: either alone would lose the message."""
        with self._lock:
            for partition, some in verdicts.items():
                for letter in (one.letter for one in some if one.letter is not None):
                    self._letters.owe(letter)
                self._owed.setdefault(partition, []).extend(some)

    def pay(self, held: Collection[int]) -> None:
        """Say again what is owed; where a partition is not ours, somebody else has its messages and sends them."""
        for partition in self.owed:
            with self._lock:
                some = list(self._owed[partition])
            if partition in held:
                self._say(partition, some)
            for one in some:
                if one.letter is not None:
                    self._letters.cancel(one.letter)
            with self._lock:
                self._owed[partition] = self._owed[partition][len(some) :]
                if not self._owed[partition]:
                    del self._owed[partition]
            self.end(partition, [one.id for one in some])

    def _say(self, partition: int, some: Sequence[Verdict]) -> None:
        plain = []
        for one in some:
            if one.letter is not None and self._letters.owes(one.letter):
                self._letters.bring(one.letter, partial(self._broker.bury, self._name, partition, one))
            else:
                plain.append(one)
        if plain:
            self._broker.settle(self._name, {partition: plain})
