"""Hostile surroundings: providers, transports, queues and moments that no one plans for."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from inspect import getfile
from typing import Any

import pytest
from attrs import field, frozen

from tests.interrupting import at_line, interrupted
from tests.patience import SLACK
from unitrack import Client, ConfigError, Destination, Message, Track
from unitrack.deadline import Attempt, current_attempt
from unitrack.errors import TransportError
from unitrack.ledger import Book
from unitrack.limiter import RateLimit
from unitrack.queues.memory import MemoryQueue
from unitrack.testing import FakeTransport
from unitrack.waiting import Waiter
from unitrack.wire import Capabilities, Delivered, Outcome, Part, Provider, Rejected, Request, Response, Retry, secret

SECRET = "canary-attack-51c0ffee"
CAN = Capabilities(max_batch=10, max_batch_bytes=10_000)


@frozen(kw_only=True)
class Fragile:
    """A provider of somebody else's, with a bug where a test puts it."""

    key: str = secret()
    base_url: str = "https://api.fragile.test"
    capabilities: Capabilities = CAN
    on_encode: Callable[[Message], Any] | None = None
    on_request: Callable[[Sequence[Part]], Any] | None = None
    on_outcomes: Callable[[Response, Sequence[Part]], Any] | None = None
    name: str = field(default="fragile", init=False)

    def encode(self, message: Message) -> Part:
        if self.on_encode is not None and (found := self.on_encode(message)) is not None:
            return found  # type: ignore[no-any-return]
        return Part(path="/", body=(message.message_id or "").encode())

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        if self.on_request is not None:
            return self.on_request(parts)  # type: ignore[no-any-return]
        return Request(url=self.base_url, headers={}, body=b" ".join(part.body for part in parts))

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        if self.on_outcomes is not None:
            return self.on_outcomes(response, parts)  # type: ignore[no-any-return]
        if response.status in (400, 413):
            return [Rejected("refused", response.status)] * len(parts)
        return [Delivered()] * len(parts) if response.status == 200 else [Retry("later")] * len(parts)


class Calls:
    """A transport made of a function."""

    def __init__(self, function: Callable[[Request], Any] = lambda request: Response(status=200)) -> None:
        self.function = function
        self.bodies: list[bytes] = []
        self.timeouts: list[float] = []

    def send(self, request: Request, timeout: float, connect_timeout: float = 5.0) -> Response:
        self.bodies.append(request.body)
        self.timeouts.append(timeout)
        return self.function(request)  # type: ignore[no-any-return]

    def close(self) -> None:
        pass


@contextmanager
def running(
    provider: Provider | Destination | None = None, transport: object = None, **settings: Any
) -> Iterator[Client]:
    """Make a client that retries at once and never waits long for its end."""
    chosen: dict[str, Any] = {"dice": lambda: 0.0, "linger": 0.0, "shutdown_timeout": 0.2, **settings}
    client = Client({"x": provider or Fragile(key=SECRET)}, transport=transport or Calls(), **chosen)
    try:
        yield client
    finally:
        client.close()


def within(seconds: float, function: Callable[[], object]) -> bool:
    """Run in a thread that may be left behind; tell whether it came to an end."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


# -- providers


@pytest.mark.parametrize("nonsense", [None, "ok", True, Delivered, Retry(None), Retry("x", after="soon"), Rejected(7)])  # type: ignore[arg-type]
def test_a_verdict_that_is_none_ends_as_a_dead_letter_and_not_in_a_loop(nonsense: Any) -> None:
    transport = Calls()
    provider = Fragile(key=SECRET, on_outcomes=lambda response, parts: [nonsense] * len(parts))
    with running(provider, transport) as client:
        client.track("u", "E")
        assert client.flush(5)
        assert client.stats()["x"].dead == {"provider_error": 1}
        assert len(transport.bodies) == 3


@pytest.mark.parametrize("nonsense", [7, b"bytes", (), Part(path="/", body=None)])  # type: ignore[arg-type]
def test_a_part_that_is_none_costs_one_message(nonsense: Any) -> None:
    provider = Fragile(key=SECRET, on_encode=lambda message: nonsense if message.user_id == "bad" else None)
    with running(provider) as client:
        client.track("bad", "E")
        client.track("good", "E")
        assert client.flush(5)
        assert client.stats()["x"].dead == {"provider_error": 1}
        assert client.stats()["x"].delivered == 1


@pytest.mark.parametrize("nonsense", [None, "https://api.fragile.test", Request(url="u", headers={}, body=None)])  # type: ignore[arg-type]
def test_a_request_that_is_none_ends_as_a_dead_letter(nonsense: Any) -> None:
    with running(Fragile(key=SECRET, on_request=lambda parts: nonsense)) as client:
        client.track("u", "E")
        assert client.flush(5)
        assert client.stats()["x"].dead == {"provider_error": 1}


class Unspeakable(Exception):
    """Cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


