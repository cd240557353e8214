"""PostHog: the recorded requests, what unitrack relies on, and what is special to its two wires."""

import gzip
import json
import re
import uuid
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from unitrack.attachment import Attachment
from unitrack.batching import batches
from unitrack.config import load
from unitrack.errors import ConfigError, InvalidMessage, Unsupported
from unitrack.message import Alias, Group, Identify, Page, Screen, Track
from unitrack.providers._posthog_event import NOBODY
from unitrack.providers.posthog import MAX_BATCH, MAX_BATCH_BYTES, MAX_MESSAGE_BYTES, PostHog
from unitrack.snapshot import snapshot
from unitrack.testing import recording, strategies
from unitrack.testing.conformance import ProviderConformance
from unitrack.testing.samples import sample
from unitrack.values import JsonObject
from unitrack.wire import Delivered, Hold, Rejected, Response, Retry, omitted

from .vectors import cases, differences, message_of

KEY = "phc_canary0123456789"
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
V0 = PostHog(api_key=KEY)
V1 = PostHog(api_key=KEY, wire="v1")
WIRES = pytest.mark.parametrize("provider", [V0, V1], ids=["v0", "v1"])
ID = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-2222-4333-8444-555555555555"


def posthog(config, base_url):
    settings = {name: value for name, value in config.items() if name != "base_url_suffix"}
    return PostHog(base_url=base_url, **settings)


def checked(message):
    return snapshot(message, lambda: ID, lambda: NOW)[0]


def part(message, provider=V0):
    return provider.encode(checked(message))


def encoded(message, provider=V0):
    return json.loads(part(message, provider).body)


def properties(message, provider=V0):
    """Return what stands among the properties besides the marks of the client."""
    found = encoded(message, provider)["properties"]
    return {name: value for name, value in found.items() if name not in MARKS}


MARKS = ("$lib", "$lib_version", "$is_server", "$geoip_disable")
TRACK = Track(user_id="u", event="E", message_id=ID)


def completed(case):
    if case["id"] != "attachments-refused":
        return case
    # "Refuse or report", says the vector: a member without a place is left out and counted, here as everywhere.
    bare = {name: value for name, value in case["call"]["message"].items() if name != "attachments"}
    return {**case, "recommended": [{"body": {"batch": [encoded(message_of(bare, Path()))]}}]}


@pytest.mark.parametrize("case", cases("posthog"))
def test_sends_what_the_vendor_expects(case, tmp_path):
    assert differences("posthog", completed(case), posthog, tmp_path) == []


class Choosy:
    """What the vendor asks of ids, and does with a key, beyond what capabilities can say."""

    def messages(self):
        # Chance likes "0", an id that PostHog takes for that of nobody.
        ids = ("user_id", "anonymous_id", "previous_id")
        return strategies.messages(self.provider.capabilities).filter(
            lambda message: NOBODY.isdisjoint(str(getattr(message, name, "")).lower() for name in ids)
        )

    def test_what_it_says_it_carries_is_in_the_part(self):
        # A key of the caller's is there as the UUID that is made of it.
        keyed = [self.provider.encode(sample("track", idempotency_key=key)).body[:45] for key in ("a", "a", "b")]
        assert keyed[0] == keyed[1] != keyed[2]
        message = sample("track", tenant_id="mark-1")
        carried = "tenant_id" not in omitted(self.provider.capabilities, message)
        assert (b"mark-1" in self.provider.encode(message).body) is carried


class TestV0(Choosy, ProviderConformance):
    provider = V0
    secrets = (KEY,)


class TestV1OfEuropeWithEverySetting(Choosy, ProviderConformance):
    provider = PostHog(
        api_key=KEY,
        base_url="https://eu.i.posthog.com",
        wire="v1",
        historical_migration=True,
        disable_geoip=False,
        group_type="team",
        tenant_group_type="tenant",
        gzip=True,
    )
    secrets = (KEY,)


# Events


