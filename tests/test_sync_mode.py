"""mode="sync": the call sends, with the same verdicts and the same retries."""

import threading

from tests.answering import Answer, answering, in_turn
from unitrack import Client, Track
from unitrack.providers import Hightouch, Interakt

KEY = "write-key-1"


def test_the_call_returns_after_delivery_and_no_thread_is_started() -> None:
    before = set(threading.enumerate())
    with answering() as server:
        with Client({"cdp": Hightouch(write_key=KEY, base_url=server.url)}, mode="sync") as client:
            receipt = client.track("u", "E")
            assert receipt
            assert receipt.destinations == ("cdp",)
            assert len(server.messages) == 1
            begun = {thread.name for thread in set(threading.enumerate()) - before}
            assert begun, "those of the server"
            assert not any(name.startswith("unitrack") for name in begun)


def test_a_503_is_retried_within_the_call() -> None:
    with answering(in_turn(Answer(503), Answer(503), Answer())) as server:
        with Client({"cdp": Hightouch(write_key=KEY, base_url=server.url)}, mode="sync") as client:
            assert client.track("u", "E")
            assert client.stats()["cdp"].retried == 2
    assert len(server.got) == 3


def test_a_rejected_message_gives_a_falsy_receipt_with_the_reason() -> None:
    with answering(in_turn(Answer(400, b"no such plan"))) as server:
        with Client({"cdp": Hightouch(write_key=KEY, base_url=server.url)}, mode="sync") as client:
            receipt = client.track("u", "E")
            assert not receipt
            assert "no such plan" in (receipt.reason or "")
            assert client.stats()["cdp"].dead == {"rejected": 1}


def test_a_wrong_key_does_not_block_the_call() -> None:
    with answering(in_turn(Answer(401), Answer())) as server:
        client = Client({"cdp": Hightouch(write_key=KEY, base_url=server.url)}, mode="sync", probe_interval=0.05)
        receipt = client.track("u", "E")
        assert not receipt
        assert "401" in (receipt.reason or "")
        assert client.stats()["cdp"].pending == 1
        assert client.flush(5)
        assert client.close().status == "success"


def test_retries_end_with_the_timeout_of_the_call() -> None:
    with answering(in_turn(Answer(503))) as server:
        client = Client({"cdp": Hightouch(write_key=KEY, base_url=server.url)}, mode="sync", timeout=0.5)
        assert not client.track("u", "E")
        assert client.stats()["cdp"].dead == {"expired": 1}
        client.close(0)


def test_a_bulk_is_delivered_in_batches() -> None:
    with answering() as server:
        with Client({"cdp": Hightouch(write_key=KEY, base_url=server.url)}, mode="sync") as client:
            report = client.send([Track(user_id=f"u{i}", event="E") for i in range(250)], timeout=10)
    assert report.success == 250
    assert [len(got.json["batch"]) for got in server.got] == [100, 100, 50]


def test_two_destinations_both_get_it() -> None:
    with answering() as one, answering(in_turn(Answer(201, b'{"result":true}'))) as two:
        destinations = {
            "cdp": Hightouch(write_key=KEY, base_url=one.url),
            "wa": Interakt(api_key="api-key-1234", base_url=two.url),
        }
        with Client(destinations, mode="sync") as client:
            assert client.track("u", "E").destinations == ("cdp", "wa")
        assert (len(one.got), len(two.got)) == (1, 1)
