"""The server that every client talks to, in a process of its own: ``python sink.py [--tls FOLDER]``.

It reads no more of a request than it must, answers with bytes that lie ready and keeps the body. What arrived is
decoded and counted only when asked, never while somebody's clock runs. It takes commands on its standard input and
answers them on its standard output, a JSON object a line, and ends with the input.
"""

import argparse
import asyncio
import base64
import gzip
import json
import os
import re
import ssl
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"

_MARK = re.compile(rb"mark-(\d{8})")
_SNOWPLOW_DATA = re.compile(rb'"ue_px": ?"([\w\-=]+)"')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")
_HEAD_END = b"\r\n\r\n"


def _amplitude(body: bytes) -> bytes:
    count = body.count(b'"event_type"')
    return b'{"code":200,"events_ingested":%d,"payload_size_bytes":%d,"server_upload_time":1}' % (count, len(body))


def _suprsend(body: bytes) -> bytes:
    record = {"status": "success", "status_code": 202, "message_id": "01HXXXXXXXXXXXXXXXXXXXXXXX"}
    count = max(1, body.count(b'"$insert_id"'))
    return json.dumps({"status": "success", "records": [record] * count}).encode()


#: What each vendor says to a good request.
SHAPES: dict[str, tuple[int, bytes | Callable[[bytes], bytes]]] = {
    "success": (200, b'{"success":true}'),  # Segment, Hightouch, Thrivestack
    "rudder": (200, b'"OK"'),
    "interakt": (202, b'{"result":true,"message":"Event tracked successfully"}'),
    "posthog": (200, b'{"status":1}'),
    "mixpanel": (200, b'{"error":"","status":1}'),
    "snowplow": (200, b"ok"),
    "amplitude": (200, _amplitude),
    "suprsend": (202, _suprsend),
}


class Rule:
    """How requests below a path are answered.

    Args:
        shape: whose words a good answer is in.
        latency: seconds before the answer.
        status: instead of the shape's; from 400 on the body does not count as arrived.
        hang: take the request and never answer.
        keep: the body, to count what is in it.
    """

    def __init__(
        self, shape: str = "success", latency: float = 0.0, status: int = 0, hang: bool = False, keep: bool = True
    ) -> None:
        good, words = SHAPES[shape]
        self.latency, self.hang, self.keep = latency, hang, keep
        self.status = status or good
        self.words = words if self.status < 400 else b'{"error":"played"}'
        self.ready = None if callable(self.words) else self._answer(self.words)

    def answer(self, body: bytes) -> bytes:
        if self.ready is not None:
            return self.ready
        assert callable(self.words)  # noqa: S101
        return self._answer(self.words(body))

    def _answer(self, words: bytes) -> bytes:
        head = b"HTTP/1.1 %d Played\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        return head % (self.status, len(words)) + words


class Books:
    """The rules, and what came in since the last reset."""

    def __init__(self) -> None:
        self.connections: set[Any] = set()
        self.rule({"": {}})
        self.reset()

    def rule(self, rules: Mapping[str, Mapping[str, Any]]) -> None:
        self._rules = {prefix.encode(): Rule(**rule) for prefix, rule in sorted(rules.items(), reverse=True)}
        self._found: dict[bytes, tuple[bytes, Rule]] = {}

    def reset(self) -> None:
        self.requests = self.size = 0
        self.opened = len(self.connections)
        self.bodies: list[tuple[int, bytes, bytes, bytes]] = []

    def find(self, path: bytes) -> tuple[bytes, Rule]:
        """Return the rule for a path, and the prefix under which it stands: the longest that fits."""
        if path not in self._found:
            self._found[path] = next((prefix, rule) for prefix, rule in self._rules.items() if path.startswith(prefix))
        return self._found[path]

    def count(self, low: int, high: int) -> dict[str, Any]:
        """Count the marks from ``low`` to below ``high``: all, the distinct ones, and when the last came."""
        numbers: dict[str, list[int]] = defaultdict(list)
        last: dict[str, int] = {}
        for at, prefix, head, body in self.bodies:
            found = [number for mark in _MARK.findall(_decoded(head, body)) if low <= (number := int(mark)) < high]
            if found:
                numbers[prefix.decode()] += found
                last[prefix.decode()] = at
        counts = {
            name: {"events": len(found), "distinct": len(set(found)), "last": last[name]}
            for name, found in numbers.items()
        }
        return {
            "events": sum(len(found) for found in numbers.values()),
            "distinct": len(set().union(*numbers.values())),
            "last": max(last.values(), default=0),
            "paths": counts,
        }


