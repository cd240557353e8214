"""A transport that answers from memory and keeps every request, for tests without a network."""

import gzip
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from attrs import define, field

from ..wire import Request, Response

#: What one request gets: a status, a whole answer, or an exception (a ``TransportError`` for "no answer came").
Answer = int | Response | Exception

Script = Answer | Sequence[Answer] | Callable[[Request], Answer]


@define(eq=False)
class FakeTransport:
    """Answers without a network and records what was sent; may be shared by threads.

    Args:
        script: one answer for all requests; a list, one answer after the other, of which the last one stays;
            or a function from request to answer. Default: 200 with an empty body.

    >>> transport = FakeTransport([503, 200])
    >>> request = Request(url="https://api.acme.test/track", headers={}, body=b'{"event":"Order Paid"}')
    >>> [transport.send(request, timeout=1.0).status for _ in range(3)]
    [503, 200, 200]
    >>> transport.bodies[0]
    {'event': 'Order Paid'}
    """

    script: Script = field(default=200)
    #: Set by :meth:`close`; a closed transport goes on answering, because nothing was held.
    closed: bool = field(default=False, init=False)
    _sent: list[Request] = field(factory=list, init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    @script.validator
    def _check(self, _: Any, script: object) -> None:
        if isinstance(script, (list, tuple)) and not script:
            raise ValueError("the list of answers is empty; give at least one, for example [503, 200]")

    def send(self, request: Request, timeout: float, connect_timeout: float = 5.0) -> Response:
        """Record the request and give the next answer, at once: the timeouts are not needed.

        Raises:
            Exception: the script says so.
        """
        with self._lock:
            index = len(self._sent)
            self._sent.append(request)
        # Outside the lock: a function of the user's may block until the test lets it go.
        answer = self._answer(request, index)
        if isinstance(answer, Exception):
            raise answer
        return Response(status=answer) if isinstance(answer, int) else answer

    def _answer(self, request: Request, index: int) -> Answer:
        script = self.script
        if isinstance(script, (int, Response, Exception)):
            return script
        return script(request) if callable(script) else script[min(index, len(script) - 1)]

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def clear(self) -> None:
        """Forget the requests so far; a list of answers begins anew."""
        with self._lock:
            self._sent.clear()

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request so far, in the order of arrival."""
        with self._lock:
            return tuple(self._sent)

    @property
    def bodies(self) -> list[Any]:
        """The JSON data of every request so far."""
        return [body_of(request) for request in self.requests]


def body_of(request: Request) -> Any:
    """Return the JSON data that a request carries, unpacked if it is gzip."""
    return orjson.loads(plain_body(request))


def plain_body(request: Request) -> bytes:
    """Return the bytes that a request carries, unpacked if they are gzip."""
    names = {name.lower(): value for name, value in request.headers.items()}
    return gzip.decompress(request.body) if names.get("content-encoding") == "gzip" else request.body


def reply(status: int, data: Any = None, headers: Mapping[str, str] | None = None) -> Response:
    """Make an answer as a server would give it.

    Args:
        status: of the answer.
        data: JSON data for its body; default: an empty body.
        headers: names in any case.

    >>> reply(429, {"message": "slow down"}, {"Retry-After": "2"}).headers["retry-after"]
    '2'
    """
    named = {name.lower(): value for name, value in (headers or {}).items()}
    if data is None:
        return Response(status=status, headers=named)
    return Response(status=status, headers={"content-type": "application/json"} | named, body=orjson.dumps(data))
