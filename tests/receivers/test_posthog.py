"""PostHog's stand-in: what gets in by either wire, what does not and why, and what comes of a client."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unitrack import Alias, Client, Group, Identify, Track
from unitrack.forms import as_uuid, repeat_key
from unitrack.message import Message
from unitrack.providers.posthog import PostHog
from unitrack.receivers import Answer, Received
from unitrack.receivers.posthog import NOBODY, PostHogReceiver
from unitrack.testing.strategies import any_messages, messages
from unitrack.wire import Capabilities

from .agreeing import URL, assert_agreed
from .posting import captured_cases, post, replayed

KEY = "phc_k"
ID = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-2222-4333-8444-555555555555"
WHEN = "2026-03-01T11:59:59.000000+00:00"
GONE = object()
RECEIVER = PostHogReceiver(api_key=KEY, over_quota=["Expensive"])

EVENT = {"uuid": ID, "timestamp": WHEN, "event": "Order Paid", "distinct_id": "u-42", "properties": {"total": 19.9}}
TYPED = {**EVENT, "options": {}}
HEADERS = {
    "authorization": f"Bearer {KEY}",
    "posthog-sdk-info": "unitrack/1.0",
    "posthog-attempt": "1",
    "posthog-request-id": OTHER,
    "posthog-request-timestamp": WHEN,
}


def changed(good: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Copy an object with some members set, or taken out with GONE."""
    return {name: value for name, value in {**good, **members}.items() if value is not GONE}


def having(good: dict[str, Any], event: str = "Order Paid", **properties: Any) -> dict[str, Any]:
    """Copy an event with another name and other properties, whose names lose their dollar in Python."""
    return {**good, "event": event, "properties": {f"${name}": value for name, value in properties.items()}}


def v0(*events: Any, **members: Any) -> Received:
    envelope = {"api_key": KEY, "batch": list(events), "historical_migration": False, "sent_at": WHEN}
    return post("/batch/", changed(envelope, **members), {})


def v1(*events: Any, headers: dict[str, Any] | None = None, **members: Any) -> Received:
    body = changed({"created_at": WHEN, "batch": list(events)}, **members)
    return post("/i/v1/analytics/events", body, changed(HEADERS, **(headers or {})))


# Requests that get in


# In the cases that are left out the SDK sent an event without a name, and to a path below one of the user's own.
@pytest.mark.parametrize(
    ("config", "request_"), captured_cases("posthog", skip={"track-empty-event", "base-path-slash"})
)
def test_captured_request_is_taken(config: dict[str, Any], request_: dict[str, Any]) -> None:
    answer = PostHogReceiver(api_key=config["api_key"]).judge(replayed(request_))
    assert (answer.status, answer.refused, len(answer.taken)) == (200, (), 1)


@pytest.mark.parametrize(
    "request_",
    [
        v0(EVENT),
        v0(changed(EVENT, uuid=GONE, timestamp=GONE, properties=GONE), sent_at=GONE, historical_migration=GONE),
        v0({**EVENT, "$set": {"a": 1}, "$set_once": {"b": 2}}, historical_migration=True),
        v0(changed(EVENT, distinct_id="é" * 200, event="x" * 200), changed(EVENT, distinct_id="null")),
        v0(*[EVENT] * 300),
        v0(having(EVENT, "$identify", set={}, anon_distinct_id="a", groups={"company": 7, "team": "red"})),
        v0(having(EVENT, process_person_profile=False)),
        v1(TYPED),
        v1({**TYPED, "session_id": "s", "window_id": "w"}, historical_migration=True),
        v1(changed(TYPED, options={"process_person_profile": False, "cookieless_mode": True, "product_tour_id": "t"})),
        v1(TYPED, changed(TYPED, uuid=OTHER.upper())),
        v1(TYPED, headers={"posthog-attempt": "12", "posthog-sdk-info": "posthog/sub/2.3.4"}),
    ],
)
def test_what_is_documented_or_the_sdk_sends_is_taken(request_: Received) -> None:
    answer = RECEIVER.judge(request_)
    assert (answer.status, answer.refused) == (200, ())
    assert answer.taken