def _decoded(head: bytes, body: bytes) -> bytes:
    if b"content-encoding: gzip" in head:
        body = gzip.decompress(body)
    if b'"ue_px"' in body:
        return b" ".join(base64.urlsafe_b64decode(data + b"==") for data in _SNOWPLOW_DATA.findall(body))
    return body


class Wire(asyncio.Protocol):
    """One connection."""

    transport: Any  # uvloop's is none of asyncio's classes

    def __init__(self, books: Books, later: Callable[..., object]) -> None:
        self._books = books
        self._later = later
        self._got = bytearray()
        self._wanted = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._books.connections.add(transport)
        self._books.opened += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._books.connections.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        got = self._got
        got += data
        while len(got) > self._wanted and (ends := got.find(_HEAD_END)) >= 0:
            head = bytes(got[:ends])
            lower = head.lower()
            length = _LENGTH.search(lower)
            begins = ends + len(_HEAD_END)
            size = begins + (int(length[1]) if length else 0)
            if len(got) < size:
                self._wanted = size - 1
                if b"\r\nexpect: 100-continue" in lower:
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            body = bytes(got[begins:size])
            del got[:size]
            self._wanted = 0
            if b"\r\ntransfer-encoding:" in lower:
                self.transport.abort()  # no client here sends in chunks; one that began to would lose everything
                return
            self._take(head.split(b" ", 2)[1], lower, body)

    def _take(self, path: bytes, head: bytes, body: bytes) -> None:
        books = self._books
        books.requests += 1
        books.size += len(body)
        prefix, rule = books.find(path)
        if rule.hang:
            return
        if rule.keep and rule.status < 400:
            books.bodies.append((time.monotonic_ns(), prefix, head, body))
        closes = b"\r\nconnection: close" in head
        if rule.latency:
            self._later(rule.latency, self._reply, rule.answer(body), closes)
        else:
            self._reply(rule.answer(body), closes)

    def _reply(self, answer: bytes, closes: bool) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            if closes:
                self.transport.close()


class Server:
    """Listens, and does what is asked on the standard input."""

    def __init__(self, loop: asyncio.AbstractEventLoop, context: ssl.SSLContext | None) -> None:
        self.books = Books()
        self.port = 0
        self._loop, self._context = loop, context
        self._listening: asyncio.AbstractServer | None = None
        self._typed = b""

    async def up(self) -> None:
        """Listen; where we listened before, if we did."""
        self._listening = await self._loop.create_server(
            lambda: Wire(self.books, self._loop.call_later), HOST, self.port, ssl=self._context, backlog=1024
        )
        self.port = self._listening.sockets[0].getsockname()[1]

    def down(self) -> None:
        """Refuse new connections and cut those that are open."""
        if self._listening is not None:
            self._listening.close()
        for transport in list(self.books.connections):
            transport.abort()

    def hear(self) -> None:
        """Read what was typed; the end of the input is the end of everything."""
        typed = os.read(sys.stdin.fileno(), 65_536)
        if not typed:
            self._loop.stop()
            return
        *lines, self._typed = (self._typed + typed).split(b"\n")
        for line in lines:
            self._loop.create_task(self._answer(json.loads(line)))

    async def _answer(self, command: dict[str, Any]) -> None:
        books = self.books
        told: dict[str, Any] = {}
        match command:
            case {"do": "rule", "rules": rules}:
                books.rule(rules)
            case {"do": "reset"}:
                books.reset()
            case {"do": "count", "low": low, "high": high}:
                told = books.count(low, high)
            case {"do": "stats"}:
                told = {"requests": books.requests, "bytes": books.size, "connections": books.opened}
            case {"do": "down"}:
                self.down()
            case {"do": "up"}:
                await self.up()
            case _:
                told = {"error": f"there is no {command}"}
        say(**told)


def say(**told: object) -> None:
    print(json.dumps(told), flush=True)  # noqa: T201  it talks through its standard output


def new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def certified(folder: Path) -> ssl.SSLContext:
    """Make a certificate for this machine, and leave that of its authority in ``folder``."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    return context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tls", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    loop = new_loop()
    server = Server(loop, certified(given.tls) if given.tls else None)
    loop.run_until_complete(server.up())
    loop.add_reader(sys.stdin.fileno(), server.hear)
    say(port=server.port, loop=type(loop).__module__)
    loop.run_forever()


if __name__ == "__main__":
    main()
