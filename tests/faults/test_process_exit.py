"""Fault rows P: how a process ends, and what it can still send then."""

import pytest

from tests.faults.processes import run
from tests.faults.world import FaultServer, assert_conserved
from tests.patience import SLACK
from tests.sockets import play, stall


def test_P1_script_ends_without_flush() -> None:
    """A script that tracks and simply ends delivers everything, with neither flush nor close."""
    with FaultServer() as server:
        ended = run(
            """
            client = make()
            for i in range(1000):
                assert client.track(f"u{i % 100}", "E", {"i": i // 100})
            """,
            server.url,
        )
        ledgers = assert_conserved(ended.client, server.oracle, accepted=1000)
    assert ledgers["cdp"].delivered == 1000
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0
    assert ended.stderr == ""


def test_P2_exit_code_is_kept() -> None:
    """``sys.exit(3)`` ends with 3, after everything was delivered."""
    with FaultServer() as server:
        ended = run(
            "client = make()\nfor i in range(200): client.track('u', 'E', {'i': i})\nsys.exit(3)", server.url, code=3
        )
        assert assert_conserved(ended.client, server.oracle, accepted=200)["cdp"].delivered == 200
    assert ended.stderr == ""


def test_P2_unhandled_exception_keeps_its_traceback() -> None:
    """A script that dies of an exception delivers everything, and its traceback and exit code stay as they were."""
    script = "for i in range(200): client.track('u', 'E', {'i': i})\nraise KeyError('mine')"
    with FaultServer() as server:
        ended = run(f"client = make()\n{script}", server.url, code=1)
        assert assert_conserved(ended.client, server.oracle, accepted=200)["cdp"].delivered == 200
    lines = ended.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "KeyError: 'mine'"
    assert ended.stderr.count("Traceback") == 1
    assert "unitrack" not in ended.stderr


def test_P3_exit_while_the_server_hangs() -> None:
    """With a server that hangs, the process leaves within ``shutdown_timeout`` and says how much was not sent."""
    with FaultServer(play(stall())) as server:
        ended = run(
            """
            atexit.register(lambda: say(f"took {time.monotonic() - began}"))  # runs last
            client = make(shutdown_timeout=0.5)
            for i in range(300):
                client.track(f"u{i % 10}", "E", {"i": i})
            began = time.monotonic()
            """,
            server.url,
        )
        ledger = assert_conserved(ended.client, server.oracle, accepted=300, settled=False)["cdp"]
    assert ledger.pending == 300
    [took] = ended.said("took")
    assert 0.5 <= float(took) <= 0.5 + SLACK
    assert ended.stderr.splitlines() == ["unitrack: not sent before the process ended: 300 to cdp; they are lost"]


def test_P17_first_message_ever_inside_atexit() -> None:
    """The first message of a program may come in an atexit handler; it is sent without a new thread."""
    with FaultServer() as server:
        ended = run(
            """
            client = make()
            atexit.register(lambda: client.track("u", "the first and the last"))
            """,
            server.url,
        )
        assert assert_conserved(ended.client, server.oracle, accepted=1)["cdp"].delivered == 1
    assert ended.stderr == ""


def test_P17_handlers_before_and_after_ours() -> None:
    """What other atexit handlers track is sent, whether they run before or after ours."""
    with FaultServer() as server:
        ended = run(
            """
            def some(event):
                for i in range(50):
                    assert client.track("u", event)
            atexit.register(some, "after ours")
            client = make()
            some("in the script")
            atexit.register(some, "before ours")
            """,
            server.url,
        )
    # Ours told its ledger between the two, so the oracle alone knows of those that came last.
    events = [message["event"] for message in server.oracle.messages.values()]
    assert sorted(events) == ["after ours"] * 50 + ["before ours"] * 50 + ["in the script"] * 50
    assert ended.client.stats()["cdp"].pending == 0
    assert ended.stderr == ""


@pytest.mark.parametrize("warm", [True, False], ids=["with a sender", "without a sender"])
def test_P17_thread_that_outlives_the_main_thread(warm: bool) -> None:
    """A thread that goes on after the main thread ended may track, also where Python starts no more threads then."""
    with FaultServer() as server:
        ended = run(
            f"""
            client = make()
            if {warm}:
                client.track("u", "early")
                assert client.flush(5)
            def late():
                main = threading.main_thread()
                while main.is_alive():
                    time.sleep(0.005)
                for i in range(100):
                    assert client.track("u", "E", {{"i": i}})
            threading.Thread(target=late).start()
            """,
            server.url,
        )
        ledgers = assert_conserved(ended.client, server.oracle, accepted=100 + warm)
    assert ledgers["cdp"].delivered == 100 + warm
    assert server.oracle.duplicates == 0
    assert ended.stderr == ""


def test_P17_the_log_that_closes() -> None:
    """Log handlers that track when the logging module shuts down, after everybody else, still have it sent."""
    with FaultServer() as server:
        ended = run(
            """
            import logging
            class Loud(logging.Handler):
                def emit(self, record):
                    assert client.track("u", "a log line")
                def close(self):
                    assert client.track("u", "the log closes")
                    super().close()
            client = make()
            logging.getLogger("shop").addHandler(Loud())
            logging.getLogger("shop").warning("one")
            """,
            server.url,
        )
    events = [message["event"] for message in server.oracle.messages.values()]
    assert sorted(events) == ["a log line", "the log closes"]
    assert server.oracle.duplicates == 0
    assert ended.stderr == ""