def test_an_error_that_cannot_be_shown_ends_as_a_dead_letter() -> None:
    def encode(message: Message) -> Part:
        raise Unspeakable

    with running(Fragile(key=SECRET, on_encode=encode)) as client:
        client.track("u", "E")
        assert client.flush(5)
        assert client.stats()["x"].dead == {"provider_error": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_batch": 0},
        {"max_batch": 10, "max_batch_bytes": 0},
        {"rate_per_minute": 0},
        {"rate_per_minute": float("inf")},
        {"rate_per_minute": float("nan")},
    ],
)
def test_capabilities_that_let_nothing_out_are_refused_when_the_client_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"destinations\.x.*" + list(wrong)[-1]):
        Client({"x": Fragile(key=SECRET, capabilities=Capabilities(**wrong))})


def test_a_413_for_a_batch_says_nothing_about_a_message_that_would_travel_alone() -> None:
    limit = 1_000

    def answer(request: Request) -> Response:
        return Response(status=413 if len(request.body) > limit else 200)

    provider = Fragile(
        key=SECRET, on_encode=lambda m: Part(path="/", body=b"x" * (900 if m.user_id == "large" else 300))
    )
    with running(provider, Calls(answer), linger=0.2) as client:
        for number in range(4):
            client.track(f"u{number}", "E")
        assert client.flush(5)
        client.track("large", "E")
        assert client.flush(5)
        assert client.stats()["x"].delivered == 5


def test_remarks_on_a_delivery_show_no_secret_and_are_bounded() -> None:
    heard: list[Any] = []
    remarks = tuple(f"key {SECRET} is old " + "x" * 10_000 for _ in range(10_000))
    provider = Fragile(key=SECRET, on_outcomes=lambda response, parts: [Delivered(remarks)] * len(parts))
    with running(provider, on_delivery=heard.extend) as client:
        client.track("u", "E")
        assert client.flush(5)
        shown = repr(client.stats()["x"].warnings) + repr(heard)
    assert heard
    assert SECRET not in shown
    assert len(shown) < 100_000


@pytest.mark.parametrize("place", range(440, 520, 7))
def test_a_secret_that_an_excerpt_cuts_in_two_is_not_shown(place: int) -> None:
    from unitrack.providers import Hightouch

    key = "k3y-" + "0123456789abcdef" * 2
    answer = Response(status=400, body=b"x" * place + key.encode() + b"y" * 100)
    with running(Hightouch(write_key=key), Calls(lambda request: answer)) as client:
        client.track("u", "E")
        assert client.flush(5)
        [letter] = client.dead_letters()
    assert not any(key[:n] in letter.detail for n in range(6, len(key)))


# -- transports


@pytest.mark.parametrize("nonsense", [None, 200, b"ok", Response(status="200")])  # type: ignore[arg-type]
def test_an_answer_that_is_none_counts_as_an_attempt(nonsense: Any) -> None:
    with running(transport=Calls(lambda request: nonsense), max_retries=2) as client:
        client.track("u", "E")
        assert client.flush(5)
        assert client.stats()["x"].dead == {"exhausted": 1}
        assert client.stats()["x"].requests == 3


def test_a_sender_that_ends_shows_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    died = threading.Event()

    def die(request: Request) -> Response:
        if not died.is_set():
            died.set()
            raise SystemExit(f"with {SECRET}")
        return Response(status=200)

    with caplog.at_level(logging.DEBUG), running(transport=Calls(die)) as client:
        client.track("u", "E")
        assert client.flush(5)
    assert "a sender of x ended" in caplog.text
    assert SECRET not in caplog.text


def test_many_destinations_that_hang_do_not_add_up_when_closing() -> None:
    let_go = threading.Event()
    transport = Calls(lambda request: let_go.wait(20) and Response(status=200))
    client = Client(
        {f"x{n}": Fragile(key=SECRET) for n in range(40)}, transport=transport, linger=0.0, shutdown_timeout=0.2
    )
    try:
        client.track("u", "E")
        began = time.monotonic()
        assert client.close(0.2).failure == 40
        assert time.monotonic() - began < 0.2 + SLACK
    finally:
        let_go.set()