def test_a_packed_body_is_taken_by_either_wire() -> None:
    for plain in (v0(EVENT), v1(TYPED)):
        packed = post(plain.path, gzip.compress(plain.body), {**plain.headers, "content-encoding": "gzip"})
        assert RECEIVER.judge(packed).taken == RECEIVER.judge(plain).taken


def test_each_wire_answers_as_the_vendor_does() -> None:
    assert json.loads(RECEIVER.judge(v0(EVENT)).body) == {"status": "Ok"}
    answer = RECEIVER.judge(v1(TYPED, changed(TYPED, uuid=OTHER.upper())))
    assert json.loads(answer.body) == {"results": {ID: {"result": "ok"}, OTHER: {"result": "ok"}}}
    assert RECEIVER.judge(v0(EVENT)).call == "capture"
    assert RECEIVER.judge(v0(EVENT, having(EVENT, "$identify", set={}))).call == "$identify"


def test_what_tells_a_repeat_is_uuid_event_person_and_day() -> None:
    later = changed(EVENT, timestamp="2026-03-02T00:00:00Z")
    others = [changed(EVENT, event="Other"), changed(EVENT, distinct_id="u-43"), later]
    nameless = changed(EVENT, uuid=GONE)
    answer = RECEIVER.judge(v0(EVENT, changed(EVENT, properties={}), *others, nameless, nameless))
    assert len({taken.key for taken in answer.taken}) == 6
    assert answer.taken[0].key == answer.taken[1].key
    assert [taken.user for taken in answer.taken[:4]] == ["u-42", "u-42", "u-42", "u-43"]
    assert answer.taken[0].message["properties"] == {"total": 19.9}


# Requests that do not


BOTH: dict[str, tuple[dict[str, Any], str]] = {
    "no object": ("track", "$.batch[0] must be an object"),  # type: ignore[dict-item]
    "number as id": ({"distinct_id": 42}, "$.batch[0].distinct_id must be text"),
    "no event": ({"event": GONE}, "$.batch[0]: event is missing"),
    "uuid that is none": ({"uuid": "order-7"}, "$.batch[0].uuid must be a UUID"),
    "properties that are a list": ({"properties": []}, "$.batch[0].properties must be an object"),
    "member of another vendor": ({"userId": "u"}, "$.batch[0]: userId is not known"),
    "NaN": ({"properties": {"total": float("nan")}}, "NaN is not JSON"),
}
PROPERTIES: dict[str, tuple[dict[str, Any], str]] = {
    "traits that are a list": (having(EVENT, "$identify", set=[]), "properties.$set must be an object"),
    "groups that are a text": (having(EVENT, groups="acme"), "properties.$groups must be an object"),
    "group without a key": (having(EVENT, groups={"company": None}), "properties.$groups.company must be text"),
    "true as key of a group": (having(EVENT, groups={"company": True}), "$groups.company must be text"),
    "group without a type": (having(EVENT, "$groupidentify", group_key="k"), "properties.$group_type must be text"),
    "group of a number": (having(EVENT, "$groupidentify", group_type="t", group_key=7), "$group_key must be text"),
    "alias of nothing": (having(EVENT, "$create_alias"), "properties.alias must be text"),
    "merge of a number": (having(EVENT, "$identify", anon_distinct_id=7), "$anon_distinct_id must be text"),
    "merge of nobody": (having(EVENT, "$identify", anon_distinct_id="Guest"), "Guest is the id of nobody"),
}


def damaged_event(good: dict[str, Any], damage: Any) -> Any:
    return changed(good, **damage) if isinstance(damage, dict) else damage