def test_P17_destructors_while_other_threads_are_frozen() -> None:
    """A destructor that runs while Python shuts down may call anything: it is refused, and never hangs the exit."""
    with FaultServer() as server:
        for _ in range(4):
            ended = run(
                """
                client = make(shutdown_timeout=0.2)
                class Last:
                    def __del__(self, client=client, say=say, is_finalizing=sys.is_finalizing, Track=Track):
                        receipt = client.track("u", "too late")
                        assert client.flush(20) is False
                        assert client.send([Track(user_id="u", event="too late")], timeout=20).status == "fail"
                        client.close(20)
                        assert client.stats()["cdp"].accepted > 0
                        say(f"destructor {is_finalizing()} {receipt.reason}")
                elsewhere = sys.modules["elsewhere"] = type(sys)("elsewhere")
                elsewhere.last = Last()
                del elsewhere  # the frames of the frozen threads keep all that is in this module
                def on():
                    while True:
                        client.track("u", "E")
                        client.flush(0.001)
                for _ in range(3):
                    threading.Thread(target=on, daemon=True).start()  # one may hold a lock when it is frozen
                while client.stats()["cdp"].accepted < 20:
                    time.sleep(0.001)
                """,
                server.url,
            )
            assert ended.said("destructor") == ["True closed: the interpreter is ending"]
            assert ended.stderr.count("Traceback") == 0, ended.stderr


def test_P17_a_hanging_server_bounds_late_handlers_too() -> None:
    """Handlers that track after ours share its time: with a server that hangs, the exit is not prolonged."""
    with FaultServer(play(stall())) as server:
        ended = run(
            """
            atexit.register(lambda: say(f"took {time.monotonic() - began}"))
            for n in range(20):
                atexit.register(lambda: client.track("u", "late"))
            client = make(shutdown_timeout=0.5)
            client.track("u", "E")
            began = time.monotonic()
            """,
            server.url,
        )
    [took] = ended.said("took")
    assert 0.5 <= float(took) <= 0.5 + SLACK
    assert "Traceback" not in ended.stderr


def test_P18_daemon_threads_that_never_stop_tracking() -> None:
    """Daemon threads that still track while the interpreter goes away cause no crash, no hang and no noise."""
    with FaultServer() as server:
        for _ in range(6):
            ended = run(
                """
                client = make(shutdown_timeout=0.2)
                def on():
                    while True:
                        client.track("u", "E")
                        time.sleep(0.0005)
                for _ in range(3):
                    threading.Thread(target=on, daemon=True).start()
                while client.stats()["cdp"].accepted < 30:
                    time.sleep(0.001)
                """,
                server.url,
            )
            assert ended.client.stats()["cdp"].balanced
            assert "Traceback" not in ended.stderr
            assert "Fatal" not in ended.stderr


BARE = "import atexit, os, signal, socket, sys, threading\n"


def test_P25_import_starts_and_opens_nothing() -> None:
    """Importing unitrack and making a client starts no thread, opens no socket or file, and takes no signal."""
    ended = run(
        """
        import logging  # registers a handler for the end by itself
        handlers = atexit._ncallbacks()
        signals = {n: signal.getsignal(n) for n in signal.valid_signals()}
        opened = []
        sys.addaudithook(lambda event, args: opened.append(event) if event.startswith("socket.") else None)
        def descriptors():
            return sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else []
        before = descriptors()

        import unitrack, unitrack.providers, unitrack.config
        assert atexit._ncallbacks() == handlers, "something wants to run at the end"
        client = unitrack.Client({"cdp": unitrack.providers.Hightouch(write_key="canary-write-key-5f1c2e")})

        assert threading.active_count() == 1
        assert opened == []
        assert descriptors() == before
        assert {n: signal.getsignal(n) for n in signal.valid_signals()} == signals
        assert "urllib3" not in sys.modules and "requests" not in sys.modules and "asyncio" not in sys.modules
        """,
        head=BARE,
    )
    assert ended.stdout == ""


def test_P25_a_closed_client_leaves_nothing_behind() -> None:
    """A closed client leaves no thread, no connection and no handler for the end of the process."""
    with FaultServer() as server:
        ended = run(
            """
            import gc, weakref
            def sockets():
                links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
                return [link for link in links if os.path.islink(link) and "socket:" in os.readlink(link)]
            client = Client({"cdp": hightouch()}, on_delivery=lambda verdicts: None)
            for i in range(100):
                client.track(f"u{i}", "E")
            assert client.flush(5)
            assert threading.active_count() > 1
            client.close()
            assert threading.active_count() == 1, threading.enumerate()
            if os.path.isdir("/proc/self/fd"):
                assert sockets() == []
            tell(client)
            kept = weakref.ref(client)
            del client
            gc.collect()
            assert kept() is None, "something holds on to it, such as a handler for the end"
            """,
            server.url,
        )
        assert assert_conserved(ended.client, server.oracle, accepted=100)["cdp"].delivered == 100
