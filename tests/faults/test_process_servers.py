"""Fault rows P: inside servers that fork before they serve, and under gevent."""

import http.client
import signal
import socket
from pathlib import Path

import pytest

from tests.faults.processes import HEAD, Process, run
from tests.faults.world import CANARIES, FaultServer, assert_conserved, until

APPLICATION = f"""
import os
from unitrack import Client
from unitrack.providers import Hightouch

client = Client({{"cdp": Hightouch(write_key={CANARIES["write_key"]!r}, base_url=os.environ["SERVER"])}})
client.track("master", "loaded")

def application(environ, start_response):
    receipt = client.track(environ["PATH_INFO"], "request")
    start_response("200 OK" if receipt else "500 Refused", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


class Local(http.client.HTTPConnection):
    """Speaks HTTP over a socket in the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(path: Path, target: str) -> tuple[int, bytes]:
    connection = Local(path)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def answers_at(path: Path) -> bool:
    """Tell whether somebody listens; the file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as line:
        return line.connect_ex(str(path)) == 0


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_P14_gunicorn_with_preload(tmp_path: Path, kind: str) -> None:
    """A client that gunicorn's master made works in its workers without a hook, also when they are replaced."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed; the dev extra brings it")
    (tmp_path / "application.py").write_text(APPLICATION)
    line = tmp_path / "line"
    script = f"""
        import sys
        from gunicorn.app.wsgiapp import run
        sys.argv = ["gunicorn", "application:application", "--preload", "--chdir", {str(tmp_path)!r},
                    "--bind", "unix:" + {str(line)!r}, "--workers", "2", "--worker-class", {kind!r},
                    "--threads", "2", "--max-requests", "15", "--graceful-timeout", "10", "--log-level", "warning",
                    "--worker-tmp-dir", {str(tmp_path)!r}]
        run()
    """
    with FaultServer() as server:
        with Process(script, head="", env={"SERVER": server.url, "HOME": str(tmp_path)}) as process:
            until(lambda: answers_at(line), within=20)
            answers = [ask(line, f"/{n}") for n in range(100)]
            process.send(signal.SIGTERM)
            process.end()
        messages = server.oracle.messages.values()
        assert {status for status, _ in answers} == {200}
        assert len({pid for _, pid in answers}) >= 5, "the workers were not replaced"
        assert sorted(m["userId"] for m in messages if m["event"] == "request") == sorted(f"/{n}" for n in range(100))
        assert [m["event"] for m in messages].count("loaded") == 1
        assert server.oracle.duplicates == 0


def test_P15_fork_that_tells_nobody() -> None:
    """A child that was forked behind Python's back, as uWSGI does it, is noticed and sends its own."""
    with FaultServer() as server:
        ended = run(
            """
            import ctypes
            client = make()
            client.track("u", "parent")
            assert client.flush(5)
            children = []
            for n in range(5):
                pid = ctypes.PyDLL(None).fork()  # keeps the GIL, and runs no hooks
                if pid == 0:
                    signal.alarm(15)
                    sent = client.track("u", f"child {n}") and client.flush(10)
                    os._exit(0 if sent and client.stats()["cdp"].delivered == 1 else 1)
                children.append(pid)
            assert [ended(child) for child in children] == [0] * 5
            client.track("u", "parent")
            """,
            server.url,
        )
        assert ended.client.stats()["cdp"].delivered == 2
        events = sorted(message["event"] for message in server.oracle.messages.values())
        assert events == [*(f"child {n}" for n in range(5)), "parent", "parent"]
        assert server.oracle.duplicates == 0
    assert ended.stderr == ""


PATCH = "import gevent.monkey; gevent.monkey.patch_all()\n"


@pytest.mark.parametrize("head", [PATCH + HEAD, HEAD + PATCH], ids=["patched first", "patched after the import"])
def test_P24_gevent(head: str) -> None:
    """Under gevent everything works as with threads, and neither ``track`` nor ``flush`` stops the other greenlets."""
    pytest.importorskip("gevent", reason="gevent is not installed; the dev extra brings it where it has a wheel")
    with FaultServer() as server:
        ended = run(
            """
            import gevent
            client = make(on_delivery=lambda verdicts: told.append(len(verdicts)))
            told, ticks = [], []
            def tick():
                while True:
                    gevent.sleep(0.002)
                    ticks.append(1)
            gevent.spawn(tick)
            def work(user):
                for i in range(20):
                    assert client.track(user, "E", {"i": i})
                    gevent.sleep(0)
            gevent.joinall([gevent.spawn(work, f"u{n}") for n in range(50)])
            before = len(ticks)
            assert client.flush(10)
            assert sum(told) == 1000
            client.track("v", "lone")  # waits for company first, then for the network
            while client.stats()["cdp"].delivered < 1001:
                gevent.sleep(0.005)
            assert len(ticks) - before > 30
            for i in range(100):
                assert client.track("w", "at the end", {"i": i})
            """,
            server.url,
            head=head,
            flags=["-W", "ignore"],
        )
        assert assert_conserved(ended.client, server.oracle, accepted=1101)["cdp"].delivered == 1101
        assert server.oracle.duplicates == 0
    assert ended.stderr == ""
