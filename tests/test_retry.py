"""When to try again."""

from hypothesis import given
from hypothesis import strategies as st

from unitrack.retry import BASE, CAP, PROBE_CAP, backoff, probe_wait, wait_for


def test_waits_double_from_half_a_second_to_a_minute() -> None:
    waits = [backoff(attempt, lambda: 1.0) for attempt in (1, 2, 3, 7, 8, 9, 100_000)]
    assert waits == [0.5, 1.0, 2.0, 32.0, 60.0, 60.0, 60.0]


def test_probes_double_from_their_interval_to_a_quarter_of_an_hour() -> None:
    assert [probe_wait(probes, 30.0) for probes in (0, 1, 2, 5, 100_000)] == [30.0, 60.0, 120.0, 900.0, 900.0]
    assert [probe_wait(probes, 3_600.0) for probes in (0, 1)] == [3_600.0, 3_600.0]


attempts = st.integers(1, 10_000)
dice = st.floats(0, 1)


@given(attempts, dice)
def test_a_wait_is_anything_up_to_a_limit_that_doubles_to_a_minute(attempt: int, thrown: float) -> None:
    most = min(CAP, BASE * 2 ** min(attempt - 1, 100))
    assert backoff(attempt, lambda: thrown) == thrown * most


@given(attempts, dice, st.floats(0, 1e12), st.floats(0, 1e6))
def test_retry_waits_as_long_as_the_server_says_up_to_a_cap(
    attempt: int, thrown: float, after: float, max_after: float
) -> None:
    wait = wait_for(attempt, after, lambda: thrown, max_after=max_after)
    assert wait >= min(after, max_after)
    assert wait <= max(CAP, max_after)


@given(attempts, dice)
def test_without_a_word_of_the_server_our_own_wait_counts(attempt: int, thrown: float) -> None:
    assert wait_for(attempt, None, lambda: thrown, max_after=0.0) == backoff(attempt, lambda: thrown)


@given(st.integers(0, 10_000), st.floats(0.001, 1e6))
def test_probes_become_rarer_but_never_rarer_than_the_cap_or_the_interval(probes: int, interval: float) -> None:
    assert interval <= probe_wait(probes, interval) <= probe_wait(probes + 1, interval) <= max(PROBE_CAP, interval)
