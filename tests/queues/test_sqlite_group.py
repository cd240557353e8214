"""Many threads write, and one of them does it for all."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from tests.faults.world import until
from unitrack.errors import QueueError
from unitrack.queues._sqlite_group import Group, Work


class Disk:
    """Notes how many pieces of work each transaction has, and can be stopped in the middle of the first."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.error: BaseException | None = None
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.group = Group(threading.RLock(), self.transact)

    def transact(self, works: Sequence[Work]) -> None:
        self.sizes.append(len(works))
        if len(self.sizes) == 1:
            self.begun.set()
            assert self.go_on.wait(10)
            if self.error is not None:
                raise self.error

    def write(self) -> None:
        self.group.write(lambda connection: None)

    def stop_at_the_first(self, others: int) -> list[threading.Thread]:
        """Have one thread write, and others who come in the middle of it."""
        threads = [threading.Thread(target=self.ignoring_errors)]
        threads[0].start()
        assert self.begun.wait(10)
        threads += [threading.Thread(target=self.write) for _ in range(others)]
        for thread in threads[1:]:
            thread.start()
        until(lambda: len(self.group._jobs) == others)
        return threads

    def ignoring_errors(self) -> None:
        try:
            self.write()
        except BaseException as error:
            assert error is self.error  # noqa: PT017  of a thread


def test_whoever_comes_in_the_middle_of_a_write_is_written_with_all_others() -> None:
    disk = Disk()
    threads = disk.stop_at_the_first(others=20)
    disk.go_on.set()
    for thread in threads:
        thread.join(10)
    assert disk.sizes == [1, 20]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), QueueError("the disk is full", "disk_full")])
def test_others_go_on_where_the_first_one_fails(error: Any) -> None:
    disk = Disk()
    disk.error = error
    threads = disk.stop_at_the_first(others=5)
    disk.go_on.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert disk.sizes == [1, 5]


def test_one_work_that_cannot_be_done_fails_alone() -> None:
    disk, told = Disk(), list[str]()

    def guilty(connection: Any) -> None: ...

    def transact(works: Sequence[Work]) -> None:
        disk.transact(works)
        if guilty in works:
            raise QueueError("a constraint failed")

    disk.group = Group(threading.RLock(), transact)

    def fail() -> None:
        with pytest.raises(QueueError, match="constraint"):
            disk.group.write(guilty)
        told.append("the guilty one")

    threads = disk.stop_at_the_first(others=5)
    threads.append(threading.Thread(target=fail))
    threads[-1].start()
    until(lambda: len(disk.group._jobs) == 6)
    disk.go_on.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert disk.sizes == [1, 6, 1, 1, 1, 1, 1, 1]
    assert told == ["the guilty one"]


def test_a_signal_handler_in_the_middle_of_a_write_is_written_right_after_it() -> None:
    disk = Disk()
    disk.go_on.set()

    def interrupted(works: Sequence[Work]) -> None:
        disk.transact(works)
        if len(disk.sizes) == 1:
            disk.write()

    disk.group = Group(threading.RLock(), interrupted)
    disk.write()
    assert disk.sizes == [1, 1]


def test_whoever_writes_for_others_takes_no_lock_of_theirs() -> None:
    """A signal handler may have interrupted one who waits, with the lock of what he waits for in his hands."""
    disk = Disk()
    threads = disk.stop_at_the_first(others=3)
    until(lambda: all(job.done is not None for job in list(disk.group._jobs)[1:]))
    in_hand = [lock for job in disk.group._jobs if (lock := getattr(job.done, "_cond", None)) is not None]
    for lock in in_hand:
        lock.acquire()
    try:
        disk.go_on.set()
        until(lambda: sum(disk.sizes) == 4 and not disk.group._writer)
    finally:
        for lock in in_hand:
            lock.release()
        for thread in threads:
            thread.join(10)
