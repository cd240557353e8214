"""How busy the process is, by clocks of the test's own."""

from threading import Thread
from typing import Any

from unitrack import Client
from unitrack.load import LOOK_EVERY, STALE_AFTER, Load
from unitrack.providers import Hightouch
from unitrack.testing import FakeTransport


class Clocks:
    """Time that passes, and what of it was spent on a processor."""

    def __init__(self) -> None:
        self.wall = self.processor = 100.0

    def pass_by(self, seconds: float, share: float) -> None:
        self.wall += seconds
        self.processor += seconds * share


def watched() -> tuple[Clocks, Load]:
    clocks = Clocks()
    return clocks, Load(lambda: clocks.wall, lambda: clocks.processor)


def test_a_process_that_waits_for_answers_is_not_busy() -> None:
    clocks, load = watched()
    clocks.pass_by(0.1, 0.3)
    assert not load.is_high


def test_a_process_that_computes_is_busy_until_it_waits_again() -> None:
    clocks, load = watched()
    clocks.pass_by(2 * LOOK_EVERY, 0.99)
    assert load.is_high
    clocks.pass_by(2 * LOOK_EVERY, 0.5)
    assert not load.is_high


def test_a_moment_says_nothing_yet() -> None:
    clocks, load = watched()
    clocks.pass_by(LOOK_EVERY / 2, 1.0)
    assert not load.is_high
    clocks.pass_by(LOOK_EVERY, 1.0)
    assert load.is_high


def test_two_processors_are_more_than_busy() -> None:
    clocks, load = watched()
    clocks.pass_by(0.1, 2.0)
    assert load.is_high


def test_what_was_measured_long_ago_says_nothing_so_the_process_counts_as_busy() -> None:
    clocks, load = watched()
    clocks.pass_by(STALE_AFTER + 0.01, 0.0)
    assert load.is_high
    clocks.pass_by(2 * LOOK_EVERY, 0.0)
    assert not load.is_high


def test_who_keeps_it_busy_is_told_apart() -> None:
    clocks, load = watched()
    clocks.pass_by(0.1, 1.0)
    assert load.is_high
    assert not load.is_full_of("a")
    clocks.pass_by(0.1, 1.0)
    load.add("a", 0.09)
    assert load.is_full_of("a")
    assert not load.spare_one("a")
    clocks.pass_by(0.1, 0.9)
    load.add("a", 0.05)
    assert load.is_high
    assert not load.is_full_of("a")


def test_one_sender_at_each_look_is_told_that_it_can_go() -> None:
    clocks, load = watched()
    for _ in range(2):
        clocks.pass_by(0.1, 1.0)
        load.add("a", 0.1)
        assert [load.spare_one("a") for _ in range(3)] == [True, False, False]
    clocks.pass_by(0.1, 1.0)
    assert not load.spare_one("a")


def test_one_that_waits_for_a_slow_vendor_does_not_pay_for_its_neighbours() -> None:
    clocks, load = watched()
    clocks.pass_by(0.1, 1.0)
    load.add("quick", 0.095)
    load.add("slow", 0.005)
    assert not load.is_full_of("slow")
    assert not load.spare_one("slow")
    assert load.is_full_of("quick")
    assert load.spare_one("quick")


def test_equal_ones_are_told_alike() -> None:
    clocks, load = watched()
    clocks.pass_by(0.1, 1.0)
    for name in "abcd":
        load.add(name, 0.0225)
    assert [load.is_full_of(name) for name in "abcde"] == [True, True, True, True, False]


def test_no_sender_goes_while_another_one_idles_for_what_it_may_have_held() -> None:
    class Crowded(Load):
        def spare_one(self, destination: str) -> bool:
            return True

    def sender(**settings: Any) -> Any:
        client = Client({"cdp": Hightouch(write_key="k")}, transport=FakeTransport(), **settings)
        worker = client._process.engine()._workers["cdp"]
        worker._load = Crowded()
        return worker

    worker, fixed = sender(), sender(concurrency=2)
    assert not worker._is_spare()
    one, other = Thread(), Thread()
    worker._threads |= {one, other}
    fixed._threads |= {one, other}
    assert worker._is_spare()
    assert not fixed._is_spare()
    worker._idle.add(other)
    assert not worker._is_spare()
