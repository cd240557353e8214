"""Segment's stand-in: what gets in, what does not and why, and what comes of a client that talks to it."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unitrack import Client, Group, Identify, Track
from unitrack.forms import scoped
from unitrack.message import Message
from unitrack.providers.segment import Segment
from unitrack.receivers import Received
from unitrack.receivers.segment import SegmentReceiver
from unitrack.testing.strategies import any_messages, messages
from unitrack.wire import Capabilities

from .agreeing import URL, assert_agreed
from .posting import basic, captured_cases, post, replayed

WHEN = "2026-03-01T11:59:59.000Z"
GONE = object()

TRACK = {
    "type": "track",
    "userId": "u-42",
    "event": "Order Paid",
    "properties": {"total": 19.9},
    "messageId": "m-1",
    "timestamp": WHEN,
    "context": {},
    "integrations": {},
}


def changed(good: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Copy an object with some members set, or taken out with GONE."""
    return {name: value for name, value in {**good, **members}.items() if value is not GONE}


GROUP = changed(TRACK, type="group", groupId="g", traits={}, event=GONE, properties=GONE)
ALIAS = changed(TRACK, type="alias", previousId="a", event=GONE, properties=GONE)


def batch(*sent: Any, key: str | None = "k", headers: dict[str, str] | None = None, **request: Any) -> Received:
    """Make a request with the key in both places."""
    envelope = {"batch": list(sent), "sentAt": WHEN, "writeKey": key}
    return post("/v1/batch", envelope, basic(key or "") if headers is None else headers, **request)


# Requests that get in


# In the cases that are left out the SDK wrote a bare NaN, which is not JSON, and an event without a name.
@pytest.mark.parametrize(
    ("config", "request_"), captured_cases("segment", skip={"values-nan-inf", "track-empty-event"})
)
def test_captured_request_is_taken(config: dict[str, Any], request_: dict[str, Any]) -> None:
    answer = SegmentReceiver(write_key=config["write_key"]).judge(replayed(request_))
    assert (answer.status, answer.refused, json.loads(answer.body)) == (200, (), {"success": True})
    assert answer.taken


@pytest.mark.parametrize(
    "request_",
    [
        batch(TRACK),
        batch(TRACK, headers={}),
        post("/v1/batch", {"batch": [TRACK]}, basic("k")),
        batch(changed(GROUP, groupId=7), changed(ALIAS, previousId=0)),
        batch(TRACK, headers=basic("k") | {"x-retry-count": "12"}),
        batch(changed(TRACK, userId=None, anonymousId="a-1")),
        batch(*[TRACK] * 1_000),
        batch(TRACK, key="other"),
    ],
)
def test_what_is_documented_or_the_sdk_sends_is_taken(request_: Received) -> None:
    answer = SegmentReceiver(write_key="k", other_keys=["other"]).judge(request_)
    assert (answer.status, answer.refused) == (200, ())


def test_a_user_is_the_same_text_in_every_call() -> None:
    answer = SegmentReceiver(write_key="k").judge(
        batch(TRACK, GROUP, ALIAS, changed(TRACK, anonymousId="a-1"), changed(TRACK, userId=GONE, anonymousId="a-1"))
    )
    assert [taken.user for taken in answer.taken] == ["u-42", "u-42", "u-42", "u-42", "a-1"]
    assert {taken.key for taken in answer.taken} == {"m-1"}
    assert answer.taken[0].message["properties"] == {"total": 19.9}


# Requests that do not


DAMAGED = {
    "wrong key": (batch(TRACK, key="x"), 401, "write key is missing or not known"),
    "no key": (post("/v1/batch", {"batch": [TRACK]}, {}), 401, "write key is missing"),
    "two keys": (batch(TRACK, headers=basic("other")), 401, "differs between header and body"),
    "null as key": (batch(TRACK, key=None, headers={}), 401, "write key"),
    "bearer": (batch(TRACK, headers={"authorization": "Bearer t"}), 401, "must be Basic"),
    "wrong path": (post("/v1/track", TRACK, basic("k")), 404, "no such path: /v1/track"),
    "wrong method": (batch(TRACK, method="PUT"), 405, "PUT is not allowed"),
    "wrong content type": (post("/v1/batch", {}, {"content-type": "text/plain"}), 415, "not text/plain"),
    "unknown coding": (post("/v1/batch", {}, {"content-encoding": "br"}), 415, "br is not known"),
    "gzip bomb": (post("/v1/batch", gzip.compress(b" " * 10**7), {"content-encoding": "gzip"}), 400, "500000"),
    "retry count of a first attempt": (batch(TRACK, headers=basic("k") | {"x-retry-count": "0"}), 400, "X-Retry-Count"),
    "not JSON": (post("/v1/batch", b"{", {}), 400, "not JSON"),
    "NaN": (batch(changed(TRACK, properties={"total": float("nan")})), 400, "NaN is not JSON"),
    "array": (post("/v1/batch", [TRACK], basic("k")), 400, "$ must be an object"),
    "no batch": (post("/v1/batch", {"writeKey": "k"}, {}), 400, "$: batch is missing"),
    "empty batch": (batch(), 400, "1 to 2500 messages, not 0"),
    "2501 messages": (batch(*[{}] * 2_501), 400, "1 to 2500 messages, not 2501"),
    "large message": (batch(changed(TRACK, properties={"x": "y" * 33_000})), 400, "more than 32768"),
    "large body": (batch(*[changed(TRACK, properties={"x": "y" * 9_000})] * 60), 400, "500000"),
    "time of sending": (post("/v1/batch", {"batch": [TRACK], "sentAt": 7}, basic("k")), 400, "$.sentAt must be ISO"),
    "no object": (batch(TRACK, "track"), 400, "$.batch[1] must be an object"),
    "unknown type": (batch(changed(TRACK, type="trak")), 400, "$.batch[0].type must be one of identify"),
    "no identity": (batch(changed(TRACK, userId=None)), 400, "$.batch[0] must have userId or anonymousId"),
    "number as user": (batch(changed(TRACK, userId=42)), 400, "$.batch[0].userId must be text"),
    "empty event": (batch(TRACK, changed(TRACK, event="")), 400, "$.batch[1].event must be text"),
    "no message id": (batch(changed(TRACK, messageId=GONE)), 400, "messageId is missing"),
    "no properties": (batch(changed(TRACK, properties=GONE)), 400, "properties is missing"),
    "traits that are a list": (batch(changed(GROUP, traits=[])), 400, "$.batch[0].traits must be an object"),
    "true as group": (batch(changed(GROUP, groupId=True)), 400, "$.batch[0].groupId must be text"),
    "time without offset": (batch(changed(TRACK, timestamp="2026-03-01T11:59:59")), 400, "offset"),
    "member of no call": (batch(changed(TRACK, phone="+91")), 400, "phone is not known"),
    "alias without user": (batch(changed(ALIAS, userId=None, anonymousId="a")), 400, "userId must be text"),
}


