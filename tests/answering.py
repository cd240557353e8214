"""A real HTTP server on loopback that records what it gets and answers as it is told."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from attrs import define, field


@define
class Got:
    """One request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@define
class Answer:
    """What to answer."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(factory=dict)


class Answering:
    """Starts with ``with``; ``answer`` may be replaced at any time."""

    def __init__(self, answer: Callable[[Got], Answer] | None = None) -> None:
        self.answer = answer or (lambda got: Answer())
        self.got: list[Got] = []
        self.lock = threading.Lock()
        self.open_now = 0
        self.open_most = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                import time

                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                got = Got(self.path, {k.lower(): v for k, v in self.headers.items()}, body, time.monotonic())
                with outer.lock:
                    outer.open_now += 1
                    outer.open_most = max(outer.open_most, outer.open_now)
                    outer.got.append(got)
                try:
                    reply = outer.answer(got)
                finally:
                    with outer.lock:
                        outer.open_now -= 1
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)
                self.wfile.flush()

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 64

            def handle_error(self, *args: object) -> None:
                pass  # clients that leave early are what some tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> "Answering":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Every message of every Hightouch batch, or every body, in the order of arrival."""
        with self.lock:
            bodies = [got.json for got in self.got]
        return [m for body in bodies for m in (body["batch"] if isinstance(body, dict) and "batch" in body else [body])]


@contextmanager
def answering(answer: Callable[[Got], Answer] | None = None) -> Iterator[Answering]:
    with Answering(answer) as server:
        yield server


def in_turn(*answers: Answer) -> Callable[[Got], Answer]:
    """Answer with each in turn, then with the last for ever."""
    left = list(answers)
    lock = threading.Lock()

    def answer(got: Got) -> Answer:
        with lock:
            return left.pop(0) if len(left) > 1 else left[0]

    return answer
