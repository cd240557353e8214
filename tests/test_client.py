"""The client as its users see it, against a real server."""

import copy
import logging
import pickle
import threading
from collections.abc import Iterator

import pytest

from tests.answering import Answer, Answering, answering, in_turn
from unitrack import (
    Alias,
    Client,
    ConfigError,
    Delivered,
    Destination,
    Drop,
    Group,
    Hold,
    Identify,
    InvalidMessage,
    Page,
    Rejected,
    Screen,
    Track,
    Verdict,
)
from unitrack.providers import Hightouch, Interakt

KEY = "canary-write-key-7f3a"


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering() as server:
        yield server


def hightouch(server: Answering) -> Hightouch:
    return Hightouch(write_key=KEY, base_url=server.url)


def test_a_tracked_message_arrives(server: Answering) -> None:
    with Client({"cdp": hightouch(server)}) as client:
        receipt = client.track("u-42", "Order Paid", {"total": 19.9}, idempotency_key="order-7")
        assert receipt
        assert receipt.destinations == ("cdp",)
        assert client.flush(5)
    [message] = server.messages
    assert message["userId"] == "u-42"
    assert message["event"] == "Order Paid"
    assert message["properties"] == {"total": 19.9}


def test_the_six_calls_take_the_vendors_positional_arguments(server: Answering) -> None:
    with Client({"cdp": hightouch(server)}) as client:
        client.identify("u", {"plan": "pro"})
        client.track("u", "Signed Up", {"n": 1})
        client.page("u", "Docs", "Python", {"url": "x"})
        client.screen("u", "Docs", "Python", {"url": "x"})
        client.group("u", "g", {"name": "Initech"})
        client.alias("anon", "u")
        assert client.flush(5)
    sent = server.messages
    assert [m["type"] for m in sent] == ["identify", "track", "page", "screen", "group", "alias"]
    assert (sent[2]["category"], sent[2]["name"]) == ("Docs", "Python")
    assert sent[4]["groupId"] == "g"
    assert (sent[5]["previousId"], sent[5]["userId"]) == ("anon", "u")


def test_a_later_change_to_the_callers_dict_is_not_sent(server: Answering) -> None:
    properties = {"items": [1, 2]}
    with Client({"cdp": hightouch(server)}) as client:
        client.track("u", "E", properties)
        properties["items"].append(3)
        properties["new"] = [1]
        client.flush(5)
    assert server.messages[0]["properties"] == {"items": [1, 2]}
    assert properties == {"items": [1, 2, 3], "new": [1]}


def test_a_bad_value_gives_a_falsy_receipt_a_ledger_entry_and_a_callback(server: Answering) -> None:
    drops: list[Drop] = []
    with Client({"cdp": hightouch(server)}, on_drop=drops.extend) as client:
        receipt = client.track("u", "E", {"card": {"holder": object()}})
        assert not receipt
        assert "$.properties.card.holder" in (receipt.reason or "")
        client.flush(5)
        ledger = client.stats()["cdp"]
    assert ledger.accepted == 1
    assert ledger.dropped == {"invalid": 1}
    assert ledger.balanced
    assert [(d.destination, d.reason) for d in drops] == [("cdp", "invalid")]
    assert server.got == []


def test_strict_raises_and_names_the_path(server: Answering) -> None:
    with Client({"cdp": hightouch(server)}, strict=True) as client:
        with pytest.raises(InvalidMessage) as caught:
            client.track("u", "E", {"total": 1j})
        assert caught.value.path == "$.properties.total"
        assert client.stats()["cdp"].dropped == {"invalid": 1}


def test_nan_becomes_null_and_is_reported_on_the_receipt(server: Answering) -> None:
    with Client({"cdp": hightouch(server)}) as client:
        receipt = client.track("u", "E", {"total": float("nan"), "list": [1, float("inf")]})
        assert receipt
        assert receipt.nulled == ("$.properties.total", "$.properties.list[1]")
        client.flush(5)
    assert server.messages[0]["properties"] == {"total": None, "list": [1, None]}


def test_send_waits_for_a_verdict_on_every_message(server: Answering) -> None:
    with Client({"cdp": hightouch(server)}) as client:
        report = client.send([Track(user_id=f"u{i}", event="E") for i in range(250)], timeout=10)
    assert (report.status, report.total, report.success, report.failure) == ("success", 250, 250, 0)
    assert all(isinstance(outcome, Delivered) for outcome in report.verdicts.values())
    assert sorted(m["userId"] for m in server.messages) == sorted(f"u{i}" for i in range(250))
    assert all(len(got.json["batch"]) <= 100 for got in server.got)


