"""Time, passed in: what waits asks the monotonic clock, what is written down asks the wall."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from attrs import frozen


def utc_now() -> datetime:
    """Return the time of day, aware, in UTC."""
    return datetime.now(UTC)


@frozen
class Clock:
    """The two clocks of a client; tests bring their own."""

    monotonic: Callable[[], float] = time.monotonic
    utc: Callable[[], datetime] = utc_now
