"""Whether a destination may be sent to: times in seconds, dice that always throw the most."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.gate import ERRORS_TO_PAUSE, Gate
from unitrack.retry import PROBE_CAP


def gate(probe_interval: float = 30.0) -> Gate:
    return Gate(probe_interval, dice=lambda: 1.0)


def test_an_open_gate_lets_any_number_through() -> None:
    fresh = gate()
    assert fresh.healthy
    assert fresh.wait(0.0) == 0.0
    assert all(fresh.enter(0.0) for _ in range(100))


def test_a_few_error_answers_hold_up_only_their_own_messages() -> None:
    ours = gate()
    for _ in range(ERRORS_TO_PAUSE - 1):
        assert ours.enter(0.0)
        assert ours.failed(0.0, 5.0, at_once=False) == 5.0
    assert ours.wait(0.0) == 0.0
    assert not ours.healthy


def test_many_error_answers_in_a_row_pause_all_lanes() -> None:
    ours = gate()
    for _ in range(ERRORS_TO_PAUSE):
        ours.failed(0.0, 5.0, at_once=False)
    assert ours.wait(0.0) == 5.0
    assert not ours.enter(4.9)
    assert ours.enter(5.0)


def test_a_good_answer_in_between_begins_the_count_anew() -> None:
    ours = gate()
    for _ in range(ERRORS_TO_PAUSE - 1):
        ours.failed(0.0, 5.0, at_once=False)
    assert ours.passed() is False
    for _ in range(ERRORS_TO_PAUSE - 1):
        ours.failed(0.0, 5.0, at_once=False)
    assert ours.wait(0.0) == 0.0


def test_a_destination_that_says_so_itself_pauses_all_lanes_at_once() -> None:
    ours = gate()
    assert ours.failed(100.0, 3.0, at_once=True) == 103.0
    assert ours.wait(100.0) == 3.0
    assert ours.wait(102.5) == 0.5
    assert not ours.enter(102.9)


def test_after_such_a_pause_exactly_one_request_goes_out_and_the_others_wait_for_its_answer() -> None:
    ours = gate()
    ours.failed(0.0, 3.0, at_once=True)
    assert ours.enter(3.0)
    assert [ours.enter(3.0) for _ in range(5)] == [False] * 5
    assert ours.wait(3.0) is None
    assert ours.passed() is False
    assert ours.healthy
    assert [ours.enter(3.0) for _ in range(5)] == [True] * 5


def test_a_probe_that_was_not_sent_leaves_the_right_to_another() -> None:
    ours = gate()
    ours.failed(0.0, 3.0, at_once=True)
    assert ours.enter(3.0)
    ours.leave()
    assert ours.wait(3.0) == 0.0
    assert ours.enter(3.0)


def test_pauses_grow_while_probes_fail_and_end_with_the_first_good_answer() -> None:
    ours = gate()
    now, pauses = 0.0, []
    for _ in range(10):
        assert ours.enter(now)
        due = ours.failed(now, 0.0, at_once=True)
        pauses.append(due - now)
        now = due
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    ours.enter(now)
    ours.passed()
    assert ours.failed(now, 0.0, at_once=True) - now == 0.5


def test_the_answer_to_a_request_sent_before_the_pause_changes_nothing() -> None:
    ours = gate()
    ours.failed(0.0, 10.0, at_once=True)
    assert ours.failed(1.0, 2.0, at_once=True) == 10.0
    assert ours.failed(1.0, 20.0, at_once=True) == 21.0, "its own messages wait as long as the server said"
    assert ours.wait(1.0) == 9.0


def test_a_hold_begins_once_and_ends_once() -> None:
    ours = gate()
    assert ours.hold(0.0, "401: bad key") is True
    assert ours.hold(0.0, "401: bad key") is False
    assert (ours.hold_reason, ours.healthy) == ("401: bad key", False)
    assert not ours.enter(29.9)
    assert ours.enter(30.0)
    assert ours.passed() is True
    assert (ours.hold_reason, ours.healthy, ours.wait(30.0)) == (None, True, 0.0)
    assert ours.passed() is False


def test_probes_of_a_hold_become_rarer_up_to_a_quarter_of_an_hour() -> None:
    ours = gate(probe_interval=30.0)
    now, waits = 0.0, []
    for _ in range(8):
        assert ours.enter(now)
        assert [ours.enter(now) for _ in range(3)] == ([True] * 3 if not waits else [False] * 3)
        ours.hold(now, "401")
        wait = ours.wait(now)
        assert wait is not None
        waits.append(wait)
        now += wait
    assert waits == [30.0, 60.0, 120.0, 240.0, 480.0, 900.0, 900.0, 900.0]


def test_late_answers_do_not_make_a_hold_longer() -> None:
    ours = gate()
    ours.hold(0.0, "401")
    for _ in range(10):
        ours.hold(1.0, "401")
    assert ours.wait(0.0) == 30.0


def test_a_probe_of_a_hold_that_fails_otherwise_does_not_open_the_gate() -> None:
    ours = gate()
    ours.hold(0.0, "401")
    assert ours.enter(30.0)
    due = ours.failed(30.0, 2.0, at_once=False)
    assert due == 32.0
    assert ours.hold_reason == "401"
    assert not ours.enter(31.9)
    assert ours.enter(32.0)
    assert not ours.enter(32.0)


@given(st.floats(0.001, PROBE_CAP * 2))
def test_the_first_probe_comes_after_the_interval_that_was_set(interval: float) -> None:
    ours = gate(interval)
    ours.hold(0.0, "401")
    assert ours.wait(0.0) == interval


events = st.sampled_from(["enter", "pass", "fail", "fail at once", "hold", "leave", "time"])


@given(st.lists(st.tuples(events, st.floats(0, 100)), max_size=60))
def test_whatever_happens_a_gate_opens_again_and_never_lets_two_probes_out(history: list[tuple[str, float]]) -> None:
    ours = Gate(1.0, dice=lambda: 0.5)
    now, under_way = 0.0, 0
    for event, amount in history:
        match event:
            case "enter":
                careful = ours.hold_reason is not None
                if ours.enter(now):
                    under_way += 1
                    assert not careful or not ours.enter(now)
            case "time":
                now += amount
            case _ if not under_way:
                continue
            case "pass":
                ours.passed()
                under_way -= 1
            case "fail" | "fail at once":
                due = ours.failed(now, amount, at_once=event == "fail at once")
                assert due >= now + (amount if due != now else 0)
                under_way -= 1
            case "hold":
                ours.hold(now, "401")
                under_way -= 1
            case "leave":
                ours.leave()
                under_way -= 1
    if not under_way:
        wait = ours.wait(now)
        assert wait is not None, "nobody is probing, so nobody is waited for"
        assert ours.enter(now + wait)


@pytest.mark.parametrize("dice", [0.0, 0.3, 1.0])
def test_a_pause_is_never_shorter_than_the_server_asked_for(dice: float) -> None:
    ours = Gate(30.0, dice=lambda: dice)
    assert ours.failed(0.0, 40.0, at_once=True) == 40.0
    assert ours.wait(0.0) == 40.0