def test_send_reports_bad_messages_and_delivers_the_good_ones(server: Answering) -> None:
    good, bad = Track(user_id="u", event="good"), Track(user_id="", event="no_user")
    with Client({"cdp": hightouch(server)}) as client:
        report = client.send([good, bad, "junk"], timeout=5)  # type: ignore[list-item]
    assert (report.status, report.success, report.failure) == ("partial", 1, 2)
    assert report.failed_records[0].record is bad
    assert report.failed_records[0].destination == "cdp"
    assert "$.user_id" in report.failed_records[0].error
    assert [m["event"] for m in server.messages] == ["good"]


def test_an_empty_send_is_a_success_with_total_0(server: Answering) -> None:
    with Client({"cdp": hightouch(server)}) as client:
        report = client.send([])
    assert (report.status, report.total) == ("success", 0)
    assert server.got == []


def test_what_one_provider_cannot_take_is_told_there_and_delivered_by_the_others(server: Answering) -> None:
    with answering(lambda got: Answer(202, b'{"result":true}')) as other:
        with Client({"cdp": hightouch(server), "whatsapp": Interakt(api_key="k" * 20, base_url=other.url)}) as client:
            receipt = client.page("u", "Docs", "Python")
            assert receipt.destinations == ("cdp",)
            assert client.flush(5)
            ledger = client.stats()["whatsapp"]
            [letter] = client.dead_letters("whatsapp")
        assert other.got == []
    assert ledger.dead == {"unsupported": 1}
    assert ledger.balanced
    assert letter.detail == "Interakt has no page call; send a track event instead"
    assert len(server.messages) == 1


def test_unsupported_can_be_skipped_instead(server: Answering) -> None:
    whatsapp = Destination(Interakt(api_key="k" * 20, base_url=server.url), unsupported="skip")
    with Client({"whatsapp": whatsapp}) as client:
        assert not client.page("u", "Docs", "Python")
        ledger = client.stats()["whatsapp"]
    assert (ledger.accepted, ledger.filtered) == (1, 1)
    assert ledger.dead == {}


def test_routing_filters_by_event_name_and_kind(server: Answering) -> None:
    wants = Destination(hightouch(server), events=["Order *"], kinds=["track", "identify"])
    with Client({"cdp": wants}) as client:
        assert client.track("u", "Order Paid")
        assert not client.track("u", "Signed Up")
        assert client.identify("u")
        assert not client.page("u")
        client.flush(5)
        ledger = client.stats()["cdp"]
    assert (ledger.accepted, ledger.delivered, ledger.filtered) == (4, 2, 2)
    assert [m["type"] for m in server.messages] == ["track", "identify"]


def test_only_and_exclude_are_checked(server: Answering) -> None:
    with Client({"a": hightouch(server), "b": hightouch(server)}) as client:
        assert client.track("u", "E", only=["a"]).destinations == ("a",)
        assert client.track("u", "E", exclude=["a"]).destinations == ("b",)
        receipt = client.track("u", "E", only=["c"])
        assert not receipt
        assert "'c' is no destination" in (receipt.reason or "")


def test_a_middleware_changes_or_stops_a_message(server: Answering) -> None:
    from attrs import evolve

    def enrich(message: Track) -> Track:
        return evolve(message, properties={**message.properties, "release": "2024.2"})

    def stop_tests(message: Track) -> Track | None:
        return None if message.user_id == "test" else message

    with Client({"cdp": hightouch(server)}, middleware=[stop_tests, enrich]) as client:
        assert client.track("u", "E", {"a": 1})
        assert not client.track("test", "E", {"a": 1})
        client.flush(5)
        ledger = client.stats()["cdp"]
    assert server.messages[0]["properties"] == {"a": 1, "release": "2024.2"}
    assert (ledger.delivered, ledger.filtered) == (1, 1)


def test_a_middleware_that_raises_stops_the_message(server: Answering) -> None:
    def broken(message: Track) -> Track:
        raise ZeroDivisionError("oops")

    with Client({"cdp": hightouch(server)}, middleware=[broken]) as client:
        receipt = client.track("u", "E")
        assert not receipt
        assert (receipt.reason or "").startswith("middleware")
        assert client.stats()["cdp"].dropped == {"middleware": 1}
    with Client({"cdp": hightouch(server)}, middleware=[broken], strict=True) as client:
        with pytest.raises(ZeroDivisionError):
            client.track("u", "E")
    assert server.got == []


