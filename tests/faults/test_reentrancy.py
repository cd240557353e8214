"""Calls in the middle of calls: signal handlers, destructors, log handlers, and the locks that they may meet."""

import asyncio
import itertools
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from types import FrameType
from typing import Any

import pytest

from tests.faults.processes import run
from tests.faults.world import CANARIES, FaultServer, assert_conserved, stored
from tests.sockets import reply
from unitrack import Client, Destination, Message, Track, ledger
from unitrack.ledger import Book
from unitrack.providers import Hightouch
from unitrack.queue import Ready
from unitrack.queues import memory
from unitrack.queues.memory import MemoryQueue
from unitrack.transport import Urllib3Transport
from unitrack.wire import Part, Request, Response

MODES = pytest.mark.parametrize("mode", ["background", "sync"])


@MODES
def test_C8_tracking_from_a_signal_handler(mode: str) -> None:
    """Tracking from a signal handler, a thousand times a second, neither hangs nor loses anything."""
    with FaultServer() as server:
        done = run(
            f"""
            client = make(mode={mode!r}, max_events=500, on_full="drop_oldest")
            count, inside = 0, False
            def handler(*_):
                global count, inside
                if inside: return  # on a slow machine the next alarm comes before this one is through
                inside = True
                count += 1
                client.track("u", "signal", {{"i": count}})
                if count % 10 == 0: client.stats()
                if count % 25 == 0: client.flush(0.001)
                inside = False
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
            end, calls = time.monotonic() + 1.5, 0
            while time.monotonic() < end:
                client.track("u", "loop", {{"i": calls}}); calls += 1
                if calls % 500 == 0: client.flush(0.01)
            signal.setitimer(signal.ITIMER_REAL, 0, 0)
            assert client.flush(20)
            say(f"tracked {{calls + count}}")
            say(f"signals {{count}}")
            """,
            server.url,
        )
        ledger = assert_conserved(done.client, server.oracle, accepted=int(done.said("tracked")[0]))["cdp"]
    assert int(done.said("signals")[0]) > 20
    assert ledger.delivered + ledger.dropped.get("queue_full", 0) == ledger.accepted


@MODES
def test_C8_tracking_from_destructors_and_the_garbage_collector(mode: str) -> None:
    """Tracking from ``__del__`` and from callbacks of the garbage collector neither hangs nor loses anything."""
    with FaultServer() as server:
        done = run(
            f"""
            import gc
            client = make(mode={mode!r})
            count = 0
            class Dies:
                def __init__(self): self.me = self  # a circle, so that the collector finds it at any allocation
                def __del__(self):
                    global count
                    count += 1
                    assert client.track("u", "del", {{"i": count}})
            def collected(phase, info):
                global count
                if phase == "stop" and count < 5_000:
                    count += 1
                    client.track("u", "gc", {{"i": count}})
            gc.callbacks.append(collected)
            gc.set_threshold(50, 2, 2)
            calls = {300 if mode == "sync" else 2_000}
            for i in range(calls):
                Dies()
                client.track("u", "loop", {{"i": i}})
            gc.callbacks.clear()
            gc.set_threshold(700, 10, 10)
            gc.collect()
            assert client.flush(20)
            say(f"tracked {{calls + count}}")
            """,
            server.url,
        )
        ledger = assert_conserved(done.client, server.oracle, accepted=int(done.said("tracked")[0]))["cdp"]
    assert ledger.delivered == ledger.accepted


