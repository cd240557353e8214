"""A client whose queue outlives it: one line of settings, and what that line may be."""

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.faults.vendors import hightouch
from tests.faults.world import FaultServer, until
from unitrack import Client, ConfigError
from unitrack.providers import Hightouch, Interakt
from unitrack.queues.sqlite import SqliteQueue
from unitrack.testing import FakeTransport
from unitrack.wire import Response

KEY = "k3y-0f-n0-v4lue"
CDP = Hightouch(write_key=KEY)


def on_disk(folder: Path, provider: Any = CDP, **settings: Any) -> Client:
    return Client({"cdp": provider}, queue=f"sqlite://{folder}/queue", **settings)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:queue", "an absolute directory"),
        ("sqlite://var/lib/x", "an absolute directory"),
        ("sqlite:///", "an absolute directory"),
        ("sqlite:///var/lib/x?mode=ro", "an absolute directory"),
        ("sqlight:///var/lib/x", "'sqlight:' is not known"),
        ("memory:x", "nothing can follow"),
        ("memory", 'write "memory:"'),
        ("s3cr3t@host:6379", "is not known"),
        ("s3cr3t", "is not known"),
        ("redis://:s3cr3t-password@h/0?nonsense=1", "'nonsense'"),
        ("redis+sentinel://h/0", "not known"),
    ],
)
def test_a_queue_that_cannot_be_is_refused_when_the_client_is_made(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        Client({"cdp": CDP}, queue=url)
    assert "s3cr3t" not in str(caught.value)


def test_external_workers_need_a_queue_that_they_reach() -> None:
    with pytest.raises(ConfigError, match="other processes reach"):
        Client({"cdp": CDP}, workers="external")


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "queue").write_text("not ours")
    with pytest.raises(ConfigError, match="is a file"):
        on_disk(tmp_path)


def test_making_a_client_makes_no_file_but_the_directory(tmp_path: Path) -> None:
    on_disk(tmp_path)
    assert list((tmp_path / "queue").iterdir()) == []
    assert stat.S_IMODE((tmp_path / "queue").stat().st_mode) == 0o700


def test_what_a_closed_client_could_not_send_is_sent_by_the_next(tmp_path: Path) -> None:
    with FaultServer() as server:
        url = server.url
    first = on_disk(tmp_path, Hightouch(write_key=KEY, base_url=url))
    for number in range(5):
        assert first.track("u", "E", {"i": number}, message_id=f"m{number}")
    assert first.close(0.2).status == "fail"
    with FaultServer() as server:
        second = on_disk(tmp_path, hightouch(server))
        assert second.stats()["cdp"].pending == 5
        assert second.flush(10)
        ledger = second.stats()["cdp"]
        assert (ledger.accepted, ledger.delivered, ledger.balanced) == (5, 5, True)
        assert server.oracle.stored == [f"m{number}" for number in range(5)]
        assert second.close().status == "success"
    assert not list((tmp_path / "queue").glob("spool-*"))


@pytest.mark.parametrize("queue", ["memory", "disk"])
def test_a_dead_letter_can_be_sent_again(queue: str, tmp_path: Path) -> None:
    good = False
    transport = FakeTransport(lambda request: Response(status=200 if good else 400))
    where = "memory:" if queue == "memory" else f"sqlite://{tmp_path}/queue"
    with Client({"cdp": CDP, "chat": Interakt(api_key=KEY)}, transport=transport, queue=where) as client:
        client.track("u", "E", message_id="m", idempotency_key="order-7", only=["cdp"])
        assert client.flush(5)
        [letter] = client.dead_letters()
        assert (letter.message_id, letter.reason) == ("m", "rejected")
        good = True
        assert client.replay([letter]) == 1
        assert client.flush(5)
        assert client.dead_letters() == []
        ledger = client.stats()["cdp"]
        assert (ledger.accepted, ledger.delivered, ledger.dead, ledger.balanced) == (1, 1, {}, True)
        assert client.replay([letter]) == 0, "it is not there any more"
        assert client.flush(5)


def test_a_letter_of_an_earlier_process_can_be_sent_again(tmp_path: Path) -> None:
    with on_disk(tmp_path, transport=FakeTransport(lambda request: Response(status=400))) as client:
        client.track("u", "E", message_id="m")
        assert client.flush(5)
    transport = FakeTransport()
    with on_disk(tmp_path, transport=transport) as client:
        letters = client.dead_letters("cdp")
        assert client.replay(letters) == 1
        assert client.flush(5)
        ledger = client.stats()["cdp"]
        assert (ledger.accepted, ledger.delivered, ledger.balanced) == (1, 1, True)
    assert len(transport.requests) == 1


def test_a_closed_client_holds_no_file_even_after_its_report(tmp_path: Path) -> None:
    client = on_disk(tmp_path, transport=FakeTransport(lambda request: Response(status=400)))
    client.track("u", "E")
    assert client.close(5).failed_records
    assert client.dead_letters(), "they can still be read"
    held = [link for fd in Path("/proc/self/fd").iterdir() if (link := os.path.realpath(fd)).startswith(str(tmp_path))]
    assert held == []


def test_dead_letters_can_be_forgotten(tmp_path: Path) -> None:
    with on_disk(tmp_path, transport=FakeTransport(lambda request: Response(status=400))) as client:
        client.track("u", "E")
        assert client.flush(5)
        assert client.purge(client.dead_letters()) == 1
        assert client.purge(client.dead_letters()) == 0
        assert client.stats()["cdp"].dead == {"rejected": 1}, "the ledger forgets nothing"


