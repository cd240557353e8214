"""Fault rows P: threads that die or cannot be had, copies, event loops, scarce descriptors."""

import asyncio
import copy
import ctypes
import pickle
import threading
import time
from pathlib import Path

import pytest

from tests.faults.conftest import assert_clean
from tests.faults.processes import our_threads, run
from tests.faults.vendors import hightouch
from tests.faults.world import CANARIES, FaultServer, assert_conserved, stored, until
from tests.sockets import play, stall
from unitrack import Client, Destination, Track
from unitrack.config import load
from unitrack.transport import Urllib3Transport
from unitrack.wire import Request, Response

# P13


def test_P13_copies_of_a_client(tmp_path: Path) -> None:
    """A copy of a client is the client itself; pickling one is refused with a sentence that says what to do."""
    with FaultServer() as server:
        with Client({"cdp": hightouch(server)}) as client:
            client.track("u", "E")
            assert client.flush(5)
            threads = threading.active_count()
            assert copy.copy(client) is client
            assert copy.deepcopy({"it": [client]})["it"][0] is client
            with pytest.raises(TypeError, match="make one in each process") as refused:
                pickle.dumps(client)
            assert threading.active_count() == threads
            assert_clean(refused.value)
        assert_conserved(client, server.oracle, accepted=1)


def test_P13_configuration_is_pickled_without_secrets(tmp_path: Path) -> None:
    """A configuration that was read from a file can be pickled: as the file's name, never with a secret."""
    file = tmp_path / "unitrack.toml"
    file.write_text(f'[destinations.cdp]\nprovider = "hightouch"\nwrite_key = "{CANARIES["write_key"]}"\n')
    configuration = load(file)
    pickled = pickle.dumps(configuration)
    assert_clean(pickled)
    again = pickle.loads(pickled)
    assert again == configuration
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(configuration.destinations["cdp"].provider)


# P16


class Deadly(Urllib3Transport):
    """Raises what it is told to, once, before it sends."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.errors = [error]

    def send(self, request: Request, timeout: float, connect_timeout: float = 5.0) -> Response:
        if self.errors:
            raise self.errors.pop()
        return super().send(request, timeout, connect_timeout)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), MemoryError(), GeneratorExit()], ids=repr)
def test_P16_sender_thread_dies(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """A sender thread that dies in the middle of a request is replaced, and its messages are sent all the same."""
    with FaultServer() as server:
        with Client({"cdp": Destination(hightouch(server), transport=Deadly(error))}) as client:
            for i in range(1000):
                assert client.track(f"u{i % 100}", "E", {"i": i // 100})
            assert client.flush(10)
        ledgers = assert_conserved(client, server.oracle, accepted=1000)
        assert ledgers["cdp"].delivered == 1000
        assert server.oracle.duplicates == 0
        assert server.oracle.order_violations() == 0
    if not isinstance(error, Exception):
        assert caplog.text.count("a sender of cdp ended") == 1


def kill(thread: threading.Thread, error: type[BaseException] = SystemExit) -> None:
    """Raise an exception in a thread, at whatever it does next; and see that it does something."""
    assert thread.ident is not None
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(error)) == 1


def test_P16_idle_sender_thread_is_killed() -> None:
    """A sender that is killed while it has nothing to do is replaced for the next message, without any flush."""
    with FaultServer() as server:
        with Client({"cdp": hightouch(server)}, linger=0.01) as client:
            for n in range(10):
                client.track("u", "one", {"i": 2 * n})
                until(lambda n=n: len(server.oracle.delivered) == 2 * n + 1, why="the first waits for nobody")
                until(lambda n=n: client.stats()["cdp"].delivered == 2 * n + 1)
                [thread] = our_threads()
                kill(thread)
                if n % 2:
                    client.flush(5)  # there is nothing to send, but it wakes the thread, which dies of it
                    until(lambda thread=thread: not thread.is_alive(), why="it did not die")
                client.track("u", "another", {"i": 2 * n + 1})
                until(lambda n=n: len(server.oracle.delivered) == 2 * n + 2, why="the second waits for nobody")
        assert_conserved(client, server.oracle, accepted=20)
        assert server.oracle.duplicates == 0


def test_P16_callback_thread_is_killed() -> None:
    """The thread that calls the callbacks is replaced, too; ``flush`` still tells the truth."""
    told: list[str] = []
    with FaultServer() as server:
        with Client(
            {"cdp": hightouch(server)}, on_delivery=lambda some: told.extend(v.message_id for v in some)
        ) as client:
            for n in range(3):
                client.track("u", "E", message_id=f"a{n}")
                assert client.flush(5)
                [thread] = [one for one in our_threads() if one.name == "unitrack-callbacks"]
                kill(thread)
                client.track("u", "E", message_id=f"b{n}")
                assert client.flush(5), "the callbacks are called by nobody"
        assert_conserved(client, server.oracle, accepted=6)
    assert {f"b{n}" for n in range(3)} <= set(told)


def test_P16_callback_thread_is_killed_as_it_takes_its_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that calls the callbacks leaves no lock behind, wherever it is killed."""
    enter = threading.Condition.__enter__

    def enter_and_be_killed(condition: threading.Condition) -> bool:
        entered = enter(condition)
        if condition is client._process.engine().notifier._wake and threading.current_thread() is not caller:
            raise SystemExit  # what an exception from outside does between the lock and the block that it protects
        return entered

    told: list[str] = []
    caller = threading.current_thread()
    with FaultServer() as server:
        with Client(
            {"cdp": hightouch(server)}, on_delivery=lambda some: told.extend(v.message_id for v in some)
        ) as client:
            monkeypatch.setattr(threading.Condition, "__enter__", enter_and_be_killed)
            client.track("u", "E", message_id="a")
            assert client.flush(5)
        assert_conserved(client, server.oracle, accepted=1)
    assert told == ["a"]


