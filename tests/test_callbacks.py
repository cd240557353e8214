"""The user's functions: they may raise, sleep or call the client, and nothing is lost."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.patience import SLACK
from unitrack import callbacks
from unitrack.callbacks import Notifier, OnDelivery, OnDrop
from unitrack.logs import QuietLog
from unitrack.results import Drop, Verdict
from unitrack.wire import Delivered

SOON = 10.0


def notifier(on_delivery: OnDelivery | None = None, on_drop: OnDrop | None = None) -> Notifier:
    return Notifier(on_delivery, on_drop, QuietLog())


def verdicts(*names: str) -> list[Verdict]:
    return [Verdict(name, "cdp", Delivered()) for name in names]


def drops(*names: str) -> list[Drop]:
    return [Drop(name, "cdp", "queue_full") for name in names]


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "unitrack-callbacks"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = own_threads()
    yield
    ends = time.monotonic() + SOON
    while own_threads() != before and time.monotonic() < ends:
        time.sleep(0.001)
    assert own_threads() == before


def test_each_kind_goes_to_its_function_in_order_and_in_a_list() -> None:
    arrived: list[Verdict] = []
    lost: list[Drop] = []
    ours = notifier(arrived.extend, lost.extend)
    for number in range(100):
        ours.delivered(verdicts(f"v{number}"))
        ours.dropped(drops(f"d{number}", f"e{number}"))
    assert ours.drain(SOON)
    ours.stop(SOON)
    assert arrived == verdicts(*(f"v{number}" for number in range(100)))
    assert lost == drops(*(f"{kind}{number}" for number in range(100) for kind in "de"))


def test_a_drain_waits_for_what_is_about_to_be_passed_on() -> None:
    arrived: list[Verdict] = []
    ours = notifier(arrived.extend)
    heard: list[tuple[bool, list[Verdict]]] = []
    drains = threading.Thread(target=lambda: heard.append((ours.drain(SOON), list(arrived))))
    with ours.soon():
        drains.start()
        drains.join(0.05)
        assert heard == []
        assert ours.drain(0)  # of this very thread: it would wait for itself
        ours.delivered(verdicts("a"))
    drains.join(SOON)
    ours.stop(SOON)
    assert heard == [(True, verdicts("a"))]


def test_a_drain_that_is_over_before_it_was_passed_on_says_so() -> None:
    ours = notifier(lambda verdicts: None)
    heard: list[bool] = []
    drains = threading.Thread(target=lambda: heard.append(ours.drain(0)))
    with ours.soon():
        drains.start()
        drains.join(SOON)
    assert heard == [False]


def test_what_nobody_wants_to_hear_costs_no_thread() -> None:
    ours = notifier()
    ours.delivered(verdicts("a"))
    ours.dropped(drops("a"))
    assert own_threads() == []
    assert ours.drain(0)
    ours.stop(0)


def test_functions_run_in_a_thread_of_their_own() -> None:
    where: list[threading.Thread] = []
    ours = notifier(lambda _: where.append(threading.current_thread()))
    ours.delivered(verdicts("a"))
    assert ours.drain(SOON)
    ours.stop(SOON)
    assert where[0] is not threading.current_thread()
    assert where[0].daemon


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_function_that_raises_hears_of_the_next_ones_too(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[object] = []

    def broken(records: Sequence[object]) -> None:
        heard.extend(records)
        raise error("a bug\nin the callback")

    ours = notifier(broken, broken)
    for record in ("a", "b", "c"):
        ours.delivered(verdicts(record))
        ours.dropped(drops(record))
        assert ours.drain(SOON)
    ours.stop(SOON)
    assert len(heard) == 6
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2, "once a minute for each function"
    assert lines[0].startswith("on_delivery raised " + error.__name__)
    assert lines[1].startswith("on_drop raised " + error.__name__)


def test_an_exception_that_cannot_even_be_shown_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Unspeakable(Exception):
        def __repr__(self) -> str:
            raise ZeroDivisionError

        __str__ = __repr__

    heard: list[Verdict] = []

    def broken(records: Sequence[Verdict]) -> None:
        heard.extend(records)
        raise Unspeakable

    ours = notifier(broken)
    for name in "ab":
        ours.delivered(verdicts(name))
        assert ours.drain(SOON)
    ours.stop(SOON)
    assert len(heard) == 2
    assert "<Unspeakable>" in caplog.text


def test_a_function_that_sleeps_holds_up_nobody_and_drain_says_that_it_took_too_long() -> None:
    wake = threading.Event()
    heard: list[Verdict] = []

    def sleeps(records: Sequence[Verdict]) -> None:
        wake.wait(SOON)
        heard.extend(records)

    ours = notifier(sleeps)
    began = time.perf_counter()
    for number in range(1_000):
        ours.delivered(verdicts(str(number)))
    assert time.perf_counter() - began < SLACK
    assert not ours.drain(0.01)
    wake.set()
    assert ours.drain(SOON)
    ours.stop(SOON)
    assert len(heard) == 1_000


def test_drain_waits_for_what_was_passed_on_so_far_and_not_for_what_comes_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draining, stay = threading.Event(), threading.Event()

    def hear(records: Sequence[Verdict]) -> None:
        if records[0].message_id == "later":
            stay.wait(SOON)
        else:
            draining.wait(SOON)
            ours.delivered(verdicts("later"))

    ours = notifier(hear)
    wait_for = ours._wake.wait_for

    def told(ready: Callable[[], bool], timeout: float | None = None) -> bool:
        if threading.current_thread() is threading.main_thread():
            draining.set()
        return wait_for(ready, timeout)

    monkeypatch.setattr(ours._wake, "wait_for", told)
    ours.delivered(verdicts("now"))
    assert ours.drain(SOON), "the later one is still being called"
    assert not stay.is_set()
    stay.set()
    ours.stop(SOON)


def test_from_inside_a_callback_drain_and_stop_return_at_once() -> None:
    took: list[float] = []
    answers: list[bool] = []

    def hear(records: Sequence[Verdict]) -> None:
        began = time.perf_counter()
        answers.append(ours.drain(SOON))
        ours.stop(SOON)
        took.append(time.perf_counter() - began)

    ours = notifier(hear)
    ours.delivered(verdicts("a"))
    assert ours.drain(SOON)
    assert answers == [False]
    assert took[0] < SLACK


def test_a_callback_that_causes_the_next_record_hears_of_all() -> None:
    heard: list[str] = []

    def hear(records: Sequence[Drop]) -> None:
        heard.extend(record.message_id for record in records)
        if len(heard) < 50:
            ours.dropped(drops(str(len(heard))))

    ours = notifier(on_drop=hear)
    ours.dropped(drops("0"))
    ends = time.monotonic() + SOON
    while len(heard) < 50 and time.monotonic() < ends:
        assert ours.drain(SOON)
    ours.stop(SOON)
    assert heard == [str(number) for number in range(50)]


def test_what_comes_after_stop_is_still_called() -> None:
    heard: list[Verdict] = []
    ours = notifier(heard.extend)
    for number in range(200):
        ours.delivered(verdicts(f"a{number}"))
        ours.stop(SOON)
    ours.delivered(verdicts("b"))
    assert ours.drain(SOON)
    assert len(heard) == 201


def test_beyond_a_hundred_thousand_they_are_counted_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "MAX_WAITING", 10)
    wake, heard = threading.Event(), []
    begun = threading.Event()

    def sleeps(records: Sequence[Verdict]) -> None:
        begun.set()
        wake.wait(SOON)
        heard.extend(records)

    ours = notifier(sleeps)
    ours.delivered(verdicts("first"))
    assert begun.wait(SOON)
    ours.delivered(verdicts(*"0123456"))
    ours.delivered(verdicts(*"789abc"))
    ours.delivered(verdicts(*"def"))
    wake.set()
    assert ours.drain(SOON)
    ours.stop(SOON)
    assert [verdict.message_id for verdict in heard] == ["first", *"0123456789"]
    assert ours.lost == 6


def test_many_threads_lose_nothing() -> None:
    heard: list[Verdict] = []
    ours = notifier(heard.extend)

    def pass_on(which: int) -> None:
        for number in range(500):
            ours.delivered(verdicts(f"{which}-{number}"))
            if number % 100 == 0:
                ours.stop(0)

    threads = [threading.Thread(target=pass_on, args=(which,)) for which in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ours.drain(SOON)
    ours.stop(SOON)
    assert len({verdict.message_id for verdict in heard}) == len(heard) == 4_000


def test_where_no_thread_can_be_started_drain_calls_in_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    heard: list[Verdict] = []
    inside: list[bool] = []

    def hear(records: Sequence[Verdict]) -> None:
        heard.extend(records)
        inside.append(ours.drain(SOON))

    ours = notifier(hear)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    ours.delivered(verdicts("a", "b"))
    assert heard == []
    assert ours.drain(SOON)
    assert heard == verdicts("a", "b")
    assert inside == [False]


def test_ctrl_c_in_the_programs_own_thread_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(records: Sequence[Verdict]) -> None:
        raise KeyboardInterrupt

    ours = notifier(interrupted)
    monkeypatch.setattr(Notifier, "_start", lambda self: None)
    ours.delivered(verdicts("a"))
    with pytest.raises(KeyboardInterrupt):
        ours.drain(SOON)


def test_a_line_about_a_callback_is_no_new_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    heard: list[Drop] = []

    def broken(records: Sequence[Drop]) -> None:
        heard.extend(records)
        raise ValueError

    ours = notifier(on_drop=broken)
    ours.dropped(drops("a"))
    assert ours.drain(SOON)
    ours.stop(SOON)
    assert len(heard) == 1