def test_drop_and_redact_apply_to_one_destination_only(server: Answering) -> None:
    with answering() as other:
        shy = Destination(Hightouch(write_key=KEY, base_url=other.url), drop=["traits.ssn"], redact=["traits.email"])
        with Client({"open": hightouch(server), "shy": shy}) as client:
            client.identify("u", {"ssn": "1", "email": "a@b.c", "plan": "pro"})
            assert client.flush(5)
        assert other.messages[0]["traits"] == {"email": "[redacted]", "plan": "pro"}
    assert server.messages[0]["traits"] == {"ssn": "1", "email": "a@b.c", "plan": "pro"}


def test_options_reach_only_their_destination(server: Answering) -> None:
    answer = in_turn(Answer(202, b'{"result":true}'))
    with answering(answer) as one, answering(answer) as two:
        a, b = (Interakt(api_key="k" * 20, base_url=s.url) for s in (one, two))
        with Client({"a": a, "b": b}) as client:
            client.identify("u", {"n": 1}, options={"a": {"tags": ["vip"]}})
            assert client.flush(5)
            assert not client.identify("u", options={"c": {"tags": ["vip"]}})
        assert one.messages[0]["tags"] == ["vip"]
        assert "tags" not in two.messages[0]


def test_callbacks_hear_of_deliveries_and_cannot_hurt(server: Answering) -> None:
    heard: list[Verdict] = []

    def hear(verdicts: list[Verdict]) -> None:
        heard.extend(verdicts)
        raise ValueError("a bug in the callback")

    with Client({"cdp": hightouch(server)}, on_delivery=hear) as client:
        first = client.track("u", "one")
        assert client.flush(5)
        second = client.track("u", "two")
        assert client.flush(5)
    assert [v.message_id for v in heard] == [first.message_id, second.message_id]
    assert all(v.outcome == Delivered() for v in heard)


def test_a_rejected_message_is_a_dead_letter_with_the_vendors_words() -> None:
    drops: list[Drop] = []
    with answering(in_turn(Answer(400, b'{"code":"bad","message":"no such plan"}'))) as server:
        with Client({"cdp": hightouch(server)}, on_drop=drops.extend) as client:
            report = client.send([Track(user_id="u", event="E")], timeout=5)
            ledger = client.stats()["cdp"]
            [letter] = client.dead_letters()
    [outcome] = report.verdicts.values()
    assert isinstance(outcome, Rejected)
    assert outcome.code == 400
    assert report.failed_records[0].code == 400
    assert "no such plan" in report.failed_records[0].error
    assert ledger.dead == {"rejected": 1}
    assert letter.attempts == 1
    assert [d.reason for d in drops] == ["rejected"]
    assert len(server.got) == 1


def test_a_wrong_key_holds_the_messages_and_send_says_so_at_once() -> None:
    with answering(in_turn(Answer(401, b'{"message":"bad key"}'), Answer())) as server:
        with Client({"cdp": hightouch(server)}, probe_interval=0.05) as client:
            report = client.send([Track(user_id="u", event="E")], timeout=30)
            [outcome] = report.verdicts.values()
            assert isinstance(outcome, Hold)
            assert report.failed_records[0].code == 401
            assert client.stats()["cdp"].pending in (0, 1)
            assert client.flush(5)
            ledger = client.stats()["cdp"]
    assert ledger.delivered == 1
    assert ledger.held is None


def test_after_close_calls_are_refused_and_nothing_is_left(server: Answering) -> None:
    before = set(threading.enumerate())
    client = Client({"cdp": hightouch(server)}, on_delivery=lambda verdicts: None)
    client.track("u", "E")
    report = client.close(5)
    assert (report.status, report.success) == ("success", 1)
    receipt = client.track("u", "late")
    assert not receipt
    assert receipt.reason == "closed"
    assert client.close().success == 1
    assert client.stats()["cdp"].dropped == {"closed": 1}
    client.flush(0)
    left = {t for t in threading.enumerate() if t.name.startswith("unitrack")} - before
    assert left == set()


def test_close_reports_what_was_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    with answering(in_turn(Answer(503))) as server:
        client = Client({"cdp": hightouch(server)})
        client.track("u", "E")
        report = client.close(0.3)
    assert report.status == "fail"
    assert report.failure == 1
    assert "1 messages were not sent" in report.failed_records[0].error


