"""How much the sink can take, so that one sees that it is no client's limit."""

import json
import socket
import time
from urllib.parse import urlsplit

from .event import plain
from .sink_control import Sink

BATCH = 100


def ceiling(sink: Sink, seconds: float = 0.5) -> dict[str, float]:
    """Return requests per second on one connection, of one event and of a hundred, sent without any client."""
    one = json.dumps(plain(1)).encode()
    return {"single": _per_second(sink, one, seconds), "batch": _per_second(sink, one * BATCH, seconds)}


def _per_second(sink: Sink, body: bytes, seconds: float) -> float:
    sink.rule()
    request = b"POST /v1/batch HTTP/1.1\r\nHost: sink\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    where = urlsplit(sink.url)
    count = 0
    with socket.create_connection((where.hostname, where.port), 5.0) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            connection.sendall(request)
            if not connection.recv(65_536):
                raise ConnectionError("the sink has closed the connection")
            count += 1
    sink.rule()
    return count / passed
