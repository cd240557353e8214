"""A client that delivers into memory, for tests of code that uses unitrack."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from attrs import fields

from ..codec import unpack
from ..config import Client
from ..destination import Destination
from ..message import Message, Track
from ..queue import Refusal
from ..queues.memory import MemoryQueue
from ..wire import Provider, Request
from .transports import FakeTransport, Script

M = TypeVar("M", bound=Message)


class Recorder:
    """What a client took, and what it sent: messages in our words, requests in each vendor's."""

    def __init__(self, transports: Mapping[str, FakeTransport]) -> None:
        self._transports = dict(transports)
        self._taken: list[tuple[Message, frozenset[str]]] = []
        self._lock = threading.Lock()

    def add(self, message: Message, destinations: Sequence[str]) -> None:
        """Record a message and the destinations it is queued for."""
        with self._lock:
            self._taken.append((message, frozenset(destinations)))

    @property
    def messages(self) -> list[Message]:
        """Every message that at least one destination took, in order, after middleware and routing."""
        return self._found(None)

    @property
    def events(self) -> list[str]:
        """The names of what was tracked, in order."""
        return [message.event for message in self.of(Track)]

    def of(self, kind: type[M], *, to: str | None = None) -> list[M]:
        """Return the messages of a class: ``recorder.of(Identify)``.

        Args:
            kind: ``Track``, ``Identify``, ….
            to: only those that this destination took.
        """
        return [message for message in self._found(to) if isinstance(message, kind)]

    def tracked(self, event: str, *, user_id: str | None = None, to: str | None = None) -> list[Track]:
        """Return the track messages of an event, in order; none is an empty list.

        Args:
            event: its exact name.
            user_id: only those about this user.
            to: only those that this destination took.
        """
        return [
            message
            for message in self.of(Track, to=to)
            if message.event == event and user_id in (None, message.user_id)
        ]

    def tracked_once(self, event: str, *, user_id: str | None = None, to: str | None = None) -> Track:
        """Return the one track message of an event.

        Raises:
            AssertionError: there is none, or more than one; it lists what was tracked instead.
        """
        found = self.tracked(event, user_id=user_id, to=to)
        if len(found) == 1:
            return found[0]
        wanted = f"{event!r}{f' of {user_id!r}' if user_id else ''}{f' to {to!r}' if to else ''}"
        tracked = "\n".join(f"  {m.event!r} of {m.user_id!r} {m.properties!r}" for m in self.of(Track))
        raise AssertionError(f"{wanted} was tracked {len(found)} times; this was tracked:\n{tracked or '  nothing'}")

    def requests(self, destination: str) -> tuple[Request, ...]:
        """Return what was sent to a destination: address, headers, bytes."""
        return self._transport(destination).requests

    def bodies(self, destination: str) -> list[Any]:
        """Return the JSON data of what was sent to a destination, in its vendor's words."""
        return self._transport(destination).bodies

    def clear(self) -> None:
        """Forget what was recorded so far."""
        with self._lock:
            self._taken.clear()
        for transport in self._transports.values():
            transport.clear()

    def _found(self, to: str | None) -> list[Message]:
        if to is not None:
            self._transport(to)
        with self._lock:
            return [message for message, destinations in self._taken if to is None or to in destinations]

    def _transport(self, destination: str) -> FakeTransport:
        if destination not in self._transports:
            raise KeyError(f"there is no destination {destination!r}; known: {', '.join(self._transports)}")
        return self._transports[destination]


class RecordingClient(Client):
    """A :class:`~unitrack.Client` whose destinations deliver into memory; see :func:`recording`."""

    def __init__(
        self,
        destinations: Mapping[str, Provider | Destination],
        *,
        answer: Script | Mapping[str, Script] = 200,
        **settings: Any,
    ) -> None:
        answers = answer if isinstance(answer, Mapping) else dict.fromkeys(destinations, answer)
        unknown = sorted(set(answers) - set(destinations))
        if unknown:
            raise KeyError(f"answer: there is no destination {unknown[0]!r}; known: {', '.join(destinations)}")
        transports = {name: FakeTransport(answers.get(name, 200)) for name in destinations}
        self.recorder = Recorder(transports)
        settings.pop("queue", None)  # of a configuration: nothing that is recorded needs to outlive a test
        recorded = {name: _through(value, transports[name]) for name, value in destinations.items()}
        super().__init__(recorded, queue=_RecordingQueue(self.recorder), **{**_DEFAULTS, **settings})


#: Settings that suit a test: verdicts are there when a call returns, mistakes raise, nothing waits for long.
_DEFAULTS: Mapping[str, Any] = {
    "mode": "sync",
    "strict": True,
    "dice": lambda: 0.0,
    "max_retries": 3,
    "delivery_deadline": 10.0,
    "max_retry_after": 0.0,
    "probe_interval": 0.01,
    "shutdown_timeout": 0.5,
}


def recording(
    destinations: Mapping[str, Provider | Destination],
    *,
    answer: Script | Mapping[str, Script] = 200,
    **settings: Any,
) -> RecordingClient:
    """Make a client that sends nothing and remembers everything in ``client.recorder``.

    It is a whole client: it checks, routes, encodes and reads answers as the real one does; only the network and the
    waiting are left out. By default it works in sync mode (a call returns when all is done), strictly (a bad value
    raises), and without pauses between attempts, of which there are four at most.

    Args:
        destinations: as for :class:`~unitrack.Client`.
        answer: what the vendors answer, as for :class:`FakeTransport`; or one such script by destination.
        settings: any other argument of :class:`~unitrack.Client`.

    >>> from unitrack.providers import Webhook
    >>> with recording({"hook": Webhook(url="https://shop.example/events")}) as client:
    ...     _ = client.track("u-42", "Order Paid", {"total": 19.9})
    >>> client.recorder.tracked_once("Order Paid").properties["total"]
    19.9
    >>> client.recorder.bodies("hook")[0]["event"]
    'Order Paid'
    """
    return RecordingClient(destinations, answer=answer, **settings)


class _RecordingQueue(MemoryQueue):
    """Records what goes in: it is the one place that every message passes after middleware and routing."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def put(
        self, seq: int, message_id: str, lane: int, record: bytes, accepted_at: float, destinations: Sequence[str]
    ) -> Mapping[str, Refusal]:
        full = super().put(seq, message_id, lane, record, accepted_at, destinations)
        if taken := [name for name in destinations if name not in full]:
            self._recorder.add(unpack(record), taken)
        return full


def _through(value: Provider | Destination, transport: FakeTransport) -> Destination:
    destination = value if isinstance(value, Destination) else Destination(value)
    members: dict[str, Any] = {setting.name: getattr(destination, setting.name) for setting in fields(Destination)}
    # Not attrs.evolve: a Destination takes its overrides as single arguments.
    overrides = members.pop("overrides")
    return Destination(**{**members, "transport": transport, **overrides})
