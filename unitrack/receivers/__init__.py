"""Local HTTP servers that play the vendors, strictly; for tests and the demo.

They are an independent reading of what the vendors document and what the vendors' own SDKs send, and share no
code with :mod:`unitrack.providers`, so that the two can disagree::

    with HightouchReceiver(write_key="k") as receiver:
        client = Client({"cdp": Hightouch(write_key="k", base_url=receiver.url)})
        client.track("u-42", "Order Paid")
        client.close()
        assert receiver.messages[0]["event"] == "Order Paid"
"""

from .amplitude import AmplitudeReceiver
from .answer import Answer, Taken
from .customerio import CustomerIOReceiver
from .ga4 import GA4Receiver
from .hightouch import HightouchReceiver
from .interakt import InteraktReceiver
from .mixpanel import MixpanelReceiver
from .posthog import PostHogReceiver
from .reading import Received
from .receiver import Receiver, Tally
from .rudderstack import RudderStackReceiver
from .sample import Sample
from .segment import SegmentReceiver
from .snowplow import SnowplowReceiver
from .suprsend import SuprSendReceiver
from .thrivestack import ThrivestackReceiver

__all__ = [
    "AmplitudeReceiver",
    "Answer",
    "CustomerIOReceiver",
    "GA4Receiver",
    "HightouchReceiver",
    "InteraktReceiver",
    "MixpanelReceiver",
    "PostHogReceiver",
    "Received",
    "Receiver",
    "RudderStackReceiver",
    "Sample",
    "SegmentReceiver",
    "SnowplowReceiver",
    "SuprSendReceiver",
    "Taken",
    "Tally",
    "ThrivestackReceiver",
]
