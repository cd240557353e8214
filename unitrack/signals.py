"""SIGTERM, for programs that nobody else stops gracefully: send what waits, then end as if nothing had caught it."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from .client import Client
from .errors import ConfigError


def drain_on_sigterm(client: Client, *, timeout: float | None = None) -> Callable[[], None]:
    """Have SIGTERM send what waits before it ends the process.

    Python leaves SIGTERM to the system, which ends the process at once with all that waits in memory. With this the
    client is closed first, then the signal is raised again, so that the exit status stays that of a SIGTERM (-15).
    If a handler was there before, the client is flushed instead, and then that handler is called. More of them while
    the client drains change nothing.

    Your code goes on while the client drains: the main thread may hold a lock that sending needs. From then on calls
    are refused with the reason ``closed`` (where a handler was there before, they are taken).

    gunicorn and uvicorn handle SIGTERM and end normally, so they need no help; for Celery see docs/deployment.md.

    Args:
        client: one client; call it again for another.
        timeout: seconds; default: the client's setting ``shutdown_timeout`` (5 s).

    Returns:
        A function that takes the handler away again, unless somebody has put another one in its place.

    Raises:
        ConfigError: this is not the main thread, the system has no such signals, or something other than Python
            handles SIGTERM.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        raise ConfigError("drain_on_sigterm must be called in the main thread, on a system that has signals")
    before = signal.getsignal(signal.SIGTERM)
    if before is None:
        raise ConfigError("SIGTERM is handled outside Python; have that handler call client.close()")
    drain = _Drain(client, client.settings.shutdown_timeout if timeout is None else timeout, before)
    signal.signal(signal.SIGTERM, drain)

    def undo() -> None:
        if signal.getsignal(signal.SIGTERM) is drain:
            signal.signal(signal.SIGTERM, before)

    return undo


class _Drain:
    """A handler: the first signal starts a thread that drains, which raises it again when it is done."""

    def __init__(
        self, client: Client, timeout: float, before: Callable[[int, FrameType | None], object] | int | signal.Handlers
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._before = before
        self._draining_in = 0  # the process; a fork inherits us as we are
        self._done = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        pid = os.getpid()
        if self._draining_in != pid:
            self._draining_in, self._done = pid, False
            # A daemon, since others take a lock when they start that the code which we interrupt may hold. If the
            # process ends by itself meanwhile, that waits for a client that is being closed.
            try:
                threading.Thread(target=self._drain_aside, name="unitrack-sigterm", daemon=True).start()
                return
            except RuntimeError:
                self._drain()  # no thread to be had, or the interpreter is ending
        elif not self._done:
            return
        self._draining_in = 0
        self._pass_on(number, frame)

    def _drain_aside(self) -> None:
        try:
            self._drain()
        finally:
            self._done = True
            # To the main thread, which alone may change handlers, and which sleeps or waits perhaps.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _drain(self) -> None:
        if self._before == signal.SIG_DFL:
            self._client.close(self._timeout)
        else:
            self._client.flush(self._timeout)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if callable(self._before):
            self._before(number, frame)
        elif self._before == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
