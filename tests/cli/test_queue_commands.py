"""``unitrack dead``, ``unitrack queue`` and ``unitrack worker``, on a directory and on a broker."""

import json
import signal
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.broker import BrokerServer
from tests.faults.world import until
from unitrack import Client
from unitrack.receivers import HightouchReceiver
from unitrack.testing import FakeTransport
from unitrack.wire import Response

from .running import KEY, config, fill, finished, started, unitrack, vendor


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[HightouchReceiver]:
    with vendor(tmp_path, more=f'[delivery]\nqueue = "sqlite://{tmp_path}/queue"\n') as receiver:
        yield receiver


def bury(folder: Path, *ids: str) -> None:
    """Have a vendor refuse messages."""
    refusing = FakeTransport(lambda request: Response(status=400, body=b"no such plan"))
    with Client.from_config(folder / "unitrack.toml", transport=refusing) as client:
        for message_id in ids:
            client.track("u", "Order Paid", {"total": 19.9}, message_id=message_id)
        assert client.flush(10)


# -- dead


def test_dead_letters_are_listed(shop: HightouchReceiver, tmp_path: Path) -> None:
    bury(tmp_path, "m1", "m2")
    done = unitrack("dead", "list", *config(tmp_path))
    assert done.exit_code == 0, done.output
    assert "2 dead letters" in done.output
    assert all(word in done.output for word in ("m1", "m2", "Order Paid", "rejected", "cdp"))
    [first, _] = json.loads(unitrack("dead", "list", "--format", "json", *config(tmp_path)).stdout)
    assert (first["message_id"], first["reason"]) == ("m1", "rejected")
    for time in (first["accepted"], first["given_up"]):
        assert (time[10], datetime.fromisoformat(time).utcoffset()) == ("T", timedelta(0))
    assert "2 dead letters, the newest 1 shown" in unitrack("dead", "list", "--limit", "1", *config(tmp_path)).output
    assert unitrack("dead", "list", "--reason", "expired", *config(tmp_path)).output == "0 dead letters\n"
    assert unitrack("dead", "list", "--before", "2001-01-01", *config(tmp_path)).output == "0 dead letters\n"


def test_one_dead_letter_is_shown_with_all_that_is_in_it(shop: HightouchReceiver, tmp_path: Path) -> None:
    bury(tmp_path, "m1")
    done = unitrack("dead", "show", "m1", *config(tmp_path))
    assert done.exit_code == 0, done.output
    assert "no such plan" in done.output
    assert "{'total': 19.9}" in done.output
    assert KEY not in done.output
    [whole] = json.loads(unitrack("dead", "show", "m1", "--format", "json", *config(tmp_path)).stdout)
    assert whole["message"]["properties"] == {"total": 19.9}
    assert whole["message"]["timestamp"][10] == "T"
    missing = unitrack("dead", "show", "m2", *config(tmp_path))
    assert (missing.exit_code, "no dead letter" in missing.output) == (2, True)


def test_dead_letters_that_are_replayed_are_sent_by_a_worker(shop: HightouchReceiver, tmp_path: Path) -> None:
    bury(tmp_path, "m1", "m2")
    assert unitrack("dead", "replay", *config(tmp_path)).exit_code == 2, "without a choice"
    done = unitrack("dead", "replay", "--reason", "rejected", *config(tmp_path))
    assert (done.exit_code, done.stdout) == (0, "2 of 2 wait again\n"), done.output
    assert len(shop.messages) == 0
    done = unitrack("worker", "--until-empty", *config(tmp_path))
    assert (done.exit_code, done.stdout) == (0, "2 delivered\n"), done.output
    assert len(shop.messages) == 2
    assert unitrack("dead", "list", *config(tmp_path)).output == "0 dead letters\n"


def test_dead_letters_are_forgotten_for_good(shop: HightouchReceiver, tmp_path: Path) -> None:
    bury(tmp_path, "m1")
    done = unitrack("dead", "purge", "--all", "--yes", *config(tmp_path))
    assert (done.exit_code, done.output) == (0, "1 forgotten\n")


def test_a_destination_that_is_not_configured_is_named(shop: HightouchReceiver, tmp_path: Path) -> None:
    done = unitrack("dead", "list", "--destination", "cpd", *config(tmp_path))
    assert (done.exit_code, "did you mean 'cdp'" in done.output) == (2, True)


def test_a_worker_sends_also_where_the_configuration_says_sync(tmp_path: Path) -> None:
    with vendor(tmp_path, more=f'[delivery]\nqueue = "sqlite://{tmp_path}/queue"\n') as receiver:
        fill(tmp_path, 3)
        with (tmp_path / "unitrack.toml").open("a") as file:
            file.write('mode = "sync"\n')
        done = unitrack("worker", "--until-empty", *config(tmp_path))
        assert (done.exit_code, len(receiver.messages)) == (0, 3), done.output


@pytest.mark.parametrize(
    "words", [["dead", "list"], ["dead", "replay", "--all"], ["queue", "stats"], ["worker", "--until-empty"]]
)
def test_memory_has_nothing_to_look_at(words: list[str], tmp_path: Path) -> None:
    with vendor(tmp_path):
        done = unitrack(*words, *config(tmp_path))
    assert done.exit_code == 2
    assert "memory" in done.output


# -- queue


