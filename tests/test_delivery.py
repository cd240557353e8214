"""What happens to messages between the queue and the wire, against real servers."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

from tests.answering import Answer, Answering, Got, answering, in_turn
from unitrack import Client, Destination, Hold, QueueFull, Retry, Track
from unitrack.providers import Hightouch, Interakt, Thrivestack

OK = Answer()


def hightouch(server: Answering) -> Hightouch:
    return Hightouch(write_key="write-key-1", base_url=server.url)


def interakt(server: Answering, **settings: object) -> Interakt:
    return Interakt(api_key="api-key-12345", base_url=server.url, rate_per_minute=600_000, **settings)


def tracks(count: int, users: int = 1) -> list[Track]:
    return [Track(user_id=f"u{i % users}", event="E", properties={"i": i}, message_id=f"m{i}") for i in range(count)]


def test_a_503_is_sent_again_with_the_same_ids() -> None:
    with answering(in_turn(Answer(503), Answer(503), OK)) as server:
        with Client({"cdp": hightouch(server)}) as client:
            assert client.send(tracks(3), timeout=10).status == "success"
            ledger = client.stats()["cdp"]
    assert (ledger.delivered, ledger.retried, ledger.requests) == (3, 6, 3)
    ids = [[m["messageId"] for m in got.json["batch"]] for got in server.got]
    times = [[m["timestamp"] for m in got.json["batch"]] for got in server.got]
    assert ids == [["m0", "m1", "m2"]] * 3
    assert times == [times[0]] * 3


def slowly(messages: Iterable[Track]) -> Iterator[Track]:
    for message in messages:
        yield message
        time.sleep(0.05)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["send", "asend"])
def test_what_is_sent_together_travels_together(asynchronous: bool) -> None:
    with answering() as server, Client({"cdp": hightouch(server)}, linger=60) as client:
        messages = slowly(tracks(3))
        report = asyncio.run(client.asend(messages)) if asynchronous else client.send(messages)
    assert report.success == 3
    assert [len(got.json["batch"]) for got in server.got] == [3]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["send", "asend"])
def test_send_does_not_wait_for_company_where_the_queue_has_no_room_for_it(asynchronous: bool) -> None:
    with answering() as server, Client({"cdp": hightouch(server)}, linger=60, max_events=2) as client:
        report = asyncio.run(client.asend(tracks(9), 20)) if asynchronous else client.send(tracks(9), 20)
    assert report.success == 9


def test_retry_waits_as_long_as_the_server_says() -> None:
    with answering(in_turn(Answer(429, headers={"Retry-After": "0.6"}), OK)) as server:
        with Client({"cdp": hightouch(server)}) as client:
            assert client.send(tracks(1), timeout=10).success == 1
    first, second = server.got
    assert second.at - first.at >= 0.6


def test_retry_after_is_capped() -> None:
    with answering(in_turn(Answer(429, headers={"Retry-After": "99999999"}), OK)) as server:
        with Client({"cdp": hightouch(server)}, max_retry_after=0.2) as client:
            assert client.send(tracks(1), timeout=10).success == 1


def test_one_429_pauses_its_destination_and_no_other() -> None:
    with answering(in_turn(Answer(429, headers={"Retry-After": "30"}), OK)) as slow, answering() as fast:
        with Client({"slow": hightouch(slow), "fast": hightouch(fast)}) as client:
            client.track("u0", "first")
            began = time.monotonic()
            while not slow.got:
                assert time.monotonic() - began < 5
                time.sleep(0.005)
            for message in tracks(50, users=50):
                client.enqueue(message)
            client.flush(0.5)
            assert len(slow.got) == 1
            assert client.stats()["fast"].delivered == 51
            assert client.stats()["slow"].pending == 51
            client.close(0)


def test_a_bad_message_in_a_batch_costs_only_itself() -> None:
    def refuse_poison(got: Got) -> Answer:
        return Answer(400, b'{"message":"bad"}') if any(m["event"] == "poison" for m in got.json["batch"]) else OK

    with answering(refuse_poison) as server:
        with Client({"cdp": hightouch(server)}, mode="sync") as client:  # no sender begins before all are there
            batch = [Track(user_id="u", event="poison" if i == 37 else "E", message_id=f"m{i}") for i in range(100)]
            report = client.send(batch, timeout=10)
            ledger = client.stats()["cdp"]
    assert (report.success, report.failure) == (99, 1)
    assert report.failed_records[0].record is batch[37]
    assert ledger.dead == {"rejected": 1}
    assert ledger.requests <= 15
    delivered = [m["messageId"] for got in server.got if not any(m["event"] == "poison" for m in got.json["batch"])
                 for m in got.json["batch"]]  # fmt: skip
    assert delivered == [f"m{i}" for i in range(100) if i != 37]


def test_a_413_halves_the_batch_and_is_remembered() -> None:
    def limit(got: Got) -> Answer:
        return Answer(413) if len(got.body) > 10_000 else OK

    with answering(limit) as server:
        with Client({"cdp": hightouch(server)}) as client:
            assert client.send(tracks(200), timeout=10).success == 200
            too_large = sum(len(got.body) > 10_000 for got in server.got)
            assert client.send(tracks(200), timeout=10).success == 200
            assert sum(len(got.body) > 10_000 for got in server.got) == too_large
            report = client.send([Track(user_id="u", event="E", properties={"x": "y" * 20_000})], timeout=10)
    assert report.failed_records[0].code == 413


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404, 405, 410, 501])
def test_a_fault_of_the_destination_keeps_the_messages(status: int) -> None:
    with answering() as elsewhere:
        wrong = Answer(status, headers={"location": elsewhere.url})
        with answering(in_turn(wrong)) as server:
            with Client({"cdp": hightouch(server)}) as client:
                report = client.send(tracks(3), timeout=10)
                ledger = client.stats()["cdp"]
                server.answer = lambda got: OK
                client.close(0)
    assert all(isinstance(outcome, Hold) for outcome in report.verdicts.values())
    assert ledger.pending == 3
    assert ledger.dead == {}
    assert ledger.held is not None
    assert elsewhere.got == []
    assert len(server.got) == 1


def test_a_held_destination_is_probed_slowly_and_recovers() -> None:
    with answering(in_turn(Answer(401), Answer(401), OK)) as server:
        with Client({"cdp": hightouch(server)}, probe_interval=0.2) as client:
            for message in tracks(250, users=50):
                client.enqueue(message)
            assert client.flush(10)
            ledger = client.stats()["cdp"]
    assert ledger.delivered == 250
    assert server.got[1].at - server.got[0].at >= 0.2
    assert server.got[2].at - server.got[1].at >= 0.4


def test_an_html_page_is_no_success() -> None:
    page = Answer(200, b"<!DOCTYPE html><html>Please log in</html>", {"content-type": "text/html"})
    with answering(in_turn(page)) as server:
        with Client({"cdp": hightouch(server)}) as client:
            report = client.send(tracks(1), timeout=10)
            client.close(0)
    [outcome] = report.verdicts.values()
    assert isinstance(outcome, Hold)
    assert "HTML" in outcome.reason


def test_max_retries_ends_in_a_dead_letter() -> None:
    with answering(in_turn(Answer(500, b"broken"))) as server:
        with Client({"cdp": hightouch(server)}, max_retries=2) as client:
            report = client.send(tracks(1), timeout=20)
            ledger = client.stats()["cdp"]
            [letter] = client.dead_letters()
    assert ledger.dead == {"exhausted": 1}
    assert letter.attempts == 3
    assert "500: broken" in letter.detail
    assert report.failure == 1
    assert len(server.got) == 3


def test_the_delivery_deadline_ends_in_a_dead_letter_with_the_last_error() -> None:
    with answering(in_turn(Answer(503, b"down"))) as server:
        with Client({"cdp": hightouch(server)}, delivery_deadline=0.4) as client:
            client.track("u", "E")
            assert client.flush(10)
            assert client.stats()["cdp"].dead == {"expired": 1}
            assert "503: down" in client.dead_letters()[0].detail


def test_no_connection_is_retried_until_the_server_is_back() -> None:
    with answering() as server:
        pass  # its port is closed now
    client = Client({"cdp": hightouch(server)})
    report = client.send(tracks(1), timeout=0.5)
    [outcome] = report.verdicts.values()
    assert isinstance(outcome, Retry)
    assert client.stats()["cdp"].pending == 1
    assert client.close(0).status == "fail"


def test_one_destination_that_hangs_costs_the_others_nothing() -> None:
    release = threading.Event()

    def hang(got: Got) -> Answer:
        release.wait(20)
        return OK

    with answering(hang) as dead, answering() as alive:
        client = Client({"dead": hightouch(dead), "alive": hightouch(alive)})
        for message in tracks(1_000, users=10):
            client.enqueue(message)
        began = time.monotonic()
        while client.stats()["alive"].delivered < 1_000:
            assert time.monotonic() - began < 10
            time.sleep(0.01)
        assert client.stats()["dead"].pending == 1_000
        assert all(ledger.balanced for ledger in client.stats().values())
        release.set()
        assert client.close(10).status == "success"


def test_order_per_user_holds_under_parallel_workers_and_failures() -> None:
    seen: Counter[str] = Counter()
    taken: list[tuple[str, int]] = []
    lock = threading.Lock()

    def sometimes(got: Got) -> Answer:
        key = f"{got.json['userId']}-{got.json['traits']['i']}"
        with lock:
            seen[key] += 1
            fails = got.json["traits"]["i"] % 7 == 3 and seen[key] <= 2
            if not fails:
                taken.append((got.json["userId"], got.json["traits"]["i"]))
        time.sleep(0.002)
        return Answer(500) if fails else Answer(201, b'{"result":true}')

    with answering(sometimes) as server:
        with Client({"wa": Destination(interakt(server), concurrency=8)}) as client:
            for i in range(15):
                for user in range(20):
                    assert client.track(f"u{user}", "E", {"i": i})
            assert client.flush(60)
            ledger = client.stats()["wa"]
        assert server.open_most > 1
    assert ledger.delivered == 300
    assert len(taken) == 300
    for user in range(20):
        assert [i for name, i in taken if name == f"u{user}"] == list(range(15))


def test_senders_grow_where_requests_are_slow() -> None:
    def slowly(got: Got) -> Answer:
        time.sleep(0.02)
        return Answer(201, b'{"result":true}')

    with answering(slowly) as server:
        with Client({"wa": interakt(server)}) as client:
            for message in tracks(400, users=400):
                client.enqueue(message)
            assert client.flush(30)
        assert 8 <= server.open_most <= 16


def test_concurrency_is_never_exceeded() -> None:
    def slowly(got: Got) -> Answer:
        time.sleep(0.01)
        return Answer(201, b'{"result":true}')

    with answering(slowly) as server:
        with Client({"wa": Destination(interakt(server), concurrency=3)}) as client:
            for message in tracks(60, users=60):
                client.enqueue(message)
            assert client.flush(30)
        assert server.open_most <= 3


def test_the_rate_limit_is_kept() -> None:
    with answering(in_turn(Answer(201, b'{"result":true}'))) as server:
        with Client({"wa": Interakt(api_key="api-key-12345", base_url=server.url, rate_per_minute=20)}) as client:
            for message in tracks(30, users=30):
                client.enqueue(message)
            assert not client.flush(1)
            assert len(server.got) == 20
            assert client.stats()["wa"].pending == 10
            client.close(0)


def test_a_lone_message_waits_for_company_but_not_for_long() -> None:
    with answering() as server:
        with Client({"cdp": hightouch(server)}, linger=0.2) as client:
            began = time.monotonic()
            client.track("u", "one")
            client.track("u", "two")
            while not server.got:
                assert time.monotonic() - began < 5
                time.sleep(0.005)
            assert time.monotonic() - began >= 0.2
            assert len(server.messages) == 2


def test_a_full_batch_does_not_linger() -> None:
    with answering() as server:
        client = Client({"cdp": hightouch(server)}, linger=60)
        for message in tracks(100, users=3):
            client.enqueue(message)
        began = time.monotonic()
        while len(server.messages) < 100:
            assert time.monotonic() - began < 5
            time.sleep(0.005)
        client.close(0)


def test_kinds_never_share_a_request_at_thrivestack() -> None:
    with answering(in_turn(Answer(200, b'{"success":true}'))) as server:
        with Client({"ts": Thrivestack(api_key="api-key-12345", base_url=server.url)}) as client:
            client.group("u1", "g1")
            client.track("u1", "one")
            client.track("u1", "two")
            client.identify("u1")
            assert client.flush(10)
    assert [got.path for got in server.got] == ["/api/group", "/api/track", "/api/identify"]
    assert len(server.got[1].json) == 2


def test_a_message_too_large_for_one_provider_is_a_dead_letter_there() -> None:
    with answering() as server, answering(in_turn(Answer(201, b'{"result":true}'))) as other:
        with Client({"cdp": hightouch(server), "wa": interakt(other)}) as client:
            receipt = client.track("u", "E", {"pad": "x" * 33_000})
            assert client.flush(10)
            ledgers = client.stats()
    assert receipt.destinations == ("wa",)
    assert ledgers["cdp"].dead == {"too_large": 1}
    assert ledgers["wa"].delivered == 1


def test_a_full_queue_drops_the_newest_and_counts_exactly() -> None:
    release = threading.Event()

    def hang(got: Got) -> Answer:
        release.wait(20)
        return OK

    with answering(hang) as server:
        client = Client({"cdp": hightouch(server)}, max_events=500)
        receipts = [client.track(f"u{i % 5}", "E", {"i": i}) for i in range(2_000)]
        assert sum(map(bool, receipts)) == 500
        assert {r.reason for r in receipts if not r} == {"queue_full"}
        ledger = client.stats()["cdp"]
        assert (ledger.accepted, ledger.pending, ledger.dropped) == (2_000, 500, {"queue_full": 1_500})
        release.set()
        assert client.flush(10)
        assert client.close().success == 500


def test_members_without_a_place_are_left_out_and_counted() -> None:
    with answering(in_turn(Answer(201, b'{"result":true}'))) as server:
        with Client({"wa": interakt(server)}) as client:
            client.track("u", "E", tenant_id="acme", context={"ip": "192.0.2.1"})
            assert client.flush(10)
            ledger = client.stats()["wa"]
    assert ledger.delivered == 1
    assert ledger.omitted == {"context": 1, "tenant_id": 1}


def test_a_bug_in_a_provider_costs_its_own_messages_only() -> None:
    from attrs import frozen

    @frozen(kw_only=True)
    class Broken(Hightouch):
        def encode(self, message):  # type: ignore[no-untyped-def]
            raise IndexError("a bug")

    @frozen(kw_only=True)
    class Confused(Hightouch):
        def outcomes(self, response, parts):  # type: ignore[no-untyped-def]
            raise IndexError("another bug")

    with answering() as server:
        key, url = "write-key-1", server.url
        destinations = {
            "ok": Hightouch(write_key=key, base_url=url),
            "broken": Broken(write_key=key, base_url=url),
            "confused": Confused(write_key=key, base_url=url),
        }
        with Client(destinations) as client:
            for message in tracks(5):
                client.enqueue(message)
            assert client.flush(20)
            ledgers = client.stats()
    assert ledgers["ok"].delivered == 5
    assert ledgers["broken"].dead == {"provider_error": 5}
    assert ledgers["confused"].dead == {"provider_error": 5}


def test_flush_is_not_starved_by_messages_that_come_later() -> None:
    def slowly(got: Got) -> Answer:
        time.sleep(0.01)
        return OK

    stop = threading.Event()
    with answering(slowly) as server, Client({"cdp": hightouch(server)}) as client:

        def keep_tracking() -> None:
            while not stop.is_set():
                client.track("noise", "E")
                time.sleep(0.0005)

        thread = threading.Thread(target=keep_tracking)
        thread.start()
        try:
            for message in tracks(500):
                client.enqueue(message)
            assert client.flush(20)
        finally:
            stop.set()
            thread.join()
        assert {f"m{i}" for i in range(500)} <= {m["messageId"] for m in server.messages}


def test_a_message_never_waits_for_the_next_one_to_wake_its_sender() -> None:
    delivered = threading.Semaphore(0)
    with answering() as server:
        client = Client(
            {"cdp": hightouch(server)},
            linger=0,
            on_delivery=lambda verdicts: [delivered.release() for _ in verdicts],
        )
        for i in range(1_500):
            client.track(f"u{i}", "E")
            assert delivered.acquire(timeout=20), f"message {i} was forgotten"
        client.close()


def test_a_held_destination_still_buries_what_expires() -> None:
    with answering(in_turn(Answer(401))) as server:
        with Client({"cdp": hightouch(server)}, delivery_deadline=0.4) as client:
            client.track("u", "E")
            assert client.flush(10)
            assert client.stats()["cdp"].dead == {"expired": 1}
        assert len(server.got) == 1


def test_a_transport_that_raises_anything_loses_nothing() -> None:
    class Odd:
        def __init__(self) -> None:
            self.calls = 0

        def send(self, request: object, timeout: float, connect_timeout: float = 5.0) -> object:
            self.calls += 1
            if self.calls < 3:
                raise LookupError("a bug in a transport")
            from unitrack.wire import Response

            return Response(status=200)

        def close(self) -> None:
            pass

    transport = Odd()
    with Client({"cdp": Hightouch(write_key="write-key-1")}, transport=transport) as client:
        assert client.send(tracks(3), timeout=20).status == "success"
    assert transport.calls == 3


def test_a_refusal_of_an_array_in_a_200_is_split_too() -> None:
    def refuse_poison(got: Got) -> Answer:
        bad = any(m["event_name"] == "poison" for m in got.json)
        return Answer(200, b'{"success":false,"message":"bad"}' if bad else b'{"success":true}')

    with answering(refuse_poison) as server:
        with Client({"ts": Thrivestack(api_key="api-key-12345", base_url=server.url)}) as client:
            batch = [Track(user_id="u", event="poison" if i == 3 else "E") for i in range(10)]
            report = client.send(batch, timeout=10)
    assert (report.success, report.failure) == (9, 1)
    assert report.failed_records[0].record is batch[3]


def test_order_holds_where_the_first_of_several_requests_fails() -> None:
    refused = {"/api/group": 2, "/api/identify": 1}
    taken: list[str] = []
    lock = threading.Lock()

    def stumble(got: Got) -> Answer:
        with lock:
            if refused.get(got.path, 0):
                refused[got.path] -= 1
                return Answer(500)
            taken.extend(str(m.get("event_name") or got.path) for m in got.json)
        return Answer(200, b'{"success":true}')

    with answering(stumble) as server:
        with Client({"ts": Thrivestack(api_key="api-key-12345", base_url=server.url)}) as client:
            client.group("u1", "g1")
            client.track("u1", "one")
            client.identify("u1")
            client.track("u1", "two")
            client.track("u2", "another user's")
            assert client.flush(20)
    assert [name for name in taken if name != "another user's"] == ["/api/group", "one", "/api/identify", "two"]
    assert taken.count("another user's") == 1


def test_batches_are_full_again_after_an_outage() -> None:
    down = threading.Event()
    down.set()
    with answering(lambda got: Answer(503) if down.is_set() else Answer(200, b'{"success":true}')) as server:
        with Client({"ts": Thrivestack(api_key="api-key-12345", base_url=server.url)}) as client:
            for message in tracks(5_000, users=2_000):
                client.enqueue(message)
            client.flush(0.5)
            down.clear()
            before = len(server.got)
            assert client.flush(30)
            assert client.stats()["ts"].delivered == 5_000
    assert len(server.got) - before <= 15


def test_a_full_queue_that_raises_does_not_keep_the_others_waiting() -> None:
    release = threading.Event()

    def hang(got: Got) -> Answer:
        release.wait(20)
        return OK

    with answering(hang) as stuck, answering() as free:
        full = Destination(hightouch(stuck), max_events=1, on_full="raise")
        client = Client({"full": full, "free": hightouch(free)}, linger=0)
        assert client.track("u", "one")
        until = time.monotonic() + 5
        while client.stats()["free"].delivered < 1:
            assert time.monotonic() < until
            time.sleep(0.005)
        with pytest.raises(QueueFull):
            client.track("u", "two")
        while client.stats()["free"].delivered < 2:
            assert time.monotonic() < until, "the other destination was not woken"
            time.sleep(0.005)
        release.set()
        assert client.close(5).failure == 1
