"""Tools for tests: of code that uses unitrack (:func:`recording`), and of providers (:class:`ProviderConformance`).

pytest and Hypothesis are needed only for the conformance suite and :mod:`unitrack.testing.strategies`; the extra
``testing`` installs them.
"""

from typing import TYPE_CHECKING, Any

from .recorder import Recorder, RecordingClient, recording
from .transports import FakeTransport, body_of, reply

if TYPE_CHECKING:
    from .conformance import ProviderConformance

__all__ = ["FakeTransport", "ProviderConformance", "Recorder", "RecordingClient", "body_of", "recording", "reply"]


def __getattr__(name: str) -> Any:
    # Late, because it needs pytest and Hypothesis, which those who only record do not have to install.
    if name == "ProviderConformance":
        from .conformance import ProviderConformance

        return ProviderConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