@pytest.mark.parametrize(
    ("message", "event", "who", "wanted"),
    [
        (Track(user_id="u", event="Paid", properties={"a": 1}), "Paid", "u", {"a": 1}),
        (Track(user_id="u", anonymous_id="anon", event="Paid"), "Paid", "u", {"$device_id": "anon"}),
        (Track(anonymous_id="anon", event="Paid"), "Paid", "anon", {"$process_person_profile": False}),
        (Identify(user_id="u", traits={"a": 1}), "$identify", "u", {"$set": {"a": 1}}),
        (
            Identify(user_id="u", anonymous_id="anon"),
            "$identify",
            "u",
            {"$set": {}, "$anon_distinct_id": "anon"},
        ),
        (Identify(anonymous_id="anon", traits={"a": 1}), "$set", "anon", {"$set": {"a": 1}}),
        (
            Page(user_id="u", name="Python", category="Docs", properties={"url": "https://e.example/"}),
            "$pageview",
            "u",
            {"url": "https://e.example/", "$current_url": "https://e.example/", "title": "Python", "category": "Docs"},
        ),
        (
            Page(anonymous_id="anon", properties={"url": 7}),
            "$pageview",
            "anon",
            {"url": 7, "$process_person_profile": False},
        ),
        (
            Screen(user_id="u", name="Home", category="Main"),
            "$screen",
            "u",
            {"$screen_name": "Home", "category": "Main"},
        ),
        (Screen(anonymous_id="anon"), "$screen", "anon", {"$process_person_profile": False}),
        (
            Group(user_id="u", group_id=7, traits={"size": 3}),
            "$groupidentify",
            "u",
            {"$group_type": "company", "$group_key": "7", "$group_set": {"size": 3}},
        ),
        (
            Group(anonymous_id="anon", group_id="acme"),
            "$groupidentify",
            "anon",
            {"$group_type": "company", "$group_key": "acme", "$group_set": {}},
        ),
        (Alias(user_id="u", previous_id="old"), "$create_alias", "u", {"distinct_id": "u", "alias": "old"}),
    ],
)
def test_each_kind_is_an_event_of_the_vendors(message, event, who, wanted):
    sent = encoded(message)
    assert (sent["event"], sent["distinct_id"]) == (event, who)
    assert properties(message) == wanted
    assert sent.keys() == {"uuid", "timestamp", "event", "distinct_id", "properties"}


@WIRES
def test_an_unknown_person_is_never_made_known_by_identify(provider):
    assert encoded(Identify(anonymous_id="anon"), provider)["event"] == "$set"
    assert "$anon_distinct_id" not in properties(Identify(anonymous_id="anon"), provider)


@pytest.mark.parametrize(
    "message",
    [
        Track(anonymous_id="anon", event="E", properties={"$set": {"plan": "pro"}}),
        Page(anonymous_id="anon", properties={"$set_once": {"first_page": "/"}}),
        Screen(anonymous_id="anon", properties={"$unset": ["plan"]}),
        Track(anonymous_id="anon", event="$groupidentify", properties={"$group_type": "t", "$group_key": "k"}),
        Identify(anonymous_id="anon", traits={"plan": "pro"}),
        Group(anonymous_id="anon", group_id="acme"),
        Track(user_id="u", anonymous_id="anon", event="E"),
    ],
)
@WIRES
def test_what_says_something_about_a_person_is_not_sent_without_one(message, provider):
    # The service drops such an event, or the properties about the person, where no person may be processed.
    assert b"process_person_profile" not in part(message, provider).body


def test_what_the_caller_set_stays():
    own = {
        "$geoip_disable": False,
        "$process_person_profile": True,
        "$current_url": "https://mine.example/",
        "title": "Mine",
        "category": None,
        "url": "https://e.example/",
    }
    found = encoded(Page(anonymous_id="anon", name="N", category="C", properties=own))["properties"]
    assert {name: found[name] for name in own} == own
    device = Track(user_id="u", anonymous_id="anon", event="E", properties={"$device_id": "phone-7"})
    assert properties(device)["$device_id"] == "phone-7"


def test_the_clients_marks_win_over_the_callers():
    given = {"$lib": "mine", "$lib_version": "0", "$is_server": False}
    found = encoded(Track(user_id="u", event="E", properties=given))["properties"]
    assert (found["$lib"], found["$is_server"]) == ("unitrack", True)
    assert found["$lib_version"] not in ("", "0")
    assert given == {"$lib": "mine", "$lib_version": "0", "$is_server": False}


@WIRES
def test_the_address_of_the_server_is_nobodys_place_unless_asked_for(provider):
    assert encoded(TRACK, provider)["properties"]["$geoip_disable"] is True
    assert "$geoip_disable" not in encoded(TRACK, evolve(provider, disable_geoip=False))["properties"]


