"""One destination's messages in this process: fetched from the partitions that are ours, and settled there."""

import time
from collections.abc import Callable, Iterable, Sequence
from heapq import merge
from itertools import count

import orjson
from attrs import evolve

from ..logs import QuietLog
from ..position import SUSPICIOUS, Position
from ..queue import DeadLetter, Entry, News, Ready, Settled
from ._redis_broker import Broker, Found, Verdict
from ._redis_envelope import Newer, Unreadable, read
from ._redis_leases import FROM_THE_START, Leases, Share
from ._redis_letters import Letters
from ._redis_line import BrokerAway
from ._redis_origin import Origin
from ._redis_place import Arrival, Place, tried, written
from ._redis_verdicts import Verdicts

#: Messages that are here and could be sent; no more are fetched then.
WINDOW_EVENTS = 1_000
#: Of all that are here, those included that wait for a time.
MOST_EVENTS, MOST_BYTES = 20_000, 32 * 1024 * 1024
#: Bytes to ask for at once, as far as one can tell before.
FETCH_BYTES = 2 * 1024 * 1024
#: Seconds that a time kept in the broker may lie in the future.
MAX_WAIT = 3_600.0
#: Seconds without another attempt after the broker would not write down the last one.
REST = 0.25
MOST_TAKES = 1_000
#: Attempts after which a death while waiting for an answer counts as any other: perhaps it is the answer that kills.
MAX_ABSOLVED = 100


