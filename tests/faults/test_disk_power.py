"""Fault row D11: the power fails, played by writing down what a process tells the kernel and forgetting some of it.

What was written before an ``fdatasync`` of a file is on its disk; of what was written after it any part may be, in
any order, down to single sectors. A file that was made or removed is so once its directory was synced, and before
that perhaps.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import Factory, define

from tests.faults.disk import Disk
from tests.faults.figures import figure
from tests.faults.tracing import needs_strace, traced
from tests.faults.world import FaultServer
from unitrack import Client
from unitrack.providers import Hightouch
from unitrack.testing import FakeTransport, body_of

CALLS = "openat,pwrite64,write,ftruncate,fsync,fdatasync,unlink,rename"
SECTOR = 512


@define
class Cell:
    """A file: what is on the disk for certain, and what was done to it since."""

    durable: bytearray = Factory(bytearray)
    since: list[tuple[int, bytes]] = Factory(list)  # where, what; an empty one cuts it there
    made: bool = False  # for certain

    def sync(self) -> None:
        for at, what in self.since:
            _put(self.durable, at, what)
        self.since.clear()

    def after(self, dice: random.Random) -> bytes:
        """Return what may be found when the power is back."""
        found = bytearray(self.durable)
        share = dice.choice((0.0, 0.5, 0.9, 1.0))
        for at, what in self.since:
            for start in range(0, len(what) or 1, SECTOR):
                if dice.random() < share:
                    _put(found, at + start, what[start : start + SECTOR])
        return bytes(found)


def _put(data: bytearray, at: int, what: bytes) -> None:
    if not what:
        del data[at:]
        return
    data.extend(bytes(max(0, at - len(data))))
    data[at : at + len(what)] = what


def calls(log: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Return name, path and all arguments of each call that succeeded."""
    for line in log.read_text().splitlines():
        found = re.match(r"\d+ +(\w+)\((.*)\) += (\d+)", line)
        if found:
            arguments = re.split(r", (?![^\"]*\"(?:,|$))", found[2])
            names = re.findall(r"\d+<([^>]*)>", found[2]) if found[1] not in ("openat", "unlink") else []
            quoted = re.findall(r'"((?:\\x[0-9a-f]{2})*)"', found[2])
            yield found[1], _text(names[0] if names else quoted[0] if quoted else ""), [*arguments, *quoted[-1:]]


def _text(value: str) -> str:
    return bytes.fromhex(value.replace("\\x", "")).decode() if value.startswith("\\x") else value


def moments(log: Path, disk: Disk, noted: Path) -> Iterator[tuple[dict[str, Cell], set[str]]]:
    """Play the calls; after each of them return the files, and the messages that were accepted by then."""
    cells: dict[str, Cell] = {}
    accepted: set[str] = set()
    for name, path, arguments in calls(log):
        data = bytes.fromhex(arguments[-1].replace("\\x", "")) if name in ("write", "pwrite64") else b""
        if path == str(noted):
            accepted |= set(data.decode().split())
        elif path == str(disk.path) and name in ("fsync", "fdatasync"):
            for cell in cells.values():
                cell.made = True
        elif path.startswith(f"{disk.path}/spool-") and not path.endswith(("-shm", ".lock")):
            match name:
                case "openat":
                    cells.setdefault(path, Cell())
                case "pwrite64":
                    cells[path].since.append((int(arguments[-2]), data))
                case "ftruncate":
                    cells[path].since.append((int(arguments[1]), b""))
                case "fsync" | "fdatasync":
                    cells[path].sync()
                case "unlink":
                    cells.pop(path, None)
        yield cells, accepted


@needs_strace
@pytest.mark.parametrize("seed", [1, 2])
def test_D11_the_power_fails(seed: int, tmp_path: Path) -> None:
    """With ``durability="power"`` every message that was accepted is there after a loss of power, whatever part of the
    writes since the last ``fdatasync`` got lost, torn, or took place in another order."""
    disk, log, noted = Disk(tmp_path), tmp_path / "log", tmp_path / "accepted"
    script = """
        client = durable(linger=60.0, durability="power")
        client.track("u", "E")
        accept(client, 0, 60)
        assert client.flush(10)
        connection = client._process.engine().queue._files.own.spool._connection
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        accept(client, 60, 60)
        die()
    """
    with FaultServer() as server:
        options = ("-y", "-xx", "-s", "100000", "-e", f"trace={CALLS}")
        traced(script, server.url, disk, *options, code=-9, out=log)
        delivered = set(server.oracle.delivered)
    dice = random.Random(seed)
    count, lost = 0, 0
    for at, (cells, accepted) in enumerate(moments(log, disk, noted)):
        if not accepted or at % 23 != seed:
            continue
        count += 1
        after = tmp_path / f"after{at}" / "queue"
        after.mkdir(parents=True, mode=0o700)
        for path, cell in cells.items():
            if cell.made or dice.random() < 0.5:
                (after / Path(path).name).write_bytes(cell.after(dice))
        transport = FakeTransport()
        with Client({"cdp": Hightouch(write_key="k")}, queue=f"sqlite://{after}", transport=transport) as client:
            client.stats()
            assert client.flush(10)
            assert not client.stats()["cdp"].dead
        there = {message["messageId"] for request in transport.requests for message in body_of(request)["batch"]}
        lost += len(accepted - delivered - there)
        assert accepted - delivered - there == set(), f"after call {at}"
    figure(f"D11, seed {seed}: {count} losses of power: {lost} messages lost")
    assert count > 10
    assert len(accepted) == 120