class Books:
    """A queue and its books, with what must be true of them."""

    def __init__(self, random: Random) -> None:
        self.queue, self.book = MemoryQueue(), Book()
        self.queue.open("d", max_events=40, max_bytes=1 << 30)
        self.numbers = itertools.count(1)
        self.waiting: set[int] = set()
        self.cleared: list[int] = []
        self._random = random
        self._files = [str(memory.__file__), str(ledger.__file__)]

    def track(self) -> None:
        """Do what an intake does, with ``on_full="drop_oldest"``."""
        seq = next(self.numbers)
        item = (seq, f"m{seq}", seq % 5, b"x" * (seq % 7 + 1), float(seq), ["d"])
        self.book.accept(seq)
        if full := self.queue.put(*item):
            given_up = [entry.seq for entry in self.queue.drop_oldest("d", 7)]
            self.waiting.difference_update(given_up)
            self.book.drop("queue_full", given_up)
            full = self.queue.put(*item)
        if full:
            self.book.drop("queue_full", [seq])
        else:
            self.waiting.add(seq)

    def interrupt(self, frame: FrameType, event: str, _: Any) -> None:
        """Track where Python would run a signal handler or a destructor: wherever something is called."""
        here = event in ("call", "return", "c_return") and frame.f_code.co_filename in self._files
        if here and self._random.random() < 0.03:
            self.track()

    def step(self, number: int) -> None:
        """Do what a delivery does, interrupted at every call."""
        sys.setprofile(self.interrupt)
        try:
            self.track()
            taken = self.queue.take("d", 7, None, float(number))
            third = len(taken) // 3
            self.book.barrier(next(self.numbers), lambda: self.cleared.append(number))
            self.queue.done("d", taken[:third])
            self.book.deliver(entry.seq for entry in taken[:third])
            self.queue.retry("d", taken[third : 2 * third], number + 3.0)
            self.queue.release("d", taken[2 * third :])
            self.queue.ready("d", float(number))
        finally:
            sys.setprofile(None)
        self.waiting.difference_update(entry.seq for entry in taken[:third])

    def drain(self) -> None:
        while taken := self.queue.take("d", 10, None, 1e9):
            self.queue.done("d", taken)
            self.book.deliver(entry.seq for entry in taken)
            self.waiting.difference_update(entry.seq for entry in taken)


def test_C8_a_queue_in_the_middle_of_itself() -> None:
    """A message that comes in the middle of any step of the queue or of the books leaves both of them right."""
    random = Random(7)
    for _ in range(20):
        books = Books(random)
        for number in range(60):
            books.step(number)
            assert books.book.ledger().balanced
            assert books.book.pending == len(books.waiting)
        books.drain()
        assert books.waiting == set()
        assert books.queue.ready("d", 1e9) == Ready(0, 0, None, None)
        assert sorted(books.cleared) == list(range(60))


@MODES
def test_C9_a_log_handler_that_tracks_what_we_log(mode: str) -> None:
    """A log handler that tracks every line, ours included, makes no circle: a line about a line is not logged."""
    with FaultServer() as server:
        done = run(
            f"""
            import logging
            deepest, depth, lines = 0, 0, []
            class Tracks(logging.Handler):
                def emit(self, record):
                    global deepest, depth
                    depth += 1
                    deepest = max(deepest, depth)
                    lines.append(record.getMessage())
                    client.track("logger", "Logged", {{"i": len(lines), "bad": 1j}})
                    client.track("u", "Logged", {{"i": len(lines)}})
                    depth -= 1
            logging.getLogger("unitrack").setLevel(logging.DEBUG)
            client = make(mode={mode!r}, debug=True)
            logging.getLogger("unitrack").addHandler(Tracks())
            for i in range(20):
                client.track("u", "E", {{"i": i}})
            client.track("u", "E", {{"bad": object()}})
            assert client.flush(10)
            client.close(10)
            say(f"deepest {{deepest}}")
            say(f"lines {{len(lines)}}")
            """,
            server.url,
        )
        ledger = assert_conserved(done.client, server.oracle)["cdp"]
    assert int(done.said("deepest")[0]) == 1
    # One line for the bad value and one for each request, except what is sent while a line is being written.
    told = int(done.said("lines")[0]) - 1
    assert told == (ledger.requests if mode == "background" else ledger.requests - 1)
    assert ledger.delivered == 20 + 1
    assert ledger.dropped == {"invalid": 2, "own_log": 2 * told}


# Locks.


