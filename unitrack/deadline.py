"""One end for a whole attempt: sockets that never wait longer than what is left of it.

The timeouts of urllib3 and requests start anew with every read, so a server that sends a byte now and then keeps a
request alive for ever (measured with urllib3 2.8 and requests 2.34). Here each operation on the socket first sets
its timeout to the time that is left. One operation is one wait in the kernel, so nothing outlives the deadline.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from attrs import define, field


@define(eq=False)
class Attempt:
    """One request on its way: when it must end, and how far it came. Its sockets find it by their thread.

    Use it as a context manager around the request.

    Args:
        timeout: seconds for everything, from the name lookup to the last byte of the answer.
        connect_timeout: seconds for the connection alone: TCP, a proxy's tunnel, TLS. The name lookup, which
            nothing can interrupt, comes before.
    """

    timeout: float
    connect_timeout: float
    clock: Callable[[], float] = time.monotonic
    #: Path and query.
    target: str = field(default="/", init=False, repr=False)  # may hold a credential
    #: Set to have idle connections passed over: the one that was taken turned out to be dead.
    must_be_fresh: bool = field(default=False, init=False)
    #: Whether the request went out on a connection that had carried one before.
    reused: bool = field(default=False, init=False)
    #: A byte of the request may have left; a byte of the answer came.
    sent: bool = field(default=False, init=False)
    answered: bool = field(default=False, init=False)
    _dialled: bool = field(default=False, init=False)
    _connecting: bool = field(default=False, init=False)
    _ends: float = field(init=False)
    _until: float = field(init=False)
    _outer: "Attempt | None" = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._ends = self._until = self.clock() + self.timeout

    def __enter__(self) -> "Attempt":
        # In sync mode a signal handler may send while its thread is sending already.
        self._outer, _thread.attempt = _thread.attempt, self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _thread.attempt = self._outer

    def remaining(self) -> float:
        """Return the seconds left for what is being done; always more than 0.

        Raises:
            TimeoutError: none are left.
        """
        left = self._until - self.clock()
        if left <= 0:
            raise TimeoutError
        return left

    def dial(self) -> None:
        """Note that a new connection begins."""
        self._dialled = self._connecting = True
        self._until = self._ends

    def resolved(self) -> None:
        """Note that the addresses are known: from here on the connection has its own limit."""
        self._until = min(self._ends, self.clock() + self.connect_timeout)

    def connected(self) -> None:
        """Note that the connection stands: from here on bytes are those of the request and its answer."""
        self._connecting = False
        self._until = self._ends

    def begin(self, *, connected: bool) -> None:
        """Note that the request begins, on a connection that stands already or on one that is still to be made."""
        self.reused = connected and not self._dialled

    def leaving(self) -> None:
        """Note that bytes are handed to the system. A proxy's and TLS's own are not the request's."""
        if not self._connecting:
            self.sent = True

    def arrived(self, count: int) -> None:
        """Note that so many bytes came."""
        if count and not self._connecting:
            self.answered = True

    @property
    def is_stale(self) -> bool:
        """Whether this failed as it does on a connection that the server had closed while it was idle.

        Then the request was not read, as far as can be known: on a connection that worked before, not a single
        byte of an answer came, and not for lack of time.
        """
        return self.reused and not self.answered and not self.must_be_fresh and self.clock() < self._ends

    def describe_timeout(self) -> str:
        """Say which limit was reached."""
        if self._connecting and self._until < self._ends:
            return f"no connection within {self.connect_timeout:g} s"
        return f"no answer within {self.timeout:g} s"


class _Thread(threading.local):
    # An HTTP library makes its sockets deep inside, where no argument of ours gets through. But a request never
    # leaves its thread, so the thread can tell which attempt a socket works for right now.
    attempt: Attempt | None = None


_thread = _Thread()


def current_attempt() -> Attempt | None:
    """Return what this thread is sending, if anything."""
    return _thread.attempt


class BoundedSocket(socket.socket):
    """A socket that keeps to the deadline of the attempt it works for; without one, any socket."""

    def send(self, *args: Any, **more: Any) -> int:
        # More: gevent's sockets, which may stand in for Python's, tell themselves a timeout.
        if attempt := _thread.attempt:
            self.settimeout(attempt.remaining())
            attempt.leaving()
        return super().send(*args, **more)

    def sendall(self, *args: Any) -> None:
        # A plain socket's timeout is for the whole of sendall; TLS calls send for each piece.
        if attempt := _thread.attempt:
            self.settimeout(attempt.remaining())
            attempt.leaving()
        super().sendall(*args)

    def recv(self, *args: Any) -> bytes:
        if not (attempt := _thread.attempt):
            return super().recv(*args)
        self.settimeout(attempt.remaining())
        data = super().recv(*args)
        attempt.arrived(len(data))
        return data

    def recv_into(self, *args: Any) -> int:
        if not (attempt := _thread.attempt):
            return super().recv_into(*args)
        self.settimeout(attempt.remaining())
        count = super().recv_into(*args)
        attempt.arrived(count)
        return count


class BoundedTlsSocket(BoundedSocket, ssl.SSLSocket):
    """The same over TLS; given to a context as its ``sslsocket_class``."""

    def do_handshake(self, *args: Any, **more: Any) -> None:
        # Likewise: gevent's takes no arguments.
        if attempt := _thread.attempt:
            self.settimeout(attempt.remaining())
        super().do_handshake(*args, **more)

    def recv(self, *args: Any) -> bytes:
        try:
            return super().recv(*args)
        except ConnectionError:
            # Python looks at a connection that was reset before TLS could begin, and forgets to close it.
            if self.version() is None:
                self.close()
            raise