def test_the_longest_time_that_can_be_set_is_one_that_a_socket_takes() -> None:
    from tests.answering import answering
    from unitrack.providers import Hightouch

    with (
        answering() as server,
        running(
            Hightouch(write_key=SECRET, base_url=server.url), timeout=1e9, connect_timeout=1e9, mode="sync"
        ) as client,
    ):
        assert client.track("u", "E")


# -- queues


class Failing(MemoryQueue):
    """A queue whose disk fails once, at one kind of call."""

    def __init__(self, call: str) -> None:
        super().__init__()
        self._call = call
        real = getattr(self, call)

        def fail_once(*args: Any) -> Any:
            setattr(self, call, real)
            raise OSError("disk full")

        setattr(self, call, fail_once)


@pytest.mark.parametrize("call", ["done", "retry", "take", "take_expired", "ready"])
def test_a_queue_that_fails_once_loses_nothing_and_stops_nothing(call: str) -> None:
    answers: list[Any] = [TransportError("refused", sent=False), Response(status=503)]

    def answer(request: Request) -> Response:
        found = answers.pop(0) if answers else Response(status=200)
        if isinstance(found, Exception):
            raise found
        return found

    with running(transport=Calls(answer), queue=Failing(call)) as client:
        client.track("u", "E")
        assert client.flush(5)
        assert client.stats()["x"].delivered == 1


def test_a_failure_while_old_messages_are_buried_loses_none_of_them() -> None:
    with running(
        transport=Calls(lambda r: Response(status=503)), queue=Failing("bury"), delivery_deadline=0.1
    ) as client:
        for number in range(5):
            client.track(f"u{number}", "E")
        assert client.flush(5)
        assert client.stats()["x"].dead == {"expired": 5}


@pytest.mark.parametrize("call", ["drop_oldest", "has_room"])
def test_a_queue_that_fails_to_make_room_does_not_raise_into_the_program(call: str) -> None:
    let_go = threading.Event()
    transport = Calls(lambda request: let_go.wait(20) and Response(status=200))
    on_full = "drop_oldest" if call == "drop_oldest" else "block"
    with running(transport=transport, queue=Failing(call), max_events=1, on_full=on_full) as client:
        assert client.track("u", "E")
        assert not client.track("u", "E")
        let_go.set()
        assert client.flush(5)
        ledger = client.stats()["x"]
        assert ledger.balanced
        assert ledger.dropped == {"queue_error": 1}


def test_dead_letters_that_cannot_be_kept_do_not_raise_into_the_program() -> None:
    can = Capabilities(accepts=frozenset({"identify"}))
    with running(Fragile(key=SECRET, capabilities=can), queue=Failing("keep_dead")) as client:
        assert not client.track("u", "E")
        assert client.stats()["x"].dead == {"unsupported": 1}


def test_messages_expire_while_they_wait_for_company() -> None:
    with running(linger=60.0, delivery_deadline=0.1) as client:
        client.track("u", "E")
        end = time.monotonic() + 5
        while client.stats()["x"].pending and time.monotonic() < end:
            time.sleep(0.01)
        assert client.stats()["x"].dead == {"expired": 1}


# -- the order of things


def test_a_request_that_another_probe_kept_back_is_not_overtaken() -> None:
    transport = Calls()
    provider = Fragile(key=SECRET, on_encode=lambda m: Part(path="/", body=(m.message_id or "").encode(), alone=True))
    with running(provider, transport, mode="sync") as client:
        gate = client._process.engine()._deliveries["x"].gate
        enter = gate.enter

        def refuse_once(now: float) -> bool:
            # Another thread was probing at this moment, and is answered before we ask how long to wait.
            gate.enter = enter  # type: ignore[method-assign]
            return False

        gate.enter = refuse_once  # type: ignore[method-assign]
        client.send([Track(user_id="u", event="E", message_id=name) for name in ("first", "second", "third")])
    assert transport.bodies == [b"first", b"second", b"third"]


# -- callers


@pytest.mark.parametrize("wrong", [float("nan"), "5", b"", [1]])
@pytest.mark.parametrize("call", ["flush", "close", "send"])
def test_a_timeout_that_is_no_number_changes_nothing(call: str, wrong: Any) -> None:
    with running(linger=60.0) as client:
        client.track("u", "E")
        with pytest.raises((TypeError, ValueError), match="timeout"):
            client.send([], timeout=wrong) if call == "send" else getattr(client, call)(wrong)
        assert client.track("u", "E")
        assert client.flush(5)
        assert client.stats()["x"].delivered == 2