DAMAGED = {
    **{f"v0 {name}": (v0(damaged_event(EVENT, row[0])), 400, row[1]) for name, row in BOTH.items()},
    **{f"v1 {name}": (v1(damaged_event(TYPED, row[0])), 400, row[1]) for name, row in BOTH.items()},
    **{f"v0 {name}": (v0(event), 400, sentence) for name, (event, sentence) in PROPERTIES.items()},
    **{f"v1 {name}": (v1({**event, "options": {}}), 400, sentence) for name, (event, sentence) in PROPERTIES.items()},
    "wrong path": (post("/capture", EVENT, {}), 404, "no such path: /capture"),
    "wrong method": (post("/batch/", {}, {}, method="PUT"), 405, "PUT is not allowed"),
    "v1 by GET": (post("/i/v1/analytics/events", {}, HEADERS, method="GET"), 405, "GET is not allowed"),
    "wrong content type": (post("/batch/", {}, {"content-type": "text/plain"}), 415, "not text/plain"),
    "v1 wrong content type": (v1(TYPED, headers={"content-type": "text/plain"}), 415, "not text/plain"),
    "unknown coding": (post("/batch/", {}, {"content-encoding": "lz64"}), 415, "lz64 is not known"),
    "v0 gzip bomb": (post("/batch/", gzip.compress(b" " * 21 * 2**20), {"content-encoding": "gzip"}), 400, "20971520"),
    "v1 gzip bomb": (
        post("/i/v1/analytics/events", gzip.compress(b" " * 21 * 2**20), {**HEADERS, "content-encoding": "gzip"}),
        413,
        "20971520",
    ),
    "not JSON": (post("/batch/", b"{", {}), 400, "not JSON"),
    "v0 wrong key": (v0(EVENT, api_key="phc_x"), 401, "$.api_key is missing or not known"),
    "v0 no key": (v0(EVENT, api_key=GONE), 401, "$.api_key is missing"),
    "v0 key in the header": (post("/batch/", {"batch": []}, HEADERS), 401, "no Authorization header"),
    "v0 array": (post("/batch/", [EVENT], {}), 400, "$ must be an object"),
    "v0 no batch": (v0(batch=GONE), 400, "$: batch is missing"),
    "v0 empty batch": (v0(), 400, "$.batch holds no event"),
    "v0 empty event name": (v0(EVENT, changed(EVENT, event="")), 400, "$.batch[1].event is empty"),
    "v0 empty id": (v0(changed(EVENT, distinct_id=" ")), 400, "$.batch[0].distinct_id is empty"),
    "v0 long id": (v0(changed(EVENT, distinct_id="é" * 201)), 400, "distinct_id has more than 200 characters"),
    "v0 large event": (v0(changed(EVENT, properties={"x": "y" * 2**20})), 400, "more than 1048576 bytes"),
    "v0 time without offset": (v0(changed(EVENT, timestamp="2026-03-01T11:59:59")), 400, "offset"),
    "v0 time of sending": (v0(EVENT, sent_at=7), 400, "$.sent_at must be ISO-8601"),
    "v0 options": (v0(TYPED), 400, "$.batch[0]: options is not known"),
    "v0 person of nobody": (
        v0(having(EVENT, "$identify", process_person_profile=False)),
        400,
        "about a person, and none may be processed",
    ),
    "v0 traits of nobody": (
        v0({**having(EVENT, process_person_profile=False), "$set": {"a": 1}}),
        400,
        "$.batch[0] has $set, and no person may be processed",
    ),
    "v1 wrong key": (v1(TYPED, headers={"authorization": "Bearer phc_x"}), 401, "must be Bearer and the key"),
    "v1 no key": (v1(TYPED, headers={"authorization": GONE}), 401, "must be Bearer and the key"),
    "v1 key in the body": (v1(TYPED, api_key=KEY), 400, "$: api_key is not known"),
    "v1 no client": (v1(TYPED, headers={"posthog-sdk-info": GONE}), 400, "header posthog-sdk-info must be"),
    "v1 client without version": (v1(TYPED, headers={"posthog-sdk-info": "x/"}), 400, "posthog-sdk-info must be"),
    "v1 attempt 0": (v1(TYPED, headers={"posthog-attempt": "0"}), 400, "posthog-attempt must be a whole number from 1"),
    "v1 request id": (v1(TYPED, headers={"posthog-request-id": "r-1"}), 400, "posthog-request-id must be a UUID"),
    "v1 time of request": (v1(TYPED, headers={"posthog-request-timestamp": "now"}), 400, "must be ISO-8601"),
    "v1 no time of the batch": (v1(TYPED, created_at=GONE), 400, "$: created_at is missing"),
    "v1 empty batch": (v1(), 400, "$.batch holds no event"),
    "v1 no options": (v1(EVENT), 400, "$.batch[0]: options is missing"),
    "v1 option as text": (
        v1(changed(TYPED, options={"process_person_profile": "false"})),
        400,
        "$.batch[0].options.process_person_profile must be true or false",
    ),
    "v1 set beside the properties": (v1({**TYPED, "$set": {}}), 400, "$set is not known"),
    "v1 same uuid twice": (v1(TYPED, changed(TYPED, event="Other")), 400, "$.batch[1].uuid is that of another event"),
    "v1 session among the properties": (v1(having(TYPED, session_id="s")), 400, "$session_id has no meaning"),
    "v1 person of nobody": (
        v1(
            {
                **having(TYPED, "$groupidentify", group_type="t", group_key="k"),
                "options": {"process_person_profile": False},
            }
        ),
        400,
        "about a person, and none may be processed",
    ),
}


