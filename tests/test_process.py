"""The end of a process, its forks, its signals: real processes against a real server."""

import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.answering import Answer, Answering, Got, answering
from tests.patience import SLACK

WALL_LIMIT = 60

HEAD = """
import atexit, os, sys, threading, time, logging
from unitrack import Client, Track
from unitrack.providers import Hightouch
def make(**settings):
    return Client({"cdp": Hightouch(write_key="write-key-1", base_url=sys.argv[1])}, **settings)
"""


def run(server: Answering, script: str, *, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", HEAD + textwrap.dedent(script), server.url],
        capture_output=True,
        text=True,
        timeout=WALL_LIMIT,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def test_a_script_that_tracks_and_ends_delivers_everything() -> None:
    with answering() as server:
        done = run(
            server,
            """
            client = make()
            for i in range(1037):
                assert client.track(f"u{i % 7}", "E", {"i": i})
            """,
        )
        assert len(server.messages) == 1037
    assert done.stderr == ""


def test_the_exit_code_and_the_traceback_stay_what_they_were() -> None:
    with answering() as server:
        run(server, "make().track('u', 'one'); sys.exit(3)", code=3)
        done = run(server, "make().track('u', 'two'); raise KeyError('mine')", code=1)
        assert "KeyError: 'mine'" in done.stderr
        assert [m["event"] for m in server.messages] == ["one", "two"]


def test_exit_leaves_a_hanging_server_in_time_and_says_what_was_not_sent() -> None:
    def hang(got: Got) -> Answer:
        time.sleep(10)
        return Answer()

    with answering(hang) as server:
        began = time.monotonic()
        done = run(server, "client = make(shutdown_timeout=1)\nfor i in range(300): client.track('u', 'E')")
        assert time.monotonic() - began < 1 + SLACK
    assert "not sent before the process ended: 300 to cdp" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_first_message_at_exit_arrives_too() -> None:
    with answering() as server:
        done = run(
            server,
            """
            client = make()
            atexit.register(lambda: client.track("u", "registered before the first message"))
            client2 = make()
            def late():
                client2.track("u", "first ever, inside atexit")
                client2.flush(5)
            atexit.register(late)
            class Last:
                def __del__(self):
                    client.track("u", "in a destructor")
            last = Last()
            client.track("u", "in the script")
            atexit.register(lambda: client.track("u", "registered after the first message"))
            """,
        )
        events = {m["event"] for m in server.messages}
    assert {"in the script", "registered after the first message", "first ever, inside atexit"} <= events
    assert "registered before the first message" in events
    assert "Traceback" not in done.stderr


def test_a_forked_child_sends_its_own_and_the_parent_its_own() -> None:
    def slowly(got: Got) -> Answer:
        time.sleep(0.1)
        return Answer()

    with answering(slowly) as server:
        run(
            server,
            """
            client = make()
            client.track("u", "warm up"); client.flush(5)
            for i in range(50): client.track("u", "parent", message_id=f"parent-{i}")
            pid = os.fork()
            if pid == 0:
                assert client.stats()["cdp"].accepted == 0
                for i in range(50): client.track("u", "child", message_id=f"child-{i}")
                assert client.flush(10)
                assert client.stats()["cdp"].delivered == 50
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert client.flush(10)
            """,
        )
        counts = Counter(m["messageId"] for m in server.messages)
    assert len([name for name in counts if name.startswith("parent")]) == 50
    assert len([name for name in counts if name.startswith("child")]) == 50
    assert set(counts.values()) == {1}


def test_forks_under_load_never_hang() -> None:
    with answering() as server:
        run(
            server,
            """
            client = make()
            stop = threading.Event()
            def load():
                while not stop.is_set():
                    client.track("u", "load"); client.flush(0.01)
            threads = [threading.Thread(target=load) for _ in range(3)]
            for t in threads: t.start()
            for n in range(20):
                pid = os.fork()
                if pid == 0:
                    client.track("u", f"child {n}")
                    os._exit(0 if client.flush(10) else 1)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            stop.set()
            for t in threads: t.join()
            report = client.close(10)
            assert report.status == "success", report
            """,
        )
        children = {m["event"] for m in server.messages if m["event"].startswith("child")}
    assert len(children) == 20


def test_track_from_a_signal_handler_never_deadlocks() -> None:
    with answering() as server:
        run(
            server,
            """
            import signal
            client = make()
            count = 0
            inside = False
            def handler(*args):
                global count, inside
                if inside: return  # on a slow machine the next alarm comes before this one is through
                inside = True
                count += 1
                client.track("s", "signal")
                inside = False
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            end = time.monotonic() + 1.5
            calls = 0
            while time.monotonic() < end and calls < 50_000:  # or a fast machine fills the queue
                client.track("u", "loop"); calls += 1
            signal.setitimer(signal.ITIMER_REAL, 0, 0)
            assert count > 100
            assert client.flush(20)
            ledger = client.stats()["cdp"]
            assert ledger.balanced and ledger.delivered == calls + count, (ledger, calls, count)
            """,
        )


def test_importing_starts_and_opens_nothing() -> None:
    script = """
        import os, sys, threading, atexit
        before = set(os.listdir("/proc/self/fd"))
        import unitrack, unitrack.providers
        assert threading.active_count() == 1
        assert set(os.listdir("/proc/self/fd")) <= before
        assert "urllib3" not in sys.modules and "requests" not in sys.modules
        client = unitrack.Client({"cdp": unitrack.providers.Hightouch(write_key="k" * 8)})
        assert threading.active_count() == 1
        assert set(os.listdir("/proc/self/fd")) <= before
    """
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc to count descriptors")
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=WALL_LIMIT)
