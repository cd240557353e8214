"""Time, passed in: what waits must not jump, what is written down must be the time of day."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from attrs import Factory, field, frozen


def utc_now() -> datetime:
    """Return the time of day, aware, in UTC."""
    return datetime.now(UTC)  # looked up at each call: tests of our users put another class in its place


def _offset(clock: "Clock") -> float:
    return clock.utc().timestamp() - clock.monotonic()


@frozen
class Clock:
    """The clocks of a client; tests bring their own."""

    monotonic: Callable[[], float] = time.monotonic
    utc: Callable[[], datetime] = utc_now
    _offset: float = field(default=Factory(_offset, takes_self=True), init=False)

    def steady(self) -> float:
        """Return seconds since 1970 that run on with the monotonic clock from when this clock was made.

        So a step of the wall clock moves no wait, and a time kept on disk still means something after a restart.
        """
        return self.monotonic() + self._offset
