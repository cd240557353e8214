"""The server that every client talks to: counts marks, and misbehaves as a situation wants.

Its one good answer is JSON with the members that any of the clients looks at.
"""

import base64
import gzip
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

_MARK = re.compile(rb"mark-\d{6}")


@dataclass(frozen=True)
class Got:
    """One request."""

    at: float
    method: str
    marks: frozenset[bytes]
    has_key: bool  #: a credential stands in its headers


@dataclass(frozen=True)
class Answer:
    """What to do with a request. ``status`` 0 resets the connection."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0


#: Chooses by the number of a request, from 0, and the seconds since the first one.
Answers = Callable[[int, float], Answer]


class Sink:
    """Listens on ``host`` until it is closed. A request answered with 200 counts as stored."""

    def __init__(self, key: str, answer: Answers | None = None, host: str = "127.0.0.1") -> None:
        self.got: list[Got] = []
        self._stored: dict[bytes, int] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._answer = answer or (lambda number, seconds: Answer())
        keys = [key, *(base64.b64encode(text.encode()).decode() for text in (key, key + ":"))]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if body[:2] == b"\x1f\x8b":
                    body = gzip.decompress(body)
                has_key = any(key in value for value in self.headers.values() for key in keys)
                answer, got = outer._note(self.command, frozenset(_MARK.findall(body)), has_key)
                if outer._over.wait(answer.wait):
                    return  # the cell is over; what comes now counts no more
                if answer.status == 200:
                    outer._store(got.marks)
                if answer.status == 0:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    self.close_connection = True
                    return
                self._reply(answer)

            do_GET = do_POST  # noqa: N815

            def _reply(self, answer: Answer) -> None:
                fine = answer.status == 200
                data = {"code": answer.status, "success": fine, "result": fine, "status": "ok" if fine else "error"}
                text = json.dumps(data if fine else data | {"error": "bad", "message": "bad"}).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
                self.wfile.flush()

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                pass  # clients that are killed break their connections

        self._server = Server((host, 0), Handler)
        self.address = f"{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _note(self, method: str, marks: frozenset[bytes], has_key: bool) -> tuple[Answer, Got]:
        with self._lock:
            got = Got(time.monotonic(), method, marks, has_key)
            seconds = got.at - self.got[0].at if self.got else 0.0
            answer = self._answer(len(self.got), seconds)
            self.got.append(got)
            return answer, got

    def _store(self, marks: frozenset[bytes]) -> None:
        with self._lock:
            for mark in marks:
                self._stored[mark] = self._stored.get(mark, 0) + 1

    def delivered(self, numbers: Sequence[int] | None = None) -> int:
        """Count the distinct marks that were stored, all of them or those of these numbers."""
        with self._lock:
            if numbers is None:
                return len(self._stored)
            return sum(b"mark-%06d" % number in self._stored for number in numbers)

    @property
    def duplicates(self) -> int:
        with self._lock:
            return sum(self._stored.values()) - len(self._stored)

    def wait_after_first(self) -> float | None:
        """Return the seconds between the first request and the next one with any of its marks."""
        with self._lock:
            first, *others = self.got
            return next((got.at - first.at for got in others if got.marks & first.marks), None)
