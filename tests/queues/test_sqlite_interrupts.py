"""Ctrl-C, or an exception of a signal handler, in the middle of what a queue on disk does: nothing is stuck after it,
what was accepted is on disk, and what was delivered is not sent again."""

import gc
import inspect
import itertools
import sqlite3
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.interrupting import at_look, interrupted, press
from unitrack import position, steps
from unitrack.errors import QueueError
from unitrack.queue import News
from unitrack.queues import _sqlite_branch, _sqlite_files, _sqlite_group, _sqlite_spool, sqlite
from unitrack.queues._sqlite_files import Files
from unitrack.queues._sqlite_group import Group, Work
from unitrack.queues._sqlite_spool import Spool
from unitrack.queues.sqlite import SqliteQueue
from unitrack.settings import Settings

NOW = 1_000.0
FAR = NOW + 1e6


def opened(folder: Path, **settings: Any) -> SqliteQueue:
    queue = SqliteQueue(folder / "queue", Settings(**settings))
    queue.open("a", max_events=1_000, max_bytes=1 << 30)
    return queue


def put(queue: SqliteQueue, number: int) -> None:
    assert queue.put(number, f"m{number}", number, b"x", NOW, ["a"]) == {}


def on_disk(folder: Path) -> set[int]:
    """Look with other eyes, as whoever comes after a kill does."""
    found: set[int] = set()
    for path in (folder / "queue").glob("spool-*.db"):
        with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.OperationalError):  # one with no tables yet
            found |= {seq for (seq,) in connection.execute("SELECT seq FROM messages")}
    return found


def lines(*functions: Any) -> list[tuple[str, int]]:
    """Return all lines of functions."""
    found = []
    for function in functions:
        text, first = inspect.getsourcelines(function)
        found += [(function.__code__.co_filename, first + n) for n in range(1, len(text))]
    return found


def interrupted_at(where: tuple[str, int], call: Callable[[], object]) -> bool:
    """Make a call that Ctrl-C ends at a line; tell whether that line was come by."""
    hit = False

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal hit
        if not hit and event == "line" and (frame.f_code.co_filename, frame.f_lineno) == where:
            hit = True
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with suppress(KeyboardInterrupt):
            call()
    finally:
        sys.settrace(before)
    return hit


def of_another_thread(work: Callable[[], object]) -> None:
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it hangs"
    assert errors == []


WRITES = lines(
    *(Group.write, Group._finish, Group._write_all, Group._do, Group._is_written_by_another),
    *(Spool.write, Spool._write_all, Spool._transact, Spool.insert, Files.write),
)


def test_all_that_is_put_after_an_interrupted_put_is_on_disk(tmp_path: Path) -> None:
    hits = 0
    for number, where in enumerate(WRITES):
        folder = tmp_path / str(number)
        queue = opened(folder)
        put(queue, 1)
        if interrupted_at(where, lambda queue=queue: put(queue, 2)):  # type: ignore[misc]
            hits += 1
            put(queue, 3)
            of_another_thread(lambda queue=queue: [put(queue, n) for n in range(4, 7)])  # type: ignore[misc]
            assert on_disk(folder) >= {1, 3, 4, 5, 6}, where
            assert queue.has_room("a", 1)
        queue.close()
    assert hits > 20


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # connections that nobody got to know
def test_all_that_is_put_after_an_interrupted_making_of_the_file_is_on_disk(tmp_path: Path) -> None:
    hits = 0
    for number, where in enumerate(lines(Files.write, Files._make, Files.write_early, Spool.__init__, Spool._connect)):
        folder = tmp_path / str(number)
        queue = opened(folder)
        if interrupted_at(where, lambda queue=queue: put(queue, 1)):  # type: ignore[misc]
            hits += 1
            put(queue, 2)
            of_another_thread(lambda queue=queue: put(queue, 3))  # type: ignore[misc]
            assert on_disk(folder) >= {2, 3}, where
        queue.close()
    gc.collect()
    assert hits > 20


SETTLES = lines(
    *(SqliteQueue._settle_now, Files.settle, Files.by_file, Spool.settle, Spool.write_later),
    *(Group.write, Group._finish, Group._write_all, Group._do, Spool._write_all, Spool._transact),
)