def test_a_letter_for_nobody_is_refused(tmp_path: Path) -> None:
    with on_disk(tmp_path, transport=FakeTransport(lambda request: Response(status=400))) as client:
        client.track("u", "E")
        assert client.flush(5)
        letters = client.dead_letters()
    with Client({"cpd": CDP}, queue=f"sqlite://{tmp_path}/queue", transport=FakeTransport()) as other:
        with pytest.raises(ConfigError, match="'cdp' is no destination"):
            other.replay(letters)


def test_a_process_with_external_workers_only_fills_the_queue(tmp_path: Path) -> None:
    with FaultServer() as server:
        front = on_disk(tmp_path, hightouch(server), workers="external")
        for number in range(5):
            assert front.track("u", "E", {"i": number}, message_id=f"m{number}")
        assert front.flush(5), "it is where the workers find it"
        assert server.oracle.stored == []
        back = on_disk(tmp_path, hightouch(server))
        assert back.flush(10)
        assert back.stats()["cdp"].delivered == 5
        for number in range(5, 8):
            assert front.track("u", "E", {"i": number}, message_id=f"m{number}")
        until(lambda: back.stats()["cdp"].delivered == 8)  # the file is handed over after a second by itself
        assert server.oracle.stored == [f"m{number}" for number in range(8)]
        assert front.close().failure == 0, "all of it is where the workers find it"
        assert back.close().status == "success"


def test_a_file_that_is_handed_over_while_others_write_loses_nothing(tmp_path: Path) -> None:
    front = on_disk(tmp_path, transport=FakeTransport(), workers="external")
    over = threading.Event()

    def hand_over() -> None:
        while not over.is_set():
            assert front.flush(10)

    threads = [threading.Thread(target=hand_over) for _ in range(2)]
    for thread in threads:
        thread.start()
    refused = [n for n in range(300) if not front.track(f"u{n % 5}", "E", {"i": n})]
    over.set()
    for thread in threads:
        thread.join()
    front.close()
    assert refused == []
    with on_disk(tmp_path, transport=FakeTransport()) as back:
        assert back.flush(30)
        assert back.stats()["cdp"].delivered == 300


def test_what_is_too_old_ends_as_a_dead_letter_also_where_it_waits_on_disk_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unitrack.queues._sqlite_branch.WINDOW_EVENTS", 10)
    monkeypatch.setattr("unitrack.queues.sqlite.READ_EVENTS", 20)
    transport = FakeTransport(lambda request: Response(status=401))
    with on_disk(tmp_path, transport=transport, delivery_deadline=0.3, linger=0.0) as client:
        for number in range(100):
            client.track(f"u{number}", "E")
        until(lambda: client.stats()["cdp"].dead == {"expired": 100})


def test_messages_for_a_destination_that_is_gone_are_kept_for_it(tmp_path: Path) -> None:
    both = {"cdp": CDP, "chat": Interakt(api_key=KEY)}
    where = f"sqlite://{tmp_path}/queue"
    first = Client(both, queue=where, transport=FakeTransport(lambda request: Response(status=503)))
    first.track("u", "E", phone="+919999999999")
    first.close(0.1)
    with Client({"cdp": CDP}, queue=where, transport=FakeTransport()) as second:
        assert second.flush(5)
        assert second.stats()["cdp"].delivered == 1
    with Client(both, queue=where, transport=FakeTransport()) as third:
        assert third.flush(5)
        assert [third.stats()[name].delivered for name in both] == [0, 1]


def test_more_than_memory_should_hold_waits_on_disk_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unitrack.queues._sqlite_branch.WINDOW_EVENTS", 50)
    monkeypatch.setattr("unitrack.queues.sqlite.READ_EVENTS", 20)
    queue = SqliteQueue(tmp_path / "queue")
    transport = FakeTransport()
    with Client({"cdp": CDP}, queue=queue, transport=transport, linger=60.0, batch_size=1000) as client:
        for number in range(500):
            assert client.track(f"u{number % 7}", "E", {"i": number}, message_id=f"m{number}")
        assert len(queue._branches["cdp"].backlog) > 300
        assert client.flush(30)
        assert client.stats()["cdp"].delivered == 500
    seen: dict[str, list[int]] = {}
    for request in transport.requests:
        for message in request_body(request):
            seen.setdefault(message["userId"], []).append(message["properties"]["i"])
    assert sum(map(len, seen.values())) == 500
    assert all(line == sorted(line) for line in seen.values())


def request_body(request: Any) -> list[dict[str, Any]]:
    from unitrack.testing import body_of

    batch: list[dict[str, Any]] = body_of(request)["batch"]
    return batch


@pytest.mark.parametrize(
    "url", ["redis://:s3cr3t-password@h/0?nonsense=1", "redis://:s3cr3t-password@h/0?partitions=x"]
)
def test_an_error_about_the_queue_shows_no_password_in_any_frame(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Client({"cdp": CDP}, queue=url)
    frame, ours = caught.value.__traceback__, []
    while frame is not None:
        if f"{os.sep}unitrack{os.sep}" in frame.tb_frame.f_code.co_filename:
            ours.append(frame.tb_frame)
        frame = frame.tb_next
    assert len(ours) > 2
    assert "s3cr3t" not in str([frame.f_locals for frame in ours])
