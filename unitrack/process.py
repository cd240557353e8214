"""A client's engine in this process: made anew in a fork, and asked to send what waits when the process ends."""

import atexit
import os
import sys

from .engine import Engine
from .plan import Plan

#: Below everything that multiprocessing itself has to end, so that nothing that tracks comes after it.
_LAST = -100


class Process:
    """Runs a plan in whichever process asks for it.

    No thread, socket or file exists before the first message.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._engine = Engine(plan)
        self._engines = {self._engine.pid: self._engine}
        self._begun_in = 0
        # Now rather than at the first message: handlers registered later run earlier, and what they track is sent.
        atexit.register(self._at_exit)

    def engine(self) -> Engine:
        """Return the engine of this process."""
        # Asked at every call, because not every fork tells: uWSGI runs no hooks of Python's unless it is told to.
        pid = os.getpid()
        if self._begun_in != pid:
            self._begin(pid)
        return self._engine

    def forget(self) -> None:
        """Do nothing at the end of the process: its engine is closed."""
        atexit.unregister(self._at_exit)

    def _begin(self, pid: int) -> None:
        if self._engine.pid != pid:
            # A forked child: the parent's threads do not exist here, and its queue is the parent's to send.
            # Several threads may come here at once. setdefault lets one engine win, with no lock that a fork could
            # leave locked for ever.
            engine = self._engines.setdefault(pid, Engine(self._plan))
            self._engine, self._engines = engine, {pid: engine}
            # Python 3.13 forgets the parent's handlers where multiprocessing forks.
            atexit.unregister(self._at_exit)
            atexit.register(self._at_exit)
        # A process of multiprocessing runs no atexit handlers before Python 3.13, unless it was spawned. Whoever has
        # not imported it is none of them.
        process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
        if process is not None and util is not None and process.parent_process() is not None:
            util.Finalize(None, self._at_exit, exitpriority=_LAST)
        self._begun_in = pid
        self._engine.look_around()

    def _at_exit(self) -> None:
        engine = self._engine
        if engine.pid != os.getpid():
            return  # a fork that never used it
        if engine.closed:
            engine.close(self._plan.settings.shutdown_timeout)  # another thread is at it; wait for it
        else:
            engine.at_exit()