def test_what_was_delivered_is_not_sent_again_where_ctrl_c_came_as_that_was_noted(tmp_path: Path) -> None:
    hits = 0
    for number, where in enumerate(SETTLES):
        folder = tmp_path / str(number)
        queue = opened(folder)
        put(queue, 1)
        put(queue, 2)
        entries = list(queue.take("a", 1, None, NOW))
        if interrupted_at(where, lambda queue=queue, entries=entries: queue.done("a", entries)):  # type: ignore[misc]
            hits += 1
            queue.release("a", entries)  # as whoever took them does with what he could not settle
            assert [e.seq for e in queue.take("a", 9, None, FAR)] == [2], where
            assert on_disk(folder) == {2}, where
        queue.close()
    assert hits > 20


def test_what_was_taken_as_ctrl_c_came_is_handed_out_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = opened(tmp_path)
    put(queue, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "tried", interrupt)
        with pytest.raises(KeyboardInterrupt):
            queue.take("a", 1, None, NOW)
    assert [(e.seq, e.attempts, e.abandoned) for e in queue.take("a", 1, None, NOW)] == [(1, 1, 0)]
    queue.close()


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


# -- a group


class Disk:
    """Notes what is written."""

    def __init__(self) -> None:
        self.written: list[Work] = []
        self.first: Callable[[], BaseException | None] = lambda: None
        self.group = Group(threading.RLock(), self.transact)

    def transact(self, works: Sequence[Work]) -> BaseException | None:
        first, self.first = self.first, lambda: None
        late = first()
        self.written += works
        return late


def work(_: sqlite3.Connection) -> None: ...


def other(_: sqlite3.Connection) -> None: ...


def waiting(disk: Disk) -> tuple[Any, threading.Lock]:
    """Have a job stand in the queue for which another thread waits, behind one of this thread."""
    job, bell = _sqlite_group._Job(other, thread=0), threading.Lock()
    bell.acquire()
    job.done = bell
    disk.group._jobs += (_sqlite_group._Job(work), job)
    return job, bell


def test_whoever_was_taken_along_is_stored_also_if_ctrl_c_came_right_after_the_write() -> None:
    disk = Disk()
    job, bell = waiting(disk)
    disk.first = KeyboardInterrupt  # which is handed back: all was written by then
    with pytest.raises(KeyboardInterrupt):
        disk.group.write(work)
    assert (job.over, job.error, bell.locked()) == (True, None, False)
    assert disk.written == [work, other, work]


def test_whoever_was_taken_along_is_woken_to_write_it_himself_if_ctrl_c_came_before_the_write() -> None:
    disk = Disk()
    job, bell = waiting(disk)
    disk.first = interrupt  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        disk.group.write(work)
    assert (job.over, job.error, bell.locked()) == (False, None, False)
    disk.group._finish(job)  # as his thread does now
    assert disk.written == [other]


def test_a_thread_whose_job_was_lost_does_not_spin() -> None:
    disk = Disk()
    disk.group._jobs = Losing()
    of_another_thread(lambda: disk.group.write(work))
    assert disk.written == [work]


class Losing(deque[Any]):
    """Is empty for whoever takes, whatever was appended."""

    def append(self, _: object) -> None: ...


def test_what_a_signal_handler_wrote_in_the_middle_of_a_write_that_fails_is_written_later() -> None:
    disk = Disk()

    def fails() -> None:
        disk.group.write(other)
        disk.first = locked
        locked()

    def locked() -> None:
        raise QueueError("another process locks the file", "locked")

    disk.first = fails
    with pytest.raises(QueueError):
        disk.group.write(work)
    assert disk.group.owes
    disk.group.write(work)
    assert disk.written == [other, work]
    assert not disk.group.owes


def test_a_write_that_was_over_long_ago_is_not_taken_for_one_that_this_thread_is_in() -> None:
    disk = Disk()
    disk.group._writer = threading.get_ident()  # as Ctrl-C leaves it
    disk.group.write(work)
    assert disk.written == [work]


# -- a file


class Handler:
    """A connection at which a signal comes, once."""

    def __init__(self, connection: Any, statement: str, handle: Callable[[], object], *, after: bool = False) -> None:
        self._connection, self._statement, self._handle, self._after = connection, statement, handle, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *values: Any) -> Any:
        met = statement.strip().startswith(self._statement)
        if met:
            self._statement = "none any more"
        if met and not self._after:
            self._handle()
        result = self._connection.execute(statement, *values)
        if met and self._after:
            self._handle()
        return result


def spool_of(queue: SqliteQueue) -> Any:
    assert queue._files.own is not None
    return queue._files.own.spool