@pytest.mark.parametrize(("damaged", "status", "sentence"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_request_is_refused_and_the_sentence_says_why(damaged: Received, status: int, sentence: str) -> None:
    answer = RECEIVER.judge(damaged)
    assert (answer.status, answer.taken) == (status, ())
    assert sentence in answer.refused[0]
    if damaged.path == "/i/v1/analytics/events":
        said = json.loads(answer.body)
        assert said.keys() == {"error", "error_description", "error_uri"}
        assert said["error_description"] == answer.refused[0]
    else:
        assert answer.body.decode() == answer.refused[0]
        assert answer.headers == {"content-type": "text/plain"}


def test_what_the_sdk_should_not_have_sent_is_refused() -> None:
    config, request = next(case.values for case in captured_cases("posthog") if "empty-event" in str(case.id))
    answer = PostHogReceiver(api_key=config["api_key"]).judge(replayed(request))
    assert (answer.status, answer.refused) == (400, ("$.batch[0].event is empty",))


DROPPED: dict[str, tuple[dict[str, Any], str, str]] = {
    "empty event name": ({"event": ""}, "missing_event_name", "event is empty"),
    "long event name": ({"event": "é" * 101}, "event_name_too_long", "event has more than 200 bytes"),
    "empty id": ({"distinct_id": " "}, "missing_distinct_id", "distinct_id is empty"),
    "long id": ({"distinct_id": "x" * 201}, "distinct_id_too_large", "distinct_id has more than 200 bytes"),
    "id of nobody": ({"distinct_id": " NULL "}, "malformed_distinct_id", "distinct_id is the id of nobody"),
    "time without offset": ({"timestamp": "2026-03-01T11:59:59"}, "invalid_event_timestamp", "offset"),
    "time that is none": ({"timestamp": "today"}, "invalid_event_timestamp", "timestamp must be ISO-8601"),
    "large event": ({"properties": {"x": "y" * 2**20}}, "event_too_big", "more than 1048576 bytes"),
    "over the quota": ({"event": "Expensive"}, "billing_limit_exceeded", "over the quota"),
}


@pytest.mark.parametrize(("members", "tag", "sentence"), DROPPED.values(), ids=DROPPED)
def test_v1_drops_one_event_by_name_and_takes_the_others(members: dict[str, Any], tag: str, sentence: str) -> None:
    answer = RECEIVER.judge(v1(TYPED, changed(TYPED, uuid=OTHER, **members)))
    assert json.loads(answer.body)["results"] == {ID: {"result": "ok"}, OTHER: {"result": "drop", "details": tag}}
    assert [taken.message["uuid"] for taken in answer.taken] == [ID]
    (why,) = answer.refused
    assert why.startswith("$.batch[1]")
    assert sentence in why


@pytest.mark.parametrize("name", sorted(NOBODY))
def test_v1_takes_nothing_of_nobody(name: str) -> None:
    assert not RECEIVER.judge(v1(changed(TYPED, distinct_id=name))).taken


def test_v0_loses_what_is_over_the_quota_in_silence() -> None:
    answer = RECEIVER.judge(v0(changed(EVENT, event="Expensive"), EVENT))
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "Ok"})
    assert [taken.message["event"] for taken in answer.taken] == ["Order Paid"]
    assert answer.refused == ("over the quota: lost in silence",)