def test_a_message_id_that_is_a_uuid_is_the_events():
    assert encoded(TRACK)["uuid"] == ID
    # The service writes its verdicts in lower case.
    assert encoded(evolve(TRACK, message_id=OTHER.upper()))["uuid"] == OTHER


def test_any_other_id_makes_the_same_uuid_every_time():
    one, two = (encoded(Track(user_id="u", event="E", message_id="order-7"))["uuid"] for _ in range(2))
    assert one == two
    assert uuid.UUID(one).version == 5
    assert encoded(Track(user_id="u", event="E", message_id="order-8"))["uuid"] != one


def test_a_key_of_the_callers_becomes_the_uuid_unless_an_id_was_chosen_too():
    keyed = encoded(Track(user_id="u", event="E", idempotency_key="order-7"))["uuid"]
    assert keyed == encoded(Track(user_id="u", event="E", message_id="order-7"))["uuid"]
    assert encoded(evolve(TRACK, idempotency_key="order-7"))["uuid"] == ID


def test_a_time_is_sent_in_utc_and_to_the_microsecond():
    india = timezone(timedelta(hours=5, minutes=30))
    message = evolve(TRACK, timestamp=datetime(2024, 2, 29, 15, 50, 30, 999_999, tzinfo=india))
    assert encoded(message)["timestamp"] == "2024-02-29T10:20:30.999999+00:00"


@WIRES
def test_properties_pass_as_they_are(provider):
    given = {"ü": "मुंबई 🎉", "zero": "a\0b", "big": 2**60, "none": None, "price": 19.99, "$os": "mine"}
    found = properties(Track(user_id="u", event="E", properties=given), provider)
    assert found == given


def test_an_empty_event_name_is_refused_before_it_is_queued():
    with pytest.raises(InvalidMessage, match=r"\$\.event"):
        checked(Track(user_id="u", event=""))


@WIRES
def test_nobody_is_made_up_for_an_event_without_an_id(provider):
    with pytest.raises(Unsupported, match="PostHog needs user_id or anonymous_id"):
        part(Track(phone="+919999999999", event="E"), provider)


# Groups


def test_groups_are_an_option_and_their_keys_pass_as_they_are():
    message = Track(user_id="u", event="E", options={"posthog": {"groups": {"company": "acme", "team": 7}}})
    sent = evolve(checked(message), options=checked(message).options["posthog"])
    assert json.loads(V0.encode(sent).body)["properties"]["$groups"] == {"company": "acme", "team": 7}
    assert omitted(V0.capabilities, sent) == ()


@pytest.mark.parametrize(
    "groups", [["acme"], "acme", {"company": None}, {"company": True}, {"company": {}}, {" ": "x"}, {"a": ""}]
)
def test_groups_of_another_form_are_refused_by_name(groups):
    with pytest.raises(Unsupported, match="PostHog takes the option groups as types and keys"):
        V0.encode(evolve(checked(TRACK), options={"groups": groups}))


def test_groups_among_the_properties_go_before_the_option():
    message = checked(Track(user_id="u", event="E", properties={"$groups": {"company": "mine"}}))
    sent = V0.encode(evolve(message, options={"groups": {"company": "acme"}}))
    assert json.loads(sent.body)["properties"]["$groups"] == {"company": "mine"}


def test_a_tenant_is_a_group_only_on_request():
    message = checked(Track(user_id="u", event="E", tenant_id="acme"))
    assert "$groups" not in properties(message)
    assert omitted(V0.capabilities, message) == ("tenant_id",)
    asking = evolve(V0, tenant_group_type="company")
    assert properties(message, asking)["$groups"] == {"company": "acme"}
    assert omitted(asking.capabilities, message) == ()
    chosen = evolve(message, options={"groups": {"company": "other", "team": "red"}})
    assert json.loads(asking.encode(chosen).body)["properties"]["$groups"] == {"company": "other", "team": "red"}


def test_the_type_of_a_group_is_a_setting():
    assert properties(Group(user_id="u", group_id="g"), evolve(V0, group_type="team"))["$group_type"] == "team"


# Names and ids


@pytest.mark.parametrize("name", [*sorted(NOBODY), "NULL", " None ", "[object Object]", "Anonymous"])
def test_the_id_of_nobody_is_refused_by_v1_and_taken_by_v0(name):
    with pytest.raises(Unsupported, match=r"PostHog takes the id .* for that of nobody; send the real one"):
        part(Track(user_id=name, event="E"), V1)
    assert encoded(Track(user_id=name, event="E"))["distinct_id"] == name


