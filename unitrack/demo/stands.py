"""The vendors of the demo: for each its local receiver, and the provider that is told its address."""

from collections.abc import Callable

from attrs import frozen

from .. import providers as to
from .. import receivers as at
from ..receivers import Receiver
from ..wire import Provider

#: The vendors that the demo shows if it is not asked for all of them.
FOUR = ("hightouch", "interakt", "suprsend", "thrivestack")

#: Interakt allows 300 requests a minute, at which 9,277 would take half an hour.
DEMO_RATE_PER_MINUTE = 1_000_000

#: Credentials of nobody: the local vendors let them in, and the samples at the end show them masked.
KEY = "demo-key-of-nobody-0123456789abcdef"
WORKSPACE = "wk_demo_0123456789abcdef"
STREAM, SITE = "G-DEMO000000", "demo-site"


@frozen
class Stand:
    """One vendor."""

    receiver: Receiver
    provider: Callable[[str], Provider]


def stands(names: tuple[str, ...] = FOUR) -> dict[str, Stand]:
    """Make the vendors with these names, in alphabetical order; none of them listens yet."""
    return {name: make() for name, make in _ALL.items() if name in names}


def every() -> tuple[str, ...]:
    """Name every vendor that can be played here."""
    return tuple(_ALL)


_ALL: dict[str, Callable[[], Stand]] = {
    "amplitude": lambda: Stand(
        at.AmplitudeReceiver(api_key=KEY), lambda url: to.Amplitude(api_key=KEY, base_url=url, endpoint="batch")
    ),
    "customerio": lambda: Stand(
        at.CustomerIOReceiver(site_id=SITE, api_key=KEY),
        lambda url: to.CustomerIO(site_id=SITE, api_key=KEY, base_url=url),
    ),
    "ga4": lambda: Stand(
        at.GA4Receiver(measurement_id=STREAM, api_secret=KEY),
        lambda url: to.GA4(
            measurement_id=STREAM,
            api_secret=KEY,
            base_url=url,
            identify_event="customer_known",
            user_properties=("cohort", "first_order_usd"),
        ),
    ),
    "hightouch": lambda: Stand(
        at.HightouchReceiver(write_key=KEY), lambda url: to.Hightouch(write_key=KEY, base_url=url)
    ),
    "interakt": lambda: Stand(
        at.InteraktReceiver(api_key=KEY),
        lambda url: to.Interakt(api_key=KEY, base_url=url, rate_per_minute=DEMO_RATE_PER_MINUTE),
    ),
    "mixpanel": lambda: Stand(at.MixpanelReceiver(token=KEY), lambda url: to.Mixpanel(token=KEY, base_url=url)),
    "posthog": lambda: Stand(
        at.PostHogReceiver(api_key=KEY), lambda url: to.PostHog(api_key=KEY, base_url=url, wire="v1")
    ),
    "rudderstack": lambda: Stand(
        at.RudderStackReceiver(write_key=KEY), lambda url: to.RudderStack(write_key=KEY, data_plane_url=url)
    ),
    "segment": lambda: Stand(at.SegmentReceiver(write_key=KEY), lambda url: to.Segment(write_key=KEY, base_url=url)),
    "snowplow": lambda: Stand(
        at.SnowplowReceiver(),
        lambda url: to.Snowplow(
            base_url=url,
            app_id="demo",
            vendor="com.example",
            identify_schema="iglu:com.example/customer/jsonschema/1-0-0",
        ),
    ),
    "suprsend": lambda: Stand(
        at.SuprSendReceiver(workspace_key=WORKSPACE, workspace_secret=KEY),
        lambda url: to.SuprSend(workspace_key=WORKSPACE, workspace_secret=KEY, base_url=url),
    ),
    "thrivestack": lambda: Stand(
        at.ThrivestackReceiver(api_key=KEY), lambda url: to.Thrivestack(api_key=KEY, base_url=url)
    ),
}
