"""What the rows about disks share: a queue in a folder, a process that is killed there, and one that comes after it."""

import sqlite3
from pathlib import Path
from typing import Any

from tests.faults.processes import HEAD
from tests.faults.vendors import hightouch
from tests.faults.world import FaultServer
from unitrack import Client, Ledger
from unitrack.providers import Hightouch
from unitrack.testing import FakeTransport
from unitrack.wire import Response

#: Before a script: ``make(queue=QUEUE)`` uses the folder, ``accept`` tracks and tells about it once it was accepted.
DISK = (
    HEAD
    + """
QUEUE, ACCEPTED = os.environ["QUEUE"], os.environ["ACCEPTED"]

def durable(**settings):
    return Client({"cdp": hightouch()}, queue=QUEUE, **settings)

def accept(client, first, count, users=10):
    told = os.open(ACCEPTED, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(first, first + count):
        if client.track(f"u{number % users}", "E", {"i": number}, message_id=f"m{number}"):
            os.write(told, f"m{number}\\n".encode())

def killed_by(work):
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

"""
)


class Enduring(FaultServer):
    """Outlives a thousand clients."""

    max_connections = 100_000


class Disk:
    """A queue in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "queue"
        self.url = f"sqlite://{self.path}"
        self._accepted = folder / "accepted"
        self.env = {"QUEUE": self.url, "ACCEPTED": str(self._accepted)}

    def note_at(self, file: Path) -> None:
        """Have accepted messages noted elsewhere."""
        self._accepted = file
        self.env["ACCEPTED"] = str(file)

    @property
    def accepted(self) -> set[str]:
        """Ids of messages whose receipt was truthy, in whichever process."""
        return set(self._accepted.read_text().split()) if self._accepted.exists() else set()

    @property
    def spools(self) -> list[Path]:
        return sorted(self.path.glob("spool-*.db"))

    def client(self, server: FaultServer, **settings: Any) -> Client:
        return Client({"cdp": hightouch(server)}, queue=self.url, **settings)

    def drain(self, server: FaultServer, within: float = 60.0, **settings: Any) -> Ledger:
        """Have another process, this one, send what was left behind."""
        with self.client(server, **settings) as client:
            assert client.flush(within)
            ledger = client.stats()["cdp"]
            assert ledger.balanced
            return ledger

    def assert_sound(self) -> None:
        """Have SQLite check every file."""
        for path in self.spools:
            connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True)
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            connection.close()


def offline(disk: Disk, **settings: Any) -> Client:
    """Make a client whose vendor is away."""
    down = FakeTransport(lambda request: Response(status=503))
    provider = Hightouch(write_key="k3y-0f-n0-v4lue")
    return Client({"cdp": provider}, queue=disk.url, transport=down, **settings)


def left_behind(disk: Disk, count: int = 300) -> Path:
    """Have a client leave messages on disk, and return their file."""
    client = offline(disk, linger=60.0)
    for i in range(count):
        assert client.track(f"u{i % 10}", "E", {"i": i // 10, "text": "x" * 300}, message_id=f"m{i}")
    client.close(0.0)
    [path] = disk.spools
    return path
