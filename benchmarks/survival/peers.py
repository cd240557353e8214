"""The clients that are compared, each behind the same five calls. Runs in the environment of the one that it imports.

Settings are the defaults, with three exceptions, so that a row shows its fault and not a bound or a batch that never
fills: Snowplow sends in batches of 20, Sentry's queue holds 1,000 events, unitrack speaks Hightouch's dialect.
"""

from collections.abc import Callable
from typing import Any

#: Stands in every credential, so that the server can tell whether one was sent along.
KEY = "survival-key-1234567890"

Tell = Callable[[str, int], None]


class Peer:
    """Properties carry the mark that the server counts by; ``tell`` takes what the callbacks of a client say."""

    def start(self, address: str, tell: Tell) -> None:
        """Make a client for ``http://{address}``."""
        raise NotImplementedError

    def track(self, mark: str, **properties: Any) -> None:
        raise NotImplementedError

    def flush(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def kept(self) -> int:
        """Count what the client says that it still holds, if it can say so."""
        return 0

    def handle_sigterm(self) -> bool:
        """Switch on what the client has for SIGTERM; False if it has nothing."""
        return False


class Segment(Peer):
    client: Any

    def start(self, address: str, tell: Tell) -> None:
        from segment.analytics.client import Client

        self.client = Client(KEY, host=f"http://{address}", on_error=lambda error, items: tell("failed", len(items)))

    def track(self, mark: str, **properties: Any) -> None:
        self.client.track("user-1", "Order Paid", {"mark": mark, **properties})

    def flush(self) -> None:
        self.client.flush()

    def close(self) -> None:
        self.client.shutdown()


class Rudder(Segment):
    def start(self, address: str, tell: Tell) -> None:
        from rudderstack.analytics.client import Client

        self.client = Client(KEY, host=f"http://{address}", on_error=lambda error, items: tell("failed", len(items)))


class HightouchEvents(Segment):
    def start(self, address: str, tell: Tell) -> None:
        from hightouch.htevents.client import Client

        self.client = Client(KEY, host=f"http://{address}", on_error=lambda error, items: tell("failed", len(items)))


class PostHog(Segment):
    def start(self, address: str, tell: Tell) -> None:
        from posthog import Posthog

        self.client = Posthog(KEY, host=f"http://{address}", on_error=lambda error, items: tell("failed", len(items)))

    def track(self, mark: str, **properties: Any) -> None:
        self.client.capture("Order Paid", distinct_id="user-1", properties={"mark": mark, **properties})


class Interakt(Segment):
    def start(self, address: str, tell: Tell) -> None:
        from track.client import Client

        self.client = Client(KEY, host=f"http://{address}", on_error=lambda error, item: tell("failed", 1))

    def track(self, mark: str, **properties: Any) -> None:
        self.client.event(user_id="user-1", event="Order Paid", traits={"mark": mark, **properties})


class Snowplow(Peer):
    def start(self, address: str, tell: Tell) -> None:
        from snowplow_tracker import AsyncEmitter, SelfDescribing, SelfDescribingJson, Tracker

        emitter = AsyncEmitter(
            address,
            protocol="http",
            batch_size=20,
            on_success=lambda sent: tell("succeeded", len(sent)),
            on_failure=lambda count, unsent: tell("failed", len(unsent)),
        )
        self.tracker = Tracker(KEY, emitter, app_id="survival")
        self.event = lambda data: SelfDescribing(
            SelfDescribingJson("iglu:com.example/order_paid/jsonschema/1-0-0", data)
        )
        self.tracker.set_user_id("user-1") if hasattr(self.tracker, "set_user_id") else None
        self.tracker.encode_base64 = False  # so that the server finds the mark

    def track(self, mark: str, **properties: Any) -> None:
        self.tracker.track(self.event({"mark": mark, **properties}))

    def flush(self) -> None:
        self.tracker.flush()

    def close(self) -> None:
        self.tracker.flush()  # it has no other end


class Amplitude(Peer):
    def start(self, address: str, tell: Tell) -> None:
        from amplitude import Amplitude as Client
        from amplitude import BaseEvent, Config

        def callback(event: Any, code: int, message: Any = None) -> None:
            tell("succeeded" if code == 200 else "failed", 1)

        self.event = BaseEvent
        self.client = Client(KEY, Config(server_url=f"http://{address}/2/httpapi", callback=callback))

    def track(self, mark: str, **properties: Any) -> None:
        self.client.track(self.event("Order Paid", user_id="user-1", event_properties={"mark": mark, **properties}))

    def flush(self) -> None:
        for future in self.client.flush():
            if future is not None:
                future.result()

    def close(self) -> None:
        self.client.shutdown()


class Sentry(Peer):
    def start(self, address: str, tell: Tell) -> None:
        import sentry_sdk

        self.sdk = sentry_sdk
        sentry_sdk.init(dsn=f"http://{KEY}@{address}/1", transport_queue_size=1_000)

    def track(self, mark: str, **properties: Any) -> None:
        self.sdk.capture_event({"message": "Order Paid", "extra": {"mark": mark, **properties}})

    def flush(self) -> None:
        self.sdk.flush(timeout=10)

    def close(self) -> None:
        self.sdk.get_client().close(timeout=10)


class Unitrack(Peer):
    def start(self, address: str, tell: Tell) -> None:
        from unitrack import Client
        from unitrack.providers import Hightouch

        self.tell = tell
        self.client = Client(
            {"cdp": Hightouch(write_key=KEY, base_url=f"http://{address}", auth="basic")},
            on_drop=lambda drops: tell("failed", len(drops)),
        )

    def track(self, mark: str, **properties: Any) -> None:
        self.client.track("user-1", "Order Paid", {"mark": mark, **properties})

    def flush(self) -> None:
        self.client.flush()

    def close(self) -> None:
        self.client.close()
        self.tell("failed", self.kept())  # its report names them

    def kept(self) -> int:
        return sum(ledger.pending for ledger in self.client.stats().values())

    def handle_sigterm(self) -> bool:
        from unitrack.signals import drain_on_sigterm

        drain_on_sigterm(self.client)
        return True


PEERS: dict[str, type[Peer]] = {
    "segment": Segment,
    "posthog": PostHog,
    "rudder": Rudder,
    "snowplow": Snowplow,
    "amplitude": Amplitude,
    "sentry": Sentry,
    "interakt": Interakt,
    "hightouch": HightouchEvents,
    "unitrack": Unitrack,
}