class Watched:
    """A lock that notes who takes it while holding another one of ours, and what this thread holds."""

    _here = threading.local()
    # Of the test that runs.
    wrong: list[str] = []  # noqa: RUF012
    taken = 0

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading._RLock()  # type: ignore[attr-defined]  # the one in Python, which nobody replaces

    @classmethod
    def held(cls) -> list[str]:
        found: list[str] = cls._here.__dict__.setdefault("held", [])
        return found

    @classmethod
    def check(cls, what: str) -> None:
        if cls.held():
            cls.wrong.append(f"{what} under {cls.held()}")

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if any(name != self._name for name in self.held()):
            self.check(f"taking {self._name}")
        taken: bool = self._lock.acquire(blocking, timeout)
        if taken:
            self.held().append(self._name)
            Watched.taken += 1
        return taken

    def release(self) -> None:
        self.held().remove(self._name)
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    # What a Condition wants of its lock: to let go of it while it waits.

    def _release_save(self) -> Any:
        here = [name for name in self.held() if name == self._name]
        self.held()[:] = [name for name in self.held() if name != self._name]
        return here, self._lock._release_save()

    def _acquire_restore(self, state: Any) -> None:
        here, inner = state
        self._lock._acquire_restore(inner)
        self.held().extend(here)

    def _is_owned(self) -> bool:
        owned: bool = self._lock._is_owned()
        return owned


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have every lock of ours watched that is made from now on; return what went wrong."""
    numbers = itertools.count()

    def make() -> Any:
        maker = sys._getframe(1).f_globals["__name__"]
        return Watched(f"{maker}-{next(numbers)}") if maker.startswith("unitrack") else original()

    original = threading.RLock
    monkeypatch.setattr(threading, "RLock", make)
    monkeypatch.setitem(Book.__init__.__globals__, "__attr_factory__lock", make)  # it holds the original
    monkeypatch.setattr(Watched, "wrong", [])
    monkeypatch.setattr(Watched, "taken", 0)
    return Watched.wrong


class Checking(Hightouch):
    def encode(self, message: Message) -> Part:
        Watched.check("encode")
        return super().encode(message)

    def request(self, *args: Any) -> Request:
        Watched.check("request")
        return super().request(*args)

    def outcomes(self, *args: Any) -> Any:
        Watched.check("outcomes")
        return super().outcomes(*args)


class CheckingTransport(Urllib3Transport):
    def send(self, *args: Any, **settings: Any) -> Response:
        Watched.check("send")
        return super().send(*args, **settings)


@pytest.mark.parametrize("on_full", ["drop_newest", "drop_oldest", "block"])
def test_C10_no_lock_is_held_while_something_waits(on_full: str, watched: list[str]) -> None:
    """No lock is held while a request is on its way, while your code runs, or while another lock is taken."""

    def checks(name: str) -> Callable[..., None]:
        return lambda *_: Watched.check(name)

    def middleware(message: Message) -> Message:
        Watched.check("middleware")
        return message

    scripts = [reply(503), stored(), reply(400), reply(401), reply(429, headers={"Retry-After": "0.1"}), stored()]
    with FaultServer(*scripts) as server, FaultServer() as other, log_handler(checks("a log handler")):
        made = [Checking(write_key=CANARIES["write_key"], base_url=each.url) for each in (server, other)]
        client = Client(
            {"shaky": Destination(made[0], probe_interval=0.05), "sound": made[1]},
            transport=CheckingTransport(), middleware=[middleware], debug=True,
            on_delivery=checks("on_delivery"), on_drop=checks("on_drop"),
            max_events=150, on_full=on_full, block_timeout=0.05,
        )  # fmt: skip
        for i in range(400):
            client.track(f"u{i % 5}", "E", {"i": i, "bad": 1j if i % 50 == 0 else 1})
        client.send([Track(user_id="u", event="E", properties={"i": i}) for i in range(100)], timeout=5)
        client.flush(5)
        asyncio.run(_under_asyncio(client))
        assert client.close(5).status == "partial"
        ledgers = assert_conserved(client, {"shaky": server.oracle, "sound": other.oracle})
    assert ledgers["shaky"].retried
    assert Watched.taken > 1_000
    assert watched == []


@contextmanager
def log_handler(emit: Callable[..., None]) -> Iterator[None]:
    handler = logging.Handler()
    handler.emit = emit  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)


async def _under_asyncio(client: Client) -> None:
    for i in range(20):
        client.track("u", "E", {"i": i})
    assert await client.aflush(5)
    assert (await client.asend([Track(user_id="u", event="E", properties={"i": 0})], timeout=5)).status == "success"