@pytest.mark.parametrize(
    "message",
    [
        Alias(user_id="u", previous_id="null"),
        Alias(user_id="Guest", previous_id="old"),
        Identify(user_id="u", anonymous_id="undefined"),
        Identify(user_id=0, anonymous_id="anon"),
    ],
)
@WIRES
def test_the_id_of_nobody_is_never_merged(message, provider):
    # v0 would take the event and merge nothing, without a word.
    with pytest.raises(Unsupported, match="for that of nobody"):
        part(message, provider)


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (Track(user_id="u", event="x" * 201), "event names"),
        (Track(user_id="x" * 201, event="E"), "ids"),
        (Identify(user_id="u", anonymous_id="x" * 201), "ids"),
        (Alias(user_id="u", previous_id="x" * 201), "ids"),
    ],
)
@WIRES
def test_a_long_name_or_id_is_refused_and_not_cut(message, what, provider):
    with pytest.raises(Unsupported, match=f"PostHog takes {what} of at most 200 (characters|bytes), not 201; shorten"):
        part(message, provider)


def test_v0_counts_letters_and_v1_bytes():
    message = Track(user_id="é" * 101, event="E")
    assert encoded(message)["distinct_id"] == "é" * 101
    with pytest.raises(Unsupported, match="at most 200 bytes, not 202"):
        part(message, V1)
    assert encoded(Track(user_id="é" * 100, event="x" * 200), V1)["distinct_id"] == "é" * 100


# What has no place


@WIRES
def test_what_has_no_place_is_left_out_and_counted(provider):
    with recording({"ph": provider}) as client:
        assert client.track(
            "u",
            "E",
            phone="+919999999999",
            tenant_id="acme",
            context={"ip": "203.0.113.9"},
            integrations={"All": False},
            attachments=[Attachment("https://shop.example/invoice.pdf")],
            options={"ph": {"grops": {}}},
        )
        counted = client.stats()["ph"].omitted
        (body,) = client.recorder.bodies("ph")
    assert counted == dict.fromkeys(
        ("phone", "tenant_id", "context", "integrations", "attachments", "options.grops"), 1
    )
    for text in ("9999999999", "acme", "203.0.113.9", "All", "invoice", "grops"):
        assert text not in json.dumps(body)


# Options of v1


def test_v1_has_members_and_typed_options_for_what_were_properties():
    given = {
        "a": 1,
        "$session_id": "s-1",
        "$window_id": "w-1",
        "$cookieless_mode": "TRUE",
        "$ignore_sent_at": 1,
        "$product_tour_id": "tour-1",
        "$process_person_profile": "0",
        "$lib": "mine",
        "$lib_version": "1",
    }
    sent = encoded(Track(user_id="u", event="E", properties=given), V1)
    assert (sent["session_id"], sent["window_id"]) == ("s-1", "w-1")
    assert sent["options"] == {
        "cookieless_mode": True,
        "disable_skew_correction": True,
        "product_tour_id": "tour-1",
        "process_person_profile": False,
    }
    assert sent["properties"] == {"a": 1, "$geoip_disable": True, "$is_server": True}


def test_an_option_of_the_wrong_type_is_left_out_because_it_fails_the_batch():
    given = {
        "$session_id": 7,
        "$window_id": None,
        "$cookieless_mode": "maybe",
        "$ignore_sent_at": [],
        "$product_tour_id": 7,
        "$process_person_profile": None,
    }
    sent = encoded(Track(user_id="u", event="E", properties=given), V1)
    assert sent["options"] == {}
    assert sent["properties"] == {"$geoip_disable": True, "$is_server": True}
    assert not {"session_id", "window_id"} & sent.keys()


def test_options_are_there_even_if_empty_and_numbers_stay_exact():
    assert encoded(TRACK, V1)["options"] == {}
    digits = JsonObject(b'{"n":0.12345678901234567890,"$session_id":"s"}')
    message = evolve(checked(TRACK), properties=digits)
    assert b'"n":0.12345678901234567890' in V1.encode(message).body


def test_an_anonymous_event_says_so_in_the_options_of_v1():
    sent = encoded(Track(anonymous_id="anon", event="E"), V1)
    assert sent["options"] == {"process_person_profile": False}
    assert "$process_person_profile" not in sent["properties"]


# Requests


