"""A small HTTP/1.1 server on 127.0.0.1: keep-alive, one thread, and no answer that waits for a second packet."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import cast

from attrs import define, field

MAX_HEAD_BYTES = 64 * 1024
#: As much as the most patient vendor takes.
MAX_BODY_BYTES = 20_000_000

_PHRASES: Mapping[int, str] = {status.value: status.phrase for status in HTTPStatus}

#: Method, path with query, headers in lower case, body -> status, headers, body. Runs on the server's thread.
Handler = Callable[[str, str, Mapping[str, str], bytes], tuple[int, Mapping[str, str], bytes]]


class _Malformed(Exception):
    """The bytes are no request of HTTP/1.1 that this server reads; the connection ends after the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Connection(asyncio.Protocol):
    """One client's connection; requests are answered in the order in which they come."""

    def __init__(self, handler: Handler, connections: "set[_Connection]") -> None:
        self._handler = handler
        self._connections = connections
        self._buffer = b""
        self._head: tuple[str, str, dict[str, str], int] | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # a server of sockets makes no other
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            while self._answer_one():
                pass
        except _Malformed as fault:
            self.transport.write(_answer_bytes(fault.status, {"connection": "close"}, b""))
            self.transport.close()

    def _answer_one(self) -> bool:
        """Answer the request at the front of the buffer, if it is all there."""
        if self._head is None:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                if len(head) > MAX_HEAD_BYTES:
                    raise _Malformed(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                return False
            self._head = _parse_head(head)
            self._buffer = rest
        method, path, headers, length = self._head
        if len(self._buffer) < length:
            return False
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        self._head = None
        status, answer_headers, answer = self._handler(method, path, headers, body)
        # Head and body leave in one write: two small ones would wait for each other's acknowledgement.
        self.transport.write(_answer_bytes(status, answer_headers, answer))
        if headers.get("connection", "").lower() == "close":
            self.transport.close()
            return False
        return True


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str], int]:
    request_line, *lines = head.decode("latin-1").split("\r\n")
    words = request_line.split(" ")
    if len(words) != 3 or words[2] != "HTTP/1.1":
        raise _Malformed(HTTPStatus.BAD_REQUEST)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip() or name.lower() in headers:
            raise _Malformed(HTTPStatus.BAD_REQUEST)
        headers[name.lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise _Malformed(HTTPStatus.LENGTH_REQUIRED)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise _Malformed(HTTPStatus.BAD_REQUEST)
    if int(length) > MAX_BODY_BYTES:
        raise _Malformed(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return words[0], words[1], headers, int(length)


def _answer_bytes(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, '')}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@define
class Server:
    """A listening socket and the thread that serves it. Neither exists before :meth:`start`."""

    handler: Handler
    _thread: threading.Thread | None = field(default=None, init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _stopping: asyncio.Event | None = field(default=None, init=False)
    _ready: threading.Event = field(factory=threading.Event, init=False)
    _failure: OSError | None = field(default=None, init=False)
    port: int = field(default=0, init=False)

    def start(self) -> None:
        """Listen on a free port of 127.0.0.1.

        Raises:
            OSError: the system has no socket left.
        """
        self._ready.clear()
        self._failure = None
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        """Cut all connections, close the socket and wait for the thread; harmless when it is not running."""
        if self._thread and self._loop and self._stopping:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
        self._thread = self._loop = self._stopping = None

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        connections: set[_Connection] = set()
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            lambda: _Connection(self.handler, connections), "127.0.0.1", 0, backlog=1024
        )
        self.port = listener.sockets[0].getsockname()[1]
        self._loop, self._stopping = loop, asyncio.Event()
        self._ready.set()
        await self._stopping.wait()
        listener.close()
        for connection in list(connections):
            connection.transport.abort()
        while connections:
            await asyncio.sleep(0)
