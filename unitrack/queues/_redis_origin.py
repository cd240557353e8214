"""What this process put and nobody settled yet, so that a verdict from elsewhere counts once."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import orjson

from ..queue import Settled

_PAGE = 4096
#: Ids that are remembered for each destination, so that a message that waits is not put a second time.
MOST_IDS = 100_000


class _Numbers:
    """A set of numbers that lie close together: a byte each, and nothing where all are gone."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._last = 0

    def add(self, number: int) -> None:
        page, place = divmod(number, _PAGE)
        self._last = max(self._last, page)
        self._pages.setdefault(page, bytearray(_PAGE))[place] = 1

    def discard(self, number: int) -> bool:
        page, place = divmod(number, _PAGE)
        found = self._pages.get(page)
        if found is None or not found[place]:
            return False
        found[place] = 0
        if page < self._last - 1 and not any(found):
            del self._pages[page]
        return True

    def __contains__(self, number: int) -> bool:
        page, place = divmod(number, _PAGE)
        found = self._pages.get(page)
        return found is not None and bool(found[place])

    def __bool__(self) -> bool:
        return any(any(page) for page in self._pages.values())


class Origin:
    """One queue object, as the others know it."""

    def __init__(self) -> None:
        self.token = os.urandom(12).hex()
        self._lock = threading.RLock()
        self._pending: dict[str, _Numbers] = {}
        self._ids: dict[str, OrderedDict[str, int]] = {}

    def open(self, name: str) -> None:
        """Make room for a destination."""
        self._pending.setdefault(name, _Numbers())
        self._ids.setdefault(name, OrderedDict())

    @property
    def waits(self) -> bool:
        """Whether anything is not settled."""
        with self._lock:
            return any(self._pending.values())

    def knows(self, name: str, message_id: str) -> bool:
        """Tell whether a message with this id waits already."""
        return message_id in self._ids[name]

    def expect(self, seq: int, message_id: str, names: Iterable[str]) -> None:
        """A message is about to be put."""
        with self._lock:
            for name in names:
                self._pending[name].add(seq)
                ids = self._ids[name]
                ids[message_id] = seq
                if len(ids) > MOST_IDS:
                    ids.popitem(last=False)

    def doubt(self, seq: int, message_id: str, names: Iterable[str]) -> None:
        """Nobody knows whether it was put: if it comes it is ours, and if somebody puts it again that is no repeat."""
        with self._lock:
            for name in names:
                self._forget_id(name, seq, message_id)

    def expects(self, name: str, seq: int) -> bool:
        """Tell whether a message is not settled."""
        return name in self._pending and seq in self._pending[name]

    def settle(self, name: str, seq: int, message_id: str) -> bool:
        """A message is settled; False if it was before."""
        with self._lock:
            if name not in self._pending or not self._pending[name].discard(seq):
                return False
            self._forget_id(name, seq, message_id)
            return True

    def _forget_id(self, name: str, seq: int, message_id: str) -> None:
        if self._ids[name].get(message_id) == seq:
            del self._ids[name][message_id]

    def hear(self, told: Iterable[bytes]) -> Mapping[str, list[Settled]]:
        """Return the verdicts that are news, by destination."""
        news: dict[str, list[Settled]] = {}
        for one in told:
            try:
                name, seq, message_id, attempts, reason, detail = orjson.loads(one)
                if self.settle(name, seq, message_id):
                    news.setdefault(name, []).append(Settled(seq, message_id, attempts, reason, detail))
            except (ValueError, TypeError):
                continue  # nobody of ours wrote that
        return news