def test_every_attempt_of_v0_has_its_own_sent_at_and_the_same_events():
    sent = part(TRACK)
    first, second = (json.loads(V0.request([sent], NOW + timedelta(seconds=late)).body) for late in (0, 90))
    assert first["sent_at"] == "2026-01-15T12:00:00.000000+00:00"
    assert second["sent_at"] == "2026-01-15T12:01:30.000000+00:00"
    assert first["batch"] == second["batch"]
    assert (first["api_key"], first["historical_migration"]) == (KEY, False)


def test_v0_has_no_authorization_and_v1_no_key_in_the_body():
    assert V0.request([part(TRACK)], NOW).headers == {"Content-Type": "application/json"}
    request = V1.request([part(TRACK, V1)], NOW)
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert KEY.encode() not in request.body
    assert json.loads(request.body).keys() == {"created_at", "batch"}


def test_v1_repeats_a_batch_under_the_same_id_and_time():
    early, late = (
        part(evolve(TRACK, message_id=one, timestamp=NOW - timedelta(days=age)), V1)
        for one, age in ((ID, 2), (OTHER, 1))
    )
    first = V1.request([early, late], NOW)
    again = V1.request([evolve(early, attempt=2), evolve(late, attempt=3)], NOW + timedelta(seconds=90))
    assert first.body == again.body
    assert json.loads(first.body)["created_at"] == "2026-01-14T12:00:00.000000+00:00"
    moving = {"PostHog-Attempt", "PostHog-Request-Timestamp"}
    assert {name for name in first.headers if first.headers[name] != again.headers[name]} == moving
    assert (first.headers["PostHog-Attempt"], again.headers["PostHog-Attempt"]) == ("1", "3")
    assert again.headers["PostHog-Request-Timestamp"] == "2026-01-15T12:01:30.000000+00:00"
    assert re.fullmatch(r"unitrack/\d+\.\d+\.\d+\S*", first.headers["PostHog-Sdk-Info"])


def test_another_batch_of_v1_has_another_id_also_a_single_event():
    one, two = part(TRACK, V1), part(evolve(TRACK, message_id=OTHER), V1)
    ids = [V1.request(parts, NOW).headers["PostHog-Request-Id"] for parts in ([one], [two], [one, two])]
    assert len({*ids, ID, OTHER}) == 5
    assert {uuid.UUID(text).version for text in ids} == {5}


def test_a_back_fill_says_so_to_v1_only_when_it_is_one():
    request = evolve(V1, historical_migration=True).request([part(TRACK, V1)], NOW)
    assert json.loads(request.body)["historical_migration"] is True
    assert (
        json.loads(evolve(V0, historical_migration=True).request([part(TRACK)], NOW).body)["historical_migration"]
        is True
    )


@pytest.mark.parametrize(
    "provider", [V0, V1, evolve(V0, historical_migration=True), evolve(V1, historical_migration=True)]
)
def test_the_declared_envelope_is_enough(provider):
    sent = part(TRACK, provider)
    body = provider.request([sent, sent, sent], NOW).body
    assert len(body) <= provider.capabilities.envelope_bytes + 3 * len(sent.body) + 2 <= len(body) + 1


@WIRES
def test_gzip_says_the_same_in_fewer_bytes_and_gives_the_same_bytes_again(provider):
    packing, sent = evolve(provider, gzip=True), [part(TRACK, provider)] * 50
    packed = packing.request(sent, NOW)
    assert packed == packing.request(sent, NOW)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == provider.request(sent, NOW).body
    assert len(packed.body) < len(provider.request(sent, NOW).body) / 3


def test_a_key_with_quotes_does_not_break_the_body():
    provider = PostHog(api_key='a"b\\c')
    assert json.loads(provider.request([part(TRACK)], NOW).body)["api_key"] == 'a"b\\c'


