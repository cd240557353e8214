"""Never more requests in a minute than the vendor allows, wherever its minute begins."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.limiter import WINDOW, RateLimit

gaps = st.lists(st.floats(0, 50) | st.floats(0, 0.1) | st.just(60.0) | st.just(0.0), max_size=200)


@given(st.integers(1, 12) | st.floats(1, 12), gaps)
def test_no_60_seconds_hold_more_requests_than_allowed(per_minute: float, gaps: list[float]) -> None:
    limit, now = RateLimit(per_minute), 1_000.0
    sent: list[float] = []
    for gap in gaps:
        now += gap
        wait = limit.wait(now)
        assert 0.0 <= wait <= WINDOW
        if not wait:
            sent.append(now)
    most = int(per_minute)
    assert all(later - first >= WINDOW for first, later in zip(sent, sent[most:], strict=False))


@given(st.integers(1, 50), st.integers(1, 200))
def test_whoever_waits_as_told_is_let_through(per_minute: int, requests: int) -> None:
    limit, now, asked = RateLimit(per_minute), 0.0, 0
    for _ in range(requests):
        while wait := limit.wait(now):
            now += wait
            asked += 1
    assert now <= (requests - 1) // per_minute * WINDOW + 0.001
    assert asked <= 2 * (requests // per_minute + 1), "a wait is told exactly, so nobody has to ask again and again"


def test_a_claim_that_was_refused_takes_nothing() -> None:
    limit = RateLimit(2)
    assert [limit.wait(0.0), limit.wait(10.0), limit.wait(20.0), limit.wait(50.0)] == [0.0, 0.0, 40.0, 10.0]
    assert limit.wait(60.0) == 0.0
    assert limit.wait(60.0) == 10.0


def test_without_a_rate_nothing_waits() -> None:
    limit = RateLimit(None)
    assert {limit.wait(0.0) for _ in range(10_000)} == {0.0}


@pytest.mark.parametrize(("per_minute", "seconds"), [(0.5, 120.0), (0.1, 600.0), (1.9, 60.0)])
def test_less_than_two_a_minute_is_one_in_its_time(per_minute: float, seconds: float) -> None:
    limit = RateLimit(per_minute)
    assert limit.wait(0.0) == 0.0
    assert limit.wait(1.0) == pytest.approx(seconds - 1.0)


def test_threads_together_get_no_more_than_one_alone() -> None:
    limit = RateLimit(100)
    got: list[float] = []

    def ask() -> None:
        got.extend(limit.wait(5.0) for _ in range(200))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got.count(0.0) == 100
