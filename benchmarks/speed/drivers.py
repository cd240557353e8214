"""All that is compared: the floor, unitrack in its variants, and the peers.

Each sends to one address, with what its makers set, but for what ``DRIVERS`` says. What a client imports it imports
where it starts, because that is measured, too.
"""

from collections.abc import Sequence
from typing import Any

from . import event
from .driver import KEY, Driver
from .peers import Amplitude, Hightouch, Interakt, Mixpanel, PostHog, Rudder, Segment, Snowplow, SuprSend


class Floor(Driver):
    environment = "unitrack"  # the same dependencies, in the same versions
    modules = ("urllib3", "orjson")

    def __init__(self, senders: int, *, per_event: bool = False) -> None:
        self.per_event = per_event
        self.shape = "interakt" if per_event else "success"
        self._senders, self._batch = senders, 1 if per_event else 100

    def start(self, url: str, capacity: int | None) -> None:
        self.start_fan([url], capacity)

    def start_fan(self, urls: Sequence[str], capacity: int | None) -> None:
        from .floor import Floor as Client

        self._clients = [Client(url, senders=self._senders, batch=self._batch) for url in urls]

    def track(self, user_id: str, properties: event.Properties) -> object:
        encoded = self._clients[0].encode(user_id, event.NAME, properties)
        for client in self._clients:
            client.put(encoded)
        return True

    def flush(self) -> None:
        for client in self._clients:
            client.flush()


class Unitrack(Driver):
    environment = "unitrack"
    modules = ("unitrack", "unitrack.providers")

    def __init__(
        self, *, per_event: bool = False, queue: str = "", session: bool = False, gzip: bool = False, **settings: Any
    ) -> None:
        self.per_event = per_event
        self.shape = "interakt" if per_event else "success"
        self._queue, self._session, self._gzip, self._settings = queue, session, gzip, settings

    def start(self, url: str, capacity: int | None) -> None:
        self.start_fan([url], capacity)

    def start_fan(self, urls: Sequence[str], capacity: int | None) -> None:
        from unitrack import Client

        settings = dict(self._settings)
        if capacity is not None:
            settings |= {"max_events": capacity, "max_bytes": capacity * 4096}
        if self._queue:
            settings["queue"] = self._queue.format(
                scratch=self.scratch, name=self.scratch.rpartition("/")[2], broker=self.broker
            )
        if self._session:
            import requests

            settings["transport"] = requests.Session()
        self.client = Client({f"d{at}": self._provider(url) for at, url in enumerate(urls, 1)}, **settings)

    def _provider(self, url: str) -> Any:
        from unitrack.providers import Hightouch, Interakt

        if self.per_event:  # the highest rate, because a plan's would be all that one sees
            return Interakt(api_key=KEY, base_url=url, rate_per_minute=1e6)
        return Hightouch(write_key=KEY, base_url=url, gzip=self._gzip)

    def track(self, user_id: str, properties: event.Properties) -> object:
        return self.client.track(user_id, event.NAME, properties)

    def flush(self) -> None:
        self.client.flush(None)

    def reported(self) -> int:
        ledgers = self.client.stats().values()
        return sum(sum(ledger.dropped.values()) + sum(ledger.dead.values()) for ledger in ledgers)


SQLITE = "sqlite://{scratch}/queue"
BROKER = "{broker}?spool={scratch}/spool&prefix={name}"

#: By the name in every table.
DRIVERS: dict[str, Driver] = {
    "floor-1-sender": Floor(1),
    "floor-4-senders": Floor(4),
    "floor-per-event-1": Floor(1, per_event=True),
    "floor-per-event-16": Floor(16, per_event=True),
    "unitrack": Unitrack(),
    "unitrack-gzip": Unitrack(gzip=True),
    "unitrack-session": Unitrack(session=True),
    "unitrack-sqlite": Unitrack(queue=SQLITE),
    "unitrack-redis": Unitrack(queue=BROKER),
    "unitrack-per-event": Unitrack(per_event=True),
    "unitrack-per-event-1": Unitrack(per_event=True, concurrency=1),
    "unitrack-per-event-16": Unitrack(per_event=True, concurrency=16),
    "snowplow": Snowplow(),
    "mixpanel": Mixpanel(),
    "segment": Segment(),
    "segment-4-threads": Segment(thread=4),
    "hightouch": Hightouch(),
    "suprsend": SuprSend(),
    "rudder": Rudder(),
    "posthog": PostHog(),
    "amplitude": Amplitude(),
    "interakt": Interakt(),
}
