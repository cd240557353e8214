"""Customer.io played locally: what its SDKs sent gets in, what is bad is named, and our provider agrees with it."""

import base64
import gzip
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unitrack import Client, Group, Identify, Track
from unitrack.providers.customerio import CustomerIO
from unitrack.receivers import Received
from unitrack.receivers.customerio import CustomerIOReceiver
from unitrack.testing.strategies import any_messages, messages
from unitrack.wire import Capabilities, Delivered, Rejected

from .agreeing import URL, assert_agreed
from .posting import NOW, basic, captured_cases, post, replayed

SITE, KEY, REGION_KEY = "s", "k", "sk_eu_k"
ULID = "01HQT62FHBSX64ECQX7E7RMNDP"
WHEN = "2026-03-01T11:59:59.000Z"
GONE = object()

TRACK = CustomerIOReceiver(site_id=SITE, api_key=KEY)
PIPELINES = CustomerIOReceiver(api_key=KEY)
CREDENTIALS = {"authorization": "Basic " + base64.b64encode(f"{SITE}:{KEY}".encode()).decode()}


def receiver_for(config: Mapping[str, Any]) -> CustomerIOReceiver:
    return CustomerIOReceiver(site_id=config.get("site_id"), api_key=config["api_key"])


@pytest.mark.parametrize(("config", "request_"), captured_cases("customerio"))
def test_captured_request_is_taken(config: dict[str, Any], request_: dict[str, Any]) -> None:
    answer = receiver_for(config).judge(replayed(request_))
    assert (answer.refused, answer.status) == ((), 200)
    assert answer.taken


# Damaged requests


EVENT = {
    "type": "person",
    "identifiers": {"id": "u-42"},
    "action": "event",
    "name": "Order Paid",
    "id": ULID,
    "timestamp": 1772366399,
    "attributes": {"total": 19.9},
}
PERSON = {"type": "person", "identifiers": {"id": "u-42"}, "action": "identify", "attributes": {"plan": "pro"}}
MERGE = {"type": "person", "action": "merge", "primary": {"id": "u-42"}, "secondary": {"id": "old"}}
OBJECT = {
    "type": "object",
    "identifiers": {"object_type_id": "1", "object_id": "acme"},
    "action": "identify",
    "attributes": {},
    "cio_relationships": [{"identifiers": {"id": "u-42"}}],
}


