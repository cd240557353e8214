"""Many at once: threads, flushes, closes and forks, and destinations that must not feel each other."""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tests.faults.processes import run
from tests.faults.world import CANARIES, FaultServer, assert_conserved, store, until
from tests.patience import SLACK
from tests.sockets import answer, play, send, stall
from unitrack import Client, Destination, Message, Receipt, Track
from unitrack.middleware import add_context
from unitrack.providers import Hightouch
from unitrack.wire import Part, Request


def hightouch(server: FaultServer, kind: type[Hightouch] = Hightouch) -> Hightouch:
    return kind(write_key=CANARIES["write_key"], base_url=server.url)


@contextmanager
def running(*threads: threading.Thread) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


@pytest.fixture
def impatient_interpreter() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_C1_many_threads(impatient_interpreter: None) -> None:
    """64 threads that track at once lose nothing, send nothing twice, and each user's events arrive in order."""
    threads, events = 64, 150
    with FaultServer() as server, Client({"cdp": hightouch(server)}, concurrency=4) as client:

        def work(number: int) -> None:
            for i in range(events):
                assert client.track(f"u{number}-{i % 2}", "E", {"i": i})

        with running(*(threading.Thread(target=work, args=(number,)) for number in range(threads))):
            pass
        assert client.flush(30)
        ledger = assert_conserved(client, server.oracle, accepted=threads * events)["cdp"]
    assert ledger.delivered == threads * events
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0


def test_C2_flush_while_others_track() -> None:
    """``flush`` returns when what was accepted before it is settled, however much others track meanwhile."""
    stop = threading.Event()
    with FaultServer() as server, Client({"cdp": hightouch(server)}) as client:

        def noise(number: int) -> None:
            i = 0
            while not stop.is_set():
                i += 1
                client.track(f"noise-{number}", "E", {"i": i})
                time.sleep(0.0005)

        with running(*(threading.Thread(target=noise, args=(number,)) for number in range(3))):
            try:
                for round_ in range(10):
                    mine = {client.track("mine", "E", {"i": round_ * 20 + i}).message_id for i in range(20)}
                    began = time.monotonic()
                    assert client.flush(10)
                    assert time.monotonic() - began < 5
                    assert mine <= server.oracle.delivered
            finally:
                stop.set()
        assert client.flush(10)
        assert_conserved(client, server.oracle)
    assert server.oracle.duplicates == server.oracle.order_violations() == 0


def test_C3_close_flush_track_and_fork_at_once() -> None:
    """Whatever others do while a client is closed, every message with a truthy receipt arrives, and nobody hangs."""
    with FaultServer() as server:
        done = run(
            """
            import random
            sys.setswitchinterval(1e-5)
            accepted = []

            def one_round(number):
                client = Client({"cdp": hightouch()})
                go = threading.Barrier(5)

                def track():
                    go.wait()
                    i = 0
                    while True:
                        i += 1
                        receipt = client.track("u", "E", {"i": i})
                        if not receipt:
                            assert receipt.reason == "closed", receipt
                            return
                        accepted.append(receipt.message_id)

                def flush():
                    go.wait()
                    while client.flush(5) and client.track("f", "E", {"i": 0}, message_id=f"f{number}"):
                        accepted.append(f"f{number}")
                        return

                threads = [threading.Thread(target=track) for _ in range(3)] + [threading.Thread(target=flush)]
                for thread in threads: thread.start()
                go.wait()
                client.track("u", "first", {"i": 0}, message_id=f"first{number}")
                accepted.append(f"first{number}")

                def child():
                    assert client.stats()["cdp"].accepted == 0
                    assert client.track("child", "E", {"i": 0}, message_id=f"child{number}")
                    assert client.close(10).status == "success"

                time.sleep(random.random() / 100)
                pid = in_child(child)
                assert client.close(10).status == "partial"  # some came too late
                for thread in threads: thread.join()
                client.close(10)
                ledger = client.stats()["cdp"]
                assert ledger.balanced and ledger.pending == 0, ledger
                assert ended(pid) == 0, number

            rounds = 25
            for number in range(rounds):
                one_round(number)
            say(f"accepted {len(set(accepted))}")
            for message_id in set(accepted): say(f"id {message_id}")
            """,
            server.url,
        )
        ids = set(done.said("id"))
        assert len(ids) == int(done.said("accepted")[0]) > 25
        assert ids <= server.oracle.delivered
        assert {f"child{number}" for number in range(25)} <= server.oracle.delivered
        assert server.oracle.duplicates == 0


