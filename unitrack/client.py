"""The face of unitrack: say what happened once, have it arrive at every destination."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack, get_args
from uuid import UUID

from attrs import evolve

from .arguments import checked_callback, checked_destinations, checked_middleware, checked_settings
from .attachment import Attachment
from .bulk import Bulk
from .callbacks import OnDelivery, OnDrop
from .clock import Clock
from .destination import Destination
from .engine import Engine
from .errors import ConfigError, nearest
from .message import Alias, Group, Identify, Message, Page, Screen, Track
from .middleware import Middleware
from .phone import Phone
from .plan import Plan
from .process import Process
from .queue import DeadLetter, Queue
from .results import Ledger, Receipt, Report
from .secret import discreet
from .settings import MOST_SECONDS, Settings, seconds
from .transport import as_transport
from .waiting import aside
from .wire import Delivered, Provider

Identifier = str | int | UUID | None

#: Bytes that a message in a bulk is assumed to need when asking for room.
_TYPICAL_BYTES = 1_024


class Common(TypedDict, total=False):
    """Keyword arguments that all six calls take; see :mod:`unitrack.message`."""

    anonymous_id: Identifier
    phone: Phone | str | None
    context: Mapping[str, Any] | None
    timestamp: datetime | str | None
    message_id: Identifier
    idempotency_key: Identifier
    tenant_id: Identifier
    attachments: Sequence[Attachment] | None
    integrations: Mapping[str, Any] | None
    only: Sequence[str] | None
    exclude: Sequence[str] | None
    options: Mapping[str, Mapping[str, Any]] | None


class Client:
    """Takes messages and delivers them to every destination, each at its own pace.

    Args:
        destinations: a :class:`Destination`, or just its provider, by a name of your choice.
        transport: how requests travel; default urllib3. A ``requests.Session`` of your own works too.
        middleware: functions ``Message -> Message | None``, called in order in the caller's thread.
        on_delivery: called with a list of :class:`~unitrack.Verdict`, from a thread of its own.
        on_drop: called with a list of :class:`~unitrack.Drop` for what will never arrive, likewise.
        clock, dice, queue: for tests and extensions.
        settings: any of :class:`~unitrack.Settings`: ``strict=True``, ``mode="sync"``, ``linger=0.1``, ….

    Raises:
        ConfigError: something in it is wrong. A client that could be made never raises for its configuration again.

    No thread, socket or file exists before the first message, and none is left after :meth:`close`.
    Safe to use from any number of threads, and in a forked child, which starts with an empty queue.
    """

    @discreet  # the address of a broker may hold a password
    def __init__(
        self,
        destinations: Mapping[str, Provider | Destination],
        *,
        transport: object = None,
        middleware: Sequence[Middleware] = (),
        on_delivery: OnDelivery | None = None,
        on_drop: OnDrop | None = None,
        clock: Clock | None = None,
        dice: Callable[[], float] | None = None,
        queue: Queue | str | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(queue, str):
            settings["queue"] = queue
        self._plan = Plan(
            destinations=checked_destinations(destinations),
            settings=checked_settings(settings),
            transport=transport,
            middleware=checked_middleware(middleware),
            on_delivery=checked_callback("on_delivery", on_delivery),
            on_drop=checked_callback("on_drop", on_drop),
            clock=clock or Clock(),
            dice=dice,
            queue=None if isinstance(queue, str) else queue,
            may_block=lambda: not _in_event_loop(),
        )
        as_transport(transport)
        self._process = Process(self._plan)

    # -- the six calls; their first arguments are those of the vendors' SDKs

    def track(
        self, user_id: Identifier, event: str, properties: Mapping[str, Any] | None = None, **common: Unpack[Common]
    ) -> Receipt:
        """Say that someone did something. Returns at once; never touches the network (except in sync mode).

        Keywords of all six calls: ``timestamp`` (a naive datetime is UTC, so not ``datetime.now()``; default: now),
        ``anonymous_id``, ``phone``, ``context``, ``message_id``, ``idempotency_key``, ``tenant_id``, ``attachments``,
        ``integrations``; ``only`` and ``exclude``, lists of destinations; ``options``, a dict for each destination.
        """
        engine = self._process.engine()
        if not common and not engine.sync and (receipt := engine.take_plain(user_id, event, properties)) is not None:
            return receipt
        return self.enqueue(Track(user_id=user_id, event=event, properties=properties, **common))

    def identify(
        self, user_id: Identifier, traits: Mapping[str, Any] | None = None, **common: Unpack[Common]
    ) -> Receipt:
        """Say who someone is."""
        return self.enqueue(Identify(user_id=user_id, traits=traits, **common))

    def page(
        self,
        user_id: Identifier,
        category: str | None = None,
        name: str | None = None,
        properties: Mapping[str, Any] | None = None,
        **common: Unpack[Common],
    ) -> Receipt:
        """Say that someone saw a web page."""
        return self.enqueue(Page(user_id=user_id, category=category, name=name, properties=properties, **common))

    def screen(
        self,
        user_id: Identifier,
        category: str | None = None,
        name: str | None = None,
        properties: Mapping[str, Any] | None = None,
        **common: Unpack[Common],
    ) -> Receipt:
        """Say that someone saw a screen of an app."""
        return self.enqueue(Screen(user_id=user_id, category=category, name=name, properties=properties, **common))

    def group(
        self,
        user_id: Identifier,
        group_id: Identifier,
        traits: Mapping[str, Any] | None = None,
        **common: Unpack[Common],
    ) -> Receipt:
        """Say that someone belongs to a group, and what the group is like."""
        return self.enqueue(Group(user_id=user_id, group_id=group_id, traits=traits, **common))

    def alias(self, previous_id: Identifier, user_id: Identifier, **common: Unpack[Common]) -> Receipt:
        """Say that two ids are one person: ``previous_id`` is merged into ``user_id``."""
        return self.enqueue(Alias(previous_id=previous_id, user_id=user_id, **common))

    def enqueue(self, message: Message) -> Receipt:
        """Take any message.

        Returns:
            A receipt, falsy with a reason when no destination took it.

        Raises:
            InvalidMessage: only under ``strict=True``.
            QueueFull: only where a destination says ``on_full="raise"``.
        """
        engine = self._process.engine()
        if engine.sync:
            return self._send_now(engine, message)
        return engine.take(message).receipt

    def send(self, messages: Iterable[Message], timeout: float | None = 10.0) -> Report:
        """Send messages now and wait for a verdict on every one, at most ``timeout`` seconds (``None``: for ever).

        A message without a verdict by then is reported as a failure and stays queued. One whose destination is on
        hold is reported at once with the reason, and stays queued as well. Where a queue is full this waits for room.
        """
        limit = seconds(timeout)
        engine = self._process.engine()
        end = time.monotonic() + (MOST_SECONDS if limit is None else limit)
        bulk = Bulk(engine.take)
        relax: Callable[[], None] | None = None
        try:
            for message in _several(messages):
                while not engine.has_room(_TYPICAL_BYTES) and time.monotonic() < end:
                    relax = relax or engine.urge()
                    engine.wait_for_room(max(0.0, end - time.monotonic()))
                bulk.add(message)
            relax = relax or engine.urge()  # no sooner, or the first message would travel alone
            bulk.collector.complete()
            engine.wait(bulk.collector.waiter, max(0.0, end - time.monotonic()))
        finally:
            if relax is not None:
                relax()
        return bulk.report()

    def flush(self, timeout: float | None = 10.0) -> bool:
        """Send what waits. True: everything accepted before the call is settled, and its callbacks were called.

        Args:
            timeout: seconds; ``None`` waits until each message was delivered or reached its delivery deadline.
        """
        return self._process.engine().flush(seconds(timeout))

    def close(self, timeout: float | None = None) -> Report:
        """Flush, stop, release. Later calls are refused with the reason ``closed``.

        Args:
            timeout: seconds; default: the setting ``shutdown_timeout`` (5 s).

        Returns:
            The sum of all ledgers: ``success`` only if everything ever accepted was delivered or filtered, or, where
            other processes send, is where they find it.
        """
        engine, limit = self._process.engine(), seconds(timeout)
        report = engine.close(self._plan.settings.shutdown_timeout if limit is None else limit)
        if engine.over:
            self._process.forget()
        return report

    def stats(self) -> dict[str, Ledger]:
        """Return each destination's ledger, which balances at every moment."""
        return self._process.engine().ledgers()

    def dead_letters(self, destination: str | None = None) -> Sequence[DeadLetter]:
        """Return the messages that were given up, oldest first.

        In memory the newest 1,000 or 16 MiB are kept; a durable queue keeps those of earlier processes, too.

        Raises:
            ConfigError: there is no destination of this name.
        """
        if destination is not None:
            self._known(destination)
        return self._process.engine().queue.dead_letters(destination)

    def replay(self, letters: Iterable[DeadLetter]) -> int:
        """Send dead letters again: each to its own destination, with the id, the time and the keys that it had.

        Returns:
            How many of them wait again. One is left where it is if its queue is full, or if its record is no message
            of this version.

        Raises:
            ConfigError: one is for a destination that this client does not have.
        """
        letters = list(letters)
        for letter in letters:
            self._known(letter.destination)
        return self._process.engine().replay(letters)

    def purge(self, letters: Iterable[DeadLetter]) -> int:
        """Forget dead letters; return how many of them were still there. The ledger goes on counting them."""
        queue = self._process.engine().queue
        return sum(queue.discard_dead(letter) for letter in list(letters))

    def look_around(self) -> bool:
        """Take on what other processes left in the queue; tell whether anything waits here.

        For programs that only send, such as ``unitrack worker``; a client that tracks does this by itself.
        """
        engine = self._process.engine()
        engine.look_around()
        return any(ledger.pending for ledger in engine.ledgers().values())

    def trouble(self) -> str | None:
        """Return what keeps the queue from working, such as a broker that does not answer; ``None``: nothing known."""
        return self._process.engine().queue.trouble()

    def stop_reading(self) -> None:
        """Take on nothing more that other processes put into a shared queue; for workers, before :meth:`close`."""
        self._process.engine().stop_reading()

    def _known(self, destination: str) -> None:
        if destination not in self._plan.destinations:
            known = self._plan.destinations
            raise ConfigError(f"{destination!r} is no destination of this client{nearest(destination, known)}")

    @property
    def destinations(self) -> Mapping[str, Destination]:
        """What this client was configured with."""
        return self._plan.destinations

    @property
    def settings(self) -> Settings:
        """The delivery settings common to all destinations."""
        return self._plan.settings

    # -- the same under asyncio: nothing here belongs to an event loop, so any number of them may use one client

    async def asend(self, messages: Iterable[Message], timeout: float | None = 10.0) -> Report:
        """Like :meth:`send`, without blocking the event loop."""
        import asyncio  # loaded by whoever runs this

        limit = seconds(timeout)
        engine = self._process.engine()
        if engine.sync:
            return await aside(self.send, list(messages), timeout)
        end = time.monotonic() + (MOST_SECONDS if limit is None else limit)
        bulk = Bulk(engine.take)
        relax: Callable[[], None] | None = None
        try:
            for number, message in enumerate(_several(messages)):
                while not engine.has_room(_TYPICAL_BYTES) and time.monotonic() < end:
                    relax = relax or engine.urge()
                    await asyncio.sleep(0.005)
                bulk.add(message)
                if number % 100 == 99:
                    await asyncio.sleep(0)
            relax = relax or engine.urge()
            bulk.collector.complete()
            await engine.wait_async(bulk.collector.waiter, max(0.0, end - time.monotonic()))
        finally:
            if relax is not None:
                relax()
        return bulk.report()

    async def aflush(self, timeout: float | None = 10.0) -> bool:
        """Like :meth:`flush`, without blocking the event loop. Cancelling it stops the waiting, not the sending."""
        timeout = seconds(timeout)
        engine = self._process.engine()
        if engine.sync:
            return await aside(engine.flush, timeout)
        waiter, end = engine.begin_flush()
        try:
            done = await engine.wait_async(waiter, timeout)
        finally:
            end()
        return done and await aside(engine.notifier.drain, 1.0 if timeout is None else timeout)

    async def aclose(self, timeout: float | None = None) -> Report:
        """Like :meth:`close`, without blocking the event loop."""
        return await aside(self.close, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        # Error trackers show also the client that could not be made.
        destinations = self._plan.destinations if hasattr(self, "_plan") else {}
        named = ", ".join(f"{name}={type(d.provider).__name__}" for name, d in destinations.items())
        return f"<{type(self).__name__} {named}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Client holds threads and connections and cannot be pickled; make one in each process")

    def _send_now(self, engine: Engine, message: Message) -> Receipt:
        bulk = Bulk(engine.take)
        bulk.add(message)
        bulk.collector.complete()
        (_, taken) = bulk.taken[0]
        if not taken.receipt:
            return taken.receipt
        if not engine.wait(bulk.collector.waiter, None):
            # From a signal handler or a log handler, in the middle of another call of this thread: that sends it next.
            return taken.receipt
        report = bulk.report()
        if report.success:
            names = tuple(name for (_, name), outcome in report.verdicts.items() if isinstance(outcome, Delivered))
            return evolve(taken.receipt, destinations=names)
        return evolve(taken.receipt, accepted=False, destinations=(), reason=report.failed_records[0].error)


def _several(messages: Iterable[Message]) -> Iterable[Message]:
    return [messages] if isinstance(messages, get_args(Message)) else messages


def _in_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
