"""The one logger: it neither floods nor loops, and nobody can forge a line."""

import logging
import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.logs import MAX_SHOWN, REPEAT_AFTER, QuietLog, emit, logger, printable


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler = Keep()
    logger.addHandler(handler)
    logger.propagate = False
    yield found
    logger.propagate = True
    logger.removeHandler(handler)


@given(st.text(st.characters(exclude_categories=())))
def test_what_is_shown_is_one_short_printable_line(value: str) -> None:
    shown = printable(value)
    assert shown.isprintable()
    assert len(shown) <= MAX_SHOWN
    assert value.isprintable() is False or len(value) > MAX_SHOWN or shown == value


def test_200_characters_are_shown_and_of_more_the_first() -> None:
    assert printable("x" * 200) == "x" * 200
    assert printable("x" * 201) == "x" * 199 + "…"


@pytest.mark.parametrize(
    "value",
    ["a\r\nFATAL: forged", "\x1b[31mred", "a\u202eb", "a\u2028b", "\ud800", "\x00"],
    ids=repr,
)
def test_a_control_character_becomes_visible(value: str) -> None:
    assert "\N{REPLACEMENT CHARACTER}" in printable(value)


def test_an_exception_is_shown_with_its_type() -> None:
    assert printable(ValueError("no such plan")) == "ValueError('no such plan')"
    assert printable(KeyError("a\nb")) == r"KeyError('a\nb')"


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


def test_what_cannot_even_be_shown_is_named() -> None:
    assert printable(Unspeakable()) == "<Unspeakable>"


def test_the_same_thing_is_said_once_a_minute_and_then_how_often_it_was_not(lines: list[str]) -> None:
    watch = Watch()
    log = QuietLog(watch)
    for _ in range(1_000):
        log.warning("drop", "message %s is lost", "m1")
    assert lines == ["message m1 is lost"]
    watch.now += REPEAT_AFTER - 0.001
    log.warning("drop", "message %s is lost", "m2")
    watch.now += 0.001
    log.warning("drop", "message %s is lost", "m3")
    watch.now += REPEAT_AFTER
    log.warning("drop", "message %s is lost", "m4")
    assert lines == ["message m1 is lost", "message m3 is lost (1000 more like this in between)", "message m4 is lost"]


def test_another_thing_is_said_at_once(lines: list[str]) -> None:
    log = QuietLog(Watch())
    log.warning("a", "one")
    log.warning("b", "two")
    assert lines == ["one", "two"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 100)), max_size=50))
def test_no_minute_holds_the_same_thing_twice_and_nothing_is_forgotten(calls: list[tuple[str, int]]) -> None:
    watch, said = Watch(), []
    log = QuietLog(watch)
    handler = logging.Handler()
    handler.emit = lambda record: said.append((watch.now, record.getMessage()))  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.propagate = False
    try:
        for key, gap in calls:
            watch.now += gap
            log.warning(key, key)
        watch.now += REPEAT_AFTER
        for key in "ab":
            log.warning(key, key)
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
    for key in "ab":
        mine = [(at, line) for at, line in said if line[0] == key]
        assert all(later - first >= REPEAT_AFTER for (first, _), (later, _) in pairwise(mine))
        counted = sum(int(line.split("(")[1].split()[0]) for _, line in mine if "(" in line)
        assert len(mine) + counted == sum(name == key for name, _ in calls) + 1


def test_arguments_are_made_printable_and_a_percent_sign_stays(lines: list[str]) -> None:
    emit(logging.WARNING, "%s at %s", "100 %s", "a\nb")
    assert lines == ["100 %s at a\N{REPLACEMENT CHARACTER}b"]


def test_a_handler_that_tracks_does_not_go_round_in_circles(lines: list[str]) -> None:
    log = QuietLog(Watch())

    class Tracks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            for key in "abc":
                log.warning(key, "a line within a line")
            emit(logging.ERROR, "another")

    handler = Tracks()
    logger.addHandler(handler)
    try:
        log.warning("first", "a line")
        emit(logging.WARNING, "a second line")
    finally:
        logger.removeHandler(handler)
    assert lines == ["a line", "a second line"]


def test_a_line_within_a_line_of_another_thread_is_said(lines: list[str]) -> None:
    def starts(record: logging.LogRecord) -> bool:
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=emit, args=(logging.WARNING, "from elsewhere"))
            thread.start()
            thread.join(5)
        return True

    logger.addFilter(starts)
    try:
        emit(logging.WARNING, "here")
    finally:
        logger.removeFilter(starts)
    assert lines == ["from elsewhere", "here"]


@pytest.mark.parametrize("where", ["filter", "handler"])
def test_logging_that_is_broken_hurts_nobody(where: str, lines: list[str]) -> None:
    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise ZeroDivisionError

    def broken(record: logging.LogRecord) -> bool:
        raise ZeroDivisionError

    handler = Broken()
    logger.addFilter(broken) if where == "filter" else logger.addHandler(handler)
    try:
        emit(logging.WARNING, "a line")
    finally:
        logger.removeFilter(broken)
        logger.removeHandler(handler)
    emit(logging.WARNING, "the next")
    assert lines[-1] == "the next"


def test_a_callers_exit_is_not_swallowed() -> None:
    def leave(record: logging.LogRecord) -> bool:
        raise KeyboardInterrupt

    logger.addFilter(leave)
    try:
        with pytest.raises(KeyboardInterrupt):
            emit(logging.WARNING, "a line")
    finally:
        logger.removeFilter(leave)
