"""Local HTTP servers that play Interakt, Thrivestack, Hightouch and SuprSend, strictly; for tests and the demo.

They are an independent reading of what the vendors document and what the vendors' own SDKs send, and share no
code with :mod:`unitrack.providers`, so that the two can disagree::

    with HightouchReceiver(write_key="k") as receiver:
        client = Client({"cdp": Hightouch(write_key="k", base_url=receiver.url)})
        client.track("u-42", "Order Paid")
        client.close()
        assert receiver.messages[0]["event"] == "Order Paid"
"""

from .answer import Answer, Taken
from .hightouch import HightouchReceiver
from .interakt import InteraktReceiver
from .reading import Received
from .receiver import Receiver, Tally
from .sample import Sample
from .suprsend import SuprSendReceiver
from .thrivestack import ThrivestackReceiver

__all__ = [
    "Answer",
    "HightouchReceiver",
    "InteraktReceiver",
    "Received",
    "Receiver",
    "Sample",
    "SuprSendReceiver",
    "Taken",
    "Tally",
    "ThrivestackReceiver",
]