@pytest.mark.parametrize("forever", [float("inf"), 1e300, None, True])
def test_any_long_timeout_will_do(forever: Any) -> None:
    with running() as client:
        assert client.send([Track(user_id="u", event="E")], timeout=forever).status == "success"
        client.track("u", "E")
        assert client.flush(forever)
        assert client.close(forever).status == "success"


@pytest.mark.parametrize("brief", [0, -1, -1e300, float("-inf"), 1e-9])
def test_any_short_timeout_will_do(brief: float) -> None:
    let_go = threading.Event()
    with running(transport=Calls(lambda request: let_go.wait(20) and Response(status=200))) as client:
        assert client.send([Track(user_id="u", event="E")], timeout=brief).failure == 1
        assert not client.flush(brief)
        assert client.close(brief).failure == 1
        let_go.set()


def test_a_client_that_is_closed_while_it_takes_a_message_keeps_its_word() -> None:
    transport = Calls()
    client: Client

    def close_in_between(message: Message) -> Message:
        client.close(1)
        return message

    client = Client({"x": Fragile(key=SECRET)}, transport=transport, middleware=[close_in_between])
    receipt = client.track("u", "E")
    ledger = client.stats()["x"]
    assert ledger.pending == 0
    assert bool(receipt) is bool(ledger.delivered) is bool(transport.bodies)


def test_a_close_that_was_interrupted_can_be_finished() -> None:
    client = Client({"x": Fragile(key=SECRET)}, transport=Calls(), linger=60.0)
    client.track("u", "E")
    engine = client._process.engine()
    flush = engine.flush

    def interrupt(timeout: float | None) -> bool:
        engine.flush = flush  # type: ignore[method-assign]
        raise KeyboardInterrupt

    engine.flush = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        client.close(5)
    assert not client.track("u", "E")
    assert client.close(5).success == 1


def test_what_a_with_block_could_not_send_is_on_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with running(transport=Calls(lambda request: Response(status=503))) as client:
        client.track("u", "E")
    assert "1 to x" in caplog.text


def test_a_middleware_that_spoils_options_does_not_raise_into_the_program() -> None:
    def spoil(message: Message) -> Message:
        message.options["x"] = object()  # type: ignore[index]
        return message

    with running(middleware=[spoil]) as client:
        assert not client.track("u", "E", options={"x": {"a": 1}})
        assert client.stats()["x"].dropped == {"middleware": 1}


def test_a_middleware_that_changes_options_in_place_is_refused() -> None:
    def redact(message: Message) -> Message:
        message.options["x"]["email"] = "[redacted]"
        return message

    with running(middleware=[redact]) as client:
        assert not client.track("u", "E", options={"x": {"email": "ada@example.com"}})


def test_a_sync_bulk_larger_than_the_queue_gives_each_request_its_time() -> None:
    transport = Calls()
    with running(transport=transport, mode="sync", max_events=2) as client:
        messages = [Track(user_id=f"u{n}", event="E") for n in range(9)]
        assert client.send(messages, timeout=10).success == 9
    assert min(transport.timeouts) > 5


def test_a_sync_bulk_naps_while_a_full_queue_is_on_hold() -> None:
    with running(transport=FakeTransport(503), mode="sync", max_events=1, dice=lambda: 1.0) as client:
        delivery = client._process.engine()._deliveries["x"]
        steps = 0
        step = delivery.step

        def count(within: float | None = None) -> float | None:
            nonlocal steps
            steps += 1
            return step(within)

        delivery.step = count  # type: ignore[method-assign]
        client.send([Track(user_id="u", event="E"), Track(user_id="u", event="E")], timeout=0.5)
        assert steps < 100


# -- signal handlers and destructors


def test_a_waiter_can_be_set_in_the_middle_of_its_own_wait() -> None:
    set_in_time: list[bool] = []

    def wait(at: int) -> bool:
        waiter, set_at = Waiter(), 0.0

        def interrupt() -> None:
            nonlocal set_at
            set_at = time.monotonic()
            waiter.set()

        began = time.monotonic()
        more = interrupted(
            lambda: waiter.wait(2), at, at_line, interrupt, {getfile(Waiter), *map(getfile, (threading, contextlib))}
        )
        if set_at > began + 1.6:
            return False  # from here on it is over
        set_in_time.append(time.monotonic() - began < 1.6)
        return more

    def attempts() -> None:
        at = 1
        while wait(at):
            at += 1

    assert within(20, attempts)
    assert len(set_in_time) > 3
    assert all(set_in_time)


