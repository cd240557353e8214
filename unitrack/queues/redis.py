"""Messages wait in a broker that several machines share, Redis or Valkey; until they are there, in a spool on disk."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path

from ..errors import ConfigError
from ..logs import QuietLog, shown
from ..queue import DeadLetter, Durability, Entry, News, Queue, Ready, Refusal
from ..secret import discreet
from ..settings import Settings
from ._redis_address import SCHEMES, parse
from ._redis_broker import Broker
from ._redis_consumer import Consumer
from ._redis_envelope import Envelope, pack
from ._redis_forwarder import BROKER, Forwarder
from ._redis_letters import Letters
from ._redis_line import BrokerAway, Line
from ._redis_origin import Origin
from ._redis_room import Room
from ._redis_runner import Runner
from ._redis_view import view

#: Seconds for which a partition is its reader's, and after which a worker counts as dead.
TTL = 15.0
#: Seconds that a client being made waits for the broker: for a connection, and for each of a few answers.
LOOK = 0.5
VERDICTS_AT_ONCE = 1_000
TRIM_EVERY, REMIND_EVERY = 1.0, 3_600.0
CLOSING = 1.0  # seconds beyond what is handed over before
LETTING_GO = 0.5  # seconds that others wait for what we read

__all__ = ["SCHEMES", "RedisQueue", "spool_directory", "view"]


def spool_directory(url: str) -> Path:
    """Return where messages wait that are not in the broker yet.

    Raises:
        ConfigError: the URL is none of a broker.
    """
    return parse(url).spool


@discreet
class RedisQueue:
    """A queue in a Redis or Valkey server.

    A put goes to the spool and is as durable as that; a thread brings it to the broker. Another process may deliver
    it, and then says so here. So what a client put and what it delivers are two things, and its ledger balances for
    both: it counts what it put until somebody settled it, and what it got from others until it settled that.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://`` as redis-py reads it, with ``spool=``, ``prefix=`` and
            ``partitions=`` of ours.
        settings: of the client.
        spool: where messages wait until the broker has them; its durability is what a put survives.
        ttl: seconds after which a process that says nothing has vanished.

    Raises:
        ConfigError: the URL or the settings do not fit, redis-py is missing, or the broker may lose messages. That
            the broker is away is no mistake.
    """

    durability: Durability = "shared"

    def __init__(self, url: str, settings: Settings, *, spool: Queue, ttl: float = TTL) -> None:
        address = parse(url)
        if settings.mode == "sync":
            raise ConfigError("mode 'sync' sends in the call, and a broker is for sending elsewhere; use memory:")
        self._log = QuietLog()
        self._line = Line(address, allow_unsafe=settings.allow_unsafe_broker)
        # A child of a fork makes its queue in the middle of a call, and its parent has looked.
        if _looked_at.setdefault(address.shown, os.getpid()) == os.getpid():
            self._line.look(LOOK)
        self._origin = Origin()
        self._broker = Broker(self._line, address, self._origin.token, ttl=ttl)
        self._letters = Letters(self._broker, self._log)
        self._spool = spool
        self._room = Room()
        self._forwarder = Forwarder(spool, self._broker, self._letters, self._log, self._room.forwarded)
        self._external = settings.workers == "external"
        self._consumers: dict[str, Consumer] = {}
        self._names: tuple[str, ...] = ()
        self._numbers = count(1)
        self._offset = time.time() - time.monotonic()
        self._tell: Callable[[str, News], None] = _nobody
        self._runner = Runner(self._round, self._rest, self._log)
        self._closed = self._left = False
        self._rounds = 0
        self._quiet = False
        self._trimmed_at = self._reminded_at = 0.0

    def open(self, destination: str, *, max_events: int, max_bytes: int, lease: float = 60.0) -> None:
        self._room.widen(max_events, max_bytes)
        self._origin.open(destination)
        self._names = (*(name for name in self._names if name != destination), destination)
        if not self._external:
            self._consumers[destination] = Consumer(
                *(destination, self._broker, self._origin, self._letters, self._log, self._hear, self._steady),
                lease=lease, max_events=max_events, max_bytes=max_bytes,
            )  # fmt: skip

    def look_around(self, now: float, tell: Callable[[str, News], None]) -> None:
        self._offset = now - time.monotonic()
        self._tell = tell
        self._forwarder.open()
        self._runner.see_to_it()

    # -- in

    def put(
        self, seq: int, message_id: str, lane: int, record: bytes, accepted_at: float, destinations: Sequence[str]
    ) -> Mapping[str, Refusal]:
        refused: dict[str, Refusal] = {
            name: "duplicate" for name in destinations if self._origin.knows(name, message_id)
        }
        names = tuple(name for name in destinations if name not in refused)
        if not names:
            return refused
        self._forwarder.open()
        size, number = len(record), next(self._numbers)
        piece = pack(Envelope(self._origin.token, number, seq, message_id, lane, accepted_at, names, record))
        if not self._room.enter(size):
            return {name: refused.get(name, "full") for name in destinations}
        why: Refusal | None = "full"
        try:
            self._origin.expect(seq, message_id, names)
            # Its id there names the destinations, too: a dead letter of one may come again while another waits.
            id_ = f"{message_id} {','.join(names)}"
            why = self._spool.put(number, id_, lane, piece, accepted_at, [BROKER]).get(BROKER)
        except Exception:
            raise
        except BaseException:  # Ctrl-C: it may be there
            why = None
            self._room.doubt(number, size)
            self._origin.doubt(seq, message_id, names)
            raise
        finally:
            if why is not None:
                self._room.leave(size)
                for name in names:
                    self._origin.settle(name, seq, message_id)
            if self._left:  # too late for us to bring it to the broker: whoever finds its file does
                self._try("spool", lambda: self._spool.hand_over(0.0))
        self._runner.poke()
        return refused if why is None else {**refused, **dict.fromkeys(names, why)}

    def drop_oldest(self, destination: str, size: int, given_up: list[Entry] | None = None) -> Sequence[Entry]:
        # What waits in the spool waits for several destinations, and what is with the broker is nobody's to give up.
        return ()

    def has_room(self, destination: str, size: int) -> bool:
        return self._room.has(size)

    def hand_over(self, timeout: float) -> bool:
        self._forwarder.open()
        end = time.monotonic() + timeout
        while not self._forwarder.empty(self._steady()):
            if time.monotonic() >= end:
                return False
            self._runner.see_to_it()
            self._runner.poke()
            time.sleep(0.005)
        return True

    # -- out

    def take(self, destination: str, limit: int, max_bytes: int | None, now: float) -> Sequence[Entry]:
        consumer = self._consumers.get(destination)
        return () if consumer is None else consumer.take(limit, max_bytes, now)

    def renew(self, destination: str, lease: int, now: float) -> bool:
        consumer = self._consumers.get(destination)
        return consumer is not None and consumer.renew(lease, now)

    def absolve(self, destination: str, entry: Entry) -> None:
        if (consumer := self._consumers.get(destination)) is not None:
            consumer.absolve(entry)

    def take_expired(self, destination: str, accepted_before: float, limit: int, now: float) -> Sequence[Entry]:
        consumer = self._consumers.get(destination)
        return () if consumer is None else consumer.position.take_expired(accepted_before, limit, now)

    def done(self, destination: str, entries: Iterable[Entry]) -> Sequence[Entry]:
        consumer = self._consumers.get(destination)
        return () if consumer is None else consumer.done(entries)

    def retry(self, destination: str, entries: Sequence[Entry], due: float) -> Sequence[Entry]:
        consumer = self._consumers.get(destination)
        return () if consumer is None else consumer.retry(entries, due)

    def release(self, destination: str, entries: Sequence[Entry]) -> None:
        if (consumer := self._consumers.get(destination)) is not None:
            consumer.release(entries)

    def bury(self, destination: str, entry: Entry, reason: str, detail: str, now: float) -> bool:
        consumer = self._consumers.get(destination)
        return consumer is not None and consumer.bury(entry, reason, detail, now)

    def waiting(self, destination: str) -> int:
        consumer = self._consumers.get(destination)
        return 0 if consumer is None else consumer.waiting()

    def ready(self, destination: str, now: float) -> Ready:
        consumer = self._consumers.get(destination)
        return Ready(0, 0, None, None) if consumer is None else consumer.ready(now)

    # -- dead letters

    def dead_letters(self, destination: str | None = None, since: float = 0.0) -> Sequence[DeadLetter]:
        try:
            return self._letters.all(destination, since)
        finally:
            if self._closed:
                self._line.close()

    def keep_dead(self, letter: DeadLetter) -> None:
        self._letters.keep(letter)
        self._runner.poke()

    def discard_dead(self, letter: DeadLetter) -> bool:
        return self._letters.discard(letter)

    # -- the end

    def trouble(self) -> str | None:
        return self._line.trouble

    def settle_down(self, timeout: float) -> bool:
        """Wait until nothing moves: the spool is empty, and what may be here of the broker is here."""
        end = time.monotonic() + timeout
        wanted = self._rounds + 2
        while self._rounds < wanted or not self._quiet:
            if time.monotonic() >= end:
                return False
            self._runner.see_to_it()
            self._runner.poke()
            time.sleep(0.002)
        return True

    def stop_reading(self) -> None:
        """Let others have what waits; what is being sent is still settled here. For a process that is to end."""
        for consumer in self._consumers.values():
            consumer.leases.over = True
        # Or whoever comes next would wait until our leases have run out. Not for long: what is being sent stays ours.
        self._runner.wait(lambda: all(one.leases.gone for one in self._consumers.values()), LETTING_GO)

    def close(self) -> None:
        if self._closed:
            return
        end = time.monotonic() + CLOSING
        if self._stop() and self._runner.begun:
            while time.monotonic() < end and self._try("forward", self._forward):
                pass
            self._try("letters", self._letters.hand_in)
            for consumer in self._consumers.values():
                self._try("leave", consumer.leave)
            all_written = self._forwarder.empty(self._steady())
            self._try("leave", lambda: self._broker.forget_origin(all_written=all_written))
        self._leave()

    def abandon(self) -> None:
        """Leave everything at the broker as a killed process does; for tests."""
        self._stop()
        self._leave()

    def _stop(self) -> bool:
        self._closed = True
        return self._runner.stop(CLOSING)

    def _leave(self) -> None:
        self._left = True  # first: what is put from now on is let go of by whoever puts it
        self._line.close()
        self._spool.close()

    # -- the thread

    def _rest(self) -> float | None:
        """Tell for how long nobody need try; ``None`` if there is nothing to look for again and again."""
        at_work = bool(self._consumers) or self._origin.waits or self._room.count > 0
        return self._line.pause() if at_work else None

    def _round(self) -> bool:
        """Do everything once, each whatever becomes of the others; tell whether anything moved."""
        now = time.monotonic()
        moved = self._try("forward", self._forward)
        self._try("letters", self._letters.hand_in)
        came = [
            self._try(f"read:{name}", partial(self._consume, consumer)) for name, consumer in self._consumers.items()
        ]
        told = self._try("verdicts", self._hear_verdicts)
        if now - self._trimmed_at >= TRIM_EVERY:
            self._trimmed_at = now
            for name, consumer in self._consumers.items():
                self._try(f"trim:{name}", consumer.trim)
        self._quiet = not moved and not any(came) and self._is_settled()
        self._rounds += 1
        return moved or any(came) or told

    def _try(self, what: str, step: Callable[[], object]) -> bool:
        try:
            return bool(step())
        except BrokerAway as error:
            self._log.warning(f"broker:{error}", "unitrack: %s; messages wait until it can", str(error))
        except Exception as error:  # noqa: BLE001  a spool on a full disk, a callback: the others go on
            self._log.warning(what, "unitrack: broker, %s: %s", what, shown(error))
        return False

    def _forward(self) -> bool:
        self._forwarder.look_around(self._steady())
        if self._forwarder.empty(self._steady()):
            return False
        return self._forwarder.forward(self._steady())

    def _consume(self, consumer: Consumer) -> bool:
        self._broker.ensure_groups(self._names)
        consumer.tend()
        return consumer.fetch()

    def _is_settled(self) -> bool:
        return self._forwarder.empty(self._steady()) and all(c.leases.content for c in self._consumers.values())

    def _hear_verdicts(self) -> bool:
        if not self._origin.waits:
            return False
        now = time.monotonic()
        if now - self._reminded_at >= REMIND_EVERY:
            self._broker.want_verdicts()
            self._reminded_at = now
        told = self._broker.verdicts(VERDICTS_AT_ONCE)
        if not told:
            return False
        for name, settled in self._origin.hear(told).items():
            self._hear(name, News(settled=settled))
        self._broker.forget_verdicts(len(told))
        return True

    def _hear(self, name: str, news: News) -> None:
        self._tell(name, news)  # as it is now

    def _steady(self) -> float:
        return time.monotonic() + self._offset


#: Addresses and the process that looked at them first. Not part of a queue, because a fork begins with a new one.
_looked_at: dict[str, int] = {}


def _nobody(name: str, news: News) -> None:
    """Stand in for whoever is told, before anybody asked."""
