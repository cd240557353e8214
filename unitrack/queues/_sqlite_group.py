"""Work of many threads, written in one transaction: the more of them write, the less often each waits for the disk."""

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence

from attrs import Factory, define

from ..errors import QueueError

#: Seconds after which a thread no longer relies on another one to write its work; that one may have been interrupted.
RELIANCE = 0.25

Work = Callable[[sqlite3.Connection], object]


@define(eq=False)
class _Job:
    work: Work
    thread: int = Factory(threading.get_ident)
    over: bool = False
    # Of those who do not write it themselves: a bare lock, since ringing it takes none. An Event has one of its own,
    # and a signal handler may have interrupted the thread that waits with that in its hands.
    done: "threading.Lock | None" = None  # quoted: before Python 3.13 it is no class
    error: Exception | None = None


class Group:
    """Whoever comes first writes for all who come meanwhile.

    Args:
        lock: of the connection.
        transact: does all of some work, or raises and has done none of it; called with the lock.
    """

    def __init__(self, lock: threading.RLock, transact: Callable[[Sequence[Work]], None]) -> None:
        self._lock = lock
        self._transact = transact
        self._jobs: deque[_Job] = deque()
        self.writing = False
        self._more = False  # came in the middle of a write, from its own thread

    def write(self, work: Work) -> None:
        """Do some work in a transaction, with whatever others wait to do.

        Raises:
            QueueError: it is not written.
        """
        job = _Job(work)
        self._jobs.append(job)
        if not self._is_written_by_another(job):
            with self._lock:
                if self.writing:
                    self._more = True
                    return  # a signal handler in the middle of a write of this thread: that one takes it along
                while not job.over or self._more:
                    self._write_all()
        if job.error is not None:
            raise job.error

    def _is_written_by_another(self, job: _Job) -> bool:
        # Only the first in the queue waits for the lock. If all did, those whose work is written would still stand in
        # line for it, and everyone who came for the second time would be written for alone.
        try:
            if self._jobs[0].thread == job.thread:
                return False
        except IndexError:  # taken at this moment
            return job.over
        bell = threading.Lock()
        bell.acquire()
        job.done = bell
        return job.over or bell.acquire(timeout=RELIANCE)

    def _write_all(self) -> None:
        jobs: list[_Job] = []
        self.writing = True
        try:
            self._more = False
            while self._jobs:
                jobs.append(self._jobs.popleft())
            self._transact([job.work for job in jobs])
        except QueueError as error:
            for job in jobs:
                job.error = error
        except BaseException:
            for job in jobs:
                job.error = QueueError("interrupted")
            raise
        finally:
            for job in jobs:
                job.over = True
                if job.done is not None:
                    job.done.release()
            self.writing = False