def test_limits_are_the_documented_ones():
    for provider in (V0, V1):
        can = provider.capabilities
        assert (can.max_batch, can.max_batch_bytes, can.max_message_bytes) == (100, 5_242_880, 921_600)


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0, 50_000, 300_000, 900_000]), st.sampled_from("xé€")), min_size=1, max_size=30)
)
def test_requests_stay_below_the_limits_as_sent_and_keep_every_event_once_in_order(fillers):
    # The vendor's client tests its limit after adding and sends 5,504,499 bytes.
    parts = [
        part(Track(user_id="u", event="E", properties={"i": number, "pad": letter * (size // len(letter.encode()))}))
        for number, (size, letter) in enumerate(fillers)
    ]
    assert max(len(one.body) for one in parts) <= MAX_MESSAGE_BYTES
    requests = [V0.request(batch, NOW) for batch in batches(parts, V0.capabilities)]
    sent = [json.loads(request.body)["batch"] for request in requests]
    assert [item["properties"]["i"] for batch in sent for item in batch] == list(range(len(parts)))
    assert all(len(request.body) <= MAX_BATCH_BYTES for request in requests)
    assert all(len(batch) <= MAX_BATCH for batch in sent)


# Answers


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b'{"status":"Ok"}'), (200, b'{"status":1}'), (202, b""), (204, b""), (200, b"OK"), (200, b'{"status":0}')],
)
def test_every_2xx_of_v0_delivers_and_says_nothing_about_the_events(status, body):
    assert V0.outcomes(Response(status=status, body=body), [part(TRACK)] * 3) == [Delivered()] * 3
    assert not V0.capabilities.confirms


def test_a_quota_that_v0_names_is_told():
    answer = Response(status=200, body=b'{"status":1,"quota_limited":["events"]}')
    ((remark,),) = (outcome.warnings for outcome in V0.outcomes(answer, [part(TRACK)]))
    assert "quota_limited" in remark
    assert "does not say what became of each event" in remark


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, Hold),
        (400, Rejected),
        (401, Hold),
        (403, Hold),
        (404, Hold),
        (408, Retry),
        (413, Rejected),
        (429, Retry),
        (500, Retry),
        (502, Retry),
        (503, Retry),
        (504, Retry),
    ],
)
def test_a_failure_of_v0_is_for_the_whole_batch_and_says_what_the_vendor_said(status, expected):
    answer = Response(status=status, body=b"event submitted without a distinct_id")
    outcomes = V0.outcomes(answer, [part(TRACK)] * 2)
    assert [type(outcome) for outcome in outcomes] == [expected] * 2
    assert status == 302 or "without a distinct_id" in outcomes[0].reason
    # So that the delivery may look for the one at fault.
    assert not getattr(outcomes[0], "own", False)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, Hold),
        (400, Rejected),
        (401, Hold),
        (402, Rejected),
        (403, Hold),
        (404, Retry),
        (408, Retry),
        (413, Rejected),
        (415, Hold),
        (429, Retry),
        (500, Retry),
        (502, Retry),
        (503, Retry),
        (504, Retry),
    ],
)
def test_a_request_that_v1_refuses_is_refused_as_a_whole(status, expected):
    body = b'{"error":"bad_thing","error_description":"no such thing","error_uri":"https://posthog.com/docs/api"}'
    outcomes = V1.outcomes(Response(status=status, headers={"retry-after": "1"}, body=body), [part(TRACK, V1)] * 2)
    assert [type(outcome) for outcome in outcomes] == [expected] * 2
    assert status == 302 or "no such thing" in outcomes[0].reason
    assert not getattr(outcomes[0], "own", False)
    assert expected is not Retry or outcomes[0].after == 1.0


def test_a_host_without_v1_is_told_by_its_404():
    (outcome,) = V1.outcomes(Response(status=404, body=b"not found"), [part(TRACK, V1)])
    assert outcome.code == 404
    assert 'try PostHog(wire="v0")' in outcome.reason


IDS = [f"{number:08}-2222-4333-8444-555555555555" for number in range(6)]
PARTS = [part(evolve(TRACK, message_id=one), V1) for one in IDS]


def answered(results, **headers):
    return V1.outcomes(Response(status=200, headers=headers, body=json.dumps({"results": results}).encode()), PARTS)


def test_v1_has_a_verdict_for_each_event():
    outcomes = answered(
        {
            # By uuid, in any order; the last one is not mentioned.
            IDS[4]: {"result": "retry"},
            IDS[3]: {"result": "retry", "details": "not_persisted"},
            IDS[0]: {"result": "ok"},
            IDS[1]: {"result": "warning", "details": "person_processing_disabled"},
            IDS[2]: {"result": "drop", "details": "billing_limit_exceeded"},
        },
        **{"retry-after": "1"},
    )
    assert outcomes == [
        Delivered(),
        Delivered(("warning: person_processing_disabled",)),
        Rejected("drop: billing_limit_exceeded", 200, own=True),
        Retry("retry: not_persisted", 1.0, 200, own=True),
        Retry("retry:", 1.0, 200, own=True),
        Delivered(),
    ]
    assert [outcome.own for outcome in outcomes[2:5]] == [True] * 3


