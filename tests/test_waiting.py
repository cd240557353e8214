"""Waiting for verdicts: in threads, in tasks of any event loop, cancelled and late."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.waiting import Collector, Countdown, Waiter
from unitrack.wire import Delivered, Hold, Outcome, Rejected, Retry

SOON = 10.0


def in_threads(count: int, function: Callable[[], object]) -> list[object]:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(function())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    return found


def test_a_waiter_is_set_once_and_for_all() -> None:
    waiter = Waiter()
    assert not waiter.is_set()
    assert not waiter.wait(0)
    waiter.set()
    waiter.set()
    assert waiter.is_set()
    assert waiter.wait(0)
    assert waiter.wait(None)
    assert asyncio.run(waiter.wait_async(None))


def test_any_number_of_threads_are_woken() -> None:
    waiter = Waiter()
    timer = threading.Timer(0.02, waiter.set)
    timer.start()
    began = time.monotonic()
    assert in_threads(8, lambda: waiter.wait(SOON)) == [True] * 8
    assert time.monotonic() - began < SOON / 2
    timer.join()


def test_tasks_of_two_event_loops_and_a_thread_wait_for_the_same() -> None:
    waiter = Waiter()
    ready = threading.Barrier(4)

    async def three() -> list[bool]:
        tasks = [asyncio.create_task(waiter.wait_async(SOON)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.to_thread(ready.wait, SOON)
        return list(await asyncio.gather(*tasks))

    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(three()))) for _ in range(2)]
    threads.append(threading.Thread(target=lambda: (ready.wait(SOON), found.append([waiter.wait(SOON)]))))
    for thread in threads:
        thread.start()
    ready.wait(SOON)
    began = time.monotonic()
    waiter.set()
    for thread in threads:
        thread.join(SOON)
    assert time.monotonic() - began < SOON / 2
    assert sorted(found, key=len) == [[True], [True] * 3, [True] * 3]  # type: ignore[arg-type]


def test_a_task_waits_no_longer_than_it_said() -> None:
    began = time.monotonic()
    waiter = Waiter()
    assert asyncio.run(waiter.wait_async(0.01)) is False
    assert time.monotonic() - began < 5
    waiter.set()


def test_a_task_that_was_cancelled_harms_nobody() -> None:
    async def run() -> bool:
        waiter = Waiter()
        gone, stays = asyncio.create_task(waiter.wait_async(None)), asyncio.create_task(waiter.wait_async(SOON))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        await asyncio.to_thread(waiter.set)
        began = time.monotonic()
        return await stays and time.monotonic() - began < SOON / 2

    assert asyncio.run(run())


def test_who_gave_up_is_forgotten() -> None:
    waiter = Waiter()

    async def give_up() -> None:
        assert not await waiter.wait_async(0)
        task = asyncio.create_task(waiter.wait_async(None))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(give_up())
    assert waiter._tell == []
    waiter.set()


def test_a_loop_that_was_closed_meanwhile_harms_nobody() -> None:
    waiter = Waiter()
    loop = asyncio.new_event_loop()
    task = loop.create_task(waiter.wait_async(None))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    waiter.set()
    assert waiter.is_set()
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # it never ends, on purpose


def test_a_task_sees_a_waiter_that_is_set_from_another_thread_at_any_moment() -> None:
    async def run() -> None:
        for _ in range(200):
            waiter = Waiter()
            thread = threading.Thread(target=waiter.set)
            thread.start()
            assert await waiter.wait_async(SOON)
            thread.join()

    began = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began < SOON


# -- countdown


@given(st.integers(0, 20))
def test_a_countdown_rings_at_the_last_call_and_not_before(count: int) -> None:
    countdown = Countdown(count)
    for _ in range(count):
        assert not countdown.waiter.is_set()
        countdown()
    assert countdown.waiter.is_set()


def test_threads_count_down_together() -> None:
    countdown = Countdown(800)
    in_threads(8, lambda: [countdown() for _ in range(100)])
    assert countdown.waiter.is_set()


# -- collector


def test_a_collector_waits_for_a_verdict_on_each_message_at_each_destination() -> None:
    collector = Collector()
    for seq in (1, 2):
        collector.expect(seq, "a")
    collector.expect(1, "b")
    collector.complete()
    collector.note(1, "a", Delivered())
    collector.note(2, "a", Rejected("no"))
    assert not collector.waiter.is_set()
    collector.note(1, "b", Delivered())
    assert collector.waiter.is_set()
    assert collector.outcomes() == {(1, "a"): Delivered(), (2, "a"): Rejected("no"), (1, "b"): Delivered()}


def test_verdicts_that_come_before_all_messages_are_in_do_not_end_the_wait() -> None:
    collector = Collector()
    collector.expect(1, "a")
    collector.note(1, "a", Delivered())
    assert not collector.waiter.is_set()
    collector.expect(2, "a")
    collector.note(2, "a", Delivered())
    collector.complete()
    assert collector.waiter.is_set()


def test_nothing_expected_is_complete_at_once() -> None:
    collector = Collector()
    collector.complete()
    assert collector.waiter.is_set()
    assert collector.outcomes() == {}


def test_a_message_that_found_no_room_is_not_waited_for() -> None:
    collector = Collector()
    collector.expect(1, "a")
    collector.forget(1, "a")
    collector.forget(1, "a")
    collector.complete()
    assert collector.waiter.is_set()


@pytest.mark.parametrize(
    ("outcome", "is_verdict"), [(Delivered(), True), (Rejected("no"), True), (Hold("401"), True), (Retry("503"), False)]
)
def test_a_hold_is_a_verdict_to_go_home_with_and_a_retry_is_none_yet(outcome: Outcome, is_verdict: bool) -> None:
    collector = Collector()
    collector.expect(1, "a")
    collector.complete()
    collector.note(1, "a", outcome)
    assert collector.waiter.is_set() == is_verdict
    assert collector.outcomes() == {(1, "a"): outcome}


def test_the_latest_verdict_counts() -> None:
    collector = Collector()
    collector.expect(1, "a")
    collector.complete()
    for outcome in (Retry("503"), Hold("401"), Delivered()):
        collector.note(1, "a", outcome)
    assert collector.outcomes() == {(1, "a"): Delivered()}


def test_outcomes_that_were_handed_out_do_not_change_any_more() -> None:
    collector = Collector()
    before = collector.outcomes()
    collector.note(1, "a", Delivered())
    assert before == {}