def test_what_waits_is_counted_also_while_its_process_runs(shop: HightouchReceiver, tmp_path: Path) -> None:
    down = FakeTransport(lambda request: Response(status=503))
    client = Client.from_config(tmp_path / "unitrack.toml", transport=down, linger=0.0)
    for number in range(6):
        client.track(f"u{number % 3}", "Order Paid", message_id=f"m{number}")
    until(lambda: client.stats()["cdp"].retried)
    done = unitrack("queue", "stats", "--format", "json", *config(tmp_path))
    assert done.exit_code == 0, done.output
    [seen] = json.loads(done.stdout)["destinations"]
    assert (seen["messages"], seen["lanes"]) == (6, 3)
    assert "T" in seen["oldest"]
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(seen["oldest"]) < timedelta(seconds=60)
    assert "cdp" in unitrack("queue", "stats", *config(tmp_path)).output
    assert client.stats()["cdp"].pending == 6, "nothing was taken"
    client.close(0.0)


def test_an_empty_queue_says_so(shop: HightouchReceiver, tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    assert unitrack("queue", "stats", *config(tmp_path)).stdout.splitlines()[1:] == ["cdp          0"]


def test_a_file_that_cannot_be_read_is_named(shop: HightouchReceiver, tmp_path: Path) -> None:
    fill(tmp_path, 3)
    [path] = (tmp_path / "queue").glob("spool-*.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE destinations")
    done = unitrack("queue", "stats", *config(tmp_path))
    assert (done.exit_code, f"{path.name} cannot be read" in done.output) == (0, True)


# -- worker


def test_a_worker_sends_what_others_queued_and_stops_in_order(shop: HightouchReceiver, tmp_path: Path) -> None:
    fill(tmp_path, 10)
    process = started(tmp_path, "worker", "--health-port", "0", "--health-file", "alive", "--interval", "0.2")
    assert process.stderr is not None
    address = process.stderr.readline().removeprefix("health: ").strip()
    until(lambda: len(shop.messages) == 10, within=20)

    def health() -> Any:
        with urllib.request.urlopen(address) as answer:
            return json.loads(answer.read())

    def counts() -> object:
        return health()["destinations"].get("cdp")

    until(lambda: counts() == {"delivered": 10, "pending": 0, "retried": 0, "dead": {}, "held": None})
    assert health()["status"] == "ok"
    assert (tmp_path / "alive").exists()
    fill(tmp_path, 5, first=10)
    until(lambda: len(shop.messages) == 15, within=20)
    process.send_signal(signal.SIGTERM)
    code, out, err = finished(process)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "15 delivered"
    assert "cdp: 10 delivered, 0 waiting, 0 dead" in out


def test_a_worker_sends_to_chosen_destinations_only(shop: HightouchReceiver, tmp_path: Path) -> None:
    with (tmp_path / "unitrack.toml").open("a") as file:
        file.write(f'[destinations.other]\nprovider = "hightouch"\nwrite_key = "{KEY}"\nbase_url = "{shop.url}"\n')
    fill(tmp_path, 4)
    done = unitrack("worker", "--destination", "other", "--until-empty", *config(tmp_path))
    assert (done.exit_code, done.stdout) == (0, "4 delivered\n"), done.output
    assert len(shop.messages) == 4
    wrong = unitrack("worker", "--destination", "othr", *config(tmp_path))
    assert (wrong.exit_code, "did you mean 'other'" in wrong.output) == (2, True)


def test_a_worker_leaves_what_it_cannot_send(tmp_path: Path) -> None:
    with vendor(tmp_path, more=f'[delivery]\nqueue = "sqlite://{tmp_path}/queue"\n'):
        fill(tmp_path, 4)
    process = started(tmp_path, "worker", "--timeout", "0.2", "--interval", "0.1")
    assert process.stdout is not None
    while "4 waiting" not in process.stdout.readline():
        assert process.poll() is None, "it ended"
    process.send_signal(signal.SIGTERM)
    code, out, _ = finished(process)
    assert (code, out.splitlines()[-1]) == (0, "0 delivered; they stay queued: 4 for cdp")
    assert list((tmp_path / "queue").glob("spool-*.db"))


def test_a_broker_is_drained_looked_at_and_replayed_likewise(tmp_path: Path) -> None:
    with BrokerServer(tmp_path / "broker") as broker:
        url = f"{broker.url}?spool={tmp_path}/spool&partitions=2"
        with vendor(tmp_path, more=f'[delivery]\nqueue = "{url}"\n') as receiver:
            fill(tmp_path, 8)
            done = unitrack("queue", "stats", "--format", "json", *config(tmp_path))
            assert done.exit_code == 0, done.output
            assert [one["messages"] for one in json.loads(done.stdout)["destinations"]] == [8]
            done = unitrack("worker", "--until-empty", *config(tmp_path))
            assert (done.exit_code, done.stdout) == (0, "8 delivered\n"), done.output
            assert len(receiver.messages) == 8
            bury(tmp_path, "x1")
            assert "x1" in unitrack("dead", "list", *config(tmp_path)).output
            stats = unitrack("queue", "stats", *config(tmp_path))
            assert (stats.exit_code, "1 rejected" in stats.output) == (0, True), stats.output
            assert unitrack("dead", "replay", "--all", *config(tmp_path)).exit_code == 0
            assert unitrack("worker", "--until-empty", *config(tmp_path)).exit_code == 0
            assert len(receiver.messages) == 9


@pytest.mark.parametrize("words", [["dead", "list"], ["dead", "purge", "--all", "--yes"], ["queue", "stats"]])
def test_a_broker_that_does_not_answer_is_told(words: list[str], tmp_path: Path) -> None:
    with BrokerServer(tmp_path / "broker") as broker:
        url = f"{broker.url}?spool={tmp_path}/spool"
    with vendor(tmp_path, more=f'[delivery]\nqueue = "{url}"\n'):
        done = unitrack(*words, *config(tmp_path))
    assert (done.exit_code, "Connection refused" in done.output) == (2, True), done.output
