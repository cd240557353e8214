"""Giving way before a lock is waited for."""

import threading
from collections.abc import Callable

from unitrack.turns import PATIENCE, give_way


def asked(answers: list[bool]) -> Callable[[], bool]:
    return lambda: answers.pop(0)


def test_whoever_comes_lets_the_holder_come_to_its_end() -> None:
    left = [True, True, False, True]
    give_way(threading.RLock(), asked(left))
    assert left == [True]


def test_it_does_not_wait_for_ever_for_what_an_exception_left() -> None:
    left = [True] * (PATIENCE + 1)
    give_way(threading.RLock(), asked(left))
    assert left == [True]


def test_nobody_gives_way_to_oneself() -> None:
    lock = threading.RLock()
    with lock:
        give_way(lock, asked([]))
