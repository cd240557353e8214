"""Mixpanel's stand-in: what gets in, what does not and why, and what comes of a client that talks to it."""

import base64
import gzip
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unitrack import Alias, Client, Group, Identify, Page, Track
from unitrack.message import Message
from unitrack.providers.mixpanel import Mixpanel
from unitrack.receivers import Received
from unitrack.receivers.mixpanel import MixpanelReceiver
from unitrack.testing.strategies import any_messages, messages
from unitrack.wire import Capabilities

from .agreeing import URL, assert_agreed
from .posting import NOW, basic, captured_cases, post

ID = "11111111-2222-4333-8444-555555555555"
MS = int(NOW.timestamp() * 1000)
ACCOUNT = {"username": "svc", "secret": "s3cret"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
IMPORT = "/import?strict=1"
GONE = object()

PAID = {"token": "t", "time": MS, "distinct_id": "u-42", "$insert_id": ID, "total": 19.9}
PROFILE = {"$token": "t", "$distinct_id": "u-42", "$time": MS / 1000, "$set": {"plan": "pro"}}
GROUP = {"$token": "t", "$group_key": "company", "$group_id": "acme", "$set": {"plan": "pro"}}
ALIAS = {"event": "$create_alias", "properties": {"token": "t", "distinct_id": "a", "alias": "u-42"}}

RECEIVER = MixpanelReceiver(token="t", service_account=ACCOUNT, project_id="4242")


def changed(good: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Copy an object with some members set, or taken out with GONE."""
    return {name: value for name, value in {**good, **members}.items() if value is not GONE}


def paid(**members: Any) -> dict[str, Any]:
    return {"event": "Order Paid", "properties": changed(PAID, **members)}


def imported(*events: Any, path: str = IMPORT, **headers: str) -> Received:
    return post(path, list(events), basic("t") | headers)


def posted(path: str, *entries: Any, **headers: str) -> Received:
    return post(f"{path}?verbose=1&ip=0", list(entries), headers)


def form(path: str, data: Any, headers: Mapping[str, str] | None = None, **fields: str) -> Received:
    text = data if isinstance(data, str) else json.dumps(data)
    return post(path, urlencode({"data": text, **fields}).encode(), FORM | dict(headers or {}))


def account(user: str = "svc:s3cret") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(user.encode()).decode()}


# Requests that get in


def replayed(request: Mapping[str, Any]) -> Received:
    """Make a captured request again at the time in it: as the form of the SDK, or as the JSON of the documents."""
    entry = request["body"][0]
    time = entry.get("$time") or entry["properties"].get("time") or MS
    now = datetime.fromtimestamp(time if time < 1e11 else time / 1000, UTC)
    headers = {name.lower(): value for name, value in request["headers"].items()}
    if "form" not in request:
        return evolve(post(request["path"], request["body"], headers), now=now)
    # The SDK sends one message bare.
    data = request["body"] if len(request["body"]) > 1 else entry
    return evolve(form(request["path"], data, headers, **request["form"]), now=now)


def receiver_for(config: Mapping[str, Any]) -> MixpanelReceiver:
    names = ("token", "service_account", "project_id")
    return MixpanelReceiver(**{name: config[name] for name in names if name in config})


# In the cases that are left out the SDK wrote a bare NaN, an event of null, and an event without a name.
NOT_TAKEN = ("values-nan", "track-no-identity", "track-empty-event")


@pytest.mark.parametrize(("config", "request_"), captured_cases("mixpanel", skip=NOT_TAKEN))
def test_captured_request_is_taken(config: dict[str, Any], request_: dict[str, Any]) -> None:
    answer = receiver_for(config).judge(replayed(request_))
    assert (answer.status, answer.refused) == (200, ())
    assert len(answer.taken) == len(request_["body"])


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("values-nan", "NaN is not JSON"),
        ("track-no-identity", "$[0].properties.distinct_id must be text"),
        ("track-empty-event", "$[0].event must be text"),
    ],
)
def test_what_the_sdk_should_not_have_sent_is_refused(case: str, sentence: str) -> None:
    found = [found.values for found in captured_cases("mixpanel") if str(found.id).startswith(case)]
    ((config, request),) = found
    sent = replayed(request) if request["body"] else form(request["path"], request["body_text"])
    answer = receiver_for(config).judge(sent)
    assert sentence in answer.refused[0]
    assert answer.taken == ()


@pytest.mark.parametrize(
    "request_",
    [
        imported(paid()),
        imported(paid(token=GONE)),
        imported(*[paid()] * 2000),
        imported(paid(), path="/import"),
        imported(paid(), path="/import?strict=1&ip=0&verbose=1"),
        post(f"{IMPORT}&project_id=4242", [paid()], account()),
        post(IMPORT, gzip.compress(json.dumps([paid()]).encode()), basic("t") | {"content-encoding": "gzip"}),
        form(IMPORT, paid(), basic("t"), verbose="1", ip="0"),
        imported(paid(time=MS // 1000), paid(time=MS / 1000), paid(time=MS + 3_600_000), paid(time=31536000)),
        imported(paid(distinct_id=""), paid(distinct_id=GONE, **{"$device_id": "a"})),
        imported(paid(**{f"p{number}": 1 for number in range(249)}), paid(list=[1] * 254, object={"a": {}})),
        imported({"event": "$merge", "properties": {"$distinct_ids": ["a", "b"], "token": "t"}}),
        posted("/track", paid(), ALIAS),
        posted("/track", paid(time=MS - 5 * 86_400_000), paid(**{"$insert_id": GONE})),
        form("/track", [paid(), paid()], verbose="1", ip="0"),
        posted("/engage", PROFILE, changed(PROFILE, **{"$ip": "203.0.113.5", "$ignore_time": True})),
        *[
            posted("/engage", changed(PROFILE, **{"$set": GONE, operation: value}))
            for operation, value in {
                "$set_once": {"a": 1},
                "$add": {"a": -1.5},
                "$append": {"a": "x"},
                "$union": {"a": ["x"]},
                "$unset": ["a"],
                "$remove": {"a": "x"},
                "$delete": "",
            }.items()
        ],
        form("/engage", PROFILE),
        posted("/groups", GROUP, changed(GROUP, **{"$set": GONE, "$union": {"a": ["x"]}})),
        form("/groups", [GROUP], verbose="1", ip="0"),
    ],
)
def test_what_is_documented_or_the_sdk_sends_is_taken(request_: Received) -> None:
    answer = RECEIVER.judge(request_)
    assert (answer.status, answer.refused) == (200, ())
    assert answer.taken


def test_an_import_is_answered_in_its_own_words_and_the_others_in_theirs() -> None:
    answers = [
        RECEIVER.judge(request)
        for request in (imported(paid()), posted("/track", paid()), form("/engage", PROFILE), posted("/groups", GROUP))
    ]
    assert [json.loads(answer.body) for answer in answers] == [
        {"code": 200, "num_records_imported": 1, "status": "OK"},
        {"status": 1, "error": None},
        1,
        {"status": 1, "error": None},
    ]
    assert [answer.call for answer in answers] == ["import", "track", "engage", "groups"]


def test_a_user_is_the_same_text_in_every_call_and_a_repeat_is_told_by_four_members() -> None:
    track = RECEIVER.judge(posted("/track", paid(), ALIAS, paid(distinct_id=GONE, **{"$user_id": "u-42"})))
    engage = RECEIVER.judge(posted("/engage", PROFILE, changed(PROFILE, **{"$distinct_id": 42})))
    assert [taken.user for taken in track.taken + engage.taken] == ["u-42"] * 4 + ["42"]
    assert RECEIVER.judge(posted("/groups", GROUP)).taken[0].user == "acme"
    nobody = paid(distinct_id=GONE, **{"$device_id": "a"})
    assert RECEIVER.judge(imported(nobody)).taken[0].user == "$device:a"

    def key(event: dict[str, Any]) -> str:
        return RECEIVER.judge(imported(event)).taken[0].key

    assert key(paid()) == key(paid(total=7, time=MS / 1000))
    others = [
        paid(time=MS - 1),
        paid(distinct_id="u-43"),
        paid(**{"$insert_id": "m-2"}),
        {**paid(), "event": "Order Lost"},
    ]
    assert len({key(paid()), *map(key, others)}) == 5


# Requests that do not


DAMAGED = {
    "wrong token": (imported(paid(), authorization=basic("x")["authorization"]), 401, "credential is missing or not"),
    "no credential": (post(IMPORT, [paid()], {}), 401, "credential is missing"),
    "bearer": (imported(paid(), authorization="Bearer t"), 401, "credential"),
    "wrong secret": (post(f"{IMPORT}&project_id=4242", [paid()], account("svc:x")), 401, "credential"),
    "token with a project": (imported(paid(), path=f"{IMPORT}&project_id=4242"), 401, "with a service account"),
    "account without project": (post(IMPORT, [paid()], account()), 403, "project_id is missing"),
    "account of another project": (post(f"{IMPORT}&project_id=1", [paid()], account()), 403, "project_id"),
    "token of another project": (imported(paid(token="x")), 401, "$[0].properties: token is missing or not known"),
    "no token at track": (posted("/track", paid(token=GONE)), 401, "token is missing"),
    "no token at engage": (posted("/engage", changed(PROFILE, **{"$token": GONE})), 401, "$[0]: $token is missing"),
    "wrong path": (imported(paid(), path="/imports?strict=1"), 404, "no such path: /imports"),
    "wrong method": (post(IMPORT, [], basic("t"), method="PUT"), 405, "PUT is not allowed"),
    "wrong content type": (post(IMPORT, [], {"content-type": "text/plain"}), 415, "not text/plain"),
    "gzip of a profile": (posted("/engage", PROFILE, **{"content-encoding": "gzip"}), 415, "no content coding"),
    "unknown coding": (imported(paid(), **{"content-encoding": "br"}), 415, "br is not known"),
    "unknown parameter": (imported(paid(), path="/import?strict=1&v=2"), 400, "/import has no parameter v"),
    "strict at track": (post("/track?strict=1", [paid()], {}), 400, "/track has no parameter strict"),
    "parameter twice": (imported(paid(), path="/import?strict=1&strict=1"), 400, "strict stands twice"),
    "wrong value": (imported(paid(), path="/import?strict=yes"), 400, "strict must be 0 or 1"),
    "unreadable query": (imported(paid(), path="/import?strict"), 400, "query or the form cannot be read"),
    "form without data": (post("/track", b"verbose=1", FORM), 400, "one field data"),
    "form with data twice": (post("/track", b"data=1&data=2", FORM), 400, "one field data"),
    "not JSON": (post(IMPORT, b"[", basic("t")), 400, "not JSON"),
    "NaN": (imported(paid(total=float("nan"))), 400, "NaN is not JSON"),
    "large body": (imported(*[paid(x="y" * 900_000)] * 3), 413, "more than 2097152"),
    "large form": (form("/track", [paid(x="y" * 900_000)] * 3), 413, "more than 2097152"),
    "gzip bomb": (
        post(IMPORT, gzip.compress(b" " * 10**7), basic("t") | {"content-encoding": "gzip"}),
        413,
        "more than 2097152",
    ),
    "no events": (imported(), 400, "$ must hold 1 to 2000 entries, not 0"),
    "2001 events": (imported(*[7] * 2001), 400, "not 2001"),
}


@pytest.mark.parametrize(("damaged", "status", "sentence"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_request_is_refused_and_the_sentence_says_why(damaged: Received, status: int, sentence: str) -> None:
    answer = RECEIVER.judge(damaged)
    assert (answer.status, answer.taken) == (status, ())
    assert sentence in answer.refused[0]
    assert json.loads(answer.body)["error"] == answer.refused[0]


AN_EVENT = {
    "no object": (7, "", "$[0] must be an object"),
    "no name": (changed(paid(), event=GONE), "event", "$[0]: event is missing"),
    "blank name": (changed(paid(), event=" "), "event", "$[0].event must be text"),
    "no properties": (changed(paid(), properties=GONE), "properties", "properties is missing"),
    "member beside": (changed(paid(), time=MS), "time", "time is not known"),
    "no time": (paid(time=GONE), "properties.time", "must be seconds or milliseconds"),
    "time as text": (paid(time="2026-03-01T12:00:00Z"), "properties.time", "must be seconds or milliseconds"),
    "true as time": (paid(time=True), "properties.time", "must be seconds or milliseconds"),
    "endless time": (paid(time=10**30), "properties.time", "must be seconds or milliseconds"),
    "time before 1971": (paid(time=31535999), "properties.time", "from 1971 on"),
    "time to come": (paid(time=MS + 3_600_001), "properties.time", "at most one hour ahead"),
    "no user": (paid(distinct_id=GONE), "properties.distinct_id", "must be text"),
    "true as user": (paid(distinct_id=True), "properties.distinct_id", "must be text"),
    "user of a placeholder": (paid(distinct_id="Anonymous"), "properties.distinct_id", "stands for nobody"),
    "zero as user": (paid(distinct_id=0), "properties.distinct_id", "stands for nobody"),
    "blank device": (paid(**{"$device_id": " "}), "properties.$device_id", "must be text"),
    "no insert id": (paid(**{"$insert_id": GONE}), "properties.$insert_id", "must be text"),
    "long insert id": (paid(**{"$insert_id": "a" * 37}), "properties.$insert_id", "1 to 36"),
    "odd insert id": (paid(**{"$insert_id": "order_7"}), "properties.$insert_id", "letters, digits"),
    "insert id of a placeholder": (paid(**{"$insert_id": "null"}), "properties.$insert_id", "no placeholder"),
    "255 properties": (paid(**{f"p{n}": 1 for n in range(250)}), "properties", "fewer than 255 members, not 255"),
    "255 elements": (paid(list={"a": [1] * 255}), "properties.list.a", "not 255"),
    "large": (paid(x="y" * 1_000_000), "", "more than 1000000"),
    "alias": (ALIAS, "properties.time", "must be seconds"),
    "merge of three": (
        {"event": "$merge", "properties": {"$distinct_ids": ["a", "b", "c"]}},
        "properties.$distinct_ids",
        "two ids",
    ),
}


@pytest.mark.parametrize(("event", "field", "sentence"), AN_EVENT.values(), ids=AN_EVENT)
def test_an_import_names_the_event_that_failed_and_keeps_the_others(event: Any, field: str, sentence: str) -> None:
    good = paid(**{"$insert_id": "m-2"})
    answer = RECEIVER.judge(imported(event, good))
    body = json.loads(answer.body)
    (record,) = body.pop("failed_records")
    assert (answer.status, body["code"], body["status"], body["num_records_imported"]) == (400, 400, "Bad Request", 1)
    assert (record["index"], record["field"]) == (0, field)
    assert sentence in record["message"]
    assert answer.refused == (record["message"],)
    assert [taken.message for taken in answer.taken] == [good]
    properties = event.get("properties", {}) if isinstance(event, dict) else {}
    assert record["insert_id"] == properties.get("$insert_id", "")


REFUSED_WITH_ZERO = {
    "old event": (posted("/track", paid(time=MS - 5 * 86_400_000 - 1)), "older than five days"),
    "no event name": (posted("/track", paid(), changed(paid(), event="")), "$[1].event must be text"),
    "odd alias": (posted("/track", changed(ALIAS, properties={"token": "t", "alias": "u"})), "distinct_id is missing"),
    "no operation": (posted("/engage", changed(PROFILE, **{"$set": GONE})), "one of $set, $set_once"),
    "two operations": (posted("/engage", changed(PROFILE, **{"$add": {"a": 1}})), "not 2 of them"),
    "text added": (
        posted("/engage", changed(PROFILE, **{"$set": GONE, "$add": {"a": "1"}})),
        "$add.a must be a number",
    ),
    "union of a text": (posted("/engage", changed(PROFILE, **{"$set": GONE, "$union": {"a": "x"}})), "an array"),
    "unset of an object": (posted("/engage", changed(PROFILE, **{"$set": GONE, "$unset": {"a": 1}})), "an array"),
    "delete of something": (posted("/engage", changed(PROFILE, **{"$set": GONE, "$delete": "all"})), "empty text"),
    "profile of nobody": (posted("/engage", changed(PROFILE, **{"$distinct_id": ""})), "$distinct_id must be text"),
    "time as text": (posted("/engage", changed(PROFILE, **{"$time": "now"})), "$time must be a number"),
    "unknown member": (posted("/engage", changed(PROFILE, event="E")), "event is not known"),
    "no group key": (posted("/groups", changed(GROUP, **{"$group_key": GONE})), "$group_key is missing"),
    "group added to": (posted("/groups", changed(GROUP, **{"$set": GONE, "$add": {"a": 1}})), "one of $set"),
    "group with an address": (posted("/groups", changed(GROUP, **{"$ip": "::1"})), "$ip is not known"),
}


@pytest.mark.parametrize(("damaged", "sentence"), REFUSED_WITH_ZERO.values(), ids=REFUSED_WITH_ZERO)
def test_the_other_paths_refuse_a_request_as_a_whole_and_answer_200(damaged: Received, sentence: str) -> None:
    answer = RECEIVER.judge(damaged)
    assert (answer.status, answer.taken) == (200, ())
    assert sentence in answer.refused[0]
    assert json.loads(answer.body) == {"status": 0, "error": answer.refused[0]}


def test_a_refusal_is_a_bare_zero_unless_words_were_asked_for() -> None:
    answer = RECEIVER.judge(post("/engage", [{**PROFILE, "$set": 1}], {}))
    assert (answer.status, answer.body) == (200, b"0")


@pytest.mark.parametrize("missing", ["service_account", "project_id"])
def test_a_service_account_is_that_of_a_project(missing: str) -> None:
    given = {"token": "t", "service_account": ACCOUNT, "project_id": "4242"}
    with pytest.raises(ValueError, match="service_account and project_id"):
        MixpanelReceiver(**changed(given, **{missing: GONE}))


# With a provider, and with a client

PROVIDERS = {
    "import": Mixpanel(token="t", base_url=URL, service_account=ACCOUNT, project_id="4242"),
    "track": Mixpanel(token="t", base_url=URL, endpoint="track", id_merge="original", gzip=True),
}


@pytest.mark.parametrize("make", [messages, any_messages])
@pytest.mark.parametrize("name", PROVIDERS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_the_provider_sends_is_taken(
    name: str, make: Callable[[Capabilities], st.SearchStrategy[Message]], data: st.DataObject
) -> None:
    provider = PROVIDERS[name]
    oldest = NOW - timedelta(days=5) if name == "track" else datetime.min.replace(tzinfo=UTC)

    def timely(message: Message) -> Message:
        # No provider knows what time it is when a message is encoded; the vendor does.
        return evolve(message, timestamp=max(oldest, min(message.timestamp or NOW, NOW)))

    drawn = data.draw(st.lists(make(provider.capabilities).map(timely), min_size=1, max_size=4))
    assert_agreed(provider, RECEIVER, drawn)


SENT = [
    Identify(user_id="u-42", traits={"$email": "ada@example.com"}),
    Track(user_id="u-42", event="Order Paid", properties={"order_id": 7}, idempotency_key="order-7"),
    Page(user_id="u-42", anonymous_id="a-1", name="Thanks"),
    Group(user_id="u-42", group_id="acme", traits={"plan": "pro"}),
]


@pytest.mark.parametrize("gzip", [False, True])
def test_a_client_delivers_and_the_ledger_counts_what_the_receiver_keeps(gzip: bool) -> None:
    with MixpanelReceiver(token="t", service_account=ACCOUNT, project_id="4242") as receiver:
        provider = Mixpanel(token="t", base_url=receiver.url, service_account=ACCOUNT, project_id="4242", gzip=gzip)
        with Client({"product": provider}) as client:
            assert client.send(SENT, timeout=20).status == "success"
            assert client.stats()["product"].delivered == 4
    kept = receiver.messages_of("u-42")
    assert [message.get("event", "$set") for message in kept] == ["$set", "Order Paid", "Page Viewed"]
    assert kept[1]["properties"]["order_id"] == 7
    assert receiver.messages_of("acme")[0]["$set"] == {"plan": "pro"}
    assert receiver.samples.keys() == {"import", "engage", "groups"}
    assert "s3cret" not in repr(receiver.samples)


def test_a_key_that_comes_again_is_known_with_its_time() -> None:
    again = evolve(SENT[1], timestamp=datetime.now(UTC))
    with MixpanelReceiver(token="t") as receiver:
        with Client({"product": Mixpanel(token="t", base_url=receiver.url)}) as client:
            for _ in range(2):
                assert client.send([again], timeout=20).status == "success"
    assert len(receiver.messages) == 1
    assert receiver.tally.repeats == 1


def events(count: int, *bad: int) -> list[Track]:
    """Make events, some of them with more properties than Mixpanel takes."""
    much = {f"p{number}": number for number in range(260)}
    return [
        Track(user_id=f"u-{n}", event="E", properties={"n": n} | (much if n in bad else {}), message_id=f"m-{n}")
        for n in range(count)
    ]


def test_only_the_events_that_an_import_names_are_lost_and_nothing_is_sent_again() -> None:
    with MixpanelReceiver(token="t") as receiver:
        with Client({"product": Mixpanel(token="t", base_url=receiver.url)}) as client:
            report = client.send(events(20, 3, 11), timeout=20)
            ledger = client.stats()["product"]
    assert sorted(failed.record.user_id for failed in report.failed_records) == ["u-11", "u-3"]
    assert all("properties: $[" in failed.error for failed in report.failed_records)
    assert (ledger.delivered, ledger.dead) == (18, {"rejected": 2})
    assert sorted(message["properties"]["n"] for message in receiver.messages) == [
        n for n in range(20) if n not in (3, 11)
    ]
    assert (receiver.tally.received, sum(receiver.tally.refused.values())) == (18, 2)


def test_a_request_that_is_refused_with_a_zero_is_halved_until_the_bad_one_stands_alone() -> None:
    with MixpanelReceiver(token="t") as receiver:
        with Client({"product": Mixpanel(token="t", base_url=receiver.url, endpoint="track")}) as client:
            report = client.send(events(8, 5), timeout=20)
            ledger = client.stats()["product"]
    (failed,) = report.failed_records
    assert "fewer than 255 members" in failed.error
    assert (ledger.delivered, ledger.dead) == (7, {"rejected": 1})
    assert sorted(message["properties"]["n"] for message in receiver.messages) == [0, 1, 2, 3, 4, 6, 7]
    assert receiver.tally.repeats == 0
    assert receiver.tally.answers.keys() == {200}


def test_a_request_that_is_too_large_for_an_older_service_is_halved() -> None:
    with MixpanelReceiver(token="t") as receiver:
        provider = Mixpanel(token="t", base_url=receiver.url, max_batch_bytes=10_000_000)
        with Client({"product": provider}, mode="sync") as client:  # so that they are one request
            sent = [Track(user_id="u", event="E", properties={"x": "y" * 900_000, "n": n}) for n in range(4)]
            assert client.send(sent, timeout=30).status == "success"
    assert [message["properties"]["n"] for message in receiver.messages] == [0, 1, 2, 3]
    assert receiver.tally.answers[413] >= 1


def test_an_alias_arrives_before_the_events_that_follow_it() -> None:
    with MixpanelReceiver(token="t") as receiver:
        provider = Mixpanel(token="t", base_url=receiver.url, id_merge="original")
        with Client({"product": provider}) as client:
            sent = [Alias(previous_id="a", user_id="u"), Track(user_id="u", event="E")]
            assert client.send(sent, timeout=20).status == "success"
    assert [message["event"] for message in receiver.messages_of("u")] == ["$create_alias", "E"]