@pytest.mark.parametrize(("damaged", "status", "sentence"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_request_is_refused_and_the_sentence_says_why(damaged: Received, status: int, sentence: str) -> None:
    answer = SegmentReceiver(write_key="k", other_keys=["other"]).judge(damaged)
    assert (answer.status, answer.taken) == (status, ())
    assert sentence in answer.refused[0]
    assert json.loads(answer.body)["message"] == answer.refused[0]


@pytest.mark.parametrize("case", ["values-nan-inf", "track-empty-event"])
def test_what_the_sdk_should_not_have_sent_is_refused(case: str) -> None:
    everything = captured_cases("segment")
    config, request = next(found.values for found in everything if str(found.id).startswith(case))
    assert SegmentReceiver(write_key=config["write_key"]).judge(replayed(request)).status == 400


# With a provider, and with a client


@pytest.mark.parametrize("make", [messages, any_messages])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), auth=st.sampled_from(["both", "basic", "body"]), zipped=st.booleans())
def test_what_the_provider_sends_is_taken(
    make: Callable[[Capabilities], st.SearchStrategy[Message]], data: st.DataObject, auth: Any, zipped: bool
) -> None:
    provider = Segment(write_key="k", base_url=URL, auth=auth, gzip=zipped, tenant_as_group_id=True)
    drawn = data.draw(st.lists(make(provider.capabilities), min_size=1, max_size=4))
    assert_agreed(provider, SegmentReceiver(write_key="k"), drawn)


SENT = [
    Identify(user_id="u-42", traits={"email": "ada@example.com"}),
    Track(user_id="u-42", event="Order Paid", properties={"order_id": 7}, idempotency_key="order-7"),
    Group(user_id="u-42", group_id="g-1"),
]


def test_a_client_delivers_and_the_ledger_counts_what_the_receiver_keeps() -> None:
    with (
        SegmentReceiver(write_key="k") as receiver,
        Client({"cdp": Segment(write_key="k", base_url=receiver.url, gzip=True)}) as client,
    ):
        assert client.send(SENT, timeout=20).status == "success"
        assert client.send(SENT[1:2], timeout=20).status == "success"  # once more, with the same key
        assert client.stats()["cdp"].delivered == 4
    assert [message["type"] for message in receiver.messages_of("u-42")] == ["identify", "track", "group"]
    assert receiver.messages[1]["messageId"] == "order-7"
    assert (receiver.tally.received, receiver.tally.distinct) == (4, 3)


def test_a_repeat_says_that_it_is_one_and_460_is_no_reason_to_give_up() -> None:
    with (
        SegmentReceiver(write_key="k") as receiver,
        Client({"cdp": Segment(write_key="k", base_url=receiver.url)}, dice=lambda: 0.0) as client,
    ):
        receiver.answer_next(1, status=460)
        assert client.send(SENT[:1], timeout=20).status == "success"
    assert receiver.tally.answers == {460: 1, 200: 1}
    assert receiver.samples["identify"].headers["x-retry-count"] == "1"


def test_a_refused_batch_is_halved_and_only_what_is_refused_alone_is_lost() -> None:
    with (
        SegmentReceiver(write_key="k") as receiver,
        Client({"cdp": Segment(write_key="k", base_url=receiver.url)}) as client,
    ):
        receiver.answer_next(2, status=400)  # the batch of two, and then its first half
        (failed,) = client.send(SENT[:2], timeout=20).failed_records
        ledger = client.stats()["cdp"]
    assert isinstance(failed.record, Identify)
    assert failed.code == 400
    assert (ledger.delivered, ledger.dead) == (1, {"rejected": 1})
    assert [message["type"] for message in receiver.messages] == ["track"]
    assert receiver.tally.answers == {400: 2, 200: 1}


def test_two_destinations_keep_their_ids_apart() -> None:
    with SegmentReceiver(write_key="k-shop", other_keys=["k-blog"]) as receiver:
        destinations = {name: Segment(write_key=f"k-{name}", base_url=receiver.url) for name in ("shop", "blog")}
        with Client(destinations) as client:
            assert client.send(SENT, timeout=20).status == "success"
    ids = {message["messageId"] for message in receiver.messages if message["type"] == "track"}
    assert ids == {scoped("order-7", name) for name in ("shop", "blog")}
    assert len(receiver.messages) == receiver.tally.received == 2 * len(SENT)
