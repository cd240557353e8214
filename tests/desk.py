"""An intake with a real queue, real books and nobody who sends."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from unitrack.branch import Branch
from unitrack.clock import Clock
from unitrack.codec import unpack
from unitrack.destination import Destination
from unitrack.intake import Intake, Taken
from unitrack.logs import QuietLog
from unitrack.message import Message, Track
from unitrack.middleware import Middleware
from unitrack.providers import Hightouch, Interakt
from unitrack.queues.memory import MemoryQueue
from unitrack.results import Drop, Ledger
from unitrack.settings import Settings
from unitrack.waiting import Collector

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
CDP = Hightouch(write_key="write-key-1")
WHATSAPP = Interakt(api_key="api-key-12345")


class Told:
    """Hears of drops at once."""

    def __init__(self) -> None:
        self.drops: list[Drop] = []

    def soon(self) -> AbstractContextManager[None]:
        return nullcontext()

    def dropped(self, drops: Sequence[Drop]) -> None:
        self.drops.extend(drops)


class Desk:
    """An intake with everything around it, and nobody who sends."""

    def __init__(
        self,
        *,
        middleware: Sequence[Middleware] = (),
        strict: bool = False,
        may_block: bool = True,
        queue: MemoryQueue | None = None,
        **destinations: Destination,
    ) -> None:
        self.queue = queue or MemoryQueue()
        self.told = Told()
        self.branches = {}
        for name, destination in (destinations or {"cdp": Destination(CDP)}).items():
            settings = destination.settings(Settings())
            self.branches[name] = Branch(name, destination, settings)
            self.queue.open(name, max_events=settings.max_events, max_bytes=settings.max_bytes)
        self.intake = Intake(
            self.branches,
            self.queue,
            middleware,
            self.told,  # type: ignore[arg-type]
            QuietLog(),
            clock=Clock(utc=lambda: NOW),
            strict=strict,
            may_block=lambda: may_block,
        )

    def take(self, message: Any, collector: Collector | None = None) -> Taken:
        return self.intake.take(message, collector)

    def ledger(self, name: str = "cdp") -> Ledger:
        ledger = self.branches[name].book.ledger()
        assert ledger.balanced
        return ledger

    def queued(self, name: str = "cdp") -> list[Message]:
        return [unpack(entry.record) for entry in self.queue.take(name, 1_000_000, None, 0.0)]

    def reasons(self) -> list[tuple[str, str]]:
        return [(drop.destination, drop.reason) for drop in self.told.drops]


def track(**members: Any) -> Track:
    return Track(**({"user_id": "u", "event": "E"} | members))