def test_C4_callbacks_that_raise() -> None:
    """A callback that raises stops neither the delivery nor the next call of it."""
    heard: list[str] = []

    def hear(verdicts: Sequence[Any]) -> None:
        heard.extend(verdict.message_id for verdict in verdicts)
        raise SystemExit("a callback that does not behave")

    with FaultServer() as server, Client({"cdp": hightouch(server)}, on_delivery=hear, on_drop=hear) as client:
        for i in range(3):
            client.track("u", "E", {"i": i}, message_id=f"m{i}")
            assert client.flush(5)
        client.track("u", "E", {"i": object()}, message_id="bad")
        assert client.flush(5)
        assert_conserved(client, server.oracle, accepted=4)
    assert heard == ["m0", "m1", "m2", "bad"]


def test_C4_callbacks_that_sleep() -> None:
    """A callback that sleeps holds up other callbacks only; messages are delivered, and ``close`` keeps its time."""
    release = threading.Event()
    with FaultServer() as server:
        client = Client({"cdp": hightouch(server)}, on_delivery=lambda verdicts: release.wait(20))
        for i in range(500):
            client.track(f"u{i % 7}", "E", {"i": i})
        until(lambda: client.stats()["cdp"].delivered == 500)
        began = time.monotonic()
        assert not client.flush(0.2)  # its callbacks were not called
        client.close(0.5)
        assert time.monotonic() - began < 0.7 + SLACK
        release.set()
        assert_conserved(client, server.oracle, accepted=500)


def test_C4_callbacks_that_call_the_client() -> None:
    """A callback may track, flush and close; a flush from inside one returns at once and says no."""
    said: list[tuple[str, object, float]] = []

    def call(verdicts: Sequence[Any]) -> None:
        for name, what in (("track", lambda: client.track("u", "from the callback", {"i": 0})),
                           ("flush", lambda: client.flush(5))):  # fmt: skip
            if len(said) < 4:
                began = time.monotonic()
                said.append((name, what(), time.monotonic() - began))

    closed: list[object] = []

    with FaultServer() as server:
        client = Client(
            {"cdp": hightouch(server)}, on_delivery=call, on_drop=lambda drops: closed.append(client.close(5))
        )
        client.track("u", "E", {"i": 0})
        until(lambda: len(said) == 4 and client.stats()["cdp"].delivered == 3)
        assert [name for name, *_ in said] == ["track", "flush"] * 2
        assert all(isinstance(result, Receipt) and result for name, result, _ in said if name == "track")
        assert [result for name, result, _ in said if name == "flush"] == [False, False]
        assert max(took for *_, took in said) < SLACK
        client.track("u", "E", {"i": 1j})
        until(lambda: closed)
        assert client.track("u", "late").reason == "closed"
        assert_conserved(client, server.oracle, accepted=5)


def test_C5_middleware_of_every_kind(caplog: pytest.LogCaptureFixture) -> None:
    """A middleware that raises, returns nonsense or changes in place stops that message only, and it is counted."""

    def middleware(message: Message) -> Any:
        assert isinstance(message, Track)
        match message.event:
            case "raises":
                raise ZeroDivisionError("a bug in the middleware")
            case "stops":
                return None
            case "garbage":
                return {"event": "no message"}
            case "changes in place":
                message.properties["list"].append("secret")
            case "spoils":
                return Track(user_id="u", event="E", properties={"x": object()})
        return message

    with FaultServer() as server:
        with Client({"cdp": hightouch(server)}, middleware=[middleware, add_context({"release": "1"})]) as client:
            receipts = {
                event: client.track("u", event, {"i": 0, "list": []})
                for event in ("raises", "stops", "garbage", "changes in place", "spoils", "good")
            }
            assert client.flush(5)
            ledger = assert_conserved(client, server.oracle, accepted=6)["cdp"]
        [message] = server.oracle.messages.values()
    assert (message["event"], message["context"]["release"]) == ("good", "1")
    assert [event for event, receipt in receipts.items() if receipt] == ["good"]
    assert receipts["stops"].reason == "filtered: a middleware returned None"
    assert (ledger.filtered, ledger.dropped) == (1, {"middleware": 3, "invalid": 1})
    assert "ZeroDivisionError" in caplog.text


