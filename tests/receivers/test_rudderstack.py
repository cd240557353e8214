"""RudderStack's stand-in: what gets in, what does not and why, and what comes of a client that talks to it."""

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unitrack import Client, Group, Identify, Track
from unitrack.message import Message
from unitrack.providers.rudderstack import RudderStack
from unitrack.receivers import Received
from unitrack.receivers.rudderstack import RudderStackReceiver
from unitrack.testing.strategies import any_messages, messages
from unitrack.wire import Capabilities

from .agreeing import URL, assert_agreed
from .posting import basic, captured_cases, post, replayed

WHEN = "2026-03-01T11:59:59.000000Z"
GONE = object()

TRACK = {
    "type": "track",
    "userId": "u-42",
    "event": "Order Paid",
    "properties": {"total": 19.9},
    "messageId": "m-1",
    "timestamp": WHEN,
    "context": {},
    "integrations": {"All": True},
    "channel": "server",
}


def changed(good: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Copy an object with some members set, or taken out with GONE."""
    return {name: value for name, value in {**good, **members}.items() if value is not GONE}


IDENTIFY = changed(TRACK, type="identify", context={"traits": {"a": 1}}, event=GONE, properties=GONE)
GROUP = changed(TRACK, type="group", groupId="g", traits={}, event=GONE, properties=GONE)
ALIAS = changed(TRACK, type="alias", previousId="a", event=GONE, properties=GONE)


def batch(*sent: Any, headers: dict[str, str] | None = None, **request: Any) -> Received:
    """Make a request with the key ``k``."""
    return post("/v1/batch", {"batch": list(sent), "sentAt": WHEN}, basic("k") | (headers or {}), **request)


# Requests that get in


# In the cases that are left out the SDK wrote a bare NaN, which is not JSON, and an event without a name.
@pytest.mark.parametrize(
    ("config", "request_"), captured_cases("rudderstack", skip={"values-nan-inf", "track-empty-event"})
)
def test_captured_request_is_taken(config: dict[str, Any], request_: dict[str, Any]) -> None:
    answer = RudderStackReceiver(write_key=config["write_key"]).judge(replayed(request_))
    assert (answer.status, answer.refused, answer.body) == (200, (), b"OK")
    assert answer.taken


@pytest.mark.parametrize(
    "request_",
    [
        batch(IDENTIFY, TRACK, GROUP, ALIAS),
        batch(changed(TRACK, channel=GONE, integrations={})),
        batch(changed(GROUP, groupId=7), changed(ALIAS, previousId=0)),
        batch(changed(TRACK, userId=None, anonymousId="a-1")),
        batch(*[TRACK] * 1_000),
        batch(changed(TRACK, properties={"x": "y" * 4_000_000})),
        batch(TRACK, headers=basic("other")),
    ],
)
def test_what_is_documented_or_the_sdk_sends_is_taken(request_: Received) -> None:
    answer = RudderStackReceiver(write_key="k", other_keys=["other"]).judge(request_)
    assert (answer.status, answer.refused) == (200, ())


def test_a_user_is_the_same_text_in_every_call() -> None:
    answer = RudderStackReceiver(write_key="k").judge(
        batch(IDENTIFY, TRACK, GROUP, ALIAS, changed(TRACK, userId=GONE, anonymousId="a-1"))
    )
    assert [taken.user for taken in answer.taken] == ["u-42", "u-42", "u-42", "u-42", "a-1"]
    assert {taken.key for taken in answer.taken} == {"m-1"}
    assert answer.taken[1].message["properties"] == {"total": 19.9}


# Requests that do not


DAMAGED = {
    "wrong key": (batch(TRACK, headers=basic("x")), 401, "write key is missing or not known"),
    "no key": (post("/v1/batch", {"batch": [TRACK]}, {}), 401, "must be Basic"),
    "key in the body alone": (post("/v1/batch", {"batch": [TRACK], "writeKey": "k"}, {}), 401, "must be Basic"),
    "key in the body too": (post("/v1/batch", {"batch": [TRACK], "writeKey": "k"}, basic("k")), 400, "writeKey"),
    "wrong path": (post("/v1/track", TRACK, basic("k")), 404, "no such path: /v1/track"),
    "wrong method": (batch(TRACK, method="PUT"), 405, "PUT is not allowed"),
    "wrong content type": (batch(TRACK, headers={"content-type": "text/plain"}), 415, "not text/plain"),
    "unknown coding": (batch(TRACK, headers={"content-encoding": "br"}), 415, "br is not known"),
    "not gzip": (batch(TRACK, headers={"content-encoding": "gzip"}), 400, "not gzip"),
    "gzip bomb": (
        post("/v1/batch", gzip.compress(b" " * 10**7), basic("k") | {"content-encoding": "gzip"}),
        413,
        "4194304",
    ),
    "empty body": (post("/v1/batch", b"", basic("k")), 400, "not JSON"),
    "not JSON": (post("/v1/batch", b"{", basic("k")), 400, "not JSON"),
    "NaN": (batch(changed(TRACK, properties={"total": float("nan")})), 400, "NaN is not JSON"),
    "array": (post("/v1/batch", [TRACK], basic("k")), 400, "$ must be an object"),
    "no batch": (post("/v1/batch", {}, basic("k")), 400, "$: batch is missing"),
    "empty batch": (batch(), 400, "at least one message"),
    "large body": (batch(changed(TRACK, properties={"x": "y" * 4_194_304})), 413, "4194304"),
    "time of sending": (post("/v1/batch", {"batch": [TRACK], "sentAt": 7}, basic("k")), 400, "$.sentAt must be ISO"),
    "no object": (batch(TRACK, "track"), 400, "$.batch[1] must be an object"),
    "unknown type": (batch(changed(TRACK, type="trak")), 400, "$.batch[0].type must be one of identify"),
    "no identity": (batch(TRACK, changed(TRACK, userId=None)), 400, "$.batch[1] must have userId or anonymousId"),
    "number as user": (batch(changed(TRACK, userId=42)), 400, "$.batch[0].userId must be text"),
    "empty event": (batch(TRACK, changed(TRACK, event="")), 400, "$.batch[1].event must be text"),
    "no message id": (batch(changed(TRACK, messageId=GONE)), 400, "messageId is missing"),
    "traits beside the context": (batch(changed(IDENTIFY, traits={})), 400, "traits is not known"),
    "no traits in the context": (batch(changed(IDENTIFY, context={})), 400, "$.batch[0].context.traits must be"),
    "traits that are a list": (batch(changed(GROUP, traits=[])), 400, "$.batch[0].traits must be an object"),
    "true as group": (batch(changed(GROUP, groupId=True)), 400, "$.batch[0].groupId must be text"),
    "time without offset": (batch(changed(TRACK, timestamp="2026-03-01T11:59:59")), 400, "offset"),
    "member of no call": (batch(changed(TRACK, phone="+91")), 400, "phone is not known"),
    "alias without user": (batch(changed(ALIAS, userId=None, anonymousId="a")), 400, "userId must be text"),
}


@pytest.mark.parametrize(("damaged", "status", "sentence"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_request_is_refused_and_the_sentence_says_why(damaged: Received, status: int, sentence: str) -> None:
    answer = RudderStackReceiver(write_key="k").judge(damaged)
    assert (answer.status, answer.taken) == (status, ())
    assert sentence in answer.refused[0]
    assert answer.body.decode() == answer.refused[0]
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("case", ["values-nan-inf", "track-empty-event"])
def test_what_the_sdk_should_not_have_sent_is_refused(case: str) -> None:
    everything = captured_cases("rudderstack")
    config, request = next(found.values for found in everything if str(found.id).startswith(case))
    assert RudderStackReceiver(write_key=config["write_key"]).judge(replayed(request)).status == 400


# With a provider, and with a client


@pytest.mark.parametrize("make", [messages, any_messages])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), zipped=st.booleans())
def test_what_the_provider_sends_is_taken(
    make: Callable[[Capabilities], st.SearchStrategy[Message]], data: st.DataObject, zipped: bool
) -> None:
    provider = RudderStack(write_key="k", data_plane_url=URL, gzip=zipped, tenant_as_group_id=True)
    drawn = data.draw(st.lists(make(provider.capabilities), min_size=1, max_size=4))
    assert_agreed(provider, RudderStackReceiver(write_key="k"), drawn)


SENT = [
    Identify(user_id="u-42", traits={"email": "ada@example.com"}),
    Track(user_id="u-42", event="Order Paid", properties={"order_id": 7}, idempotency_key="order-7"),
    Group(user_id="u-42", group_id="g-1"),
]


def test_a_client_delivers_and_the_ledger_counts_what_the_receiver_keeps() -> None:
    with (
        RudderStackReceiver(write_key="k") as receiver,
        Client({"cdp": RudderStack(write_key="k", data_plane_url=receiver.url)}) as client,
    ):
        assert client.send(SENT, timeout=20).status == "success"
        assert client.send(SENT[1:2], timeout=20).status == "success"  # once more, with the same key
        assert client.stats()["cdp"].delivered == 4
    assert [message["type"] for message in receiver.messages_of("u-42")] == ["identify", "track", "group"]
    assert receiver.messages[0]["context"]["traits"] == {"email": "ada@example.com"}
    assert receiver.messages[1]["messageId"] == "order-7"
    assert (receiver.tally.received, receiver.tally.distinct) == (4, 3)


def test_a_refused_batch_is_halved_and_only_what_is_refused_alone_is_lost() -> None:
    with (
        RudderStackReceiver(write_key="k") as receiver,
        Client({"cdp": RudderStack(write_key="k", data_plane_url=receiver.url)}) as client,
    ):
        receiver.answer_next(2, status=400)  # the batch of two, and then its first half
        (failed,) = client.send(SENT[:2], timeout=20).failed_records
        ledger = client.stats()["cdp"]
    assert isinstance(failed.record, Identify)
    assert failed.code == 400
    assert (ledger.delivered, ledger.dead) == (1, {"rejected": 1})
    assert [message["type"] for message in receiver.messages] == ["track"]
    assert receiver.tally.answers == {400: 2, 200: 1}


def test_two_destinations_of_a_workspace_keep_their_ids_apart() -> None:
    with RudderStackReceiver(write_key="k-shop", other_keys=["k-blog"]) as receiver:
        destinations = {
            name: RudderStack(write_key=f"k-{name}", data_plane_url=receiver.url) for name in ("shop", "blog")
        }
        with Client(destinations) as client:
            assert client.send(SENT, timeout=20).status == "success"
    assert len(receiver.messages) == receiver.tally.received == 2 * len(SENT)