# With a provider, and with a client


def _uuid(message: Message) -> str:
    return as_uuid(repeat_key(message)).lower()


def _is_plain(message: Message) -> bool:
    # Names with a dollar are the vendor's own: whoever uses them says what they mean, and the provider passes it on.
    names = (getattr(message, "event", ""), *getattr(message, "properties", ()))
    return not any(name.startswith("$") for name in names)


@pytest.mark.parametrize("make", [messages, any_messages])
@pytest.mark.parametrize("wire", ["v0", "v1"])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), zipped=st.booleans())
def test_what_the_provider_sends_is_taken(
    wire: Any, make: Callable[[Capabilities], st.SearchStrategy[Message]], data: st.DataObject, zipped: bool
) -> None:
    provider = PostHog(api_key=KEY, wire=wire, base_url=URL, gzip=zipped, tenant_group_type="tenant")
    # Two events of one uuid in a batch are refused by v1, and go in two; that is the delivery's part.
    plain = make(provider.capabilities).filter(_is_plain)
    drawn = data.draw(st.lists(plain, min_size=1, max_size=4, unique_by=_uuid))
    assert_agreed(provider, PostHogReceiver(api_key=KEY), drawn)


SENT = [
    Identify(user_id="u-42", anonymous_id="a-1", traits={"email": "ada@example.com"}),
    Track(user_id="u-42", event="Order Paid", properties={"order_id": 7}, idempotency_key="order-7"),
    Track(user_id="u-43", event="Expensive"),
    Group(user_id="u-42", group_id="acme"),
    Alias(user_id="u-42", previous_id="old"),
]
EVENTS = ["$identify", "Order Paid", "$groupidentify", "$create_alias"]


def test_by_v1_the_ledger_counts_what_the_receiver_keeps_and_names_what_it_dropped() -> None:
    with (
        PostHogReceiver(api_key=KEY, over_quota=["Expensive"]) as receiver,
        Client({"ph": PostHog(api_key=KEY, wire="v1", base_url=receiver.url, gzip=True)}) as client,
    ):
        (failed,) = client.send(SENT, timeout=20).failed_records
        assert client.send(SENT[1:2], timeout=20).status == "success"  # once more, with the same key
        ledger = client.stats()["ph"]
    assert (failed.record, failed.error, failed.code) == (SENT[2], "drop: billing_limit_exceeded", 200)
    assert (ledger.delivered, ledger.dead, ledger.requests) == (5, {"rejected": 1}, 2)
    assert [message["event"] for message in receiver.messages_of("u-42")] == EVENTS
    assert receiver.messages[1]["uuid"] == as_uuid("order-7")
    assert receiver.messages[1]["properties"]["order_id"] == 7
    assert (receiver.tally.received, receiver.tally.distinct) == (5, 4)
    assert KEY not in str(receiver.samples)


