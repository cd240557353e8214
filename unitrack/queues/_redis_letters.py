"""Dead letters that all processes share; while the broker is away, they wait here."""

import threading
from collections.abc import Callable, Sequence

from ..logs import QuietLog
from ..queue import DeadLetter
from ._redis_broker import Broker
from ._redis_line import BrokerAway

#: Letters that may wait for the broker.
MOST_WAITING, MOST_WAITING_BYTES = 1_000, 16 * 1024 * 1024


class Letters:
    """The dead letters of all destinations.

    To keep one never touches the network: it is done by whoever calls :meth:`hand_in`.
    """

    def __init__(self, broker: Broker, log: QuietLog) -> None:
        self._broker = broker
        self._log = log
        self._lock = threading.RLock()
        self._waiting: dict[tuple[str, str], DeadLetter] = {}
        self._owed: dict[tuple[str, str], DeadLetter] = {}

    def keep(self, letter: DeadLetter) -> None:
        with self._lock:
            self._forget(letter)
            self._waiting[_key(letter)] = letter
            size = sum(len(one.record) for one in self._waiting.values())
            while len(self._waiting) > MOST_WAITING or (len(self._waiting) > 1 and size > MOST_WAITING_BYTES):
                oldest = self._waiting.pop(next(iter(self._waiting)))
                size -= len(oldest.record)
                self._log.warning("letters", "unitrack: %s is a dead letter no more: no room", oldest.message_id)

    def owe(self, letter: DeadLetter) -> None:
        """Keep a letter that goes to the broker together with the entry that it is of: :meth:`bring` it there."""
        with self._lock:
            self._forget(letter)
            self._owed[_key(letter)] = letter

    def owes(self, letter: DeadLetter) -> bool:
        """Tell whether nobody discarded it meanwhile."""
        return self._owed.get(_key(letter)) is letter

    def cancel(self, letter: DeadLetter) -> None:
        """Forget what is owed: the entry is somebody else's."""
        with self._lock:
            if self.owes(letter):
                del self._owed[_key(letter)]

    def hand_in(self) -> bool:
        """Bring what waits to the broker; tell whether anything did."""
        waiting = list(self._waiting.values())
        for letter in waiting:
            self.bring(letter, self._broker.keep_letter)
        return bool(waiting)

    def bring(self, letter: DeadLetter, how: Callable[[DeadLetter], object]) -> None:
        """Bring one letter to the broker."""
        how(letter)
        with self._lock:
            still = self._waiting.get(_key(letter)) is letter or self.owes(letter)
            if still:
                self._forget(letter)
        if not still:
            self._broker.discard_letter(letter)  # somebody discarded it meanwhile

    def all(self, name: str | None, since: float) -> Sequence[DeadLetter]:
        """Return what is kept, oldest first; without the broker, what waits for it."""
        with self._lock:
            waiting = {**self._owed, **self._waiting}
        there: Sequence[DeadLetter] = ()
        try:
            there = self._broker.letters(name, since)
        except BrokerAway as error:
            self._log.warning("letters away", "unitrack: dead letters cannot be looked at: %s", str(error))
        found = [letter for letter in there if _key(letter) not in waiting]
        found += [one for one in waiting.values() if name in (None, one.destination) and one.buried_at >= since]
        return found

    def discard(self, letter: DeadLetter) -> bool:
        with self._lock:
            here = self._waiting.get(_key(letter)) or self._owed.get(_key(letter))
            found = here is not None and here.buried_at == letter.buried_at
            if found:
                self._forget(letter)
        try:
            return self._broker.discard_letter(letter) or found
        except BrokerAway as error:
            self._log.warning("letters away", "unitrack: a dead letter may stay: %s", str(error))
            return found

    def _forget(self, letter: DeadLetter) -> None:
        self._waiting.pop(_key(letter), None)
        self._owed.pop(_key(letter), None)


def _key(letter: DeadLetter) -> tuple[str, str]:
    return letter.destination, letter.message_id
