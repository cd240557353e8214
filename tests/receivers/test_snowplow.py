"""The collector lets in what Snowplow's client sends and what unitrack sends, and names what would fail later."""

import base64
import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unitrack import Client, Identify, Page, Screen, Track
from unitrack.providers import Snowplow
from unitrack.receivers import Received
from unitrack.receivers.snowplow import SnowplowReceiver
from unitrack.testing.strategies import any_messages, messages

from .agreeing import URL, assert_agreed
from .posting import captured_cases, post, replayed

PATH = "/com.snowplowanalytics.snowplow/tp2"
VENDORS = "iglu:com.snowplowanalytics.snowplow/"
ID = "11111111-2222-4333-8444-555555555555"
GONE = object()

PROVIDER = Snowplow(
    base_url=URL,
    app_id="shop",
    vendor="com.acme",
    identify_schema="iglu:com.acme/user_updated/jsonschema/1-0-0",
    group_schema="iglu:com.acme/company_joined/jsonschema/1-0-0",
)


# Captured requests


@pytest.mark.parametrize(("config", "request_"), captured_cases("snowplow"))
def test_a_captured_request_is_taken(config: dict[str, Any], request_: dict[str, Any]) -> None:
    answer = SnowplowReceiver().judge(replayed(request_))
    assert answer.refused == ()
    assert (answer.status, answer.body) == (200, b"ok")
    assert len(answer.taken) == len(request_["body"]["data"])


# Damaged requests