def test_by_v0_the_ledger_cannot_know_what_was_lost_over_the_quota() -> None:
    with (
        PostHogReceiver(api_key=KEY, over_quota=["Expensive"]) as receiver,
        Client({"ph": PostHog(api_key=KEY, base_url=receiver.url)}) as client,
    ):
        assert client.send(SENT, timeout=20).status == "success"
        assert client.stats()["ph"].delivered == 5
    assert [message["event"] for message in receiver.messages] == EVENTS
    assert KEY not in str(receiver.samples)


class Hesitant(PostHogReceiver):
    """Does not store an event when it comes for the first time, and asks for it again."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.asked: list[tuple[str, list[str]]] = []

    def judge(self, request: Received) -> Answer:
        names = [event["event"] for event in json.loads(request.body)["batch"]]
        self.asked.append((request.headers["posthog-attempt"], names))
        answer = super().judge(request)
        if len(self.asked) > 1:
            return answer
        results = json.loads(answer.body)["results"]
        late = as_uuid("order-7")
        results[late] = {"result": "retry", "details": "not_persisted"}
        kept = tuple(taken for taken in answer.taken if taken.message["uuid"] != late)
        body = json.dumps({"results": results}).encode()
        return Answer(status=200, body=body, call=answer.call, taken=kept)


def test_v1_asks_for_one_event_again_and_only_that_one_is_repeated() -> None:
    with (
        Hesitant(api_key=KEY) as receiver,
        Client({"ph": PostHog(api_key=KEY, wire="v1", base_url=receiver.url)}, dice=lambda: 0.0) as client,
    ):
        assert client.send(SENT[1:3], timeout=20).status == "success"
        assert client.stats()["ph"].retried == 1
    assert receiver.asked == [("1", ["Order Paid", "Expensive"]), ("2", ["Order Paid"])]
    assert [message["event"] for message in receiver.messages] == ["Expensive", "Order Paid"]


def test_a_batch_that_failed_as_a_whole_says_that_it_comes_again() -> None:
    with (
        PostHogReceiver(api_key=KEY) as receiver,
        Client({"ph": PostHog(api_key=KEY, wire="v1", base_url=receiver.url)}, dice=lambda: 0.0) as client,
    ):
        receiver.answer_next(1, status=503)
        assert client.send(SENT[:2], timeout=20).status == "success"
    assert receiver.tally.answers == {503: 1, 200: 1}
    assert receiver.samples["capture"].headers["posthog-attempt"] == "2"


@pytest.mark.parametrize("wire", ["v0", "v1"])
def test_a_refused_batch_is_halved_and_only_what_is_refused_alone_is_lost(wire: Any) -> None:
    bad = Track(user_id="u-43", event="Order Paid", properties={"$groups": "acme"})
    with (
        PostHogReceiver(api_key=KEY) as receiver,
        Client({"ph": PostHog(api_key=KEY, wire=wire, base_url=receiver.url)}) as client,
    ):
        (failed,) = client.send([*SENT, bad], timeout=20).failed_records
        ledger = client.stats()["ph"]
    assert failed.record == bad
    assert "$.batch[0].properties.$groups must be an object" in failed.error
    assert (ledger.delivered, ledger.dead) == (5, {"rejected": 1})
    assert len(receiver.messages) == 5


def test_two_events_under_one_id_both_arrive_by_v1_which_wants_them_apart() -> None:
    # A UUID is the same in capitals.
    one = "aaaaaaaa-2222-4333-8444-555555555555"
    twins = [
        Track(user_id="u-42", event="Order Paid", message_id=one),
        Track(user_id="u-42", event="Invoice Sent", message_id=one.upper()),
    ]
    with (
        PostHogReceiver(api_key=KEY) as receiver,
        Client({"ph": PostHog(api_key=KEY, wire="v1", base_url=receiver.url)}) as client,
    ):
        assert client.send(twins, timeout=20).failure == 0
    assert [message["event"] for message in receiver.messages] == ["Order Paid", "Invoice Sent"]
    assert receiver.tally.answers == {400: 1, 200: 2}
