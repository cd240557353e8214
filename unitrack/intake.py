"""The way into the queue: check and copy a message, let the middleware have it, route it, put it once for all."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from zlib import crc32

from attrs import Factory, define, evolve

from .branch import Branch, routes
from .callbacks import Notifier
from .clock import Clock
from .codec import identity, pack
from .errors import InvalidMessage, QueueError, QueueFull, nearest
from .express import express
from .logs import QuietLog, printable
from .message import KINDS, Message
from .middleware import Middleware
from .queue import MAX_RECORD, DeadLetter, Entry, Queue, Refusal
from .replays import Replays
from .results import Drop, Receipt
from .routing import Route, route
from .snapshot import MessageIds, snapshot
from .values import JsonObject
from .waiting import Collector
from .wire import Rejected, refusal

_MESSAGES = frozenset(KINDS.values())


@define
class Taken:
    """What became of one message at the door."""

    receipt: Receipt
    seq: int = 0
    #: Destinations that will never get it, with the reason in words.
    failed: dict[str, str] = Factory(dict)


class Intake:
    """Takes messages for all destinations of a client. Never touches the network."""

    def __init__(
        self,
        branches: Mapping[str, Branch],
        queue: Queue,
        middleware: Sequence[Middleware],
        notifier: Notifier,
        log: QuietLog,
        *,
        clock: Clock,
        strict: bool,
        may_block: Callable[[], bool],
    ) -> None:
        self._branches = branches
        self._routes = routes(branches.values())
        self._queue = queue
        self._middleware = tuple(middleware)
        self._notifier = notifier
        self._log = log
        self._clock = clock
        self._strict = strict
        self._may_block = may_block
        self._ids = MessageIds()
        self._numbers = count(1)
        # A plain track goes to all of them, or else the long way; and up to so many bytes of properties.
        self._all, self._plain_most = tuple(branches), _most_of_a_plain_track(branches.values(), middleware)
        self._replays = Replays(branches, queue, clock, self._numbers)
        self.replay = self._replays.replay

    def mark(self) -> int:
        """Return a number greater than that of every message taken so far."""
        return next(self._numbers)

    def take_plain(self, user_id: object, event: object, properties: object) -> Receipt | None:
        """Take a track that has nothing else the short way; ``None``: it has to go the long one."""
        if self._plain_most < 0:
            return None
        plain = express(user_id, event, properties, self._ids, self._clock.utc)
        if plain is None:
            return None
        message_id, user, record, size, nulled = plain
        if size > self._plain_most or len(record) > MAX_RECORD:
            return None
        return self._put(message_id, crc32(user.encode()), record, self._all, nulled, {}, None)[0]

    def take(self, message: Message, collector: Collector | None = None) -> Taken:
        """Check, copy, route and queue one message.

        Raises:
            InvalidMessage: under ``strict``, for a bad value; whatever a middleware raised, likewise.
            QueueFull: a destination with ``on_full="raise"`` has no room.
        """
        try:
            checked, nulled = self._check(message)
            passed, more_nulled = self._through_middleware(checked)
            nulled += more_nulled
            record = b"" if passed is None else pack(passed)
        except InvalidMessage as error:
            return self._refuse(message, "invalid", error)
        except Exception as error:  # noqa: BLE001  a middleware is the user's code
            return self._refuse(message, "middleware", error)
        ready = checked if passed is None else passed
        try:
            taken, filtered = route(ready, self._routes)
        except InvalidMessage as error:
            return self._refuse(message, "invalid", error)
        if passed is None:
            taken, filtered = [], [*taken, *filtered]
        for name in filtered:
            self._branches[name].book.filter()
        failed: dict[str, str] = {}
        meant = [name for name in taken if self._supports(name, ready, record, failed)]
        message_id, lane = ready.message_id or "", crc32(identity(ready).encode())
        receipt, seq = self._put(message_id, lane, record, meant, nulled, failed, collector)
        if passed is None:
            # Said in full: a middleware without a return statement does this by mistake.
            receipt = evolve(receipt, reason="filtered: a middleware returned None")
        return Taken(receipt, seq, failed)

    def refuse_closed(self, message: Message) -> Taken:
        """Count a message that came after the client was closed."""
        return self._refuse(message, "closed", None)

    def refuse_own_log(self, message: Message) -> Taken:
        """Count a message that is about a line of our own log."""
        return self._refuse(message, "own_log", None)

    def _check(self, message: Message) -> tuple[Message, tuple[str, ...]]:
        if type(message) not in _MESSAGES:
            raise InvalidMessage("$", f"must be a message (Track, Identify, …), not {type(message).__name__}")
        try:
            checked, nulled = snapshot(message, self._ids, self._clock.utc)
        except InvalidMessage:
            raise
        except Exception as error:  # an object of the caller's can raise anything when it is looked at
            raise InvalidMessage("$", f"cannot be read: {printable(error)}") from error
        for name in checked.options:
            if name not in self._branches and name not in {b.provider.name for b in self._branches.values()}:
                raise InvalidMessage(
                    "$.options", f"{name!r} is no destination of this client{nearest(name, self._branches)}"
                )
        return checked, nulled

    def _through_middleware(self, message: Message) -> tuple[Message | None, tuple[str, ...]]:
        current = message
        for function in self._middleware:
            changed = function(current)
            if changed is None:
                return None, ()
            if type(changed) not in _MESSAGES:
                raise TypeError(f"a middleware must return a message or None, not {type(changed).__name__}")
            current = changed
        if self._middleware:
            _check_untouched(current)
        return (message, ()) if current is message else snapshot(current, self._ids, self._clock.utc, message)

    def _put(
        self,
        message_id: str,
        lane: int,
        record: bytes,
        meant: Sequence[str],
        nulled: tuple[str, ...],
        failed: dict[str, str],
        collector: Collector | None,
    ) -> tuple[Receipt, int]:
        """Put a message into the queues that it is meant for; return the receipt and its number."""
        seq, branches, error = next(self._numbers), self._branches, None
        try:
            now = self._clock.steady()
            for name in meant:
                branch = branches[name]
                branch.book.accept(seq)
                if collector is not None:
                    collector.expect(seq, name)
                    branch.watched[seq] = collector
            try:
                refused = self._queue.put(seq, message_id, lane, record, now, meant)
            except Exception as broken:  # noqa: BLE001  a disk or a broker can fail; the program goes on
                self._give_up(meant, message_id, seq, _reason(broken), printable(broken), failed, collector)
            else:
                if refused:
                    error = self._see_to_refused(refused, message_id, lane, seq, record, now, failed, collector)
            for name in meant:
                branches[name].book.coming.discard(seq)
        except BaseException:  # Ctrl-C
            self._interrupted(meant, seq)
            raise
        if error is not None:
            raise error
        if meant and not failed:
            return Receipt(message_id, True, None, tuple(meant), nulled), seq
        held = tuple([name for name in meant if name not in failed])
        reason = None if held else next(iter(failed.values()), "filtered")
        return Receipt(message_id, bool(held), reason, held, nulled), seq

    def _interrupted(self, meant: Sequence[str], seq: int) -> None:
        """Count what was interrupted on its way, all of it also where that is interrupted in its turn."""
        try:
            for name in meant:
                self._branches[name].book.interrupt(seq)
                self._branches[name].watched.pop(seq, None)
        except BaseException:
            self._interrupted(meant, seq)
            raise

    def _see_to_refused(
        self,
        refused: Mapping[str, Refusal],
        message_id: str,
        lane: int,
        seq: int,
        record: bytes,
        now: float,
        failed: dict[str, str],
        collector: Collector | None,
    ) -> QueueFull | None:
        """Make room where a queue had none; return the error to raise."""
        error: QueueFull | None = None
        for name, why in refused.items():
            if why == "duplicate":
                self._forget_duplicate(name, seq, collector)
                continue
            try:
                error = self._make_room(name, message_id, lane, seq, record, now, failed, collector) or error
            except Exception as broken:  # noqa: BLE001  as above
                self._give_up([name], message_id, seq, _reason(broken), printable(broken), failed, collector)
        return error

    def _supports(self, name: str, message: Message, record: bytes, failed: dict[str, str]) -> bool:
        branch = self._branches[name]
        provider = branch.destination.provider
        why, reason = refusal(provider, message), "unsupported"
        if why is None:
            size, most = len(record) - record.find(b"\n") - 1, provider.capabilities.message_bytes
            if size <= most and len(record) > MAX_RECORD:  # by its context, for one
                size, most = len(record), MAX_RECORD
            if size <= most:
                return True
            why, reason = f"{size} bytes; {name} takes {most} per message", "too_large"
        elif branch.destination.unsupported == "skip":
            branch.book.filter()
            return False
        failed[name] = f"{reason}: {why}"
        now = self._clock.steady()
        message_id = message.message_id or ""
        try:
            self._queue.keep_dead(DeadLetter(name, message_id, reason, why, 0, now, now, record))
        except Exception as broken:  # noqa: BLE001  as below; it is counted and told all the same
            self._log.warning("queue", "unitrack: a dead letter of %s could not be kept: %s", name, broken)
        branch.book.reject(reason)
        self._tell(message_id, [name], reason, why)
        return False

    def _make_room(
        self,
        name: str,
        message_id: str,
        lane: int,
        seq: int,
        record: bytes,
        now: float,
        failed: dict[str, str],
        collector: Collector | None,
    ) -> QueueFull | None:
        """Apply ``on_full``; return the error to raise once all other destinations have the message."""
        branch = self._branches[name]
        settings = branch.settings
        if settings.on_full == "drop_oldest":
            self._give_up_oldest(branch, len(record))
        elif settings.on_full == "block" and self._may_block():
            end = self._clock.monotonic() + settings.block_timeout
            while (left := end - self._clock.monotonic()) > 0 and not self._queue.has_room(name, len(record)):
                # Not all of it at once: room may have been made before we listened.
                branch.book.wait_for_room(min(left, 0.05))
        if settings.on_full != "raise" and not self._queue.put(seq, message_id, lane, record, now, [name]):
            return None
        detail = f"{settings.max_events} messages or {settings.max_bytes} bytes already wait"
        self._give_up([name], message_id, seq, "queue_full", detail, failed, collector)
        return QueueFull(f"{name}: {detail}") if settings.on_full == "raise" else None

    def _give_up_oldest(self, branch: Branch, size: int) -> None:
        given_up: list[Entry] = []
        with self._notifier.soon():
            try:
                self._queue.drop_oldest(branch.name, size, given_up)
                seqs = [entry.seq for entry in given_up]
                branch.book.drop("queue_full", seqs, sure=False)
            except BaseException:  # Ctrl-C, or the queue could not go on: the last one may be there still
                branch.book.drop("queue_full", [entry.seq for entry in given_up], sure=False)
                raise
            finally:
                for entry in given_up:
                    if waiting := branch.watched.pop(entry.seq, None):
                        waiting.note(entry.seq, branch.name, Rejected("queue_full: newer messages took its place"))
                self._notifier.dropped([Drop(entry.message_id, branch.name, "queue_full") for entry in given_up])
        branch.book.ascertain(seqs)

    def _forget_duplicate(self, name: str, seq: int, collector: Collector | None) -> None:
        """A message with this id waits there already, and that one will be sent."""
        if collector is not None:
            collector.forget(seq, name)
            self._branches[name].watched.pop(seq, None)
        self._branches[name].book.known(seq)

    def _give_up(
        self,
        names: Sequence[str],
        message_id: str,
        seq: int,
        reason: str,
        detail: str,
        failed: dict[str, str],
        collector: Collector | None,
    ) -> None:
        """Count a message that was accepted but could not be queued."""
        with self._notifier.soon():
            for name in names:
                branch = self._branches[name]
                if collector is not None:
                    collector.forget(seq, name)
                    branch.watched.pop(seq, None)
                branch.book.drop(reason, [seq])
                failed[name] = reason
            self._tell(message_id, names, reason, detail)

    def _refuse(self, message: Message, reason: str, error: Exception | None) -> Taken:
        names = self._meant(message)
        detail = "" if error is None else str(error) if isinstance(error, InvalidMessage) else printable(error)
        for name in names:
            self._branches[name].book.refuse(reason)
        given = message.message_id if type(message) in _MESSAGES else None
        message_id = given if type(given) is str and given else self._ids()
        self._tell(message_id, names, reason, detail)
        if self._strict and error is not None:
            raise error
        text = f"{reason}: {detail}" if detail else reason
        return Taken(Receipt(message_id, False, text), 0, dict.fromkeys(names, text))

    def _meant(self, message: Message) -> Sequence[str]:
        """Route a message that is not sound, as far as that goes; where it does not, it was meant for all."""
        try:
            taken, filtered = route(message, self._routes)
        except Exception:  # noqa: BLE001  anything can be in it
            return list(self._branches)
        for name in filtered:
            self._branches[name].book.filter()
        return taken

    def _tell(self, message_id: str, names: Sequence[str], reason: str, detail: str) -> None:
        if not names:
            return
        self._log.warning(
            f"drop:{reason}", "unitrack: message %s is not sent to %s: %s%s",
            message_id, ", ".join(names), reason, f": {detail}" if detail else "",
        )  # fmt: skip
        self._notifier.dropped([Drop(message_id, name, reason, detail) for name in names])


def _reason(broken: Exception) -> str:
    return broken.reason if isinstance(broken, QueueError) else "queue_error"


def _check_untouched(message: Message) -> None:
    """Refuse what a middleware changed in place: it would be sent as it was, though it seems redacted."""
    for name in ("properties", "traits", "context", "integrations"):
        value = getattr(message, name, None)
        if isinstance(value, JsonObject) and value.altered:
            raise TypeError(f"a middleware changed {name} in place; hand back attrs.evolve(message, {name}=...)")
    if any(isinstance(value, JsonObject) and value.altered for value in message.options.values()):
        raise TypeError("a middleware changed options in place; hand back attrs.evolve(message, options=...)")


def _most_of_a_plain_track(branches: Iterable[Branch], middleware: Sequence[Middleware]) -> int:
    """Return how many bytes of properties every destination takes in a track that nobody has a rule about; else -1."""
    most = [_most(branch) for branch in branches]
    return -1 if middleware else min(most, default=-1)


def _most(branch: Branch) -> int:
    can = branch.provider.capabilities
    takes = "track" in can.accepts and "user_id" in can.identities
    return can.message_bytes if takes and not Route(branch.destination).has_rules else -1
