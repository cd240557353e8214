"""The files of a queue on disk: who closes and removes them, what they are called, and when others find them."""

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unitrack.errors import QueueError
from unitrack.queue import Entry, News
from unitrack.queues import _sqlite_directory, _sqlite_spool, sqlite
from unitrack.queues._sqlite_directory import Directory, FileLock
from unitrack.queues._sqlite_rows import Row
from unitrack.queues._sqlite_spool import Spool
from unitrack.queues.sqlite import SqliteQueue
from unitrack.settings import Settings

NOW = 1_000.0


def opened(folder: Path, names: str = "a", max_events: int = 1_000, **settings: Any) -> SqliteQueue:
    queue = SqliteQueue(folder / "queue", Settings(**settings))
    for name in names:
        queue.open(name, max_events=max_events, max_bytes=1 << 30)
    queue.look_around(NOW, no_news)
    return queue


def no_news(_: str, __: News) -> None: ...


def put(queue: SqliteQueue, number: int, names: str = "a") -> None:
    assert queue.put(number, f"m{number}", number, b"x", NOW, list(names)) == {}


def found_by_others(folder: Path, name: str = "a") -> list[str]:
    queue = opened(folder, name)
    ids: list[str] = []
    while entries := queue.take(name, 1, None, NOW):
        ids += [entry.message_id for entry in entries]
        queue.done(name, entries)
    queue.close()
    return ids


def together(*calls: Any) -> None:
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


# -- a file that others left behind


def left_behind(folder: Path, count: int) -> SqliteQueue:
    """Leave messages for two destinations, and return a queue that adopted those for one of them."""
    first = opened(folder, "ab")
    for number in range(1, count + 1):
        put(first, number, "ab")
    first.close()
    return opened(folder, "a")


class Meeting:
    """A lock at whose end two threads wait for each other, so that both are past it before either goes on."""

    def __init__(self, lock: Any) -> None:
        self._lock, self._barrier = lock, threading.Barrier(2, timeout=0.5)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        with suppress(threading.BrokenBarrierError):
            self._barrier.wait()


def test_two_senders_that_settle_the_last_of_an_adopted_file_do_not_remove_what_is_for_others(tmp_path: Path) -> None:
    queue = left_behind(tmp_path, 2)
    one, two = (queue.take("a", 1, None, NOW) for _ in range(2))
    lock = queue._files._lock
    queue._files._lock = Meeting(lock)  # type: ignore[assignment]
    together(lambda: queue.done("a", one), lambda: queue.done("a", two))
    queue._files._lock = lock
    queue.close()
    assert found_by_others(tmp_path, "b") == ["m1", "m2"]


def test_a_close_in_the_middle_of_settling_does_not_remove_what_is_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = left_behind(tmp_path, 1)
    entries = queue.take("a", 1, None, NOW)
    by_file = queue._files.by_file

    def closed_meanwhile(some: Sequence[Entry]) -> Any:
        found = by_file(some)
        queue.close()
        return found

    monkeypatch.setattr(queue._files, "by_file", closed_meanwhile)
    queue.done("a", entries)
    assert found_by_others(tmp_path, "b") == ["m1"]


def test_only_the_first_who_closes_a_file_hears_that_it_is_empty(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", ["a"])
    assert spool.is_empty()
    assert spool.close()
    assert not spool.close()
    with pytest.raises(QueueError, match="closed"):
        spool.is_empty()


def test_a_message_that_is_put_as_the_queue_closes_is_not_removed_with_an_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, stored = opened(tmp_path), list[str]()
    put(queue, 1)
    queue.done("a", queue.take("a", 1, None, NOW))
    assert queue._files.own is not None
    spool, is_empty = queue._files.own.spool, Spool.is_empty

    def come_late() -> None:
        with suppress(QueueError):  # then it goes into another file
            spool.insert(Row(2, 1, 2, NOW, "m2", b"x"))
            stored.append("m2")

    late = threading.Thread(target=come_late)

    def and_then_a_put(one: Spool) -> bool:
        empty = is_empty(one)
        late.start()
        late.join(0.3)  # where it can get in, it does so now
        return empty

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "is_empty", and_then_a_put)
        queue.close()
    late.join(10)
    assert found_by_others(tmp_path) == stored


def test_a_lock_that_is_not_held_is_not_removed(tmp_path: Path) -> None:
    held, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert held.acquire()
    other.remove()
    assert held.stands()
    held.remove()
    assert not (tmp_path / "lock").exists()


