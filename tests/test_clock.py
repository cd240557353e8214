"""Time, passed in."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import pytest

from unitrack.clock import Clock, utc_now


class Watch:
    def __init__(self) -> None:
        self.now = 1_000.0
        self.day = datetime(2026, 1, 15, tzinfo=UTC)

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now, utc=lambda: self.day)


def test_steady_time_begins_as_the_time_of_day_and_runs_on_with_the_monotonic_clock() -> None:
    watch = Watch()
    clock = watch.clock()
    assert clock.steady() == watch.day.timestamp()
    watch.now += 90
    assert clock.steady() == watch.day.timestamp() + 90


def test_a_step_of_the_wall_clock_moves_no_wait() -> None:
    watch = Watch()
    clock = watch.clock()
    before = clock.steady()
    watch.day -= timedelta(days=1)
    assert clock.steady() == before
    assert clock.utc() == datetime(2026, 1, 14, tzinfo=UTC)


def test_the_time_of_day_is_aware_and_utc() -> None:
    assert utc_now().utcoffset() == timedelta(0)
    assert abs(Clock().steady() - utc_now().timestamp()) < 60


def test_tests_of_our_users_may_put_another_class_in_the_place_of_datetime(monkeypatch: pytest.MonkeyPatch) -> None:
    class Frozen(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls(2000, 1, 1, tzinfo=tz)

    monkeypatch.setattr("unitrack.clock.datetime", Frozen)
    assert utc_now() == Clock().utc() == datetime(2000, 1, 1, tzinfo=UTC)
