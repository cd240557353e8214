"""Tools for tests: of code that uses unitrack (:func:`recording`), of providers (:class:`ProviderConformance`), and of
queues (:class:`QueueConformance`).

pytest and Hypothesis are needed only for the conformance suites and :mod:`unitrack.testing.strategies`; the extra
``testing`` installs them.
"""

from typing import TYPE_CHECKING, Any

from .recorder import Recorder, RecordingClient, recording
from .transports import FakeTransport, body_of, reply

if TYPE_CHECKING:
    from .conformance import ProviderConformance
    from .queue_conformance import QueueConformance

__all__ = [
    "FakeTransport",
    "ProviderConformance",
    "QueueConformance",
    "Recorder",
    "RecordingClient",
    "body_of",
    "recording",
    "reply",
]


def __getattr__(name: str) -> Any:
    # Late, because it needs pytest and Hypothesis, which those who only record do not have to install.
    if name == "ProviderConformance":
        from .conformance import ProviderConformance

        return ProviderConformance
    if name == "QueueConformance":
        from .queue_conformance import QueueConformance

        return QueueConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