# -- other processes send


@pytest.mark.parametrize("end", ["hand_over", "close"])
def test_what_was_removed_while_in_use_is_written_anew_before_it_is_left_to_others(tmp_path: Path, end: str) -> None:
    queue = opened(tmp_path, workers="external")
    put(queue, 1)
    for path in (tmp_path / "queue").iterdir():
        path.unlink()
    put(queue, 2)
    assert queue.hand_over(0.0) if end == "hand_over" else queue.close() is None
    assert found_by_others(tmp_path) == ["m1", "m2"]
    queue.close()


class Timer(threading.Thread):
    """Never fires by itself."""

    def __init__(self, _: float, function: Any, args: Any = ()) -> None:
        super().__init__()
        self.fire = lambda: function(*args)
        self.began = False

    def start(self) -> None:
        self.began = True

    def is_alive(self) -> bool:
        return self.began


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the timers that are set."""
    made: list[Any] = []

    def timer(*args: Any) -> Any:
        made.append(Timer(*args))
        return made[-1]

    monkeypatch.setattr(sqlite, "threading", SimpleNamespace(**{**vars(threading), "Timer": timer}))
    return made


def test_a_put_is_stored_also_where_its_file_is_handed_over_as_it_sets_the_timer(
    tmp_path: Path, timers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = opened(tmp_path, workers="external")
    daemon = property(lambda _: True, lambda *_: queue.hand_over(0.0) and None)
    monkeypatch.setattr(Timer, "daemon", daemon)
    put(queue, 1)
    assert found_by_others(tmp_path) == ["m1"]
    queue.close()


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), KeyboardInterrupt()])
def test_where_no_timer_could_be_started_once_messages_are_handed_over_all_the_same(
    error: BaseException, tmp_path: Path, timers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = opened(tmp_path, workers="external")

    def none_to_be_had(_: Timer) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Timer, "start", none_to_be_had)
        if isinstance(error, Exception):
            put(queue, 1)
        else:
            with pytest.raises(KeyboardInterrupt):
                put(queue, 1)
    if isinstance(error, Exception):
        assert queue._files.own is None, "at once, for there may be no other put"
    put(queue, 2)
    timers[-1].fire()
    assert found_by_others(tmp_path) == ["m1", "m2"]
    queue.close()


def test_where_a_file_could_not_be_handed_over_in_time_it_is_tried_again(
    tmp_path: Path, timers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = opened(tmp_path, workers="external")
    put(queue, 1)
    with monkeypatch.context() as patch:
        patch.setattr(queue._files, "hand_over", lambda names: False)
        timers[-1].fire()
    timers[-1].fire()
    assert len(timers) == 2
    assert found_by_others(tmp_path) == ["m1"]
    queue.close()


def test_a_users_order_outlives_a_clock_that_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([9_000, 5_000, 4_000, 4_000])
    monkeypatch.setattr(_sqlite_directory, "time", SimpleNamespace(time_ns=lambda: next(times) * 10**15))
    queue = opened(tmp_path, workers="external")
    for number in (1, 2):
        assert queue.put(number, f"m{number}", 7, b"x", NOW, ["a"]) == {}
        queue.hand_over(0.0)
    queue.close()
    again = opened(tmp_path, workers="external")
    assert again.put(1, "m3", 7, b"x", NOW, ["a"]) == {}
    again.close()
    assert found_by_others(tmp_path) == ["m1", "m2", "m3"]


def test_a_planted_name_of_the_far_future_leaves_numbers_for_ours(tmp_path: Path) -> None:
    for name in ("spool-99999999999999999999-1.db", "spool-x-1.db", "spool-.db"):
        (tmp_path / name).touch()
    path, lock = Directory(tmp_path).new()
    lock.release()
    assert path.name.startswith("spool-0")


# -- what is on disk only


def full_of(count: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> SqliteQueue:
    """Fill a queue, of which ten are in memory, too."""
    monkeypatch.setattr("unitrack.queues._sqlite_branch.WINDOW_EVENTS", 10)
    queue = opened(folder, max_events=count)
    for number in range(1, count + 1):
        put(queue, number)
    assert len(queue._branches["a"].backlog) == count - 10
    return queue


def test_making_room_reads_nothing_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = full_of(100, tmp_path, monkeypatch)
    given_up: list[Entry] = []
    for number in range(101, 151):
        assert queue.put(number, f"m{number}", number, b"x", NOW, ["a"]) == {"a": "full"}
        assert len(queue.drop_oldest("a", 1, given_up)) == number - 100
        put(queue, number)
        assert queue._branches["a"].position.ready(NOW).count <= 10
    assert [entry.seq for entry in given_up] == list(range(1, 51))
    left = []
    while entries := queue.take("a", 30, None, NOW):
        left += [entry.seq for entry in queue.done("a", entries)]
    assert sorted(left) == list(range(51, 151))
    assert queue.has_room("a", 1)
    queue.close()


def test_the_oldest_is_given_up_also_where_younger_ones_have_passed_it_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = full_of(20, tmp_path, monkeypatch)
    queue.done("a", queue.take("a", 10, None, NOW))
    put(queue, 21)  # there is room in memory again
    assert queue._branches["a"].position.fresh[0][0] == 21
    for number in range(22, 31):
        put(queue, number)
    assert [entry.seq for entry in queue.drop_oldest("a", 1)] == [11]
    assert len(queue._branches["a"].position.fresh) == 10
    queue.close()


def test_what_was_not_read_for_want_of_room_stays_whatever_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unitrack.queues._sqlite_branch.WINDOW_EVENTS", 0)
    monkeypatch.setattr("unitrack.queues.sqlite.READ_BYTES", 1)
    queue = opened(tmp_path)
    for number in (5, 3, 4):  # threads draw their numbers before they write
        put(queue, number)
    seen = []
    while entries := queue.take("a", 10, None, NOW):
        seen += [entry.seq for entry in queue.done("a", entries)]
    assert sorted(seen) == [3, 4, 5]
    queue.close()


# -- a disk that fails


def test_a_file_that_could_not_be_opened_anew_at_once_is_opened_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = opened(tmp_path)
    put(queue, 1)
    assert queue._files.own is not None
    spool = queue._files.own.spool

    def fails(*_: object, **__: object) -> Any:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR  # type: ignore[misc]
        raise error

    with pytest.raises(QueueError, match="disk I/O error"):
        spool.write(fails)
    away = SimpleNamespace(**{**vars(sqlite3), "connect": fails})
    with monkeypatch.context() as patch:
        patch.setattr(_sqlite_spool, "sqlite3", away)
        for number in (2, 3):
            with pytest.raises(QueueError, match="disk failed") as raised:
                put(queue, number)
            assert raised.value.reason == "disk_error"
    put(queue, 4)
    assert sorted(entry.seq for entry in queue.done("a", queue.take("a", 9, None, NOW))) == [1, 4]
    queue.close()
    assert found_by_others(tmp_path) == []


def test_a_file_that_is_gone_as_the_disk_fails_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unitrack.queues.sqlite.SCAN_EVERY", 0.0)
    queue = opened(tmp_path)
    put(queue, 1)
    assert queue._files.own is not None
    spool, old = queue._files.own.spool, queue._files.own.spool.path
    spool.broken = True
    old.unlink()
    with pytest.raises(QueueError):
        put(queue, 2)
    assert not old.exists(), "an empty one would have no tables"
    queue.look_around(NOW, no_news)
    put(queue, 3)
    assert [entry.seq for entry in queue.take("a", 9, None, NOW)] == [1, 3]
    queue.abandon()
    assert found_by_others(tmp_path) == ["m3"]


# -- a work that cannot be done


def test_a_message_that_comes_twice_waits_for_the_destinations_of_both(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", ["a", "b"])
    for waiting in (1, 2, 2):
        spool.insert(Row(1, waiting, 0, NOW, "m", b"x"))
    with closing(sqlite3.connect(spool.path)) as connection:
        assert connection.execute("SELECT seq, waiting FROM messages").fetchall() == [(1, 3)]
    spool.close()


def test_what_can_never_be_written_is_not_tried_again_with_each_write(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", ["a"])
    assert not spool.write_later(lambda c: c.execute("INSERT INTO nowhere VALUES (1)"))
    assert not spool.write_later(lambda c: c.execute("UPDATE tries SET bit = ?", (1 << 70,)))
    assert spool.repay()
    spool.insert(Row(1, 1, 0, NOW, "m", b"x"))
    assert spool.count(0, 9) == 1
    spool.close()
