"""GA4, played: documented requests get in, what the service would drop is named, and a client delivers to it."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unitrack import Client, Identify, Message, Page, Track
from unitrack.providers.ga4 import GA4
from unitrack.receivers import Received
from unitrack.receivers.ga4 import GA4Receiver
from unitrack.testing.strategies import any_messages, messages
from unitrack.wire import Capabilities

from .agreeing import URL, assert_agreed
from .posting import NOW, captured, captured_cases, post, replayed

WEB = {"measurement_id": "G-TEST000001", "api_secret": "ga4-secret-0000000000"}
APP = {"firebase_app_id": "1:2:ios:a", "api_secret": "ga4-secret-0000000000"}
QUERY = "measurement_id=G-TEST000001&api_secret=ga4-secret-0000000000"
APP_QUERY = "firebase_app_id=1%3A2%3Aios%3Aa&api_secret=ga4-secret-0000000000"
CLIENT = "1234567890.1700000000"
#: An hour before the requests of these tests.
MICROS = 1_772_362_800_000_000
EVENT = {"name": "order_paid", "params": {"order_id": 7, "total": 19.9}, "timestamp_micros": MICROS}
RECEIVER = GA4Receiver(**WEB)


def collect(body: object, path: str = f"/mp/collect?{QUERY}", **request: Any) -> Received:
    return post(path, body, request.pop("headers", {}), **request)


def about(*events: object, **members: object) -> dict[str, object]:
    return {"client_id": CLIENT, "events": list(events), **members}


def with_params(**params: object) -> Received:
    return collect(about({"name": "e", "params": params}))


def with_properties(**properties: object) -> Received:
    return collect(about(EVENT, user_properties={name: {"value": value} for name, value in properties.items()}))


def receiver_of(request: dict[str, Any]) -> GA4Receiver:
    return GA4Receiver(**dict(parse_qsl(urlsplit(request["path"]).query)))


# What is documented gets in


@pytest.mark.parametrize(("config", "request_"), captured_cases("ga4", skip={"debug"}))
def test_documented_request_is_taken(config: dict[str, Any], request_: dict[str, Any]) -> None:
    answer = receiver_of(request_).judge(replayed(request_))
    assert (answer.status, answer.body, answer.refused) == (204, b"", ())
    assert len(answer.taken) == len(request_["body"]["events"])


def test_validation_is_asked_of_the_same_data_and_takes_nothing() -> None:
    ((_, _, request),) = [case for case in captured("ga4") if case[0] == "debug"]
    moment = datetime.fromtimestamp(request["body"]["events"][0]["timestamp_micros"] / 1_000_000, UTC)
    for age, code in [(timedelta(hours=71), None), (timedelta(hours=73), "VALUE_OUT_OF_BOUNDS")]:
        answer = receiver_of(request).judge(evolve(replayed(request), now=moment + age))
        assert (answer.status, answer.taken) == (200, ())
        found = json.loads(answer.body)["validationMessages"]
        assert [said["validationCode"] for said in found] == ([code] if code else [])


def test_validation_looks_at_neither_secret_nor_stream() -> None:
    body = about(EVENT, validation_behavior="ENFORCE_RECOMMENDATIONS")
    answer = RECEIVER.judge(collect(body, "/debug/mp/collect?measurement_id=G-OTHER&api_secret=wrong"))
    assert (answer.status, json.loads(answer.body)) == (200, {"validationMessages": []})


def test_whatever_the_reference_names_is_taken() -> None:
    whole = about(
        {"name": "e"},
        {"name": "Größe_2", "params": {}},
        {"name": "purchase", "params": {"items": [{"item_id": "a", "quantity": 2}], "transaction_id": "T"}},
        user_id="u1",
        user_properties={"tier": {"value": "gold", "timestamp_micros": MICROS}},
        timestamp_micros=MICROS,
        ip_override="203.0.113.9",
        user_agent="Mozilla/5.0",
        consent={"ad_user_data": "DENIED"},
        user_location={"city": "Ulm"},
        device={"category": "mobile"},
        user_data={"sha256_email_address": ["a" * 64]},
        non_personalized_ads=True,
    )
    answer = RECEIVER.judge(collect(whole))
    assert (answer.status, answer.refused, len(answer.taken)) == (204, (), 3)


def test_event_is_stored_with_what_its_request_says_of_the_user() -> None:
    answer = RECEIVER.judge(collect(about(EVENT, user_id="u1", ip_override="203.0.113.9")))
    (taken,) = answer.taken
    assert taken.message == {"client_id": CLIENT, "user_id": "u1", "ip_override": "203.0.113.9", **EVENT}
    assert taken.user == "u1"
    (nobody,) = RECEIVER.judge(collect(about(EVENT))).taken
    assert nobody.user == CLIENT


def test_repeat_is_told_by_all_of_it_and_purchase_by_its_transaction() -> None:
    def key(name: str, **params: object) -> str:
        (taken,) = RECEIVER.judge(collect(about({"name": name, "params": params}))).taken
        return taken.key

    assert key("e", a=1) == key("e", a=1)
    assert key("e", a=1) != key("e", a=2)
    assert key("e", transaction_id="T", value=1) != key("e", transaction_id="T", value=2)
    assert key("purchase", transaction_id="T", value=1) == key("purchase", transaction_id="T", value=2)
    assert key("purchase", transaction_id="T") != key("purchase", transaction_id="U")
    assert key("purchase", value=1) != key("purchase", value=2)


# What is damaged does not

DAMAGED = {
    "unknown path": (collect(about(EVENT), f"/g/collect?{QUERY}"), 404, "no such path: /g/collect"),
    "wrong method": (collect(about(EVENT), method="PUT"), 405, "PUT is not allowed"),
    "no query": (collect(about(EVENT), "/mp/collect"), 401, "must hold measurement_id and api_secret"),
    "no secret": (collect(about(EVENT), "/mp/collect?measurement_id=G-TEST000001"), 401, "must hold"),
    "empty secret": (collect(about(EVENT), "/mp/collect?measurement_id=G-TEST000001&api_secret="), 401, "must hold"),
    "secret twice": (collect(about(EVENT), f"/mp/collect?{QUERY}&api_secret=x"), 401, "once each"),
    "something else": (collect(about(EVENT), f"/mp/collect?{QUERY}&debug=1"), 401, "nothing else"),
    "other kind of stream": (collect(about(EVENT), f"/mp/collect?{APP_QUERY}"), 401, "must hold measurement_id"),
    "wrong stream": (collect(about(EVENT), f"/mp/collect?{QUERY.replace('G-', 'X-')}"), 401, "is not known"),
    "wrong secret": (collect(about(EVENT), f"/mp/collect?{QUERY}0"), 401, "is not known"),
    "form": (collect(about(EVENT), headers={"content-type": "text/plain"}), 415, "text/plain"),
    "gzip": (collect(about(EVENT), headers={"content-encoding": "gzip"}), 415, "no content coding"),
    "large body": (collect(about(*[EVENT] * 25, device={"x": "y" * 130_000})), 413, "more than 130000 bytes"),
    "not JSON": (collect(b"{"), 400, "not JSON"),
    "NaN": (with_params(x=float("nan")), 400, "NaN is not JSON"),
    "array": (collect([EVENT]), 400, "$ must be an object"),
    "no client": (collect({"events": [EVENT], "user_id": "u1"}), 400, "client_id is missing"),
    "app's client": (collect(about(EVENT, app_instance_id="i")), 400, "app_instance_id is not known"),
    "client as number": (collect(about(EVENT, client_id=1.5)), 400, "$.client_id must be text"),
    "no events": (collect({"client_id": CLIENT}), 400, "events is missing"),
    "an event alone": (collect(about(EVENT, events=EVENT)), 400, "$.events must be an array"),
    "empty events": (collect(about()), 400, "1 to 25 events, not 0"),
    "26 events": (collect(about(*[EVENT] * 26)), 400, "1 to 25 events, not 26"),
    "unknown member": (collect(about(EVENT, message_id="m")), 400, "$: message_id is not known"),
    "null user": (collect(about(EVENT, user_id=None)), 400, "$.user_id must be text"),
    "long user": (collect(about(EVENT, user_id="u" * 257)), 400, "at most 256 characters"),
    "address as number": (collect(about(EVENT, ip_override=7)), 400, "$.ip_override must be text"),
    "blank agent": (collect(about(EVENT, user_agent=" ")), 400, "$.user_agent must be text"),
    "consent as text": (collect(about(EVENT, consent="GRANTED")), 400, "$.consent must be an object"),
    "place as text": (collect(about(EVENT, user_location="Ulm")), 400, "$.user_location must be an object"),
    "device as text": (collect(about(EVENT, device="phone")), 400, "$.device must be an object"),
    "strict rules when sending": (
        collect(about(EVENT, validation_behavior="ENFORCE_RECOMMENDATIONS")),
        400,
        "belongs to the validation server",
    ),
    "event without a name": (collect(about({"params": {}})), 400, "$.events[0]: name is missing"),
    "long event name": (collect(about(EVENT, {"name": "e" * 41})), 400, "$.events[1].name must have at most 40"),
    "blank in event name": (collect(about({"name": "Order Paid"})), 400, "not 'Order Paid'"),
    "digit first": (collect(about({"name": "7days"})), 400, "start with a letter"),
    "underscore first": (collect(about({"name": "_e"})), 400, "start with a letter"),
    "reserved event": (collect(about({"name": "session_start"})), 400, "session_start, which is reserved"),
    "event of apps": (collect(about({"name": "screen_view"})), 400, "screen_view, which is reserved"),
    "unknown member of an event": (collect(about({**EVENT, "id": "m"})), 400, "$.events[0]: id is not known"),
    "time in seconds": (collect(about({**EVENT, "timestamp_micros": MICROS // 10**6})), 400, "16 digits"),
    "time in milliseconds": (collect(about({**EVENT, "timestamp_micros": MICROS // 10**3})), 400, "16 digits"),
    "time as text": (collect(about({**EVENT, "timestamp_micros": str(MICROS)})), 400, "16 digits"),
    "time as fraction": (collect(about({**EVENT, "timestamp_micros": MICROS + 0.5})), 400, "16 digits"),
    "params not an object": (collect(about({"name": "e", "params": []})), 400, "$.events[0].params must be an object"),
    "26 params": (with_params(**{f"p{number}": 1 for number in range(26)}), 400, "at most 25 parameters, not 26"),
    "long param name": (with_params(**{"p" * 41: 1}), 400, "at most 40 characters"),
    "blank in param name": (with_params(**{"first name": 1}), 400, "the name 'first name'"),
    "reserved param": (with_params(firebase_conversion=1), 400, "firebase_conversion, which is reserved"),
    "reserved start": (with_params(**{"gtag.x": 1}), 400, "gtag.x, which is reserved"),
    "reserved start of Google's": (with_params(google_x=1), 400, "google_x, which is reserved"),
    "null param": (with_params(gone=None), 400, "$.events[0].params.gone must be text, a number, true or false"),
    "object": (with_params(address={"city": "Ulm"}), 400, "params.address must be text"),
    "list": (with_params(tags=["a"]), 400, "params.tags must be text"),
    "long text": (with_params(note="n" * 101), 400, "at most 100 characters, not 101"),
    "long title": (with_params(page_title="n" * 301), 400, "at most 300"),
    "long referrer": (with_params(page_referrer="n" * 421), 400, "at most 420"),
    "long location": (with_params(page_location="n" * 1001), 400, "at most 1000"),
    "item as text": (with_params(items=["sku"]), 400, "params.items[0] must be an object"),
    "items as one": (with_params(items={"item_id": "sku"}), 400, "params.items must be text"),
    "nested item": (with_params(items=[{}, {"tags": []}]), 400, "params.items[1].tags must be text"),
    "null in an item": (with_params(items=[{"coupon": None}]), 400, "params.items[0].coupon must be text"),
    "name in an item": (with_params(items=[{"a b": 1}]), 400, "the name 'a b'"),
    "properties not an object": (collect(about(EVENT, user_properties=[])), 400, "$.user_properties must be an object"),
    "bare property": (collect(about(EVENT, user_properties={"tier": 1})), 400, "$.user_properties.tier must be an"),
    "property of nothing": (collect(about(EVENT, user_properties={"tier": {}})), 400, "value is missing"),
    "26 properties": (with_properties(**{f"p{number}": 1 for number in range(26)}), 400, "at most 25, not 26"),
    "long property name": (with_properties(**{"p" * 25: 1}), 400, "at most 24 characters"),
    "long property": (with_properties(tier="x" * 37), 400, "at most 36 characters, not 37"),
    "null property": (with_properties(tier=None), 400, "$.user_properties.tier.value must be text"),
    "reserved property": (with_properties(user_id="u"), 400, "user_id, which is reserved"),
    "reserved start of a property": (with_properties(ga_x="u"), 400, "ga_x, which is reserved"),
}  # fmt: skip


@pytest.mark.parametrize(("damaged", "status", "sentence"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_request_is_refused_and_the_sentence_says_why(damaged: Received, status: int, sentence: str) -> None:
    answer = RECEIVER.judge(damaged)
    assert answer.status == status
    assert sentence in answer.refused[0]
    assert answer.taken == ()
    assert json.loads(answer.body)["validationMessages"][0]["description"] == answer.refused[0]


@pytest.mark.parametrize(
    ("event", "code", "place"),
    [
        ({"name": "e" * 41}, "VALUE_INVALID", "events[0].name"),
        ({"name": "Order Paid"}, "NAME_INVALID", "events[0].name"),
        ({"name": "error"}, "NAME_RESERVED", "events[0].name"),
        ({"name": "e", "params": {"x": "y" * 101}}, "VALUE_OUT_OF_BOUNDS", "events[0].params.x"),
        (
            {"name": "e", "params": {f"p{number}": 1 for number in range(26)}},
            "EXCEEDED_MAX_ENTITIES",
            "events[0].params",
        ),
        ({"name": "e", "params": {"x": None}}, "VALUE_INVALID", "events[0].params.x"),
    ],
)
def test_validation_server_answers_200_and_names_the_place(event: object, code: str, place: str) -> None:
    answer = RECEIVER.judge(collect(about(event), f"/debug/mp/collect?{QUERY}"))
    (said,) = json.loads(answer.body)["validationMessages"]
    assert (answer.status, said["validationCode"], said["fieldPath"]) == (200, code, place)
    assert answer.refused == (said["description"],)


def test_app_stream_has_its_own_client_and_takes_the_events_of_apps() -> None:
    receiver = GA4Receiver(**APP)
    screen = {"name": "screen_view", "params": {"screen_name": "Home"}}
    good = {"app_instance_id": "i", "events": [screen]}
    assert receiver.judge(collect(good, f"/mp/collect?{APP_QUERY}")).status == 204
    answer = receiver.judge(collect(about(screen), f"/mp/collect?{APP_QUERY}"))
    assert (answer.status, answer.refused) == (400, ("$: app_instance_id is missing",))


def test_limit_of_values_is_that_of_the_property() -> None:
    assert GA4Receiver(**WEB, value_limit=500).judge(with_params(note="n" * 500)).status == 204


@pytest.mark.parametrize("streams", [{}, {"measurement_id": "G-1", "firebase_app_id": "1:2:ios:a"}])
def test_receiver_wants_one_stream(streams: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="one of them"):
        GA4Receiver(**streams, api_secret="s")


# Two readings agree

PAIRS = {
    "web": (GA4(**WEB, base_url=URL), GA4Receiver(**WEB)),
    "app": (GA4(**APP, base_url=URL, value_limit=500), GA4Receiver(**APP, value_limit=500)),
    "all": (
        GA4(
            **WEB,
            base_url=URL,
            unfit="adapt",
            client_id="verbatim",
            screen_event="seen",
            identify_event="sign_in",
            user_properties=("plan", "tier"),
            engagement_time_msec=1,
        ),
        GA4Receiver(**WEB),
    ),
}


@pytest.mark.parametrize("make", [messages, any_messages])
@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_the_provider_sends_is_taken(
    name: str, make: Callable[[Capabilities], st.SearchStrategy[Any]], data: st.DataObject
) -> None:
    provider, receiver = PAIRS[name]
    drawn = data.draw(st.lists(make(provider.capabilities).map(_of_this_century), min_size=1, max_size=4))
    assert_agreed(provider, receiver, drawn)


def _of_this_century(message: Message) -> Message:
    # An older time is one in the wrong unit to the receiver.
    return message if message.timestamp and message.timestamp.year > 2001 else evolve(message, timestamp=NOW)


# Over the socket

LATE = datetime(2020, 1, 1, tzinfo=UTC)


def test_client_delivers_and_the_receiver_has_it_all_user_by_user(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with GA4Receiver(**WEB) as receiver:
        provider = GA4(**WEB, base_url=receiver.url, event_names={"Order Paid": "purchase"})
        client = Client({"ga4": provider}, debug=True)
        orders = [
            Track(user_id=f"u-{number % 3}", event="Order Paid", properties={"order_id": number})
            for number in range(60)
        ]
        refused = Track(user_id="u-0", event="Order Paid", properties={"address": {"city": "Ulm"}})
        report = client.send([*orders, Page(anonymous_id=CLIENT, name="Home"), Identify(user_id="u-0"), refused])
        client.close()
        ledger = client.stats()["ga4"]
        samples = receiver.samples

    assert ledger.balanced
    assert (ledger.delivered, sum(ledger.dropped.values()) + sum(ledger.dead.values())) == (61, 2)
    assert (report.success, report.failure) == (61, 2)
    assert "$.properties.address is an object" in str(report.failed_records)
    assert ledger.requests == receiver.tally.requests
    assert receiver.tally.answers == {204: receiver.tally.requests}
    for user in range(3):
        kept = receiver.messages_of(f"u-{user}")
        assert [one["params"]["order_id"] for one in kept] == list(range(user, 60, 3))
        assert {one["name"] for one in kept} == {"purchase"}
    assert [one["params"] for one in receiver.messages_of(CLIENT)] == [{"page_title": "Home"}]
    assert list(samples) == ["collect"]
    assert "POST http" in caplog.text
    assert WEB["api_secret"] not in caplog.text + str(report)


def test_wrong_secret_holds_the_messages_which_the_real_service_would_swallow(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with GA4Receiver(**WEB) as receiver:
        client = Client({"ga4": GA4(**(WEB | {"api_secret": "wrong-secret-000"}), base_url=receiver.url)}, debug=True)
        client.track("u-1", "e")
        assert not client.flush(0.5)
        ledger = client.stats()["ga4"]
        assert (ledger.pending, ledger.held is None) == (1, False)
        assert "wrong-secret" not in caplog.text + str(ledger)
        client.close(0)
    assert receiver.taken == []


def test_validation_server_rejects_the_one_at_fault_and_records_nothing() -> None:
    with GA4Receiver(**WEB) as receiver:
        client = Client({"ga4": GA4(**WEB, base_url=receiver.url, validate=True)})
        good = [Track(user_id="u-1", event=f"e{number}") for number in range(5)]
        bad = Track(user_id="u-1", event="late", timestamp=LATE)
        report = client.send([*good[:3], bad, *good[3:]])
        client.close()
        ledger = client.stats()["ga4"]

    assert (ledger.delivered, ledger.dead) == (5, {"rejected": 1})
    (failed,) = report.failed_records
    assert "more than 72 hours ago" in str(failed)
    assert receiver.taken == []
    assert receiver.tally.received == 0
