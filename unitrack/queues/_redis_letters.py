"""Dead letters that all processes share; while the broker is away, they wait here."""

import threading
from collections.abc import Sequence

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

    def keep(self, letter: DeadLetter) -> None:
        with self._lock:
            self._waiting.pop(_key(letter), None)
            self._waiting[_key(letter)] = letter
            size = sum(len(one.record) for one in self._waiting.values())
            while len(self._waiting) > MOST_WAITING or (len(self._waiting) > 1 and size > MOST_WAITING_BYTES):
                oldest = self._waiting.pop(next(iter(self._waiting)))
                size -= len(oldest.record)
                self._log.warning("letters", "unitrack: %s is a dead letter no more: no room", oldest.message_id)

    def hand_in(self) -> bool:
        """Bring what waits to the broker; tell whether anything did."""
        waiting = list(self._waiting.values())
        for letter in waiting:
            self._broker.keep_letter(letter)
            with self._lock:
                still = self._waiting.get(_key(letter)) is letter
                if still:
                    del self._waiting[_key(letter)]
            if not still and _key(letter) not in self._waiting:
                self._broker.discard_letter(letter)  # somebody discarded it meanwhile
        return bool(waiting)

    def all(self, name: str | None, since: float) -> Sequence[DeadLetter]:
        """Return what is kept, oldest first; without the broker, what waits for it."""
        with self._lock:
            waiting = dict(self._waiting)
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
            here = self._waiting.pop(_key(letter), None)
        try:
            return self._broker.discard_letter(letter) or here is not None
        except BrokerAway as error:
            self._log.warning("letters away", "unitrack: a dead letter may stay: %s", str(error))
            return here is not None


def _key(letter: DeadLetter) -> tuple[str, str]:
    return letter.destination, letter.message_id
