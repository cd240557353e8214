"""How busy the process is, by clocks of the test's own."""

from unitrack.load import LOOK_EVERY, Load


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
    clocks.pass_by(1.0, 0.3)
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
    clocks.pass_by(1.0, 2.0)
    assert load.is_high
