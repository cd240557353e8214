"""Other people's clients. Each of these runs in an environment of its own, so it imports its client where it starts."""

from typing import Any

from . import event
from .driver import KEY, Driver


class Segment(Driver):
    """And those that were made from it."""

    environment = "segment"
    modules = ("segment.analytics",)
    client: Any

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    def start(self, url: str, capacity: int | None) -> None:
        from segment.analytics.client import Client

        self.client = Client(KEY, host=url, **self._room(capacity))

    def _room(self, capacity: int | None) -> dict[str, Any]:
        return self._settings if capacity is None else {**self._settings, "max_queue_size": capacity}

    def track(self, user_id: str, properties: event.Properties) -> object:
        return self.client.track(user_id, event.NAME, properties)[0]

    def flush(self) -> None:
        self.client.flush()


class Hightouch(Segment):
    environment = "hightouch"
    modules = ("hightouch.htevents",)

    def start(self, url: str, capacity: int | None) -> None:
        from hightouch.htevents.client import Client

        self.client = Client(KEY, host=url, **self._room(capacity))


class Rudder(Segment):
    environment = shape = "rudder"
    modules = ("rudderstack.analytics",)

    def start(self, url: str, capacity: int | None) -> None:
        from rudderstack.analytics.client import Client

        self.client = Client(KEY, host=url, **self._room(capacity))


class Interakt(Segment):
    environment = shape = "interakt"
    modules = ("track",)
    per_event = True

    def start(self, url: str, capacity: int | None) -> None:
        from track.client import Client

        self.client = Client(KEY, host=url, **self._room(capacity))

    def track(self, user_id: str, properties: event.Properties) -> object:
        return self.client.event(user_id=user_id, event=event.NAME, traits=properties)[0]


class PostHog(Segment):
    environment = shape = "posthog"
    modules = ("posthog",)

    def start(self, url: str, capacity: int | None) -> None:
        from posthog import Posthog

        self.client = Posthog(KEY, host=url, **self._room(capacity))

    def track(self, user_id: str, properties: event.Properties) -> object:
        return self.client.capture(event.NAME, distinct_id=user_id, properties=properties)

    def flush(self) -> None:
        self.client.flush(timeout_seconds=None)  # it gives up after 10 s otherwise


class Snowplow(Driver):
    """Asked for room it gets batches of 100 and a session, too: its makers send 10 on a connection of their own."""

    environment = shape = "snowplow"
    modules = ("snowplow_tracker",)

    def start(self, url: str, capacity: int | None) -> None:
        from snowplow_tracker import AsyncEmitter, SelfDescribing, SelfDescribingJson, Subject, Tracker

        tuned: dict[str, Any] = {}
        if capacity is not None:
            import requests

            tuned = {"batch_size": 100, "buffer_capacity": capacity, "session": requests.Session()}
        self._tracker = Tracker("speed", AsyncEmitter(url, **tuned), app_id="speed")
        self._event, self._data, self._subject = SelfDescribing, SelfDescribingJson, Subject

    def track(self, user_id: str, properties: event.Properties) -> object:
        subject = self._subject()
        subject.set_user_id(user_id)
        data = self._data("iglu:com.example/order_completed/jsonschema/1-0-0", properties)
        self._tracker.track(self._event(data, event_subject=subject))
        return True

    def flush(self) -> None:
        self._tracker.flush()


class Mixpanel(Driver):
    """Buffers 50 events, and sends them from the call that brings the fiftieth."""

    environment = shape = "mixpanel"
    modules = ("mixpanel",)
    sync = True

    def start(self, url: str, capacity: int | None) -> None:
        from mixpanel import BufferedConsumer
        from mixpanel import Mixpanel as Client

        self._buffer = BufferedConsumer(events_url=url + "/track")
        session = self._buffer._consumer._session
        session.mount("http://", session.get_adapter("https://any"))  # it repeats only where it speaks https
        self._client = Client(KEY, consumer=self._buffer)

    def track(self, user_id: str, properties: event.Properties) -> object:
        self._client.track(user_id, event.NAME, properties)
        return True

    def flush(self) -> None:
        self._buffer.flush()


class Amplitude(Driver):
    """Batches of 200 from 16 threads, each on a new connection."""

    environment = shape = "amplitude"
    modules = ("amplitude",)

    def start(self, url: str, capacity: int | None) -> None:
        from amplitude import Amplitude as Client
        from amplitude import BaseEvent, Config

        self._event = BaseEvent
        self._client = Client(KEY, Config(server_url=url + "/2/httpapi"))

    def track(self, user_id: str, properties: event.Properties) -> object:
        self._client.track(self._event(event.NAME, user_id=user_id, event_properties=properties))
        return True

    def flush(self) -> None:
        for future in self._client.flush():
            if future is not None:
                future.result()


class SuprSend(Driver):
    """Has no queue; a program fills lists of 100 and sends them itself."""

    environment = shape = "suprsend"
    modules = ("suprsend",)
    sync = True

    def start(self, url: str, capacity: int | None) -> None:
        from suprsend import Event, Suprsend

        self._event = Event
        self._client = Suprsend(KEY, KEY, base_url=url)
        self._renew()

    def _renew(self) -> None:
        self._bulk, self._count = self._client.bulk_events.new_instance(), 0

    def track(self, user_id: str, properties: event.Properties) -> object:
        self._bulk.append(self._event(user_id, event.NAME, properties))
        self._count += 1
        if self._count == 100:
            self.flush()
        return True

    def flush(self) -> None:
        if self._count:
            self._bulk.trigger()
            self._renew()