class Consumer:
    """What waits here for one destination, and what is out.

    The broker hears of every attempt before it is made, and of every end. Both are compared with the lease, so that
    nothing is changed by a process that was frozen for too long.

    Args:
        name: the destination.
        tell: called with news for this process.
        steady: the time, as the callers of the queue measure it.
    """

    def __init__(
        self,
        name: str,
        broker: Broker,
        origin: Origin,
        letters: Letters,
        log: QuietLog,
        tell: Callable[[str, News], None],
        steady: Callable[[], float],
        *,
        lease: float,
        max_events: int,
        max_bytes: int,
    ) -> None:
        self.name = name
        self._broker = broker
        self._origin = origin
        self._log = log
        self._tell = tell
        self._steady = steady
        self._most = min(max_events, MOST_EVENTS), min(max_bytes, MOST_BYTES)
        self.position = Position(1 << 60, 1 << 60, lease)
        self.leases = Leases(name, broker, self.lose, self._clear)
        self._numbers = count(-(1 << 60))  # of what others put: below all of ours
        self._places: dict[int, Place] = {}
        self._takes: dict[int, frozenset[int]] = {}  # by lease: the partitions that it is of
        self._verdicts = Verdicts(name, broker, letters)
        self._done_with: set[int] = set()  # partitions that something was settled in
        self._mean = 1024.0
        self._rest_until = 0.0

    # -- from the broker

    def tend(self) -> None:
        """Look after the leases, and hand in what the broker could not hear of when it happened."""
        self.leases.tend(self._verdicts.owed)
        self._verdicts.pay(self.leases.held)

    def fetch(self) -> bool:
        """Take in what came, as far as there is room; tell whether anything did."""
        reading = []
        came = False
        for partition, share in self.leases.readable():
            if share.cursor is None:
                reading.append(partition)
            elif self._room() > 0:
                came = self._claim(partition, share, share.cursor) or came
        room = min(self._room(), int(FETCH_BYTES / self._mean) + 1)
        if not reading or room <= 0:
            return came
        try:
            arrivals = self._read(reading, -(-room // len(reading)))
        except BaseException:
            # What an answer brought that was lost, or that nobody looked at to its end, is ours all the same: look for
            # it among what is pending.
            for partition in reading:
                if (share_ := self.leases.held.get(partition)) is not None:
                    share_.cursor = FROM_THE_START
            raise
        return self._take_in(arrivals) or came

    def _read(self, partitions: Sequence[int], most: int) -> list[list[Arrival]]:
        arrivals = []
        for partition, entries in zip(partitions, self._broker.read(self.name, partitions, most), strict=True):
            if entries is None:
                self.lose(partition)
            else:
                arrivals.append(self._sift(partition, entries, frozenset()))
        return arrivals

    def trim(self) -> None:
        """Cut off what everybody is done with."""
        while self._done_with:
            self._broker.trim(self._done_with.pop())

    def lose(self, partition: int) -> None:
        """Let go of all that is here of a partition: it is not ours, or not any more."""
        self.leases.held.pop(partition, None)
        if seqs := self._of(partition):
            self._disown(self.position.evict(seqs, out=True))

    def leave(self) -> None:
        """Give everything back, in order."""
        self._verdicts.pay(self.leases.held)
        held, self.leases.held = dict(self.leases.held), {}
        gone = self.position.evict(set(self._places), out=True)
        tries: dict[int, list[tuple[str, str]]] = {partition: [] for partition in held}
        for entry in gone:
            place = self._places.get(entry.seq)
            if entry.lease and place is not None and place.partition in tries:
                tries[place.partition].append((place.id, written(entry.attempts, entry.abandoned)))
        self._disown(gone)
        if held:
            self._broker.note(self.name, tries)
        self.leases.held = held
        self.leases.leave()

    def _claim(self, partition: int, share: Share, cursor: bytes) -> bool:
        # Looked at before: what is settled meanwhile is still pending in the answer.
        here = {place.id for place in list(self._places.values()) if place.partition == partition}
        here |= self._verdicts.ids(partition)
        claimed = self._broker.claim(self.name, partition, cursor, 500)
        if claimed is None:
            self.lose(partition)
            return False
        lost = [id_ for id_ in claimed.deleted if id_ not in here]
        for id_ in lost:  # first, because the broker says this once
            self._count("lost", f"{partition}/{id_}", "deleted from the stream by somebody else")
        came = self._take_in([self._sift(partition, claimed.entries, here)])
        share.cursor = None if claimed.cursor == FROM_THE_START else claimed.cursor
        return came or bool(lost) or share.cursor is not None

    def _sift(self, partition: int, entries: Sequence[Found], here: Iterable[str]) -> list[Arrival]:
        arrivals, others = [], []
        for one in entries:
            if one.id in here:
                continue
            try:
                envelope = read(one.head, one.record)
            except Newer as why:
                # Left where it is: whoever knows that version finds it among what is pending.
                self._log.warning("newer", "unitrack: the broker holds messages of a later version (%s); kept", why)
                continue
            except Unreadable as why:
                self._bury_junk(partition, one, str(why))
                continue
            place = Place(partition, one.id, envelope.origin, envelope.seq)
            if self.name not in envelope.to or self._is_settled(place):
                others.append(Verdict(one.id))
                continue
            attempts, abandoned, due = tried(one.tries)
            arrivals.append(Arrival(envelope, place, attempts, abandoned, due))
        if others:
            self._broker.settle(self.name, {partition: others})
            self._done_with.add(partition)
        return arrivals

    def _is_settled(self, place: Place) -> bool:
        """Whether it is one of ours that came to its end, or that is here already."""
        mine = place.origin == self._origin.token
        return mine and (place.seq in self._places or not self._origin.expects(self.name, place.seq))

    def _take_in(self, arrivals: Sequence[Sequence[Arrival]]) -> bool:
        # Each partition in its own order; between them, the older first.
        all_ = list(merge(*arrivals, key=lambda one: one.envelope.accepted_at))
        if not all_:
            return False
        if foreign := sum(one.place.origin != self._origin.token for one in all_):
            self._tell(self.name, News(arrived=foreign))
        latest = self._steady() + MAX_WAIT
        for one in all_:
            seq = one.place.seq if one.place.origin == self._origin.token else next(self._numbers)
            envelope = one.envelope
            self._places[seq] = one.place
            self._measure(len(envelope.record))
            self.position.load(
                (
                    *(seq, envelope.message_id, envelope.lane, envelope.record),
                    *(envelope.accepted_at, one.attempts, one.abandoned),
                ),
                min(one.due, latest),
            )
        self._tell(self.name, News())  # wakes whoever sends them
        return True

    def _measure(self, size: int) -> None:
        """Learn how large messages are: quickly where they grow, slowly where they shrink."""
        self._mean += (size - self._mean) / (4 if size > self._mean else 50)

    def _bury_junk(self, partition: int, found: Found, why: str) -> None:
        now = self._steady()
        record = found.record if found.record is not None else found.head or b""
        letter = DeadLetter(self.name, f"{partition}/{found.id}", "unreadable", why, 0, now, now, record)
        if self._broker.bury(self.name, partition, Verdict(found.id), letter):
            self._count(letter.reason, letter.message_id, why)

    def _count(self, reason: str, message_id: str, detail: str) -> None:
        """Count what nobody can send: it came, and this is its end."""
        self._log.warning(f"{reason}:{self.name}", "unitrack: %s: %s is %s: %s", self.name, message_id, reason, detail)
        self._tell(self.name, News(1, [Settled(next(self._numbers), message_id, 0, reason, detail)]))

    def _room(self) -> int:
        if not self.position.holds_less_than(*self._most):
            return 0
        return WINDOW_EVENTS - self.position.ready(self._steady()).count

    def _of(self, partition: int) -> set[int]:
        return {seq for seq, place in list(self._places.items()) if place.partition == partition}

    def _clear(self, partition: int) -> bool:
        self._disown(self.position.evict(self._of(partition), out=False))
        # In this order: what is being settled is in neither place only when the broker knows.
        return not self._of(partition) and not self._verdicts.ids(partition)

    def _disown(self, gone: Iterable[Entry]) -> None:
        places = [place for entry in gone if (place := self._places.pop(entry.seq, None)) is not None]
        if foreign := sum(place.origin != self._origin.token for place in places):
            self._tell(self.name, News(arrived=-foreign))

    # -- to whoever sends

    def take(self, limit: int, max_bytes: int | None, now: float) -> list[Entry]:
        if self._resting():
            return []
        entries = self.position.take(limit, max_bytes, now)
        if not entries:
            return entries
        partitions = {p.partition for entry in entries if (p := self._places.get(entry.seq)) is not None}
        self._takes[entries[0].lease] = frozenset(partitions)
        while len(self._takes) > MOST_TAKES:
            self._takes.pop(next(iter(self._takes)), None)
        try:
            self._note(entries, out=True)
        except BrokerAway:
            self._rest_until = time.monotonic() + REST
            self.position.put_back(entries, 0.0, counted=False)
            return []
        return [entry for entry in entries if self.position.owns(entry)]

    def renew(self, lease: int, now: float) -> bool:
        """Tell whether a take is still its taker's, here and against other processes."""
        partitions = self._takes.get(lease, frozenset())
        return all(map(self.leases.relies_on, partitions)) and self.position.renew(lease, now)

    def done(self, entries: Iterable[Entry]) -> list[Entry]:
        pairs = self._forgotten(entries)
        return self._settled(pairs, None, "") if pairs else []

    def absolve(self, entry: Entry) -> None:
        if entry.attempts <= MAX_ABSOLVED and self.position.owns(entry):
            self._try_note([evolve(entry, abandoned=min(entry.abandoned, SUSPICIOUS))], 0.0)

    def retry(self, entries: Sequence[Entry], due: float) -> list[Entry]:
        mine = [entry for entry in entries if self.position.owns(entry)]
        self._try_note([_put_back(entry, counted=True) for entry in mine], due)
        return self.position.put_back(mine, due, counted=True)

    def release(self, entries: Sequence[Entry]) -> None:
        mine = [entry for entry in entries if self.position.owns(entry)]
        self._try_note([_put_back(entry, counted=False) for entry in mine], 0.0)
        self.position.put_back(mine, 0.0, counted=False)

    def bury(self, entry: Entry, reason: str, detail: str, now: float) -> bool:
        pairs = self._forgotten([entry])
        if not pairs:
            return False
        [(_, place)] = pairs
        letter = DeadLetter(
            self.name, entry.message_id, reason, detail, entry.attempts, entry.accepted_at, now, entry.record
        )
        verdict = evolve(self._verdict(entry, place, reason, detail), letter=letter)
        try:
            held = self._broker.bury(self.name, place.partition, verdict, letter)
        except BrokerAway:
            self._verdicts.owe({place.partition: [verdict]})
            held = True
        else:
            self._verdicts.end(place.partition, [place.id])
        return bool(self._ours(pairs, set() if held else {place.partition}))

    def ready(self, now: float) -> Ready:
        ready = self.position.ready(now)
        if ready.count and (rest := self._resting()):
            return Ready(0, ready.size, None, now + rest)
        return ready

    def waiting(self) -> int:
        return len(self.position.fresh) or self.position.ready(self._steady()).count

    def _resting(self) -> float:
        return max(self._broker.line.pause(), self._rest_until - time.monotonic(), 0.0)

    def _note(self, entries: Sequence[Entry], due: float = 0.0, *, out: bool = False) -> None:
        tries: dict[int, list[tuple[str, str]]] = {}
        for entry in entries:
            if (place := self._places.get(entry.seq)) is not None:
                said = written(entry.attempts, entry.abandoned, due, out=out)
                tries.setdefault(place.partition, []).append((place.id, said))
        for partition in self._broker.note(self.name, tries) if tries else ():
            self.lose(partition)

    def _try_note(self, entries: Sequence[Entry], due: float) -> None:
        try:
            self._note(entries, due)
        except BrokerAway:
            # The attempt itself was written down before it was made. If this process ends before the next one, it
            # will seem to have vanished with them, and they will not wait.
            self._rest_until = time.monotonic() + REST

    def _forgotten(self, entries: Iterable[Entry]) -> list[tuple[Entry, Place]]:
        """Take entries out of the memory first, so that nobody else here can count them."""
        pairs = []
        for entry in entries:
            place = self._places.get(entry.seq)
            if place is None or not self.position.owns(entry):
                continue
            self._verdicts.begin(place.partition, place.id)
            if self.position.forget([entry]):
                self._places.pop(entry.seq, None)
                pairs.append((entry, place))
            else:
                self._verdicts.end(place.partition, [place.id])
        return pairs

    def _settled(self, pairs: Sequence[tuple[Entry, Place]], reason: str | None, detail: str) -> list[Entry]:
        verdicts: dict[int, list[Verdict]] = {}
        for entry, place in pairs:
            verdicts.setdefault(place.partition, []).append(self._verdict(entry, place, reason, detail))
        try:
            lost = self._broker.settle(self.name, verdicts)
        except BrokerAway:
            # It is done, so it is not done again if we can help it: said again when the broker is back.
            self._verdicts.owe(verdicts)
            lost = set()
        else:
            for partition, some in verdicts.items():
                self._verdicts.end(partition, [one.id for one in some])
        return self._ours(pairs, lost)

    def _ours(self, pairs: Sequence[tuple[Entry, Place]], lost: set[int]) -> list[Entry]:
        """Return the entries that were ours to settle; the others are as good as never taken."""
        foreign = 0
        mine = []
        self._done_with.update(place.partition for _, place in pairs)
        for entry, place in pairs:
            own = place.origin == self._origin.token
            if place.partition in lost:
                foreign += not own
                continue
            if own:
                self._origin.settle(self.name, place.seq, entry.message_id)
            mine.append(entry)
        for partition in lost:
            self.lose(partition)
        if foreign:
            self._tell(self.name, News(arrived=-foreign))
        return mine

    def _verdict(self, entry: Entry, place: Place, reason: str | None, detail: str) -> Verdict:
        if place.origin == self._origin.token:
            return Verdict(place.id)
        told = orjson.dumps([self.name, place.seq, entry.message_id, entry.attempts, reason, detail])
        return Verdict(place.id, place.origin, told)


def _put_back(entry: Entry, *, counted: bool) -> Entry:
    attempts, abandoned = entry.put_back(counted=counted)
    return evolve(entry, attempts=attempts, abandoned=abandoned)
