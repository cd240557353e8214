"""Amplitude's receiver: takes what the vendor's SDK sends, all of a request or nothing, and names what was bad."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unitrack import Client, Group, Identify, Page, Track
from unitrack.batching import batches
from unitrack.message import Message
from unitrack.providers.amplitude import Amplitude
from unitrack.receivers import Received
from unitrack.receivers.amplitude import AmplitudeReceiver
from unitrack.testing.strategies import any_messages, messages

from .agreeing import URL, encoded, received
from .posting import NOW, captured_cases, post, replayed

WHEN = 1772366399000
GONE = object()
EVENT = {
    "event_type": "Order Paid",
    "user_id": "u-42000",
    "time": WHEN,
    "insert_id": "m-1",
    "event_properties": {"total": 19.9},
}
IDENTIFY = {
    "event_type": "$identify",
    "user_id": "u-42000",
    "insert_id": "m-2",
    "user_properties": {"$set": {"plan": "pro"}, "$clearAll": "-"},
}
GROUP = {
    "event_type": "$groupidentify",
    "insert_id": "m-3",
    "groups": {"company": "g-1"},
    "group_properties": {"$set": {"seats": 5}},
}
RECEIVER = AmplitudeReceiver(api_key="k")


def changed(good: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Copy an event with some members set, or taken out with GONE."""
    return {name: value for name, value in {**good, **members}.items() if value is not GONE}


def posted(*events: Any, path: str = "/2/httpapi", method: str = "POST", **members: Any) -> Received:
    envelope = changed({"api_key": "k", "events": list(events)}, **members)
    return post(path, envelope, {}, method=method)


def event(**members: Any) -> Received:
    return posted(changed(EVENT, **members))


#: The SDK wrote a bare NaN, which is not JSON, and an id that the service answers 400 for.
REFUSED = {"values-nan", "track-short-id-vendor-minimum"}


@pytest.mark.parametrize(("config", "request_"), captured_cases("amplitude", skip=REFUSED))
def test_captured_request_is_taken(config: dict[str, Any], request_: dict[str, Any]) -> None:
    answer = AmplitudeReceiver(api_key=config["api_key"]).judge(replayed(request_))
    assert (answer.refused, answer.status) == ((), 200)
    assert [one.message for one in answer.taken] == request_["body"]["events"]


def test_undamaged_requests_are_taken() -> None:
    for call, one in (("event", EVENT), ("$identify", IDENTIFY), ("$groupidentify", GROUP)):
        answer = RECEIVER.judge(posted(one, path="/batch"))
        assert (answer.refused, answer.call, len(answer.taken)) == ((), call, 1)