def test_a_retry_of_its_own_waits_as_long_as_we_think_right_unless_a_time_is_named():
    # A wait of 0.0 would mean that it was only in bad company.
    for headers in ({}, {"retry-after": "0"}, {"retry-after": "soon"}):
        assert {outcome.after for outcome in answered({one: {"result": "retry"} for one in IDS}, **headers)} == {None}


@pytest.mark.parametrize(
    "odd", [None, [], "drop", 7, {}, {"result": None}, {"result": ["drop"]}, {"result": "new-word"}]
)
def test_an_odd_verdict_is_no_reason_to_send_twice(odd):
    assert answered(dict.fromkeys(IDS, odd)) == [Delivered()] * 6


@pytest.mark.parametrize("details", [None, 7, ["x"], {"a": 1}, "two\nlines\x00", "x" * 5000])
def test_details_of_any_kind_make_one_line(details):
    (outcome, *_) = answered({IDS[0]: {"result": "drop", "details": details}})
    assert outcome.reason.isprintable()
    assert len(outcome.reason) <= 500
    assert outcome.reason.startswith("drop:")


@pytest.mark.parametrize("body", [b"", b"OK", b"{", b"[]", b'{"status":"Ok"}', b'{"results":[]}', b'{"results":null}'])
def test_v1_without_verdicts_delivers_and_says_so(body):
    outcomes = V1.outcomes(Response(status=200, body=body), PARTS)
    assert [len(outcome.warnings) for outcome in outcomes] == [1] * 6
    assert "does not say what became of each event: 200" in outcomes[0].warnings[0]


def test_only_v1_confirms():
    assert V1.capabilities.confirms


# Settings


@pytest.mark.parametrize("key", ["", "  \n", None, 7])
def test_a_missing_key_is_named(key):
    with pytest.raises(ConfigError, match="api_key is missing"):
        PostHog(api_key=key)


def test_a_personal_key_is_named():
    with pytest.raises(ConfigError, match="personal key, phx_") as error:
        PostHog(api_key="phx_canary0123456789")
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("key", ["phc_" + "x" * 61, "phc_ü", "phc_a\nb"])
def test_a_key_of_the_wrong_shape_is_named(key):
    with pytest.raises(ConfigError, match="api_key must be the key of a project: at most 64"):
        PostHog(api_key=key)


@pytest.mark.parametrize(
    ("address", "right"),
    [
        ("https://app.posthog.com", "https://us.i.posthog.com"),
        ("https://us.posthog.com/", "https://us.i.posthog.com"),
        (" https://EU.posthog.com:443/ingest", "https://eu.i.posthog.com"),
    ],
)
def test_a_host_for_people_is_refused_and_the_right_one_named(address, right):
    with pytest.raises(ConfigError, match=f"base_url .*{right}$"):
        PostHog(api_key=KEY, base_url=address)


@pytest.mark.parametrize(
    "address",
    ["https://eu.i.posthog.com", "https://shop.example/app.posthog.com", "https://ph.app.posthog.com.example"],
)
def test_any_other_host_is_kept(address):
    assert PostHog(api_key=KEY, base_url=f" {address}/ ").base_url == address


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("wire", "v2"),
        ("wire", None),
        ("historical_migration", "yes"),
        ("disable_geoip", 1),
        ("group_type", ""),
        ("group_type", None),
        ("tenant_group_type", " "),
        ("tenant_group_type", 7),
        ("gzip", None),
    ],
)
def test_a_wrong_setting_is_named(setting, value):
    with pytest.raises(ConfigError, match=setting):
        PostHog(api_key=KEY, **{setting: value})


def test_every_setting_can_come_from_a_configuration():
    settings = {
        "wire": "v1",
        "historical_migration": True,
        "disable_geoip": False,
        "group_type": "team",
        "tenant_group_type": "company",
        "gzip": True,
        "base_url": "https://eu.i.posthog.com",
    }
    found = load({"destinations": {"ph": {"provider": "posthog", "api_key": KEY, **settings}}}, environ={})
    assert found.destinations["ph"].provider == PostHog(api_key=KEY, **settings)


def test_blanks_around_the_key_are_dropped():
    assert PostHog(api_key=f" {KEY}\n").api_key == KEY
