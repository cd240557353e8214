"""Amplitude: the recorded requests, what unitrack relies on, and indexes that lead back to messages."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from unitrack.batching import batches
from unitrack.errors import ConfigError, Unsupported
from unitrack.message import Alias, Group, Identify, Page, Screen, Track
from unitrack.providers.amplitude import MAX_BATCH, Amplitude
from unitrack.snapshot import snapshot
from unitrack.testing import recording, reply
from unitrack.testing.conformance import ProviderConformance
from unitrack.wire import Delivered, Hold, Rejected, Response, Retry, omitted, refusal

from .vectors import cases, differences

KEY = "0123456789abcdef-canary"
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
PROVIDER = Amplitude(api_key=KEY)


def amplitude(config, base_url):
    return Amplitude(base_url=base_url, **config)


def checked(message):
    found = snapshot(message, lambda: "made-by-unitrack", lambda: NOW)[0]
    return evolve(found, options=found.options.get("amplitude", {}))


def encoded(message, provider=PROVIDER):
    return json.loads(provider.encode(checked(message)).body)


@pytest.mark.parametrize("case", cases("amplitude"))
def test_sends_what_the_vendor_expects(case, tmp_path):
    assert differences("amplitude", case, amplitude, tmp_path) == []


class TestLiveEvents(ProviderConformance):
    provider = PROVIDER
    secrets = (KEY,)
    success = Response(status=200, body=b'{"code":200,"events_ingested":1,"payload_size_bytes":9}')


class TestBackfillsInTheEu(ProviderConformance):
    provider = Amplitude(api_key=KEY, region="eu", endpoint="batch", min_id_length=None, group_type="company")
    secrets = (KEY,)

    def messages(self):
        return super().messages().map(with_long_ids)


def with_long_ids(message):
    ids = {name: getattr(message, name) for name in ("user_id", "anonymous_id")}
    return evolve(message, **{name: f"long-{value}" for name, value in ids.items() if value is not None})


# Messages


def test_a_key_that_the_caller_chose_goes_before_any_id():
    message = Track(user_id="u", event="E", idempotency_key="order-7", message_id="m-1")
    assert encoded(message)["insert_id"] == "order-7"
    assert encoded(Track(user_id="u", event="E", message_id="m-1"))["insert_id"] == "m-1"
    assert encoded(Track(user_id="u", event="E"))["insert_id"] == "made-by-unitrack"


def test_time_is_in_milliseconds_and_cut():
    india = timezone(timedelta(hours=5, minutes=30))
    message = Track(user_id="u", event="E", timestamp=datetime(2024, 2, 29, 15, 50, 30, 999_999, tzinfo=india))
    assert encoded(message)["time"] == 1709202030999


def test_empty_objects_and_absent_ids_are_left_out():
    assert encoded(Track(user_id="u", event="E")).keys() == {"event_type", "user_id", "time", "insert_id"}


def test_numbers_keep_their_digits():
    message = Track(
        user_id="u",
        event="E",
        properties={"n": 12345678901234567890, "d": Decimal("0.10")},
        options={"amplitude": {"price": Decimal("19.90"), "session_id": 0}},
    )
    body = PROVIDER.encode(checked(message)).body
    assert b'"n":12345678901234567890,"d":0.10' in body
    assert b'"price":19.90' in body
    assert b'"session_id":0' in body


def test_context_members_of_another_type_are_left_out():
    context = {"ip": ["203.0.113.9"], "locale": "", "app": "3.1", "os": {"name": None, "version": 17}, "page": {}}
    sent = encoded(Track(user_id="u", event="E", context=context))
    assert not {"ip", "language", "app_version", "os_name", "os_version"} & sent.keys()


def test_options_win_over_context_and_never_over_the_message():
    options = {"ip": "198.51.100.7", "city": "", "carrier": None, "user_id": "mallory", "time": 1, "colour": "red"}
    message = Track(user_id="u", event="E", context={"ip": "203.0.113.9"}, options={"amplitude": options})
    sent = encoded(message)
    assert (sent["ip"], sent["user_id"], sent["time"]) == ("198.51.100.7", "u", 1768478400000)
    assert not {"city", "carrier", "colour"} & sent.keys()
    assert omitted(PROVIDER.capabilities, checked(message)) == (
        "options.user_id",
        "options.time",
        "options.colour",
    )


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("session_id", "1709202000000", "a whole number"),
        ("session_id", 1.5, "a whole number"),
        ("quantity", True, "a whole number"),
        ("price", "19.90", "a number"),
        ("price", False, "a number"),
        ("platform", 7, "text"),
        ("groups", ["g-1"], "an object"),
        ("plan", "pro", "an object"),
    ],
)
def test_an_option_of_a_wrong_type_costs_one_message_and_not_the_request(name, value, what):
    message = checked(Track(user_id="u", event="E", options={"amplitude": {name: value}}))
    with pytest.raises(Unsupported, match=f"Amplitude takes the option {name} as {what}"):
        PROVIDER.encode(message)


def test_user_properties_of_an_event_go_as_they_are_written():
    message = Track(user_id="u", event="E", options={"amplitude": {"user_properties": {"plan": "pro"}}})
    assert encoded(message)["user_properties"] == {"plan": "pro"}


def test_an_identify_without_traits_still_joins_two_ids():
    sent = encoded(Identify(user_id="user-1", anonymous_id="anon-1"))
    assert (sent["event_type"], sent["user_id"], sent["device_id"]) == ("$identify", "user-1", "anon-1")
    assert "user_properties" not in sent


def test_operations_stand_beside_the_traits_and_none_is_lost():
    given = {"$set": {"plan": "max"}, "$add": {"orders": 1}, "$clearAll": "-"}
    message = Identify(
        user_id="u", traits={"plan": "pro", "name": "Ada"}, options={"amplitude": {"user_properties": given}}
    )
    assert encoded(message)["user_properties"] == {**given, "$set": {"plan": "max", "name": "Ada"}}
    alone = Identify(user_id="u", options={"amplitude": {"user_properties": {"$add": {"orders": 1}}}})
    assert encoded(alone)["user_properties"] == {"$add": {"orders": 1}}


@pytest.mark.parametrize("given", [{"plan": "pro"}, {"$put": {}}, {"$set": "pro"}])
@pytest.mark.parametrize(
    ("message", "member"),
    [
        (Identify(user_id="u"), "user_properties"),
        (Group(user_id="u", group_id="g"), "user_properties"),
        (Group(user_id="u", group_id="g"), "group_properties"),
    ],
)
def test_what_is_no_operation_is_refused_where_operations_must_be(message, member, given):
    with pytest.raises(Unsupported, match="Amplitude takes operations"):
        PROVIDER.encode(checked(evolve(message, options={"amplitude": {member: given}})))


def test_pages_and_screens_are_events_with_their_name_and_category():
    provider = evolve(PROVIDER, screen_event="Seen")
    page = encoded(Page(user_id="u", name="Python", category="Docs", properties={"name": "mine"}))
    assert page["event_type"] == "Page Viewed"
    assert page["event_properties"] == {"name": "mine", "category": "Docs"}
    screen = encoded(Screen(anonymous_id="d", name="Cart"), provider)
    assert (screen["event_type"], screen["event_properties"]) == ("Seen", {"name": "Cart"})


# Groups


def test_a_group_call_with_members_and_traits_is_two_events():
    message = Group(
        user_id="user-1",
        group_id="g-1",
        traits={"seats": 5},
        idempotency_key="k",
        context={"ip": "203.0.113.9"},
        options={
            "amplitude": {
                "group_type": "company",
                "groups": {"team": "t-1"},
                "user_properties": {"$setOnce": {"first": 1}},
                "group_properties": {"$append": {"tags": "x"}},
            }
        },
    )
    member, group = encoded(message)
    assert member["event_type"] == "$identify"
    assert member["groups"] == {"team": "t-1", "company": "g-1"}
    assert member["user_properties"] == {"$setOnce": {"first": 1}, "$set": {"company": "g-1"}}
    assert (member["insert_id"], member["ip"]) == ("k", "203.0.113.9")
    assert "group_properties" not in member
    assert group["event_type"] == "$groupidentify"
    assert group["groups"] == {"company": "g-1"}
    assert group["group_properties"] == {"$append": {"tags": "x"}, "$set": {"seats": 5}}
    assert (group["insert_id"], group["user_id"], group["time"]) == ("k:g", "user-1", member["time"])
    assert not {"ip", "user_properties"} & group.keys()


def test_a_group_call_without_anybody_is_about_the_group_alone():
    message = Group(group_id="g-1", traits={"seats": 5}, options={"amplitude": {"group_type": "company"}})
    assert refusal(PROVIDER, checked(message)) is None
    sent = encoded(message)
    assert (sent["event_type"], sent["insert_id"]) == ("$groupidentify", "made-by-unitrack:g")
    assert not {"user_id", "device_id"} & sent.keys()
    with pytest.raises(Unsupported, match="or traits of the group"):
        PROVIDER.encode(checked(evolve(message, traits={})))


def test_a_request_holds_the_events_of_its_parts_in_a_row():
    messages = [
        Track(user_id="u", event="first"),
        Group(user_id="u", group_id="g", traits={"a": 1}),
        Track(user_id="u", event="last"),
    ]
    parts = [PROVIDER.encode(checked(message)) for message in messages]
    body = json.loads(PROVIDER.request(parts, NOW).body)
    assert [event["event_type"] for event in body["events"]] == ["first", "$identify", "$groupidentify", "last"]


def test_no_request_can_hold_more_than_2000_events():
    part = PROVIDER.encode(checked(Group(user_id="u", group_id="g", traits={"a": 1})))
    run = batches([part] * (MAX_BATCH + 1), PROVIDER.capabilities)
    counts = [len(json.loads(PROVIDER.request(batch, NOW).body)["events"]) for batch in run]
    assert counts == [2000, 2]


# Ids


def test_short_ids_are_taken_by_default_and_the_request_says_so():
    part = PROVIDER.encode(checked(Track(user_id=0, anonymous_id="d", event="E")))
    body = json.loads(PROVIDER.request([part], NOW).body)
    assert body["options"] == {"min_id_length": 1}
    assert (body["events"][0]["user_id"], body["events"][0]["device_id"]) == ("0", "d")


@pytest.mark.parametrize(("least", "short", "long"), [(None, "1234", "12345"), (3, "12", "123")])
def test_ids_that_the_service_would_drop_are_refused_here(least, short, long):
    provider = evolve(PROVIDER, min_id_length=least)
    for ids in ({"user_id": short}, {"user_id": long, "anonymous_id": short}):
        with pytest.raises(Unsupported, match=f"Amplitude takes ids of {least or 5} characters or more"):
            provider.encode(checked(Track(event="E", **ids)))
    part = provider.encode(checked(Track(event="E", user_id=long)))
    assert json.loads(provider.request([part], NOW).body).get("options") == ({"min_id_length": 3} if least else None)


def test_a_phone_alone_is_not_enough():
    with pytest.raises(Unsupported, match="Amplitude needs user_id or anonymous_id"):
        PROVIDER.encode(checked(Track(phone="+919999999999", event="E")))


def test_an_alias_is_refused_with_what_to_do_instead():
    message = checked(Alias(previous_id="anon-1", user_id="user-1"))
    with pytest.raises(Unsupported) as refused:
        PROVIDER.encode(message)
    assert str(refused.value) == refusal(PROVIDER, message)


# Requests


@pytest.mark.parametrize(
    ("region", "endpoint", "url"),
    [
        ("us", "httpapi", "https://api2.amplitude.com/2/httpapi"),
        ("us", "batch", "https://api2.amplitude.com/batch"),
        ("eu", "httpapi", "https://api.eu.amplitude.com/2/httpapi"),
        ("eu", "batch", "https://api.eu.amplitude.com/batch"),
    ],
)
@pytest.mark.parametrize("base_url", [{}, {"base_url": None}, {"base_url": " "}])
def test_region_and_endpoint_make_the_address(region, endpoint, url, base_url):
    provider = Amplitude(api_key=KEY, region=region, endpoint=endpoint, **base_url)
    request = provider.request([provider.encode(checked(Track(user_id="u", event="E")))], NOW)
    assert request.url == url
    assert dict(request.headers) == {"Content-Type": "application/json"}


def test_an_address_of_the_users_goes_before_the_region():
    provider = Amplitude(api_key=KEY, region="eu", base_url=" https://proxy.example/amplitude/ ")
    assert provider.base_url == "https://proxy.example/amplitude"


@pytest.mark.parametrize("least", [None, 1, 100])
def test_the_declared_envelope_is_exact(least):
    provider = Amplitude(api_key='a"b\\c', min_id_length=least)
    part = provider.encode(checked(Track(user_id="u" * 100, event="E")))
    body = provider.request([part] * 3, NOW).body
    assert len(body) == provider.capabilities.envelope_bytes + 3 * len(part.body) + 2
    assert json.loads(body)["api_key"] == 'a"b\\c'


sizes = st.integers(0, 2_000) | st.integers(90_000, 110_000) | st.integers(400_000, 520_000)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(sizes, st.booleans()), min_size=1, max_size=30))
def test_requests_stay_below_the_limit_and_keep_every_message_in_order(fillers):
    messages = [
        Group(user_id="u", group_id="g", traits={"i": number, "pad": "x" * size})
        if is_group
        else Track(user_id="u", event="E", properties={"i": number, "pad": "x" * size})
        for number, (size, is_group) in enumerate(fillers)
    ]
    found = []
    for batch in batches([PROVIDER.encode(checked(message)) for message in messages], PROVIDER.capabilities):
        body = PROVIDER.request(batch, NOW).body
        assert len(body) <= 1_000_000
        for event in json.loads(body)["events"]:
            member = event.get("event_properties") or event.get("group_properties", {}).get("$set", {})
            found += [member["i"]] if member else []
    assert found == list(range(len(messages)))


# Answers: events 0, 1 and 2 (a pair), 3

PARTS = [
    PROVIDER.encode(checked(message))
    for message in (
        Track(user_id="ada", event="E"),
        Group(user_id="bob", anonymous_id="bobs-phone", group_id="g", traits={"a": 1}),
        Track(anonymous_id="phone", event="E"),
    )
]


def verdicts(status, parts=PARTS, headers=None, **answer):
    body = json.dumps({"code": status, **answer}).encode()
    return PROVIDER.outcomes(Response(status=status, headers=headers or {}, body=body), parts)


def spared(outcome):
    return isinstance(outcome, Retry) and outcome.own and outcome.after == 0.0


def test_what_was_taken_is_delivered_whatever_the_body_says():
    for status, body in [(200, b'{"code":200}'), (200, b"OK"), (202, b""), (204, b""), (200, b'{"code":400}')]:
        assert PROVIDER.outcomes(Response(status=status, body=body), PARTS) == [Delivered()] * 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"events_with_invalid_fields": {"time": [0]}}, "400: invalid field 'time'"),
        ({"events_with_missing_fields": {"event_type": [0]}}, "400: missing field 'event_type'"),
        ({"events_with_invalid_id_lengths": {"user_id": [0]}}, "400: id too short 'user_id'"),
        ({"silenced_events": [0]}, "400: Amplitude has silenced this user or device"),
    ],
)
def test_a_named_event_is_rejected_and_the_others_come_again_at_once(answer, said):
    first, *others = verdicts(400, error="bad events", **answer)
    assert first == Rejected(said, 400, own=True)
    assert all(map(spared, others))


@pytest.mark.parametrize(("index", "place"), [(0, 0), (1, 1), (2, 1), (3, 2)])
def test_indexes_lead_back_to_messages_that_are_two_events(index, place):
    for found in (
        verdicts(400, events_with_invalid_fields={"time": [index]}),
        verdicts(400, silenced_events=[index]),
    ):
        assert [at for at, outcome in enumerate(found) if isinstance(outcome, Rejected)] == [place]
    found = verdicts(429, throttled_events=[index])
    assert [at for at, outcome in enumerate(found) if outcome.after == 30.0] == [place]


def test_every_list_of_an_answer_counts():
    found = verdicts(400, events_with_invalid_fields={"time": [0], "ip": [3]}, events_with_missing_fields={"x": [1]})
    assert [outcome.reason for outcome in found] == [
        "400: invalid field 'time'",
        "400: missing field 'x'",
        "400: invalid field 'ip'",
    ]


NO_INDEXES = [4, -1, 10**30, True, 1.0, "0", None, [0], {"0": 0}]


@pytest.mark.parametrize("index", NO_INDEXES)
def test_what_is_no_index_of_the_request_is_ignored(index):
    found = verdicts(400, events_with_invalid_fields={"time": [index]}, silenced_events=[index])
    assert [type(outcome) for outcome in found] == [Rejected] * 3
    assert not any(outcome.own for outcome in found)  # so the batch is split
    found = verdicts(429, throttled_events=[index])
    assert not any(outcome.own for outcome in found)
    mixed = verdicts(400, silenced_events=[index, 3])
    assert [type(outcome) for outcome in mixed] == [Retry, Retry, Rejected]


@pytest.mark.parametrize("value", [None, 7, "x", [], [7], {}, {"time": 7}, {"time": None}, True])
def test_lists_of_a_wrong_type_say_nothing(value):
    members = ("events_with_invalid_fields", "events_with_missing_fields", "events_with_invalid_id_lengths")
    found = verdicts(400, silenced_events=value, **dict.fromkeys(members, value))
    assert [(type(outcome), outcome.own) for outcome in found] == [(Rejected, False)] * 3
    members = ("throttled_events", "exceeded_daily_quota_users", "exceeded_daily_quota_devices")
    found = verdicts(429, **dict.fromkeys(members, value))
    assert [(type(outcome), outcome.own) for outcome in found] == [(Retry, False)] * 3


@pytest.mark.parametrize(
    "answer",
    [
        {"error": "Request missing required field", "missing_field": "api_key"},
        {"error": f"Invalid API key: {KEY}"},
        {"error": "Invalid API key", "events_with_invalid_fields": {"time": [0]}},
    ],
)
def test_a_wrong_key_holds_everything_and_is_not_repeated(answer):
    found = verdicts(400, **answer)
    assert [type(outcome) for outcome in found] == [Hold] * 3
    assert KEY not in found[0].reason


@pytest.mark.parametrize("status", [400, 413])
def test_a_refusal_without_indexes_is_for_the_whole_request(status):
    found = verdicts(status, error="too much", missing_field="events")
    assert [(type(outcome), outcome.own) for outcome in found] == [(Rejected, False)] * 3
    assert "too much" in found[0].reason


def test_a_throttled_event_waits_and_the_others_come_again_at_once():
    first, *others = verdicts(429, throttled_events=[0], throttled_users={"ada": 31}, eps_threshold=30)
    assert isinstance(first, Retry)
    assert (first.after, first.code, first.own) == (30.0, 429, True)
    assert all(map(spared, others))


@pytest.mark.parametrize(
    ("member", "value", "waiting"),
    [("user", "ada", [0]), ("device", "phone", [2]), ("user", "bob", [1]), ("device", "bobs-phone", [1])],
)
def test_an_id_over_its_daily_quota_waits_for_an_hour(member, value, waiting):
    found = verdicts(429, **{f"exceeded_daily_quota_{member}s": {value: 500_001}}, throttled_events=[0, 1, 3])
    assert [at for at, outcome in enumerate(found) if outcome.after == 3600.0] == waiting
    assert {outcome.after for outcome in found} == {30.0, 3600.0}
    assert all(outcome.own for outcome in found)


def test_a_quota_of_somebody_else_says_nothing():
    found = verdicts(429, exceeded_daily_quota_users={"eve": 1, "phone": 1}, exceeded_daily_quota_devices={"ada": 1})
    assert not any(outcome.own for outcome in found)


def test_retry_after_holds_for_those_who_were_not_named_too():
    found = verdicts(429, headers={"retry-after": "60"}, throttled_events=[0])
    assert [outcome.after for outcome in found] == [60.0, 60.0, 60.0]


@pytest.mark.parametrize("depth", [900, 1_000, 5_000])
@pytest.mark.parametrize("member", ["error", "missing_field", "silenced_events", "throttled_events"])
def test_an_answer_that_is_nested_without_end_raises_nothing(member, depth):
    body = b'{"%b":%b%b}' % (member.encode(), b"[" * depth, b"]" * depth)
    for status in (400, 429):
        found = PROVIDER.outcomes(Response(status=status, body=body), PARTS)
        assert [outcome.own for outcome in found] == [False] * 3


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | st.sampled_from(["ada", "phone", "Invalid API key"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ada", "phone", "x\n"]), inner),
    max_leaves=8,
)
answers = st.dictionaries(
    st.sampled_from(
        [
            "error",
            "missing_field",
            "events_with_invalid_fields",
            "events_with_missing_fields",
            "events_with_invalid_id_lengths",
            "silenced_events",
            "throttled_events",
            "exceeded_daily_quota_users",
            "exceeded_daily_quota_devices",
        ]
    ),
    json_values,
)


@settings(max_examples=100, deadline=None)
@given(answers, st.sampled_from([200, 400, 413, 429, 500]))
def test_no_answer_raises_and_every_reason_is_one_line(answer, status):
    found = verdicts(status, **answer)
    assert len(found) == 3
    assert all(isinstance(outcome, Delivered) or outcome.reason.isprintable() for outcome in found)


def test_only_the_bad_message_of_a_request_is_lost():
    bad = reply(400, {"error": "bad", "events_with_invalid_fields": {"time": [1]}})
    messages = [
        Group(user_id="ada", group_id="g", traits={"a": 1}),
        Track(user_id="bob", event="Order Paid"),
        Track(user_id="eve", event="Order Paid"),
    ]
    with recording({"amplitude": PROVIDER}, answer=[bad, 200]) as client:
        report = client.send(messages)
    assert [(record.record.user_id, record.code) for record in report.failed_records] == [("ada", 400)]
    first, second = client.recorder.bodies("amplitude")
    assert [event["event_type"] for event in first["events"]] == [
        "$identify",
        "$groupidentify",
        "Order Paid",
        "Order Paid",
    ]
    assert second["events"] == first["events"][2:]


def test_a_throttled_user_comes_after_all_others():
    slow = reply(429, {"error": "too many", "throttled_events": [0], "throttled_users": {"ada": 31}})
    messages = [Track(user_id=user, event="Order Paid") for user in ("ada", "bob", "eve")]
    with recording({"amplitude": PROVIDER}, answer=[slow, 200]) as client:
        report = client.send(messages)
    assert report.status == "success"
    found = [[event["user_id"] for event in body["events"]] for body in client.recorder.bodies("amplitude")]
    assert found == [["ada", "bob", "eve"], ["bob", "eve"], ["ada"]]
    ids = [[event["insert_id"] for event in body["events"]] for body in client.recorder.bodies("amplitude")]
    assert ids[0] == [*ids[2], *ids[1]]


# Settings


@pytest.mark.parametrize("key", ["", "  \n", None, 7])
def test_a_missing_key_is_named(key):
    with pytest.raises(ConfigError, match="api_key"):
        Amplitude(api_key=key)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("region", "de"),
        ("region", None),
        ("endpoint", "2/httpapi"),
        ("min_id_length", 0),
        ("min_id_length", True),
        ("min_id_length", "5"),
        ("group_type", ""),
        ("page_event", " "),
        ("screen_event", None),
    ],
)
def test_a_wrong_setting_is_named(setting, value):
    with pytest.raises(ConfigError, match=setting):
        Amplitude(api_key=KEY, **{setting: value})