def test_a_book_balances_after_a_step_in_the_middle_of_a_step() -> None:
    at, more = 1, True
    while more:
        book = Book()
        for seq in (1, 2, 3, 4):
            book.accept(seq)
        book.barrier(9, lambda: None)

        def step(book: Book = book) -> None:
            book.drop("queue_full", [3])
            book.deliver([4])
            book.refuse("queue_full")

        def steps(book: Book = book) -> None:
            book.drop("queue_full", [1])
            book.deliver([2])

        more = interrupted(steps, at, at_line, step, {getfile(Book)})
        if more:
            ledger = book.ledger()
            assert ledger.balanced
            assert (ledger.delivered, ledger.dropped, ledger.pending) == (2, {"queue_full": 3}, 0)
        at += 1
    assert at > 10


def test_entries_that_are_given_back_twice_are_given_back_once() -> None:
    queue = MemoryQueue()
    queue.open("x", max_events=2, max_bytes=100)
    queue.put(1, "one", 1, b"r", 0.0, ["x"])
    queue.put(2, "two", 2, b"r", 0.0, ["x"])
    first, second = queue.take("x", 10, None, 0.0)
    queue.done("x", [first])
    queue.release("x", [first, second])
    queue.release("x", [first, second])
    assert [entry.message_id for entry in queue.take("x", 10, None, 0.0)] == ["two"]


class Interrupted(bytes):
    """A record during whose measuring something else happens."""

    happens: Callable[[], object] | None = None

    def __len__(self) -> int:
        happens, self.happens = self.happens, None
        if happens is not None:
            happens()
        return super().__len__()


@pytest.mark.parametrize("call", ["done", "retry", "drop_oldest"])
def test_a_queue_knows_its_size_after_a_put_in_the_middle_of_a_call(call: str) -> None:
    queue = MemoryQueue()
    queue.open("x", max_events=100, max_bytes=1_000)
    record = Interrupted(b"r" * 100)
    queue.put(1, "one", 1, record, 0.0, ["x"])

    def put() -> None:
        assert not queue.put(2, "two", 2, b"s" * 100, 0.0, ["x"])

    if call == "drop_oldest":
        record.happens = put
        queue.drop_oldest("x", 950)
    else:
        entries = queue.take("x", 10, None, 0.0)
        record.happens = put
        queue.done("x", entries) if call == "done" else queue.retry("x", entries, 0.0)
    waiting = queue.take("x", 10, None, 0.0)
    queue.done("x", waiting)
    assert queue.has_room("x", 1_000)
    assert not queue.has_room("x", 1_001)
    assert queue.ready("x", 0.0).size == 0


def test_a_rate_limit_can_be_asked_in_the_middle_of_being_asked() -> None:
    def attempts() -> None:
        at, more = 1, True
        while more:
            limit = RateLimit(10)
            more = interrupted(
                lambda r=limit: r.wait(0.0), at, at_line, lambda r=limit: r.wait(0.0), {getfile(RateLimit)}
            )  # type: ignore[misc]
            at += 1
        done.append(at)

    done: list[int] = []
    assert within(10, attempts)
    assert done[0] > 3


def test_a_request_within_a_request_leaves_the_outer_one_its_deadline() -> None:
    with Attempt(5, 5) as outer:
        with Attempt(1, 1) as inner:
            assert current_attempt() is inner
        assert current_attempt() is outer
    assert current_attempt() is None


# -- threads


def test_a_thread_that_could_not_be_started_for_lack_of_memory_is_started_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start
    failed = threading.Event()

    def fail_once(thread: threading.Thread) -> None:
        if thread.name == "unitrack-x" and not failed.is_set():
            failed.set()
            raise MemoryError
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail_once)
    with running(concurrency=1) as client:
        with suppress(MemoryError):
            client.track("u", "E")
        client.track("u", "E")
        assert client.flush(5)
        assert client.stats()["x"].delivered == 2


def test_a_wait_without_end_notices_that_the_last_sender_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    began, die = threading.Event(), threading.Event()

    def answer(request: Request) -> Response:
        if not die.is_set():
            began.set()
            die.wait(5)
            raise SystemExit
        return Response(status=200)

    def none_left(thread: threading.Thread) -> None:
        if die.is_set() and thread.name == "unitrack-x":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", none_left)
    with running(transport=Calls(answer), concurrency=1) as client:
        client.track("u", "E")
        assert began.wait(5)
        threading.Timer(0.1, die.set).start()
        assert within(5, lambda: client.flush(None))
        assert client.stats()["x"].delivered == 1
