"""All that is said to a Redis or Valkey server, and the names of all keys.

Every key begins with ``{prefix}:``, so that all of them live in one slot of a cluster:

========================  ======  =====================================================================
``p:<i>``                 stream  envelopes of one partition; a consumer group for each destination
``lease:<dest>:<i>``      text    the token of whoever reads the partition for the destination; expires
``tries:<dest>:<i>``      hash    of entries that were tried: attempts, abandoned, due, out
``workers:<dest>``        zset    tokens of live workers, by the time at which they count as dead
``dead``, ``dead:records``  hash  dead letters, and their records; ``dead:order``, ``dead:sums`` bound them
``origin:<token>``        list    verdicts for a process, of messages that others delivered for it
``alive:<token>``         text    that this process wants them
``wrote:<token>``         set     numbers of the last batch that a process wrote
``partitions``            text    how many there are; the same for all
========================  ======  =====================================================================
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from attrs import asdict, define, frozen

from ..queue import DeadLetter
from . import _redis_scripts as scripts
from ._redis_address import Address
from ._redis_envelope import Envelope
from ._redis_line import Line

#: Seconds that verdicts wait for a process, and that a batch of its is remembered.
VERDICTS_KEPT, BATCHES_KEPT = 24 * 3600, 7 * 24 * 3600
#: Who reads a group, whichever process that is: leases tell them apart, and no names of dead ones pile up.
CONSUMER = "unitrack"
MOST_LETTERS, MOST_LETTER_BYTES = 100_000, 256 * 1024 * 1024
_CHUNK = 200


@frozen
class Found:
    """An entry of a stream, as it is there."""

    id: str
    head: bytes | None
    record: bytes | None
    tries: bytes = b""  #: what was written down of it


@frozen
class Claimed:
    """What was pending in a partition."""

    cursor: bytes
    entries: Sequence[Found]
    #: The broker tells their ids and nothing else, so it cannot be known who put them: the worker counts them as lost,
    #: and their origin waits for them until it ends. To write down the origin of each entry beside it would cost every
    #: message what only a deletion by hand could need.
    deleted: Sequence[str]


@define
class Verdict:
    """The end of one entry: where it stands, and what its origin is told (``None``: nobody is)."""

    id: str
    origin: str | None = None
    told: bytes = b""
    letter: DeadLetter | None = None  #: what is kept of it, if it was not delivered


class Broker:
    """Everything that is said to the broker.

    No call is repeated here: what a lost reply leaves in doubt, its caller knows how to ask again.

    Args:
        line: to the broker.
        address: where it is, and how its keys begin.
        token: of this queue object.
        ttl: seconds for which a lease is its holder's.
    """

    def __init__(self, line: Line, address: Address, token: str, *, ttl: float) -> None:
        self.line = line
        self.partitions = address.partitions
        self.ttl = ttl
        self.token = token
        self._prefix = f"{{{address.prefix}}}:"
        self._groups: tuple[int, frozenset[str]] = (0, frozenset())
        self._run, self._call = line.run, line.call

    def key(self, *parts: object) -> str:
        """Name a key."""
        return self._prefix + ":".join(map(str, parts))

    # -- in

    def write(self, envelopes: Sequence[Envelope], *, first: bool) -> int:
        """Store a batch or the next part of it, in order; return how many were not there yet.

        Safe to be repeated with the same envelopes until it returns; then the next may come.
        """
        keys = [self.key("alive", self.token), self.key("wrote", self.token)]
        values: list[Any] = [VERDICTS_KEPT, BATCHES_KEPT, int(first), len(envelopes)]
        groups: dict[tuple[int, str], int] = {}
        for place, one in enumerate(envelopes, 1):
            partition = one.lane % self.partitions
            keys += [self.key("p", partition), self.key("wrote", one.origin)]
            values += [one.number, one.head, one.record]
            groups |= {(partition, name): place for name in one.to}
        for (_, name), place in groups.items():
            values += [place, name]
        return int(self._run(scripts.WRITE, keys, values))

    def ensure_groups(self, names: Iterable[str]) -> None:
        """Make the groups of destinations; again after the line was lost, for the broker may have lost them, too."""
        wanted, (times, known) = frozenset(names), self._groups
        if times != self.line.times_lost or wanted - known:
            times = self.line.times_lost
            self._run(scripts.ENSURE, [self.key("p", i) for i in range(self.partitions)], sorted(wanted))
            self._groups = (times, wanted)

    # -- leases

    def beat(self, name: str) -> int:
        """Say that we work for a destination; return how many do."""
        return int(self._run(scripts.BEAT, [self.key("workers", name)], [self.token, self._ms]))

    def acquire(self, name: str, partitions: Sequence[int], most: int) -> list[int]:
        """Lease free partitions, at most so many."""
        got = self._run(scripts.ACQUIRE, self._leases(name, partitions), [self.token, self._ms, most])
        return [partitions[place - 1] for place in got]

    def renew(self, name: str, partitions: Sequence[int]) -> list[bool]:
        """Begin the time of leases anew; tell which were still ours."""
        if not partitions:
            return []
        return [mine == 1 for mine in self._run(scripts.RENEW, self._leases(name, partitions), [self.token, self._ms])]

    def release(self, name: str, partitions: Sequence[int]) -> None:
        """Let go of leases."""
        if partitions:
            self._run(scripts.RELEASE, self._leases(name, partitions), [self.token])

    def retire(self, name: str) -> None:
        """Say that we do not work for a destination any more."""
        self._call("ZREM", self.key("workers", name), self.token)

    # -- out

    def read(self, name: str, partitions: Sequence[int], most: int) -> list[list[Found] | None]:
        """Return what nobody read before, at most so many of each partition; ``None``: it is not ours any more."""
        keys = [key for i in partitions for key in (self.key("lease", name, i), self.key("p", i))]
        found = self._run(scripts.READ, keys, [self.token, CONSUMER, name, most])
        return [None if part == 0 else [_entry(id_, flat) for id_, flat in part] for part in found]

    def claim(self, name: str, partition: int, cursor: bytes, most: int) -> Claimed | None:
        """Take over what was read and never settled, in order; ``None``: the partition is not ours any more."""
        found = self._run(scripts.CLAIM, self._of(name, partition), [self.token, CONSUMER, name, cursor, most])
        if found == 0:
            return None
        cursor, entries, deleted, tries = found
        return Claimed(
            bytes(cursor),
            [_entry(id_, flat, tried) for (id_, flat), tried in zip(entries, tries, strict=True)],
            [one.decode() for one in deleted],
        )

    def note(self, name: str, tries: Mapping[int, Sequence[tuple[str, str]]]) -> set[int]:
        """Write down how often entries were tried, by partition; return the partitions that are not ours any more."""
        keys: list[str] = []
        args: list[Any] = [self.token]
        for partition, pairs in tries.items():
            keys += [self.key("lease", name, partition), self.key("tries", name, partition)]
            args.append(len(pairs))
            for pair in pairs:
                args += pair
        found = self._run(scripts.NOTE, keys, args)
        return {partition for partition, mine in zip(tries, found, strict=True) if mine != 1}

    def settle(self, name: str, verdicts: Mapping[int, Sequence[Verdict]]) -> set[int]:
        """Forget entries, by partition; return the partitions that are not ours any more."""
        origins = list({one.origin: 0 for some in verdicts.values() for one in some if one.origin is not None})
        keys = [key for partition in verdicts for key in self._of(name, partition)]
        keys += [key for origin in origins for key in (self.key("origin", origin), self.key("alive", origin))]
        args: list[Any] = [self.token, name, VERDICTS_KEPT, len(verdicts)]
        for some in verdicts.values():
            args.append(len(some))
            for one in some:
                args += [one.id, 0 if one.origin is None else origins.index(one.origin) + 1, one.told]
        found = self._run(scripts.SETTLE, keys, args)
        return {partition for partition, mine in zip(verdicts, found, strict=True) if mine != 1}

    def bury(self, name: str, partition: int, verdict: Verdict, letter: DeadLetter) -> bool:
        """Move an entry to the dead letters; False if the partition is not ours any more."""
        origin = verdict.origin or self.token
        keys = [*self._of(name, partition), *self._letters, self.key("origin", origin), self.key("alive", origin)]
        args = [
            *(self.token, name, verdict.id, _field(letter), _head(letter), letter.record),
            *(MOST_LETTERS, MOST_LETTER_BYTES, int(verdict.origin is not None), verdict.told, VERDICTS_KEPT),
        ]
        return bool(self._run(scripts.BURY, keys, args) == 1)

    def trim(self, partition: int) -> None:
        """Cut off what every group is done with."""
        self._run(scripts.TRIM, [self.key("p", partition)], [])

    # -- verdicts

    def verdicts(self, most: int) -> list[bytes]:
        """Return what others told us, oldest first."""
        return list(self._call("LRANGE", self.key("origin", self.token), 0, most - 1))

    def forget_verdicts(self, count: int) -> None:
        """Let go of the oldest verdicts; only now, because an answer can be lost."""
        self._call("LTRIM", self.key("origin", self.token), count, -1)

    def want_verdicts(self) -> None:
        """Say that we still wait for verdicts."""
        self._call("SET", self.key("alive", self.token), 1, "EX", VERDICTS_KEPT)

    def forget_origin(self, *, all_written: bool) -> None:
        """Say that nobody waits for our verdicts any more, nor will anybody repeat our last batch."""
        keys = [self.key("alive", self.token), self.key("origin", self.token)]
        self._call("DEL", *keys, *([self.key("wrote", self.token)] if all_written else []))

    # -- dead letters

    def letters(self, name: str | None, since: float) -> list[DeadLetter]:
        """Return dead letters in the order in which they were kept."""
        heads, records, order, _ = self._letters
        fields = [f for f in self._call("ZRANGE", order, 0, -1) if name is None or f.startswith(f"{name}|".encode())]
        found: list[DeadLetter] = []
        for at in range(0, len(fields), _CHUNK):
            some = fields[at : at + _CHUNK]
            new = []
            for one, head in zip(some, self._call("HMGET", heads, *some), strict=True):
                if head is not None and (letter := orjson.loads(head))["buried_at"] >= since:
                    new.append((one, letter))
            if new:
                bodies = self._call("HMGET", records, *(one for one, _ in new))
                found += [DeadLetter(**head, record=body or b"") for (_, head), body in zip(new, bodies, strict=True)]
        return found

    def keep_letter(self, letter: DeadLetter) -> None:
        """Keep a dead letter; safe to be repeated."""
        args = [_field(letter), _head(letter), letter.record, MOST_LETTERS, MOST_LETTER_BYTES]
        self._run(scripts.KEEP, self._letters, args)

    def discard_letter(self, letter: DeadLetter) -> bool:
        """Forget a dead letter; False if it is not there, or a newer one of the same message is."""
        return bool(self._run(scripts.DISCARD, self._letters, [_field(letter), repr(letter.buried_at)]) == 1)

    # -- names

    @property
    def _ms(self) -> int:
        return int(self.ttl * 1000)

    @property
    def _letters(self) -> list[str]:
        return [self.key("dead"), self.key("dead", "records"), self.key("dead", "order"), self.key("dead", "sums")]

    def _leases(self, name: str, partitions: Iterable[int]) -> list[str]:
        return [self.key("lease", name, i) for i in partitions]

    def _of(self, name: str, partition: int) -> list[str]:
        return [self.key("lease", name, partition), self.key("p", partition), self.key("tries", name, partition)]


def _entry(id_: bytes, flat: Sequence[bytes] | None, tries: bytes = b"") -> Found:
    fields = dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {}
    return Found(id_.decode(), fields.get(b"e"), fields.get(b"r"), tries)


def _field(letter: DeadLetter) -> str:
    return f"{letter.destination}|{letter.message_id}"


def _head(letter: DeadLetter) -> bytes:
    return orjson.dumps({name: value for name, value in asdict(letter).items() if name != "record"})