def test_C5_middleware_that_sleeps() -> None:
    """A middleware that sleeps keeps the thread waiting that tracks, and no other."""
    inside, release = threading.Event(), threading.Event()

    def slow(message: Message) -> Message:
        if message.user_id == "slow":
            inside.set()
            release.wait(10)
        return message

    with FaultServer() as server, Client({"cdp": hightouch(server)}, middleware=[slow]) as client:
        with running(threading.Thread(target=client.track, args=("slow", "E", {"i": 0}))):
            assert inside.wait(5)
            for i in range(100):
                assert client.track("u", "E", {"i": i})
            assert client.flush(5)
            assert client.stats()["cdp"].delivered == 100
            release.set()
        assert client.flush(5)
        assert_conserved(client, server.oracle, accepted=101)


def test_C6_a_slow_destination_beside_a_fast_one() -> None:
    """A destination that takes seconds for an answer does not delay another one by a moment."""
    release = threading.Event()
    with FaultServer(play(stall(release), store(), send(answer()))) as slow, FaultServer() as fast:
        destinations = {name: Destination(hightouch(s), linger=0.0) for name, s in (("slow", slow), ("fast", fast))}
        with Client(destinations) as client:

            def latency(index: int) -> float:
                began = time.monotonic()
                message_id = client.track("u", "E", {"i": index}, message_id=f"m{index}").message_id
                until(lambda: message_id in fast.oracle.stored_at)
                return fast.oracle.stored_at[message_id] - began

            took = sorted(latency(i) for i in range(100))
            assert took[50] < 0.5
            assert took[98] < SLACK
            assert client.stats()["slow"].delivered == 0
            release.set()
            assert client.flush(10)
            assert_conserved(client, {"slow": slow.oracle, "fast": fast.oracle}, accepted=100)
        assert fast.oracle.duplicates == slow.oracle.duplicates == 0


class BrokenEncode(Hightouch):
    def encode(self, message: Message) -> Part:
        raise IndexError("a bug")


class GarbageFromEncode(Hightouch):
    def encode(self, message: Message) -> Any:
        return b"no part"


class BrokenRequest(Hightouch):
    def request(self, *_: Any) -> Request:
        raise IndexError("a bug")


class GarbageFromRequest(Hightouch):
    def request(self, *_: Any) -> Any:
        return None


class BrokenOutcomes(Hightouch):
    def outcomes(self, *_: Any) -> Any:
        raise IndexError("a bug")


class TooFewOutcomes(Hightouch):
    def outcomes(self, *_: Any) -> Any:
        return []


class GarbageFromOutcomes(Hightouch):
    def outcomes(self, response: Any, parts: Sequence[Any]) -> Any:
        return ["delivered"] * len(parts)


@pytest.mark.parametrize(
    "broken",
    [BrokenEncode, GarbageFromEncode, BrokenRequest, GarbageFromRequest, BrokenOutcomes, TooFewOutcomes,
     GarbageFromOutcomes],
    ids=lambda kind: kind.__name__,
)  # fmt: skip
def test_C7_a_bug_in_a_provider(broken: type[Hightouch]) -> None:
    """A bug in a provider's code makes dead letters of its own messages, after few attempts, and harms no other."""
    with FaultServer() as server, FaultServer() as other:
        with Client({"broken": hightouch(server, broken), "good": hightouch(other)}) as client:
            for i in range(10):
                client.track(f"u{i % 3}", "E", {"i": i})
            assert client.flush(30)
            ledgers = assert_conserved(client, {"broken": server.oracle, "good": other.oracle}, accepted=10)
            letters = client.dead_letters("broken")
    assert ledgers["good"].delivered == 10
    assert ledgers["broken"].dead == {"provider_error": 10}
    assert max(server.oracle.attempts.values(), default=0) <= 3
    assert all(letter.detail for letter in letters)
