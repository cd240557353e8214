"""How busy the process is, by clocks of the test's own."""

from unitrack.load import LOOK_EVERY, STALE_AFTER, Load


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
    assert not load.is_sending
    clocks.pass_by(0.1, 1.0)
    load.add(0.09)
    assert load.is_sending
    assert not load.spare_one()
    clocks.pass_by(0.1, 0.9)
    load.add(0.05)
    assert load.is_high
    assert not load.is_sending


def test_one_sender_at_each_look_is_told_that_it_can_go() -> None:
    clocks, load = watched()
    clocks.pass_by(0.1, 1.0)
    load.add(0.1)
    assert [load.spare_one() for _ in range(3)] == [True, False, False]
    clocks.pass_by(0.1, 1.0)
    load.add(0.1)
    assert [load.spare_one() for _ in range(3)] == [True, False, False]
    clocks.pass_by(0.1, 1.0)
    assert not load.spare_one()