# P19


def test_P19_track_in_coroutines() -> None:
    """Tracking in a coroutine never blocks the event loop, also while the server hangs."""
    release = threading.Event()
    with FaultServer(play(stall(release), *stored().actions), stored()) as server:
        client = Client({"cdp": hightouch(server)})
        lags: list[float] = []

        async def tick() -> None:
            while True:
                before = time.perf_counter()
                await asyncio.sleep(0.001)
                lags.append(time.perf_counter() - before - 0.001)

        async def work() -> None:
            ticking = asyncio.create_task(tick())
            for i in range(1000):
                assert client.track(f"u{i % 100}", "E", {"i": i // 100})
                await asyncio.sleep(0)
            assert not await client.aflush(0.1)
            release.set()
            assert await client.aflush(10)
            ticking.cancel()

        asyncio.run(work())
        report = client.close()
        assert_conserved(client, server.oracle, accepted=1000)
    assert report.status == "success"
    # Generous, because another process may have the processor; a call that waits for the network takes 100 ms.
    assert sorted(lags)[len(lags) // 2] < 0.05


def test_P19_cancelled_flush_and_loops_that_come_and_go() -> None:
    """Nothing belongs to an event loop: flushes may be cancelled, loops closed, and two loops share one client."""
    release = threading.Event()
    with FaultServer(play(stall(release), *stored().actions), stored()) as server:
        client = Client({"cdp": hightouch(server)})

        async def give_up() -> None:
            client.track("u", "E")
            flushing = asyncio.create_task(client.aflush(30))
            await asyncio.sleep(0.05)
            flushing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await flushing

        async def leave_it_behind() -> None:
            client.track("u", "E")
            left = asyncio.ensure_future(client.aflush(30))
            await asyncio.sleep(0)
            assert not left.done()

        async def work(user: str) -> None:
            for _ in range(100):
                assert client.track(user, "E")
            assert (await client.asend([Track(user_id=user, event="E")] * 10, timeout=10)).status == "success"
            assert await client.aflush(10)

        asyncio.run(give_up())
        asyncio.run(leave_it_behind())
        loop = asyncio.new_event_loop()
        loop.close()
        release.set()
        threads = [threading.Thread(target=lambda n=n: asyncio.run(work(f"u{n}"))) for n in range(2)]  # type: ignore[misc]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        asyncio.run(work("v"))
        assert asyncio.run(client.aclose(5)).status == "success"
        assert_conserved(client, server.oracle, accepted=2 + 3 * 110)
        assert server.oracle.duplicates == 0


# P26, P27


def test_P26_no_more_threads() -> None:
    """Where the system gives no thread, messages wait; ``flush``, ``close`` and the end of the process send them."""
    with FaultServer() as server:
        ended = run(
            """
            import asyncio, resource
            client = make(on_delivery=lambda verdicts: told.append(len(verdicts)))
            told = []
            # The stack of a thread is larger than what may still be mapped.
            resource.setrlimit(resource.RLIMIT_AS, (2 << 30, resource.RLIM_INFINITY))
            threading.stack_size(4 << 30)
            try:
                threading.Thread(target=print).start()
            except RuntimeError:
                pass
            else:
                sys.exit("threads can be had")
            for i in range(500):
                assert client.track(f"u{i % 50}", "E", {"i": i // 50})
            assert threading.active_count() == 1
            assert client.flush(5)
            assert sum(told) == 500
            assert client.send([Track(user_id="u", event="bulk")] * 100, timeout=5).status == "success"
            async def work():
                client.track("u", "async")
                assert await client.aflush(5)
                report = await client.asend([Track(user_id="u", event="async bulk")], timeout=5)
                assert report.status == "success"
            asyncio.run(work())
            for i in range(100):
                assert client.track(f"u{i % 50}", "at the end")
            """,
            server.url,
        )
        ledger = assert_conserved(ended.client, server.oracle, accepted=702)["cdp"]
        assert ledger.delivered == 702
        assert server.oracle.duplicates == 0
    assert ended.stderr == ""


def test_P27_no_more_descriptors() -> None:
    """A process that ran out of file descriptors keeps its messages, and sends them when there are some again."""
    with FaultServer() as server:
        ended = run(
            """
            import resource
            client = make()
            resource.setrlimit(resource.RLIMIT_NOFILE, (32, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            taken = []
            def take_all():
                try:
                    while True:
                        taken.append(os.open(os.devnull, os.O_RDONLY))
                except OSError:
                    pass
            take_all()  # also what the first message would open to load the HTTP library
            for i in range(500):
                assert client.track(f"u{i % 50}", "E", {"i": i // 50})
            assert not client.flush(0.3)
            assert client.stats()["cdp"].pending == 500
            for one in taken: os.close(one)
            assert client.flush(10)
            tell(client)
            """,
            server.url,
        )
        assert assert_conserved(ended.client, server.oracle, accepted=500)["cdp"].delivered == 500
        assert server.oracle.duplicates == 0
        assert server.oracle.order_violations() == 0
