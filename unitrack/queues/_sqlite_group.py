"""Work of many threads, written in one transaction: the more of them write, the less often each waits for the disk."""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence

from attrs import Factory, define

from ..errors import QueueError
from ..logs import emit
from ._sqlite_frames import is_within

#: Seconds after which a thread no longer relies on another one to write its work; that one may have been interrupted.
RELIANCE = 0.25
#: Why a transaction failed that could not have gone well for anybody. All else may be the fault of one work in it.
OF_THE_DISK = frozenset({"disk_full", "disk_error", "locked", "damaged", "closed"})

#: Doing it a second time must change nothing: whoever did it may have been interrupted before he could say so.
Work = Callable[[sqlite3.Connection], object]


@define(eq=False)
class _Job:
    work: Work
    thread: int = Factory(threading.get_ident)
    awaited: bool = True
    over: bool = False
    # Of those who do not write it themselves: a bare lock, since ringing it takes none. An Event has one of its own,
    # and a signal handler may have interrupted the thread that waits with that in its hands.
    done: "threading.Lock | None" = None  # quoted: before Python 3.13 it is no class
    error: QueueError | None = None

    def ring(self) -> None:
        bell, self.done = self.done, None
        if bell is not None:
            bell.release()


class Group:
    """Whoever comes first writes for all who come meanwhile.

    Ctrl-C may end any of this at any line. So nothing here says what only a line after it can take back: a job is
    over or its own thread does it, and whether a thread is in the middle of a write is asked of its stack.

    Args:
        lock: of the connection, re-entrant.
        transact: does all of some work, or raises and has done none of it; returns an exception that came when it was
            done already. Called with the lock.
    """

    def __init__(self, lock: threading.RLock, transact: Callable[[Sequence[Work]], BaseException | None]) -> None:
        self._lock = lock
        self._transact = transact
        self._jobs: deque[_Job] = deque()
        self._unattended: deque[_Job] = deque()  # of signal handlers: nobody waits for them, and none may be lost
        self._refused: deque[QueueError] = deque()  # of those
        self._writer = 0  # the thread that writes, if it was not interrupted since

    @property
    def writing(self) -> bool:
        """Whether this thread is in the middle of a write, so that it is a signal handler that asks."""
        return self._writer == threading.get_ident() and is_within(Group._write_all.__code__, self)

    @property
    def owes(self) -> bool:
        """Whether something was accepted that is not written."""
        return not all(job.over for job in self._unattended.copy())

    def write(self, work: Work) -> None:
        """Do some work in a transaction, with whatever others wait to do.

        Raises:
            QueueError: it is not written.
        """
        job = _Job(work)
        if self._writer == job.thread and self.writing:
            job.awaited = False
            self._unattended.append(job)  # the write that this comes in the middle of takes it along
            return
        self._jobs.append(job)
        if not self._is_written_by_another(job):
            with self._lock:
                self._finish(job)
        while self._refused:  # only here: whoever hears of it may hold any lock
            emit(logging.ERROR, "unitrack: what a signal handler queued is lost: %s", self._refused.popleft())
        if job.error is not None:
            raise job.error

    def write_unattended(self) -> None:
        """Write what signal handlers left in the middle of a write that is given up; called with the lock."""
        self._do(list(self._unattended))

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
        if not job.over:
            bell.acquire(timeout=RELIANCE)
        return job.over

    def _finish(self, job: _Job) -> None:
        try:
            while not job.over:
                self._write_all(job)
        finally:
            while self._unattended and self._write_all():
                pass

    def _write_all(self, own: _Job | None = None) -> bool:
        """Write what waits, and the job of this thread; tell whether there was nothing wrong."""
        jobs: list[_Job] = []
        self._writer = threading.get_ident()
        try:
            if self._unattended:
                jobs += self._unattended
            while self._jobs:
                jobs.append(self._jobs.popleft())
            if own is not None and own not in jobs:
                jobs.append(own)  # it was taken out by somebody who was interrupted
            sound = self._do(jobs)
            while self._unattended and self._unattended[0].over:
                self._unattended.popleft()
            return sound
        finally:
            for job in jobs:
                if job.done is not None:
                    job.ring()  # also after an interrupt: those whose work is not over do it themselves
            self._writer = 0

    def _do(self, jobs: Sequence[_Job]) -> bool:
        works = [job.work for job in jobs if not job.over]
        if not works:
            return True
        try:
            late = self._transact(works)
        except QueueError as error:
            if len(works) > 1 and error.reason not in OF_THE_DISK:
                sound = [self._do([job]) for job in jobs]  # one of them is to blame, and the others are not
                return all(sound)
            for job in jobs:
                if not job.over:
                    self._fail(job, error)
            return False
        for job in jobs:
            job.over = True
        if late is not None:
            raise late
        return True

    def _fail(self, job: _Job, error: QueueError) -> None:
        if not job.awaited:
            if error.reason in OF_THE_DISK:
                return  # it is written with the next
            self._refused.append(error)
        job.error = error
        job.over = True
