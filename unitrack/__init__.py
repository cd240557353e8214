"""Say what happened once; have it arrive at every tool that should know.

>>> import unitrack
>>> unitrack.Track(user_id="u-42", event="Order Paid").event
'Order Paid'
"""

from .attachment import Attachment
from .config import Client
from .destination import Destination
from .errors import (
    ConfigError,
    InvalidMessage,
    QueueFull,
    TransportError,
    UnitrackError,
    Unsupported,
)
from .message import Alias, Group, Identify, Message, Page, Screen, Track
from .phone import Phone
from .results import Drop, FailedRecord, Ledger, Receipt, Report, Verdict
from .settings import Settings
from .version import __version__ as __version__
from .wire import Delivered, Hold, Outcome, Rejected, Retry

__all__ = [  # noqa: RUF022  in groups, as a table of contents
    # The client
    "Client",
    "Destination",
    "Settings",
    # Messages
    "Alias",
    "Attachment",
    "Group",
    "Identify",
    "Message",
    "Page",
    "Phone",
    "Screen",
    "Track",
    # What comes back
    "Delivered",
    "Drop",
    "FailedRecord",
    "Hold",
    "Ledger",
    "Outcome",
    "Receipt",
    "Rejected",
    "Report",
    "Retry",
    "Verdict",
    # Errors
    "ConfigError",
    "InvalidMessage",
    "QueueFull",
    "TransportError",
    "UnitrackError",
    "Unsupported",
]