@pytest.mark.parametrize(("statement", "stored"), [("BEGIN", False), ("INSERT", False), ("COMMIT", True)])
def test_a_write_knows_whether_it_went_through_before_ctrl_c_came(statement: str, stored: bool, tmp_path: Path) -> None:
    queue = opened(tmp_path)
    put(queue, 1)
    spool = spool_of(queue)
    spool._connection = Handler(spool._connection, statement, interrupt, after=True)
    values = (2, 1, 1, NOW, "m2", b"x")
    with suppress(KeyboardInterrupt):
        late = spool._transact([lambda c: c.execute(_sqlite_spool._INSERT, values)])
        assert isinstance(late, KeyboardInterrupt)
        assert stored
    assert (2 in on_disk(tmp_path)) == stored
    put(queue, 3)
    assert 3 in on_disk(tmp_path)
    queue.close()


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT", "COMMIT"])
def test_a_signal_handler_that_tracks_and_closes_in_the_middle_of_a_write_loses_nothing(
    statement: str, tmp_path: Path
) -> None:
    queue = opened(tmp_path, workers="external")
    put(queue, 1)
    spool = spool_of(queue)

    def handle() -> None:
        put(queue, 2)
        queue.hand_over(0.0)
        queue.close()

    spool._connection = Handler(spool._connection, statement, handle)
    put(queue, 3)
    assert on_disk(tmp_path) == {1, 2, 3}
    queue.hand_over(0.0)
    queue.close()


@pytest.fixture
def out_of_room(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], object]]]:
    """Run what is added to this in the middle of making a file, which fails then."""
    steps: list[Callable[[], object]] = []

    class Full(Spool):
        def __init__(self, *args: Any, **more: Any) -> None:
            if steps:
                steps.pop()()
                raise QueueError("the disk is full", "disk_full")
            super().__init__(*args, **more)

    monkeypatch.setattr(_sqlite_files, "Spool", Full)
    return steps  # type: ignore[return-value]


def test_what_a_signal_handler_put_while_the_file_could_not_be_made_is_written_as_soon_as_it_can(
    tmp_path: Path, out_of_room: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unitrack.queues.sqlite.SCAN_EVERY", 0.0)
    queue = opened(tmp_path)
    out_of_room.append(lambda: put(queue, 1))
    with pytest.raises(QueueError):
        put(queue, 2)
    assert on_disk(tmp_path) == set()
    queue.look_around(NOW, no_news)
    assert on_disk(tmp_path) == {1}
    queue.close()


def test_what_a_signal_handler_put_and_was_sent_before_the_file_could_be_made_is_not_sent_again(
    tmp_path: Path, out_of_room: list[Callable[[], object]]
) -> None:
    queue = opened(tmp_path)
    out_of_room.append(lambda: [put(queue, 1), put(queue, 2)])
    with pytest.raises(QueueError):
        put(queue, 3)
    assert len(queue.done("a", queue.take("a", 1, None, NOW))) == 1
    put(queue, 4)
    assert on_disk(tmp_path) == {2, 4}
    queue.close()


def no_news(_: str, __: News) -> None: ...


def test_the_group_has_no_line_without_a_test() -> None:
    """Whoever adds a method adds it to the lists above, or says here why not."""
    named = {n for n, f in vars(_sqlite_group.Group).items() if inspect.isfunction(f)}
    tried = {"write", "_finish", "_write_all", "_do", "_is_written_by_another"}
    assert named == tried | {"__init__", "write_unattended", "_fail"}, "a close, and what fails"


# -- room


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # connections that nobody got to know
@pytest.mark.parametrize("what", ["put", "done", "drop_oldest"])
def test_ctrl_c_costs_no_room(what: str, tmp_path: Path) -> None:
    """However often a call is interrupted, wherever: in the end as many messages fit as in the beginning."""
    queue = SqliteQueue(tmp_path)
    queue.open("a", max_events=5, max_bytes=1 << 30)
    files = {one.__file__ for one in (sqlite, _sqlite_branch, _sqlite_files, position, steps)}
    numbers = itertools.count(1)

    def fill() -> int:
        return sum(not queue.put(n, f"m{n}", n, b"x", NOW, ["a"]) for n in itertools.islice(numbers, 8))

    def call() -> None:
        match what:
            case "put":
                fill()
            case "done":
                queue.done("a", queue.take("a", 9, None, NOW))
            case _:
                queue.drop_oldest("a", 1, [])

    for at in itertools.count(1):
        if what != "put":
            fill()
        with suppress(KeyboardInterrupt):
            if not interrupted(call, at, at_look, press, files):
                break
    assert at > 30
    while taken := queue.take("a", 9, None, FAR):
        queue.done("a", taken)
    assert fill() == 5
    while taken := queue.take("a", 9, None, FAR):
        queue.done("a", taken)
    assert queue._branches["a"].count == 0
    queue.close()
    gc.collect()