def changed(good: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {name: value for name, value in {**good, **members}.items() if value is not GONE}


def batch(*operations: Any, **headers: str) -> Received:
    return post("/api/v2/batch", {"batch": list(operations)}, {**CREDENTIALS, **headers})


def version_1(path: str, body: object, method: str = "POST") -> Received:
    return post(f"/api/v1/{path}", body, CREDENTIALS, method=method)


DAMAGED = {
    "no credentials": (post("/api/v2/batch", {"batch": [EVENT]}, {}), 401, "credentials are missing"),
    "key alone": (batch(EVENT, **basic(KEY)), 401, "not known"),
    "bearer": (batch(EVENT, authorization=f"Bearer {KEY}"), 401, "not known"),
    "path of Pipelines": (post("/v1/batch", {"batch": [EVENT]}, CREDENTIALS), 404, "no such path: /v1/batch"),
    "wrong method": (post("/api/v2/batch", {}, CREDENTIALS, method="PUT"), 405, "PUT is not allowed"),
    "wrong content type": (batch(EVENT, **{"content-type": "text/plain"}), 415, "not text/plain"),
    "gzip": (
        post("/api/v2/batch", gzip.compress(b"{}"), {**CREDENTIALS, "content-encoding": "gzip"}),
        415,
        "no content coding",
    ),
    "not JSON": (post("/api/v2/batch", b"{", CREDENTIALS), 400, "not JSON"),
    "NaN": (batch(changed(EVENT, attributes={"total": float("nan")})), 400, "NaN is not JSON"),
    "array": (post("/api/v2/batch", [EVENT], CREDENTIALS), 400, "$ must be an object"),
    "more beside the batch": (post("/api/v2/batch", {"batch": [EVENT], "x": 1}, CREDENTIALS), 400, "x is not known"),
    "empty batch": (batch(), 400, "at least one operation"),
    "large body": (batch(*[changed(EVENT, attributes={"x": "y" * 9_000})] * 60), 413, "500000"),
    "operation no object": (batch(7), 400, "$.batch[0] must be an object"),
    "large operation": (batch(changed(EVENT, attributes={"x": "y" * 33_000})), 400, "more than 32768"),
    "no type": (batch(changed(EVENT, type=GONE)), 400, "type and action must be one of person identify"),
    "type as list": (batch(changed(EVENT, type=["person"])), 400, "type and action must be one of"),
    "unknown action": (batch(changed(EVENT, action="buy")), 400, "type and action must be one of"),
    "event of an object": (batch(changed(OBJECT, action="event")), 400, "type and action must be one of"),
    "nobody": (batch(changed(EVENT, identifiers={})), 400, "identifiers must have exactly one of id, email"),
    "two ids": (batch(changed(EVENT, identifiers={"id": "u", "email": "e"})), 400, "exactly one of"),
    "unknown identifier": (batch(changed(EVENT, identifiers={"phone": "1"})), 400, "phone is not known"),
    "number as id": (batch(changed(EVENT, identifiers={"id": 42})), 400, "identifiers.id must be text"),
    "long id": (batch(changed(EVENT, identifiers={"id": "é" * 76})), 400, "at most 150 bytes"),
    "unknown person identified": (
        batch(changed(PERSON, identifiers={"anonymous_id": "a"})),
        400,
        "$.batch[0].identifiers: anonymous_id is not known",
    ),
    "no name": (batch(changed(EVENT, name=GONE)), 400, "$.batch[0]: name is missing"),
    "blank name": (batch(changed(EVENT, name=" ")), 400, "$.batch[0].name must be text and not blank"),
    "id no ULID": (batch(changed(EVENT, id="order-7")), 400, "$.batch[0].id must be a ULID"),
    "time as text": (batch(changed(EVENT, timestamp=WHEN)), 400, "timestamp must be whole seconds"),
    "time with a fraction": (batch(changed(PERSON, timestamp=1772366399.5)), 400, "timestamp must be whole seconds"),
    "attributes no object": (batch(changed(EVENT, attributes=[])), 400, "attributes must be an object"),
    "properties": (batch(changed(EVENT, properties={})), 400, "properties is not known"),
    "301 attributes": (
        batch(changed(PERSON, attributes={str(n): n for n in range(301)})),
        400,
        "at most 300 attributes, not 301",
    ),
    "long attribute": (batch(changed(PERSON, attributes={"x": "é" * 501})), 400, "attributes.x must have at most 1000"),
    "long name": (batch(changed(PERSON, attributes={"é" * 76: 1})), 400, "a name of more than 150 bytes"),
    "merge of nobody": (batch(changed(MERGE, secondary=GONE)), 400, "secondary is missing"),
    "merge of an unknown person": (
        batch(changed(MERGE, secondary={"anonymous_id": "a"})),
        400,
        "$.batch[0].secondary: anonymous_id is not known",
    ),
    "object without type": (batch(changed(OBJECT, identifiers={"object_id": "a"})), 400, "object_type_id is missing"),
    "object with a time": (batch(changed(OBJECT, timestamp=1)), 400, "timestamp is not known"),
    "unknown person related by identify": (
        batch(changed(OBJECT, cio_relationships=[{"identifiers": {"anonymous_id": "a"}}])),
        400,
        "cio_relationships[0].identifiers: anonymous_id is not known",
    ),
    "known person related by identify_anonymous": (
        batch(changed(OBJECT, action="identify_anonymous")),
        400,
        "cio_relationships[0].identifiers: id is not known",
    ),
    "bare operation": (post("/api/v2/entity", changed(EVENT, name=7), CREDENTIALS), 400, "$.name must be text"),
    "v1: no such call": (version_1("customers/u/suppress", {}), 404, "no such call: POST /api/v1/customers/u/suppress"),
    "v1: wrong method": (version_1("customers/u", {}), 404, "no such call: POST"),
    "v1: no credentials": (post("/api/v1/events", {}, {}), 401, "credentials are missing"),
    "v1: event without a name": (version_1("customers/u/events", {"data": {}}), 400, "$: name is missing"),
    "v1: event of nobody": (version_1("events", {"name": "E"}), 400, "anonymous_id is missing"),
    "v1: time as text": (version_1("customers/u/events", {"name": "E", "timestamp": WHEN}), 400, "whole seconds"),
    "v1: unknown kind": (version_1("customers/u/events", {"name": "E", "type": "x"}), 400, "event, page or screen"),
    "v1: profile no object": (version_1("customers/u", [], "PUT"), 400, "$ must be an object"),
    "v1: blank id": (version_1("customers/%20", {}, "PUT"), 400, "the id in the path must be text"),
    "v1: merge into nobody": (version_1("merge_customers", {"secondary": {"id": "u"}}), 400, "primary is missing"),
    "v1: large": (version_1("customers/u/events", {"name": "E", "data": {"x": "y" * 33_000}}), 413, "32768"),
}  # fmt: skip

MESSAGE = {
    "type": "track",
    "userId": "u-42",
    "event": "Order Paid",
    "properties": {"total": 19.9},
    "messageId": "m-1",
    "timestamp": WHEN,
    "context": {},
    "integrations": {},
}


def pipelines(*sent: Any, **headers: str) -> Received:
    return post("/v1/batch", {"batch": list(sent), "sentAt": WHEN}, {**basic(KEY), **headers})


DAMAGED_PIPELINES = {
    "wrong key": (pipelines(MESSAGE, **basic("x")), 401, "not known"),
    "bearer for an old key": (pipelines(MESSAGE, authorization=f"Bearer {KEY}"), 401, "not known"),
    "write key in the body": (post("/v1/batch", {"batch": [], "writeKey": KEY}, basic(KEY)), 400, "writeKey is not"),
    "path of the Track API": (post("/api/v2/batch", {}, basic(KEY)), 404, "no such path: /api/v2/batch"),
    "gzip bomb": (
        post("/v1/batch", gzip.compress(b" " * 10**7), {**basic(KEY), "content-encoding": "gzip"}),
        413,
        "500000",
    ),
    "empty batch": (pipelines(), 400, "1 to 100 messages, not 0"),
    "101 messages": (pipelines(*[MESSAGE] * 101), 400, "not 101"),
    "large message": (pipelines(changed(MESSAGE, properties={"x": "y" * 33_000})), 413, "more than 32768"),
    "unknown type": (pipelines(changed(MESSAGE, type="trak")), 400, "$.batch[0].type must be one of identify"),
    "no identity": (pipelines(changed(MESSAGE, userId=None)), 400, "must have userId or anonymousId"),
    "blank event": (pipelines(MESSAGE, changed(MESSAGE, event=" ")), 400, "$.batch[1].event must be text"),
    "no message id": (pipelines(changed(MESSAGE, messageId=GONE)), 400, "messageId is missing"),
    "time without offset": (pipelines(changed(MESSAGE, timestamp="2026-03-01T11:59:59")), 400, "offset"),
    "time as number": (pipelines(changed(MESSAGE, timestamp=1772366399)), 400, "ISO-8601"),
    "member of no call": (pipelines(changed(MESSAGE, attributes={})), 400, "attributes is not known"),
}


@pytest.mark.parametrize(
    ("receiver", "damaged", "status", "sentence"),
    [
        pytest.param(receiver, *row, id=name)
        for receiver, table in ((TRACK, DAMAGED), (PIPELINES, DAMAGED_PIPELINES))
        for name, row in table.items()
    ],
)
def test_damaged_request_is_refused_and_the_sentence_says_why(
    receiver: CustomerIOReceiver, damaged: Received, status: int, sentence: str
) -> None:
    answer = receiver.judge(damaged)
    assert answer.status == status
    assert sentence in answer.refused[0]
    assert answer.taken == ()
    # The sentence stands in the answer, where a client can show it.
    assert answer.refused[0] in str(json.loads(answer.body))


@pytest.mark.parametrize(
    ("good", "call"), [(EVENT, "event"), (PERSON, "identify"), (MERGE, "merge"), (OBJECT, "object")]
)
def test_undamaged_operation_is_taken_and_is_about_the_same_person(good: dict[str, Any], call: str) -> None:
    for request in (batch(good), post("/api/v2/entity", good, CREDENTIALS)):
        answer = TRACK.judge(request)
        assert (answer.status, answer.body, answer.call) == (200, b"{}", call)
        assert [(taken.message, taken.user) for taken in answer.taken] == [(good, "u-42")]


def test_empty_attributes_take_one_away_and_are_right() -> None:
    assert TRACK.judge(batch(changed(PERSON, attributes={"plan": None, "nick": ""}))).refused == ()


def test_pipelines_take_either_form_of_key() -> None:
    assert PIPELINES.judge(pipelines(MESSAGE)).taken[0].user == "u-42"
    receiver = CustomerIOReceiver(api_key=REGION_KEY)
    assert receiver.judge(pipelines(MESSAGE, authorization=f"Bearer {REGION_KEY}")).refused == ()
    assert receiver.judge(pipelines(MESSAGE, **basic(REGION_KEY))).status == 401


# Verdicts and repeats


def test_a_batch_with_bad_operations_takes_the_others_and_lists_the_bad_ones() -> None:
    bad = changed(EVENT, name=GONE), changed(PERSON, identifiers={"id": ""})
    answer = TRACK.judge(batch(EVENT, bad[0], PERSON, bad[1]))
    assert answer.status == 207
    assert json.loads(answer.body) == {
        "errors": [
            {"batch_index": 1, "reason": "required", "field": "name", "message": "$.batch[1]: name is missing"},
            {
                "batch_index": 3,
                "reason": "invalid",
                "field": "identifiers.id",
                "message": "$.batch[3].identifiers.id must be text and not blank",
            },
        ]
    }
    assert [taken.message for taken in answer.taken] == [EVENT, PERSON]
    assert len(answer.refused) == 2


def test_a_batch_of_bad_operations_is_a_400_without_places() -> None:
    answer = TRACK.judge(batch(changed(EVENT, name=GONE), changed(EVENT, id="x")))
    errors = json.loads(answer.body)["errors"]
    assert (answer.status, [error["field"] for error in errors]) == (400, ["name", "id"])
    assert all("batch_index" not in error for error in errors)


def test_version_1_says_what_is_wrong_in_its_own_form() -> None:
    answer = TRACK.judge(version_1("events", {"name": "E"}))
    assert json.loads(answer.body) == {"meta": {"error": "$: anonymous_id is missing"}}


def keys(*requests: Received) -> list[str]:
    return [taken.key for request in requests for taken in TRACK.judge(request).taken]


def test_an_event_is_told_by_its_id_and_without_one_it_is_new_each_time() -> None:
    first, renamed = keys(batch(EVENT), batch(changed(EVENT, name="E")))
    assert first == renamed == ULID
    bare = batch(*[changed(EVENT, id=GONE)] * 2)
    assert len({*keys(bare, evolve(bare, now=NOW + timedelta(seconds=1)))}) == 4
    view = version_1("customers/u-42/events", {"name": "/", "type": "page"})
    assert len({*keys(view, evolve(view, now=NOW + timedelta(seconds=1)))}) == 2


@pytest.mark.parametrize("good", [PERSON, MERGE, OBJECT])
def test_a_profile_that_comes_again_is_a_repeat(good: dict[str, Any]) -> None:
    again = evolve(batch(good), now=NOW + timedelta(seconds=1))
    assert len({*keys(batch(good), batch(good, EVENT), again)} - {ULID}) == 1


def test_ids_in_a_path_are_percent_encoded() -> None:
    (taken,) = TRACK.judge(version_1("customers/a%2Fb%20c", {"plan": "pro"}, "PUT")).taken
    assert taken.user == "a/b c"


# Together with our provider


PAIRS = {
    "track": (CustomerIO(site_id=SITE, api_key=KEY, base_url=URL), TRACK),
    "track-cio-id": (CustomerIO(site_id=SITE, api_key=KEY, base_url=URL, id_type="cio_id"), TRACK),
    "cdp": (CustomerIO(api="cdp", api_key=KEY, base_url=URL), PIPELINES),
    "cdp-region-key": (
        CustomerIO(api="cdp", api_key=REGION_KEY, base_url=URL, gzip=True),
        CustomerIOReceiver(api_key=REGION_KEY),
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
    assert_agreed(provider, receiver, data.draw(st.lists(make(provider.capabilities), min_size=1, max_size=4)))


def test_ledger_and_vendor_agree_where_the_vendor_refuses_some() -> None:
    with CustomerIOReceiver(site_id=SITE, api_key=KEY) as receiver:
        provider = CustomerIO(site_id=SITE, api_key=KEY, base_url=receiver.url)
        with Client({"mail": provider}) as client:
            report = client.send(
                [
                    Identify(user_id="u-1", traits={"plan": "pro"}, message_id="good"),
                    Identify(user_id="u-2", traits={"bio": "x" * 1001}, message_id="long"),
                    Track(user_id="u-1", event="Order Paid", properties={"order_id": "7"}, message_id="paid"),
                    Identify(user_id="u-3", traits={"b" * 151: 1}, message_id="named"),
                    Identify(anonymous_id="a-1", message_id="nobody"),
                    Group(user_id="u-1", group_id="acme", message_id="group"),
                ]
            )
            ledger = client.stats()["mail"]
    assert {own: type(outcome) for (own, _), outcome in report.verdicts.items()} == {
        "good": Delivered, "long": Rejected, "paid": Delivered, "named": Rejected, "nobody": Rejected,
        "group": Delivered,
    }  # fmt: skip
    assert (ledger.delivered, dict(ledger.dead)) == (3, {"rejected": 2, "unsupported": 1})
    assert "attributes.bio must have at most 1000 bytes" in str(report.failed_records)
    assert (receiver.tally.received, receiver.tally.repeats) == (3, 0)
    assert [message["action"] for message in receiver.messages_of("u-1")] == ["identify", "event", "identify"]
    assert receiver.messages[1]["attributes"] == {"order_id": "7"}


def test_a_batch_of_bad_messages_alone_is_halved_and_each_is_told_its_fault() -> None:
    with CustomerIOReceiver(site_id=SITE, api_key=KEY) as receiver:
        with Client({"mail": CustomerIO(site_id=SITE, api_key=KEY, base_url=receiver.url)}) as client:
            report = client.send([Identify(user_id=f"u-{n}", traits={f"t{n}": "x" * 1001}) for n in range(4)])
    errors = sorted(record.error for record in report.failed_records)
    assert all(f"attributes.t{n}" in error for n, error in enumerate(errors))
    assert (report.failure, receiver.messages) == (4, [])


def test_pipelines_take_what_is_sent_and_know_a_repeat() -> None:
    with CustomerIOReceiver(api_key=REGION_KEY) as receiver:
        provider = CustomerIO(api="cdp", api_key=REGION_KEY, base_url=receiver.url, gzip=True)
        with Client({"cdp": provider}) as client:
            for _ in range(2):
                again = Track(anonymous_id="a-1", event="Seen", properties={"order_id": "7"}, idempotency_key="seen-7")
                assert client.send([again]).status == "success"
            assert client.stats()["cdp"].delivered == 2
    assert receiver.messages_of("a-1") == receiver.messages
    assert [message["properties"] for message in receiver.messages] == [{"order_id": "7"}]
    assert receiver.tally.repeats == 1
