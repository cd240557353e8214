"""A server made of raw sockets that does what it is told, byte by byte: the faults that no HTTP server would make.

A script says what happens to one request; scripts are used up in the order in which requests begin to arrive, and
the last one stays::

    with Server(reply(503), reply(200, b"{}")) as server:
        post(server.url)
    assert server.requests[0].body == b"…"

A script is a list of actions. Each action gets the :class:`Peer`, the connection it may do anything to.
"""

import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Self

from attrs import define, field, frozen

MAX_CONNECTIONS = 256
#: No thread of a server waits longer than this for anything.
PATIENCE = 30.0

Action = Callable[["Peer"], None]


@frozen
class Received:
    """One request as it arrived."""

    raw: bytes
    connection: int
    #: When it had been read, in seconds of the monotonic clock.
    at: float = field(factory=time.monotonic)

    @property
    def request_line(self) -> str:
        return self.raw.partition(b"\r\n")[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.request_line.split(" ")[1]

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names in lower case, in the order of arrival, repeats kept."""
        lines = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def header(self, name: str) -> str | None:
        """Return the values of a header, joined; ``None`` if it did not come."""
        values = [value for found, value in self.headers if found == name.lower()]
        return ", ".join(values) if values else None

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]


class Gone(Exception):
    """The other side closed, or this side is done with the connection."""


@frozen
class Script:
    """What happens to one request.

    Args:
        actions: played in order.
        read: bytes of the request that are read before; default: all of it.
    """

    actions: tuple[Action, ...]
    read: int | None = None


def play(*actions: Action, read: int | None = None) -> Script:
    return Script(actions, read)


def reply(status: int = 200, body: bytes = b"{}", headers: Mapping[str, str] | None = None) -> Script:
    """Answer as a good server does, and keep the connection."""
    return play(send(answer(status, body, headers)))


def answer(status: int = 200, body: bytes = b"{}", headers: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of a sound answer; a ``Content-Length`` among the headers replaces the true one."""
    found = {"Content-Length": str(len(body))} | dict(headers or {})
    lines = [f"HTTP/1.1 {status} Some Reason", *(f"{name}: {value}" for name, value in found.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


# Actions.


def send(data: bytes) -> Action:
    return lambda peer: peer.send(data)


def drip(data: bytes, every: float) -> Action:
    """Send one byte at a time."""

    def act(peer: Peer) -> None:
        for at in range(len(data)):
            peer.send(data[at : at + 1])
            if peer.server.over.wait(every):
                raise Gone

    return act


def endless(piece: bytes, at_most: int) -> Action:
    """Send the same again and again, until the other side has had enough or so many bytes are sent."""

    def act(peer: Peer) -> None:
        for _ in range(at_most // len(piece)):
            peer.send(piece)

    return act


def stall(until: threading.Event | None = None) -> Action:
    """Do nothing until an event is set, or until the server is closed."""

    def act(peer: Peer) -> None:
        if until is None:
            peer.server.over.wait(PATIENCE)
        else:
            until.wait(PATIENCE)
        if peer.server.over.is_set():
            raise Gone  # rather than read what came meanwhile, which may be megabytes

    return act


def mark(event: threading.Event) -> Action:
    """Tell the test that the script came this far."""
    return lambda peer: event.set()


def close() -> Action:
    """Close in good order."""

    def act(peer: Peer) -> None:
        raise Gone

    return act


def half_close() -> Action:
    """End what we send, and go on reading until the other side closes."""

    def act(peer: Peer) -> None:
        peer.socket.shutdown(socket.SHUT_WR)
        while peer.socket.recv(65536):
            pass
        raise Gone

    return act


def reset() -> Action:
    """Abort, so that the other side gets a reset and not an end."""

    def act(peer: Peer) -> None:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone

    return act


def tunnel() -> Action:
    """Be a proxy: after ``CONNECT host:port``, pass bytes both ways without looking."""

    def act(peer: Peer) -> None:
        host, _, port = peer.server.requests[-1].target.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as far:
            peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            ways = {peer.socket: far, far: peer.socket}
            while not peer.server.over.is_set():
                for ready in select.select(list(ways), [], [], 0.05)[0]:
                    data = ready.recv(65536)
                    if not data:
                        raise Gone
                    ways[ready].sendall(data)

    return act


@define(eq=False)
class Peer:
    """One connection, seen from the server."""

    server: "Server"
    socket: socket.socket
    number: int
    #: The one whose script is being played.
    request: Received | None = None
    _seen: bytearray = field(factory=bytearray)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def begins(self) -> bool:
        """Wait for the first byte of a request."""
        return bool(self._seen) or self._more()

    def read(self, count: int | None) -> bytes:
        """Read so many bytes of a request, or all of it."""
        while len(self._seen) < (self._size() if count is None else count):
            if not self._more():
                break
        size = min(self._size() if count is None else count, len(self._seen))
        raw = bytes(self._seen[:size])
        del self._seen[:size]
        return raw

    def _more(self) -> bool:
        data = self.socket.recv(65536)
        self._seen += data
        return bool(data)

    def _size(self) -> int:
        """Bytes of the request that begins in ``_seen``, or one more than there are while that is unknown."""
        end = self._seen.find(b"\r\n\r\n") + 4
        if end < 4:
            return len(self._seen) + 1
        length = Received(bytes(self._seen[:end]), 0).header("content-length")
        return end + int(length or 0)


class Server:
    """Listens on the loopback interface until it is closed.

    Args:
        scripts: one for each request; the last one stays. Default: every request gets ``200 {}``.
        on_accept: played on each connection before a byte is read, also before TLS.
        tls: the server's side of a TLS context; may be replaced at any time, for connections that come later.
        host: ``127.0.0.1``, or another address of the loopback interface.
        port: the same as of a server that is gone; default: any that is free.
    """

    #: In its whole life; one that is meant to run for long says more.
    max_connections = MAX_CONNECTIONS

    def __init__(
        self,
        *scripts: Script,
        on_accept: Action | None = None,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._scripts = list(scripts) or [reply()]
        self._on_accept = on_accept
        self.tls = tls
        self._lock = threading.Condition()
        self._requests: list[Received] = []
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._played = 0
        #: Set when the server closes; whoever stalls wakes up.
        self.over = threading.Event()
        #: Connections so far, and those of them that have ended.
        self.connections = 0
        self._ended = 0
        #: TLS handshakes that failed, in words.
        self.handshakes_failed: list[str] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=128)
        self.host, self.port = self._listener.getsockname()[:2]
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.address}"

    @property
    def requests(self) -> list[Received]:
        """What arrived so far; a request is there before its script is played."""
        with self._lock:
            return list(self._requests)

    def switch_to(self, *scripts: Script) -> None:
        """Play these from the next request on, the last one for ever."""
        with self._lock:
            self._scripts, self._played = list(scripts), 0

    def wait_for(self, count: int, timeout: float = 5.0) -> list[Received]:
        """Wait until so many requests have arrived, and return them."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self._requests) >= count, timeout), "they did not arrive"
            return list(self._requests)

    def wait_until_ended(self, count: int, timeout: float = 5.0) -> None:
        """Wait until so many connections have ended from this side; the other side can see it then."""
        with self._lock:
            assert self._lock.wait_for(lambda: self._ended >= count, timeout), "they did not end"

    def close(self) -> None:
        # shutdown wakes accept() and recv(); close() alone leaves them waiting.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        # Only now, so that whoever wakes up finds nobody to connect to.
        self.over.set()
        with self._lock:
            open_ones = list(self._sockets)
        for one in open_ones:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(5.0)
            assert not thread.is_alive(), "a script of the server did not end"

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while self.connections < self.max_connections:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            accepted.settimeout(PATIENCE)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = self.connections
            self._start(lambda accepted=accepted, number=number: self._serve(accepted, number))  # type: ignore[misc]

    def _serve(self, accepted: socket.socket, number: int) -> None:
        peer = Peer(self, accepted, number)
        self._keep(accepted)
        try:
            if self._on_accept is not None:
                self._on_accept(peer)
            if self.tls is not None:
                peer.socket = self._keep(self._secured(accepted, self.tls))
            while peer.begins():
                script = self._next()
                request = peer.request = Received(peer.read(script.read), number)
                self._note(request)
                for action in (self.script_for(request) or script).actions:
                    action(peer)
        except (Gone, OSError):
            pass
        finally:
            with self._lock:
                self._sockets = [one for one in self._sockets if one not in (accepted, peer.socket)]
            peer.socket.close()
            with self._lock:
                self._ended += 1
                self._lock.notify_all()

    def _secured(self, accepted: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
        try:
            return tls.wrap_socket(accepted, server_side=True)
        except OSError as error:
            self.handshakes_failed.append(str(error))
            raise

    def _keep(self, one: socket.socket) -> socket.socket:
        with self._lock:
            self._sockets.append(one)
        return one

    def script_for(self, request: Received) -> Script | None:
        """Choose what happens to a request once it is read whole; ``None``: the next of the scripts does.

        For servers that answer by what a request holds.
        """
        return None

    def _next(self) -> Script:
        with self._lock:
            script = self._scripts[min(self._played, len(self._scripts) - 1)]
            self._played += 1
            return script

    def _note(self, request: Received) -> None:
        with self._lock:
            self._requests.append(request)
            self._lock.notify_all()
