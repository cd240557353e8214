"""An attempt knows how far it came, and how long it may go on."""

from contextlib import suppress

import pytest

from unitrack.deadline import Attempt, current_attempt


class HandClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def test_what_is_left_shrinks_and_then_ends(clock: HandClock) -> None:
    attempt = Attempt(30.0, 5.0, clock)
    clock.now += 29
    assert attempt.remaining() == 1
    clock.now += 1
    with pytest.raises(TimeoutError):
        attempt.remaining()


def test_a_connection_has_its_own_limit_which_begins_after_the_name_lookup(clock: HandClock) -> None:
    attempt = Attempt(30.0, 5.0, clock)
    attempt.dial()
    clock.now += 7
    assert attempt.remaining() == 23
    attempt.resolved()
    assert attempt.remaining() == 5
    clock.now += 1
    attempt.connected()
    assert attempt.remaining() == 22


def test_the_whole_deadline_bounds_the_connection_too(clock: HandClock) -> None:
    attempt = Attempt(3.0, 5.0, clock)
    attempt.dial()
    attempt.resolved()
    assert attempt.remaining() == 3
    assert attempt.describe_timeout() == "no answer within 3 s"


def test_the_limit_that_was_reached_is_named(clock: HandClock) -> None:
    attempt = Attempt(30.0, 0.5, clock)
    assert attempt.describe_timeout() == "no answer within 30 s"
    attempt.dial()
    assert attempt.describe_timeout() == "no answer within 30 s"
    attempt.resolved()
    assert attempt.describe_timeout() == "no connection within 0.5 s"
    attempt.connected()
    assert attempt.describe_timeout() == "no answer within 30 s"


def test_bytes_of_the_connection_are_not_those_of_the_request(clock: HandClock) -> None:
    attempt = Attempt(30.0, 5.0, clock)
    attempt.dial()
    attempt.leaving()
    attempt.arrived(10)
    assert not attempt.sent
    assert not attempt.answered
    attempt.connected()
    attempt.leaving()
    attempt.arrived(0)
    assert attempt.sent
    assert not attempt.answered
    attempt.arrived(1)
    assert attempt.answered


def reused(clock: HandClock) -> Attempt:
    attempt = Attempt(30.0, 5.0, clock)
    attempt.begin(connected=True)
    attempt.leaving()
    return attempt


def test_a_reused_connection_without_an_answer_is_stale(clock: HandClock) -> None:
    assert reused(clock).is_stale


def test_nothing_is_stale_before_there_is_a_connection(clock: HandClock) -> None:
    assert not Attempt(30.0, 5.0, clock).is_stale


def test_a_fresh_connection_is_not_stale(clock: HandClock) -> None:
    attempt = Attempt(30.0, 5.0, clock)
    attempt.dial()
    attempt.connected()
    attempt.begin(connected=True)
    assert not attempt.is_stale


def test_after_a_byte_of_the_answer_it_is_not_stale(clock: HandClock) -> None:
    attempt = reused(clock)
    attempt.arrived(1)
    assert not attempt.is_stale


def test_a_connection_is_found_stale_only_once(clock: HandClock) -> None:
    attempt = reused(clock)
    attempt.must_be_fresh = True
    assert not attempt.is_stale


def test_out_of_time_is_not_stale(clock: HandClock) -> None:
    attempt = reused(clock)
    clock.now += 30
    assert not attempt.is_stale


def test_a_thread_knows_its_attempt_only_while_it_lasts() -> None:
    assert current_attempt() is None
    with suppress(KeyError), Attempt(30.0, 5.0) as attempt:
        assert current_attempt() is attempt
        raise KeyError
    assert current_attempt() is None