def test_a_wrong_configuration_raises_when_the_client_is_made(server: Answering) -> None:
    def refuses(*args: object, says: str, **kwargs: object) -> None:
        with pytest.raises(ConfigError) as caught:
            Client(*args, **kwargs)  # type: ignore[arg-type]
        assert says in str(caught.value)

    good = hightouch(server)
    refuses({}, says="names to providers")
    refuses([good], says="names to providers")
    refuses({"a b": good}, says="no name for a destination")
    refuses({"cdp": Hightouch}, says="destinations.cdp: provider must be a provider")
    refuses({"cdp": "hightouch"}, says="destinations.cdp")
    refuses({"cdp": good}, lingr=1, says="did you mean 'linger'")
    refuses({"cdp": good}, max_queue_size=1, says="here it is max_events")
    refuses({"cdp": good}, linger=-1, says="linger must be a number of at least 0")
    refuses({"cdp": good}, max_events=True, says="max_events")
    refuses({"cdp": good}, mode="async", says="mode must be one of")
    refuses({"cdp": good}, queue="kafka://x", says="queue 'kafka:' is not known")
    refuses({"cdp": good}, middleware=[1], says="middleware")
    refuses({"cdp": good}, middleware=print, says="middleware must be a list of functions")
    refuses({"cdp": good}, on_drop="x", says="on_drop must be a function")
    refuses({"cdp": good}, transport=3, says="transport")
    refuses({"cdp": Hightouch(write_key=KEY, base_url="http://example.com")}, says="destinations.cdp")
    with pytest.raises(ConfigError, match="did you mean 'identify'"):
        Destination(good, kinds=["identfy"])
    with pytest.raises(ConfigError, match="no setting of a destination"):
        Destination(good, concurency=1)
    with pytest.raises(ConfigError, match="is no path"):
        Client({"cdp": Destination(good, drop=["email"])})


def test_copies_are_the_same_client_and_a_pickle_says_what_to_do(server: Answering) -> None:
    with Client({"cdp": hightouch(server)}) as client:
        assert copy.copy(client) is client
        assert copy.deepcopy(client) is client
        with pytest.raises(TypeError, match="make one in each process"):
            pickle.dumps(client)


def test_no_secret_in_reprs_logs_or_dead_letters(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo = f'{{"message":"unknown key {KEY}"}}'.encode()
    with answering(in_turn(Answer(400, echo))) as server:
        with Client({"cdp": hightouch(server)}, debug=True) as client:
            report = client.send([Track(user_id="u", event="E")], timeout=5)
            shown = [repr(client), repr(client.destinations), repr(report), repr(client.dead_letters())]
    assert any("POST" in record.getMessage() for record in caplog.records)
    for text in [*shown, caplog.text]:
        assert KEY not in text


def test_every_kind_of_message_can_be_enqueued(server: Answering) -> None:
    kinds = [
        Track(user_id="u", event="E"),
        Identify(user_id="u"),
        Page(user_id="u"),
        Screen(user_id="u"),
        Group(user_id="u", group_id="g"),
        Alias(user_id="u", previous_id="a"),
    ]
    with Client({"cdp": hightouch(server)}) as client:
        assert all(client.enqueue(message) for message in kinds)
        assert client.flush(5)
    assert [m["type"] for m in server.messages] == [message.kind for message in kinds]


def test_eight_threads_lose_nothing_and_keep_their_order(server: Answering) -> None:
    with Client({"cdp": hightouch(server)}, concurrency=4) as client:

        def call(user: str) -> None:
            for i in range(500):
                assert client.track(user, "E", {"i": i})

        threads = [threading.Thread(target=call, args=(f"u{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.flush(20)
        ledger = client.stats()["cdp"]
    assert ledger.delivered == 4000
    assert ledger.balanced
    for n in range(8):
        assert [m["properties"]["i"] for m in server.messages if m["userId"] == f"u{n}"] == list(range(500))


def test_a_single_message_can_be_sent_too(server: Answering) -> None:
    with Client({"cdp": hightouch(server)}) as client:
        assert client.send(Track(user_id="u", event="E")).success == 1  # type: ignore[arg-type]


def test_dead_letters_of_an_unknown_destination_are_a_mistake(server: Answering) -> None:
    with Client({"cdp": hightouch(server)}) as client:
        with pytest.raises(ConfigError, match="did you mean 'cdp'"):
            client.dead_letters("cpd")


def test_a_middleware_that_forgets_to_return_is_told_so(server: Answering) -> None:
    def forgets(message: Track) -> None:
        pass

    with Client({"cdp": hightouch(server)}, middleware=[forgets]) as client:
        assert client.track("u", "E").reason == "filtered: a middleware returned None"