def changed(good: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Copy an event with some members set, or taken out with GONE."""
    return {name: value for name, value in {**good, **members}.items() if value is not GONE}


def text_of(schema: str, data: Any) -> str:
    return json.dumps({"schema": VENDORS + schema, "data": data}, separators=(",", ":"))


def paid(data: Any = None, schema: str = "iglu:com.acme/paid/jsonschema/1-0-0") -> str:
    return text_of("unstruct_event/jsonschema/1-0-0", {"schema": schema, "data": data or {"total": 19.9}})


def screen(**data: Any) -> dict[str, Any]:
    return changed(EVENT, ue_pr=paid(data, "iglu:com.snowplowanalytics.mobile/screen_view/jsonschema/1-0-0"))


def in_base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


EVENT = {
    "e": "ue",
    "ue_pr": paid(),
    "eid": ID,
    "dtm": "1772366399000",
    "ttm": "1772366399000",
    "stm": "1772366400000",
    "tv": "py-1.1.0",
    "tna": "sp",
    "aid": "shop",
    "p": "srv",
    "uid": "u-42",
}
VIEW = changed(EVENT, e="pv", ue_pr=GONE, url="https://shop.example/docs")
STRUCTURED = changed(EVENT, e="se", ue_pr=GONE, se_ca="shop", se_ac="add")
USER = {"schema": "iglu:com.acme/user/jsonschema/1-0-0", "data": {"plan": "pro"}}


def collected(
    *events: Any, schema: str = "payload_data/jsonschema/1-0-4", path: str = PATH, **request: Any
) -> Received:
    return post(path, {"schema": VENDORS + schema, "data": list(events)}, request.pop("headers", {}), **request)


DAMAGED = {
    "wrong path": (collected(EVENT, path="/i"), 404, "no such path: /i"),
    "wrong method": (collected(EVENT, method="PUT"), 405, "PUT is not allowed"),
    "wrong content type": (collected(EVENT, headers={"content-type": "text/plain"}), 415, "not text/plain"),
    "large body": (collected(changed(EVENT, ue_pr=paid({"x": "y" * 1_000_000}))), 413, "1000000"),
    "not JSON": (post(PATH, b"{", {}), 400, "the body is not JSON"),
    "an array": (post(PATH, [EVENT], {}), 400, "$ must be an object"),
    "wrong envelope": (collected(EVENT, schema="payload/jsonschema/1-0-0"), 400, "$.schema must be the schema of"),
    "no event": (collected(), 400, "at least one event"),
    "event is no object": (collected(7), 400, "$.data[0] must be an object"),
    "unknown event": (collected(changed(EVENT, e="xx")), 400, "$.data[0].e must be one of ue, pv, se"),
    "no kind": (collected(changed(EVENT, e=GONE)), 400, "$.data[0].e must be one of"),
    "member of no event": (collected(EVENT, changed(EVENT, userId="u")), 400, "$.data[1]: userId is not known"),
    "number as member": (collected(changed(EVENT, uid=42)), 400, "$.data[0].uid must be text"),
    "null as member": (collected(changed(EVENT, duid=None)), 400, "$.data[0].duid must be text"),
    "empty member": (collected(changed(EVENT, tz="")), 400, "$.data[0].tz must be text and not blank"),
    "no platform": (collected(changed(EVENT, p=GONE)), 400, "p is missing"),
    "unknown platform": (collected(changed(EVENT, p="server")), 400, "platform such as srv"),
    "no application": (collected(changed(EVENT, aid=GONE)), 400, "aid is missing"),
    "no version": (collected(changed(EVENT, tv=GONE)), 400, "tv is missing"),
    "no id": (collected(changed(EVENT, eid=GONE)), 400, "eid is missing"),
    "id is no UUID": (collected(changed(EVENT, eid="order-7")), 400, "$.data[0].eid must be a UUID"),
    "nobody": (collected(changed(EVENT, uid=GONE)), 400, "$.data[0] must have uid or duid"),
    "long user": (collected(changed(EVENT, uid="u" * 256)), 400, "at most 255"),
    "long anonymous id": (collected(changed(EVENT, duid="u" * 129)), 400, "at most 128"),
    "time in ISO-8601": (collected(changed(EVENT, dtm="2026-03-01T11:59:59Z")), 400, "$.data[0].dtm must be milli"),
    "sent in seconds": (collected(changed(EVENT, stm="1772366400")), 400, "$.data[0].stm must be milliseconds"),
    "never sent": (collected(changed(EVENT, stm="0" * 13)), 400, "$.data[0].stm must be milliseconds"),
    "no data": (collected(changed(EVENT, ue_pr=GONE)), 400, "ue_px is missing"),
    "data twice": (collected(changed(EVENT, ue_px=in_base64(paid()))), 400, "ue_px and ue_pr say the same"),
    "data as object": (collected(changed(EVENT, ue_pr=json.loads(paid()))), 400, "$.data[0].ue_pr must be text"),
    "data is no JSON": (collected(changed(EVENT, ue_pr="{")), 400, "$.data[0].ue_pr: it is not JSON"),
    "NaN in the data": (collected(changed(EVENT, ue_pr=paid({"x": float("nan")}))), 400, "ue_pr: NaN is not JSON"),
    "member twice": (collected(changed(EVENT, ue_pr='{"a":1,"a":2}')), 400, "ue_pr: an object has the same member"),
    "other base64": (collected(changed(EVENT, ue_pr=GONE, ue_px="a+/b")), 400, "base64 for addresses"),
    "half of base64": (collected(changed(EVENT, ue_pr=GONE, ue_px="abcde")), 400, "ue_px: it is cut off"),
    "base64 of no UTF-8": (collected(changed(EVENT, ue_pr=GONE, ue_px="__8=")), 400, "ue_px: it is not UTF-8"),
    "unfolded schema": (
        collected(changed(EVENT, ue_pr=json.dumps({"schema": "iglu:com.acme/paid/jsonschema/1-0-0", "data": {}}))),
        400,
        "$.data[0].ue_pr.schema must be the schema of unstruct_event",
    ),
    "bad schema": (
        collected(changed(EVENT, ue_pr=paid(schema="iglu:paid/1-0-0"))),
        400,
        "ue_pr.data.schema must be iglu",
    ),
    "data is an array": (collected(changed(EVENT, ue_pr=paid([1]))), 400, "ue_pr.data.data must be an object"),
    "entities as object": (
        collected(changed(EVENT, co=text_of("contexts/jsonschema/1-0-1", USER))),
        400,
        "$.data[0].co.data must be an array",
    ),
    "bare entity": (
        collected(changed(EVENT, co=text_of("contexts/jsonschema/1-0-1", [{"plan": "pro"}]))),
        400,
        "co.data[0]: schema is missing",
    ),
    "screen without name": (collected(screen(id=ID)), 400, "the data of the screen view: name is missing"),
    "screen without id": (collected(screen(name="Home")), 400, "id is missing"),
    "screen with long id": (collected(screen(name="Home", id="x" * 37)), 400, "at most 36"),
    "screen with more": (collected(screen(name="Home", id=ID, colour="red")), 400, "colour is not known"),
    "page without address": (collected(changed(VIEW, url=GONE)), 400, "$.data[0]: url is missing"),
    "page with data": (collected(changed(VIEW, ue_pr=paid())), 400, "ue_pr is not known"),
    "structured without action": (collected(changed(STRUCTURED, se_ac=GONE)), 400, "se_ac is missing"),
    "structured value in words": (collected(changed(STRUCTURED, se_va="many")), 400, "se_va must be a number as text"),
}


@pytest.mark.parametrize(("damaged", "status", "sentence"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_request_is_refused_and_the_sentence_says_why(damaged: Received, status: int, sentence: str) -> None:
    answer = SnowplowReceiver().judge(damaged)
    assert answer.status == status
    assert sentence in answer.refused[0]
    assert answer.taken == ()
    assert json.loads(answer.body)["message"] == answer.refused[0]


@pytest.mark.parametrize(
    "event",
    [
        changed(EVENT, uid=GONE, duid="d", res="1x1", cd="24", tnuid="n"),
        changed(EVENT, ue_pr=GONE, ue_px=in_base64(paid()).rstrip("=")),
        changed(EVENT, ttm=GONE, dtm="-1", stm=GONE, tna=GONE),
        changed(
            VIEW, page="Docs", refr="https://shop.example/", cx=in_base64(text_of("contexts/jsonschema/1-0-0", []))
        ),
        changed(STRUCTURED, se_la="a", se_pr="b", se_va="-1.5E+3"),
    ],
)
def test_an_undamaged_event_is_taken(event: dict[str, Any]) -> None:
    answer = SnowplowReceiver().judge(collected(EVENT, event))
    assert (answer.refused, len(answer.taken), answer.call) == ((), 2, event["e"])


# What it keeps


def test_it_keeps_the_data_and_not_the_text_that_it_came_in() -> None:
    event = changed(EVENT, co=text_of("contexts/jsonschema/1-0-1", [USER]))
    (taken,) = SnowplowReceiver().judge(collected(event)).taken
    assert taken.message == {
        **changed(EVENT, ue_pr=GONE),
        "schema": "iglu:com.acme/paid/jsonschema/1-0-0",
        "data": {"total": 19.9},
        "contexts": [USER],
    }
    assert taken.user == "u-42"


def test_the_same_event_at_another_time_is_a_repeat_and_other_content_is_none() -> None:
    def key(event: dict[str, Any]) -> str:
        (taken,) = SnowplowReceiver().judge(collected(event)).taken
        return taken.key

    assert key(changed(EVENT, stm="1772366490000")) == key(EVENT)
    assert key(changed(EVENT, ue_pr=GONE, ue_px=in_base64(paid()))) == key(EVENT)
    assert key(changed(EVENT, ue_pr=paid({"total": 20}))) != key(EVENT)
    assert key(changed(EVENT, eid=ID.replace("1", "2"))) != key(EVENT)


# Agreement


@pytest.mark.parametrize("make", [messages, any_messages])
@pytest.mark.parametrize("encode_base64", [True, False])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_the_provider_sends_is_taken(make: Any, encode_base64: bool, data: st.DataObject) -> None:
    provider = evolve(PROVIDER, encode_base64=encode_base64)
    drawn = data.draw(st.lists(make(provider.capabilities), min_size=1, max_size=4))
    assert_agreed(provider, SnowplowReceiver(), [_with_address(message) for message in drawn])


def _with_address(message: Any) -> Any:
    # By chance alone no page would have one.
    if isinstance(message, Page):
        return evolve(message, properties=message.properties.extended({"url": "https://shop.example/docs"}))
    return message


# End to end


def test_a_client_delivers_and_the_bad_event_stands_alone() -> None:
    with SnowplowReceiver() as receiver:
        # A customer's pipeline may take longer ids; this collector takes what the vendor's table of fields says.
        sent = [
            Track(user_id="u-42", event="Order Paid", properties={"order_id": 7}, idempotency_key="order-7"),
            Track(user_id="x" * 300, event="Order Paid", message_id="bad"),
            Identify(user_id="u-42", traits={"plan": "pro"}),
            Page(user_id="u-42", name="Nowhere"),
            Screen(anonymous_id="d-1", name="Home"),
        ]
        with Client({"warehouse": evolve(PROVIDER, base_url=receiver.url)}) as client:
            report = client.send(sent, timeout=20)
            ledger = client.stats()["warehouse"]
    assert (report.success, report.failure) == (3, 2)
    assert sorted(failed.error for failed in report.failed_records) == [
        '400: {"message":"$.data[0].uid must have at most 255 characters, not 300"}',
        "unsupported: Snowplow page views need properties.url",
    ]
    assert (ledger.accepted, ledger.delivered, ledger.balanced) == (5, 3, True)
    assert ledger.dead == {"rejected": 1, "unsupported": 1}
    assert receiver.tally.received == receiver.tally.distinct == 3
    assert [message["data"] for message in receiver.messages_of("u-42")] == [{"order_id": 7}, {"plan": "pro"}]
    assert [message["data"]["name"] for message in receiver.messages_of("d-1")] == ["Home"]


def test_a_repeat_after_an_outage_is_one_event() -> None:
    with SnowplowReceiver() as receiver:
        for _ in range(2):
            # Two processes that say the same.
            with Client({"warehouse": evolve(PROVIDER, base_url=receiver.url)}) as client:
                receiver.answer_next(1, status=503, retry_after=0)
                order = Track(
                    user_id="u", event="Order Paid", idempotency_key="order-7", timestamp="2026-03-01T12:00:00Z"
                )
                assert client.send([order], timeout=20).success == 1
    assert (receiver.tally.received, receiver.tally.distinct, len(receiver.messages)) == (2, 1, 1)