LARGE = changed(EVENT, event_properties={"x": "y" * 1_000_000})
DAMAGED = {
    "wrong path": (posted(EVENT, path="/httpapi"), 404, "no such path: /httpapi"),
    "wrong method": (posted(EVENT, method="PUT"), 405, "PUT is not allowed"),
    "wrong content type": (post("/batch", {}, {"content-type": "text/plain"}), 415, "not text/plain"),
    "gzip": (post("/batch", b"", {"content-encoding": "gzip"}), 415, "no content coding"),
    "large body": (posted(LARGE), 413, "1000000"),
    "not JSON": (post("/batch", b"{", {}), 400, "not JSON"),
    "NaN": (event(event_properties={"x": float("nan")}), 400, "NaN is not JSON"),
    "no key": (posted(EVENT, api_key=GONE), 400, "missing required field: api_key"),
    "array": (post("/batch", [], {}), 400, "missing required field: api_key"),
    "wrong key": (posted(EVENT, api_key="x"), 400, "Invalid API key"),
    "number as key": (posted(EVENT, api_key=7), 400, "Invalid API key"),
    "no events": (posted(), 400, "at least one event"),
    "event alone": (posted(events=EVENT), 400, "$.events must be an array"),
    "events of text": (posted("x"), 400, "$.events[0] must be an object"),
    "2001 events": (posted(*[EVENT] * 2001), 413, "at most 2000 events, not 2001"),
    "unknown member of the envelope": (posted(EVENT, upload_time="x"), 400, "upload_time is not known"),
    "length of ids as text": (posted(EVENT, options={"min_id_length": "1"}), 400, "min_id_length must be a whole"),
    "no length of ids": (posted(EVENT, options={"min_id_length": 0}), 400, "at least 1"),
    "no kind": (event(event_type=GONE), 400, "$.events[0]: event_type is missing"),
    "blank kind": (event(event_type=" "), 400, "$.events[0].event_type must be text"),
    "nobody": (event(user_id=GONE), 400, "$.events[0] must have user_id or device_id"),
    "number as id": (event(user_id=42000), 400, "$.events[0].user_id must be text"),
    "short user": (event(user_id="42"), 400, "$.events[0].user_id must have at least 5 characters"),
    "short device": (event(device_id="42"), 400, "$.events[0].device_id must have at least 5 characters"),
    "time as text": (event(time="2026-03-01T11:59:59Z"), 400, "$.events[0].time must be a whole number"),
    "time in nanoseconds": (event(time=WHEN * 10**6), 400, "milliseconds"),
    "number as insert id": (event(insert_id=7), 400, "$.events[0].insert_id must be text"),
    "properties not an object": (event(event_properties=[]), 400, "event_properties must be an object"),
    "price as text": (event(price="19.90"), 400, "$.events[0].price must be a number"),
    "session as flag": (event(session_id=True), 400, "session_id must be a whole number"),
    "platform as number": (event(platform=7), 400, "$.events[0].platform must be text"),
    "unknown member": (event(userId="u"), 400, "$.events[0]: userId is not known"),
    "member without a name": (event(**{"": {}}), 400, "is not known"),
    "bare profile": (posted(changed(IDENTIFY, user_properties={"plan": "pro"})), 400, "user_properties: plan"),
    "operation on text": (posted(changed(IDENTIFY, user_properties={"$set": "pro"})), 400, "$set must be an object"),
    "group without a name": (posted(changed(GROUP, groups=GONE)), 400, "groups must name one group"),
    "two groups": (posted(changed(GROUP, groups={"a": "1", "b": "2"})), 400, "groups must name one group"),
    "groups of text": (posted(changed(GROUP, groups="g-1")), 400, "groups must name one group"),
    "bare group": (posted(changed(GROUP, group_properties={"seats": 5})), 400, "group_properties: seats"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_request_is_refused_and_the_sentence_says_why(name: str) -> None:
    damaged, status, sentence = DAMAGED[name]
    answer = RECEIVER.judge(damaged)
    assert answer.status == status
    assert sentence in answer.refused[0]
    assert answer.taken == ()
    said = json.loads(answer.body)
    assert (said["code"], answer.refused[0] in said["error"]) == (status, True)


def test_missing_key_is_a_missing_field() -> None:
    assert json.loads(RECEIVER.judge(posted(EVENT, api_key=GONE)).body)["missing_field"] == "api_key"
    assert "missing_field" not in json.loads(RECEIVER.judge(posted(EVENT, api_key="x")).body)


def test_bodies_of_20_mb_go_to_the_batch_path_only() -> None:
    assert RECEIVER.judge(posted(*[LARGE] * 19, path="/batch")).refused == ()
    assert RECEIVER.judge(posted(*[LARGE] * 20, path="/batch")).status == 413


def test_length_of_ids_is_the_requests_own() -> None:
    short = changed(EVENT, user_id="7")
    assert RECEIVER.judge(posted(short, options={"min_id_length": 1})).refused == ()
    assert RECEIVER.judge(posted(EVENT, options={"min_id_length": 8})).status == 400


def test_one_bad_event_and_nothing_is_taken_and_each_is_named() -> None:
    bad = changed(EVENT, event_type=GONE, time="x")
    short = changed(EVENT, user_id="42")
    answer = RECEIVER.judge(posted(EVENT, bad, short, changed(short, time=None)))
    said = json.loads(answer.body)
    assert (answer.status, answer.taken, len(answer.refused)) == (400, (), 3)
    assert said["events_with_missing_fields"] == {"event_type": [1]}
    assert said["events_with_invalid_fields"] == {"time": [1, 3]}
    assert said["events_with_invalid_id_lengths"] == {"user_id": [2, 3]}


def test_user_is_the_same_for_all_that_is_about_somebody() -> None:
    answer = RECEIVER.judge(posted(EVENT, IDENTIFY, changed(EVENT, user_id=GONE, device_id="phone"), GROUP))
    assert [one.user for one in answer.taken] == ["u-42000", "u-42000", "phone", "company:g-1"]


def test_repeat_is_one_of_the_same_device() -> None:
    other = changed(EVENT, device_id="phone")
    bare = changed(EVENT, insert_id=GONE)
    keys = [one.key for one in RECEIVER.judge(posted(EVENT, other, changed(EVENT, time=1), bare)).taken]
    assert keys[0] == keys[2]
    assert len(set(keys)) == 3


# With the provider

PAIRS = {
    "httpapi": Amplitude(api_key="k", base_url=URL),
    "batch": Amplitude(api_key="k", base_url=URL, endpoint="batch", min_id_length=None, group_type="company"),
}


@pytest.mark.parametrize("make", [messages, any_messages])
@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_the_provider_sends_is_taken(name: str, make: Any, data: st.DataObject) -> None:
    provider = PAIRS[name]
    drawn: list[Message] = data.draw(st.lists(make(provider.capabilities), min_size=1, max_size=4))
    for batch in batches(encoded(provider, drawn), provider.capabilities):
        answer = RECEIVER.judge(received(provider.request(batch, NOW)))
        assert answer.refused == ()
        # A group call can be two events.
        assert len(answer.taken) == sum(2 if isinstance(json.loads(part.body), list) else 1 for part in batch)


def test_silenced_ids_are_named() -> None:
    receiver = AmplitudeReceiver(api_key="k", silenced=["u-42000"])
    answer = receiver.judge(posted(GROUP, EVENT, changed(EVENT, user_id="other")))
    assert answer.refused == ("$.events[1].user_id is silenced",)
    assert json.loads(answer.body)["silenced_events"] == [1]


def test_client_and_vendor_agree_over_the_wire() -> None:
    with AmplitudeReceiver(api_key="k", silenced=["eve"]) as receiver:
        client = Client({"amplitude": Amplitude(api_key="k", base_url=receiver.url, group_type="company")})
        report = client.send(
            [
                Identify(user_id="ada", anonymous_id="phone", traits={"plan": "pro"}),
                Group(user_id="ada", group_id="g-1", traits={"seats": 5}),
                Track(user_id="eve", event="Order Paid"),
                Track(user_id="ada", event="Order Paid", properties={"order_id": 7}),
                Page(anonymous_id="phone", name="Docs"),
            ]
        )
        client.close()
    assert (report.status, report.success) == ("partial", 4)
    assert [(one.record.user_id, one.code) for one in report.failed_records if one.record] == [("eve", 400)]
    sent = [one["event_type"] for one in receiver.messages_of("ada")]
    assert sent == ["$identify", "$identify", "$groupidentify", "Order Paid"]
    assert receiver.messages_of("ada")[-1]["event_properties"] == {"order_id": 7}
    assert [one["event_type"] for one in receiver.messages_of("phone")] == ["Page Viewed"]
    # Those that were only in bad company went again at once, and nothing of the first request had been taken.
    ledger, tally = client.stats()["amplitude"], receiver.tally
    assert (ledger.delivered, ledger.dead, ledger.requests) == (4, {"rejected": 1}, 2)
    assert (tally.answers, tally.distinct, tally.repeats) == ({400: 1, 200: 1}, 5, 0)


def test_a_repeat_counts_once() -> None:
    with AmplitudeReceiver(api_key="k") as receiver:
        for _ in range(2):
            client = Client({"amplitude": Amplitude(api_key="k", base_url=receiver.url)})
            client.send([Group(user_id="ada", group_id="g-1", traits={"seats": 5}, message_id="m-7")])
            client.close()
    assert (receiver.tally.repeats, len(receiver.messages)) == (2, 2)
