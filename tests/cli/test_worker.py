"""How ``unitrack worker`` ends, and what it says about a broker."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.broker import BrokerServer
from tests.faults.world import FaultServer
from tests.sockets import mark, play, reply, stall

from .running import KEY, config, fill, finished, started, unitrack, vendor


@contextmanager
def hanging(folder: Path) -> Iterator[threading.Event]:
    """Have three messages wait for a vendor that never answers; the event is set as soon as it is asked."""
    arrived = threading.Event()
    with FaultServer(play(mark(arrived), stall())) as server:
        (folder / "unitrack.toml").write_text(
            f'[destinations.cdp]\nprovider = "hightouch"\nwrite_key = "{KEY}"\nbase_url = "{server.url}"\n'
            f'[delivery]\nqueue = "sqlite://{folder}/queue"\n'
        )
        fill(folder, 3)
        yield arrived


def test_until_empty_waits_for_what_a_killed_worker_still_holds(tmp_path: Path) -> None:
    with BrokerServer(tmp_path / "broker") as broker:
        url = f"{broker.url}?spool={tmp_path}/spool&partitions=2"
        with vendor(tmp_path, more=f'[delivery]\nqueue = "{url}"\n') as receiver:
            fill(tmp_path, 8)
            with broker.client() as seen:
                for partition in range(2):
                    seen.set(f"{{unitrack}}:lease:cdp:{partition}", "killed", px=5_000)
            done = unitrack("worker", "--until-empty", *config(tmp_path))
            assert (done.exit_code, done.stdout) == (0, "8 delivered\n"), done.output
            assert len(receiver.messages) == 8


def test_until_empty_is_no_success_where_the_broker_does_not_answer(tmp_path: Path) -> None:
    with BrokerServer(tmp_path / "broker") as broker:
        url = f"{broker.url}?spool={tmp_path}/spool"
    with vendor(tmp_path, more=f'[delivery]\nqueue = "{url}"\n'):
        done = unitrack("worker", "--until-empty", *config(tmp_path))
    assert done.exit_code == 2, done.output
    assert "Connection refused" in done.output
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("unitrack-")]


def test_a_worker_says_that_its_broker_is_away(tmp_path: Path) -> None:
    with BrokerServer(tmp_path / "broker") as broker:
        url = f"{broker.url}?spool={tmp_path}/spool"
    with vendor(tmp_path, more=f'[delivery]\nqueue = "{url}"\n'):
        process = started(tmp_path, "worker", "--interval", "0.1")
        assert process.stderr is not None
        assert process.stdout is not None
        assert "Connection refused" in process.stderr.readline()
        while "Connection refused" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        code, _, _ = finished(process)
    assert code == 0


def test_the_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    with hanging(tmp_path) as arrived:
        process = started(tmp_path, "worker", "--timeout", "40", "--interval", "0.1")
        assert arrived.wait(20)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        lines = []
        while not (line := process.stdout.readline()).startswith("stopping:"):
            lines.append(line)
            assert line, lines
        assert "40 s" in line
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        code, _, _ = finished(process)
        assert time.monotonic() - began < 5
    assert code == 130


def test_what_a_worker_leaves_behind_is_said(tmp_path: Path) -> None:
    with hanging(tmp_path) as arrived:
        process = started(tmp_path, "worker", "--timeout", "0.5")
        assert arrived.wait(20)
        process.send_signal(signal.SIGTERM)
        code, out, _ = finished(process)
    assert (code, out.splitlines()[-1]) == (0, "0 delivered; they stay queued: 3 for cdp")


@pytest.mark.parametrize("until_empty", [True, False])
def test_what_a_worker_gave_up_is_said_and_no_success(tmp_path: Path, until_empty: bool) -> None:
    with FaultServer(reply(400, b"no such plan")) as server:
        (tmp_path / "unitrack.toml").write_text(
            f'[destinations.cdp]\nprovider = "hightouch"\nwrite_key = "{KEY}"\nbase_url = "{server.url}"\n'
            f'[delivery]\nqueue = "sqlite://{tmp_path}/queue"\n'
        )
        fill(tmp_path, 2)
        if until_empty:
            done = unitrack("worker", "--until-empty", *config(tmp_path))
            code, out = done.exit_code, done.stdout
        else:
            process = started(tmp_path, "worker", "--interval", "0.1")
            assert process.stdout is not None
            while "0 waiting, 2 dead" not in process.stdout.readline():
                assert process.poll() is None, "it ended"
            process.send_signal(signal.SIGTERM)
            code, out, _ = finished(process)
    assert (code, out.splitlines()[-1]) == (int(until_empty), "0 delivered, 2 dead (see unitrack dead list)")


def test_a_health_file_nowhere_is_a_clear_error(tmp_path: Path) -> None:
    with vendor(tmp_path, more=f'[delivery]\nqueue = "sqlite://{tmp_path}/queue"\n'):
        done = unitrack("worker", "--health-file", str(tmp_path / "no" / "alive"), *config(tmp_path))
    assert done.exit_code == 2
    assert f"there is no directory {tmp_path / 'no'}" in done.output
