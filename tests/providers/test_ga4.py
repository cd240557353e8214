"""GA4: the recorded requests, what unitrack relies on, and what it would drop in silence and is refused instead."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qsl, urlsplit

import pytest
from attrs import evolve
from hypothesis import strategies as st

from unitrack.batching import batches, runs
from unitrack.config import load
from unitrack.errors import ConfigError, Unsupported
from unitrack.message import Alias, Group, Identify, Page, Screen, Track
from unitrack.providers.ga4 import GA4, MAX_BATCH_BYTES
from unitrack.snapshot import snapshot
from unitrack.testing.conformance import ProviderConformance
from unitrack.testing.samples import sample
from unitrack.testing.strategies import identifiers, instants, keys, titles
from unitrack.wire import Delivered, Hold, Rejected, Response, Retry, omitted, refusal

from .vectors import cases, differences

SECRET = "ga4-canary-0123456789"
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
CLIENT = "1234567890.1700000000"
PROVIDER = GA4(measurement_id="G-TEST000001", api_secret=SECRET)
APP = GA4(firebase_app_id="1:1234:android:aa00", api_secret=SECRET)
ADAPTING = evolve(PROVIDER, unfit="adapt")
IDENTIFYING = evolve(PROVIDER, identify_event="sign_in", user_properties=("plan", "Favourite Colour"))


def ga4(config, base_url):
    return GA4(**config, base_url=base_url)


def checked(message):
    message, _ = snapshot(message, lambda: "made-by-unitrack", lambda: NOW)
    return evolve(message, options=message.options.get("ga4", {}))


def track(event="order_paid", *, user_id="u1", **members):
    return checked(Track(user_id=user_id, event=event, **members))


def event(message, provider=PROVIDER):
    return json.loads(provider.encode(checked(message) if not message.message_id else message).body)


def head(message, provider=PROVIDER):
    return json.loads(provider.encode(message).head)


def params(properties, provider=PROVIDER):
    return event(track(properties=properties), provider)["params"]


def refused(message, provider=PROVIDER):
    with pytest.raises(Unsupported) as caught:
        provider.encode(message)
    return str(caught.value)


@pytest.mark.parametrize("case", cases("ga4"))
def test_sends_what_the_vendor_expects(case, tmp_path):
    assert differences("ga4", case, ga4, tmp_path) == []


_flat = st.dictionaries(
    keys.filter(lambda name: not name.startswith(("firebase_", "google_"))),
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=40) | st.decimals(0, 10**9, places=2),
    max_size=5,
)


@st.composite
def flat_messages(draw, capabilities):
    kind = draw(st.sampled_from(sorted(capabilities.accepts)))
    members = {"properties": draw(_flat)}
    match kind:
        case "track":
            members["event"] = draw(titles)
        case "page" | "screen":
            members |= {"name": draw(st.none() | titles), "category": draw(st.none() | titles)}
        case "group":
            members = {"group_id": draw(identifiers), "traits": members["properties"]}
        case "identify":
            members = {"traits": members["properties"]}
    members[capabilities.identities[0]] = draw(identifiers)
    members["context"] = {"ip": draw(st.none() | st.ip_addresses().map(str))}
    return sample(kind, capabilities.identities[0], **members, timestamp=draw(instants))


class Conformance(ProviderConformance):
    """GA4 takes no nested values; the rest of a message is as anywhere."""

    secrets = (SECRET,)
    secret_in_url = True

    def messages(self):
        return flat_messages(self.provider.capabilities)


class TestWebStream(Conformance):
    provider = PROVIDER


class TestAppStreamInEuropeWithEverySetting(Conformance):
    provider = GA4(
        firebase_app_id="1:1234:android:aa00",
        api_secret=SECRET,
        region="eu",
        unfit="adapt",
        screen_event="screen_seen",
        identify_event="sign_in",
        user_properties=("filler", "mark"),  # those that the suite gives an identify
        engagement_time_msec=1,
        validate=True,
    )
    success = Response(status=200, body=b'{"validationMessages":[]}')

    def test_a_message_over_the_limit_is_recognised(self):
        # With unfit="adapt" a long text is cut, which that test must not find anywhere else.
        message = track(anonymous_id="i", properties={"filler": "x" * 200_000})
        assert event(message, self.provider)["params"] == {"filler": "x" * 100, "engagement_time_msec": 1}


# Who


def test_a_client_id_is_made_of_the_anonymous_id_before_the_user_id():
    assert head(track(anonymous_id="anon-1"))["client_id"] == "781586524.701679916"
    assert head(track())["client_id"] == "3145859853.3156986554"


@pytest.mark.parametrize("other", ["1.0", "0.1", "1234567890", "1.2.3", "-1.2", "1.2 ", "a1.2", "١.٢"])
def test_only_two_positive_numbers_are_a_client_id_already(other):
    assert head(track(anonymous_id=CLIENT))["client_id"] == CLIENT
    made = head(track(anonymous_id=other))["client_id"]
    assert made != other
    assert head(track(anonymous_id=made))["client_id"] == made


def test_verbatim_sends_any_anonymous_id_and_needs_one():
    verbatim = evolve(PROVIDER, client_id="verbatim")
    assert head(track(anonymous_id="anon-1"), verbatim)["client_id"] == "anon-1"
    assert refused(track(), verbatim) == "GA4 needs anonymous_id"
    assert refusal(verbatim, track()) == "GA4 needs anonymous_id"


def test_an_app_stream_needs_the_app_instance_id():
    assert head(track(anonymous_id=CLIENT), APP) == {"app_instance_id": CLIENT, "user_id": "u1"}
    assert refused(track(), APP) == "GA4 needs anonymous_id"


def test_nobody_is_refused_although_options_might_have_told():
    nobody = checked(Track(event="e", options={"ga4": {"consent": {"ad_user_data": "DENIED"}}}))
    assert refused(nobody) == "GA4 needs user_id or anonymous_id"


def test_a_user_id_has_at_most_256_characters():
    assert head(track(user_id="€" * 256))["user_id"] == "€" * 256
    assert refused(track(user_id="x" * 257)) == "GA4 takes 256 characters as user_id, not 257"


# Names


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("Order Paid", "Order_Paid"),
        ("  Order -- Paid! ", "Order_Paid"),
        ("order_paid_", "order_paid_"),
        ("Größe gewählt", "Größe_gewählt"),
        ("e" * 40, "e" * 40),
        ("session start!ed", "session_start_ed"),
    ],
)
def test_a_name_is_converted(given, sent):
    assert event(track(given))["name"] == sent
    assert params({given: 1}) == {sent: 1}


@pytest.mark.parametrize("name", ["e" * 41, "7 days", "_hidden", "!!", "₂x"])
def test_a_name_that_cannot_be_one_is_refused(name):
    assert "GA4 takes event names of at most 40 letters" in refused(track(name))
    assert f"not that of $.properties.{name}" in refused(track(properties={name: 1}))


def test_verbatim_refuses_what_would_be_converted():
    verbatim = evolve(PROVIDER, names="verbatim")
    assert event(track("order_paid", properties={"a": 1}), verbatim)["params"] == {"a": 1}
    assert "not 'Order Paid'" in refused(track("Order Paid"), verbatim)
    assert "$.properties.first name" in refused(track(properties={"first name": 1}), verbatim)


@pytest.mark.parametrize("name", ["session_start", "first open", "error", "user_engagement"])
def test_reserved_events_are_refused_as_they_would_be_sent(name):
    for provider in (PROVIDER, APP):
        assert "GA4 keeps the event name" in refused(track(name, anonymous_id="i"), provider)


def test_names_know_capitals():
    assert event(track("Session_start"))["name"] == "Session_start"


@pytest.mark.parametrize("name", ["ad_impression", "in_app_purchase", "screen_view"])
def test_some_events_are_reserved_in_web_streams_only(name):
    assert event(track(name, anonymous_id="i"), APP)["name"] == name
    assert "GA4 keeps the event name" in refused(track(name))


def test_a_table_of_event_names_goes_first():
    mapped = evolve(PROVIDER, event_names={"Order Paid": "purchase", "error": "failure"})
    assert event(track("Order Paid"), mapped)["name"] == "purchase"
    assert event(track("error"), mapped)["name"] == "failure"
    assert event(track("Order Sent"), mapped)["name"] == "Order_Sent"


@pytest.mark.parametrize("name", ["firebase_conversion", "_x", "firebase_x", "ga_x", "google_x", "ga x"])
def test_reserved_parameters_are_refused(name):
    assert "and are not its own" in refused(track(properties={name: 1}))


def test_two_names_that_become_one_are_refused():
    sentence = refused(track(properties={"first name": 1, "first_name": 2}))
    assert sentence == (
        "GA4 would get $.properties.first name and $.properties.first_name as one, 'first_name'; rename one of them"
    )
    assert params({"first name": None, "first_name": 2}) == {"first_name": 2}


def test_a_name_without_end_does_not_fill_the_log():
    assert len(refused(track("x" * 100_000))) < 400
    assert len(refused(track(properties={"x" * 100_000: 1}))) < 400


# Values


def test_numbers_are_sent_as_they_are():
    part = PROVIDER.encode(track(properties={"d": Decimal("0.12345678901234567890"), "i": 2**63, "f": 1e-7}))
    assert b'"d":0.12345678901234567890,"i":9223372036854775808,"f":1' in part.body


@pytest.mark.parametrize(("value", "kind"), [({}, "an object"), ([], "a list"), ([{"a": 1}], "a list")])
def test_a_nested_value_is_refused_or_left_out(value, kind):
    sentence = refused(track(properties={"deep": value}))
    assert sentence == (
        f"GA4 takes text, numbers and booleans as parameters; $.properties.deep is {kind} (unfit='adapt' leaves it out)"
    )
    assert params({"deep": value, "ok": True}, ADAPTING) == {"ok": True}


@pytest.mark.parametrize(
    ("name", "limit"), [("note", 100), ("page_title", 300), ("page_referrer", 420), ("page_location", 1000)]
)
def test_a_text_has_a_limit_by_its_name(name, limit):
    assert params({name: "€" * limit}) == {name: "€" * limit}
    assert f"GA4 takes {limit} characters in {name}; $.properties.{name} has {limit + 1}" in refused(
        track(properties={name: "€" * (limit + 1)})
    )
    assert params({name: "€" * 2_000}, ADAPTING) == {name: "€" * limit}


def test_analytics_360_takes_longer_texts():
    longer = evolve(PROVIDER, value_limit=500)
    assert params({"note": "x" * 500}, longer) == {"note": "x" * 500}
    assert "GA4 takes 500 characters in note" in refused(track(properties={"note": "x" * 501}), longer)
    assert "GA4 takes 300 characters in page_title" in refused(track(properties={"page_title": "x" * 301}), longer)


def test_items_are_objects_of_parameters():
    items = [{"item_id": "sku-1", "quantity": 2, "coupon": None, "item brand": "A"}, {}]
    assert params({"items": items}) == {"items": [{"item_id": "sku-1", "quantity": 2, "item_brand": "A"}, {}]}
    assert params({"items": []}) == {"items": []}


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        (["sku-1"], "$.properties.items is a list"),
        ({"item_id": "sku-1"}, "$.properties.items is an object"),
        ([{"item_id": "a"}, {"tags": ["x"]}], "$.properties.items[1].tags is a list"),
        ([{"item_id": "x" * 101}], "$.properties.items[0].item_id has 101"),
        ([{"_id": "x"}], "not that of $.properties.items[0]._id"),
        ([{"a b": 1, "a_b": 2}], "$.properties.items[0].a b and $.properties.items[0].a_b as one"),
    ],
)
def test_items_that_ga4_would_drop_are_refused(items, sentence):
    assert sentence in refused(track(properties={"items": items}))


def test_items_are_adapted_too():
    items = [{"item_id": "x" * 101, "tags": ["x"]}]
    assert params({"items": items}, ADAPTING) == {"items": [{"item_id": "x" * 100}]}


def test_25_parameters_are_taken_not_counting_what_is_left_out():
    many = {f"p{number}": number for number in range(25)}
    assert params({**many, "gone": None}) == many
    assert refused(track(properties={**many, "p25": 1})) == (
        "GA4 takes 25 parameters with an event, not 26; send fewer"
    )
    assert "not 26" in refused(track(properties=many), evolve(PROVIDER, engagement_time_msec=1))


def test_a_message_that_fills_more_than_a_request_is_refused():
    items = [{"item_id": "x" * 100} for _ in range(1_130)]
    assert refused(track(properties={"items": items})).startswith("GA4 takes 130,000 bytes in a request")
    # The head counts as well.
    most = track(properties={"items": items[:1_090]})
    PROVIDER.encode(most)
    assert "bytes in a request" in refused(evolve(most, options={"device": {"model": "x" * 10_000}}))


# User properties


def test_user_properties_come_from_the_options():
    options = {"ga4": {"user_properties": {"tier": "gold", "orders": 3, "gone": None, "is vip": True}}}
    assert head(track(options=options))["user_properties"] == {
        "tier": {"value": "gold"},
        "orders": {"value": 3},
        "is_vip": {"value": True},
    }


@pytest.mark.parametrize(
    ("properties", "sentence"),
    [
        ({"x" * 25: 1}, "GA4 takes user property names of at most 24 letters"),
        ({"user_id": "u"}, "not that of $.options.ga4.user_properties.user_id"),
        ({"first_open_time": 1}, "first_open_time"),
        ({"first_visit_time": 1}, "first_visit_time"),
        ({"last_deep_link_referrer": 1}, "last_deep_link_referrer"),
        ({"first_open_after_install": 1}, "at most 24"),
        ({"_a": 1}, "_a"),
        ({"firebase_a": 1}, "firebase_a"),
        ({"ga_a": 1}, "ga_a"),
        ({"google_a": 1}, "google_a"),
        ({"tier": "x" * 37}, "GA4 takes 36 characters in a user property; $.options.ga4.user_properties.tier has 37"),
        ({"tier": {"value": 1}}, "as user properties; $.options.ga4.user_properties.tier is an object"),
        ({"tier": ["a"]}, "is a list"),
        ({"a b": 1, "a_b": 2}, "as one, 'a_b'"),
        ({f"p{number}": 1 for number in range(26)}, "GA4 takes 25 user properties at once, not 26"),
    ],
)
def test_user_properties_that_ga4_would_drop_are_refused_whatever_is_set(properties, sentence):
    message = track(options={"ga4": {"user_properties": properties}})
    assert sentence in refused(message)
    assert sentence in refused(message, ADAPTING)


def test_an_identify_sends_chosen_traits_only_and_options_go_before_them():
    message = checked(
        Identify(
            user_id="u1",
            traits={"email": "ada@example.com", "plan": "pro", "Favourite Colour": "red"},
            options={"ga4": {"user_properties": {"plan": "max"}}},
        )
    )
    part = IDENTIFYING.encode(message)
    assert json.loads(part.head)["user_properties"] == {
        "plan": {"value": "max"},
        "Favourite_Colour": {"value": "red"},
    }
    assert (json.loads(part.body)["name"], json.loads(part.body)["params"]) == ("sign_in", {})
    assert b"ada@example.com" not in part.head + part.body


def test_an_identify_without_a_chosen_trait_is_the_event_alone():
    message = checked(Identify(user_id="u1", traits={"email": "ada@example.com"}))
    assert head(message, IDENTIFYING) == {"client_id": "3145859853.3156986554", "user_id": "u1"}


def test_a_chosen_trait_must_fit():
    message = checked(Identify(user_id="u1", traits={"plan": {"name": "pro"}}))
    assert "$.traits.plan is an object" in refused(message, IDENTIFYING)


# Other kinds


def test_a_page_keeps_the_names_that_the_caller_chose():
    properties = {"url": "https://a/1", "page_location": "https://a/2", "page_title": "Mine", "category": "Own"}
    sent = event(Page(user_id="u1", name="Python", category="Docs", properties=properties))
    assert sent["name"] == "page_view"
    assert sent["params"] == {"page_location": "https://a/2", "page_title": "Mine", "category": "Own"}


def test_a_page_without_a_name_of_its_own_for_something_takes_ours():
    properties = {"url": "https://a/1", "page_location": None, "page_title": None}
    assert event(Page(user_id="u1", name="Python", properties=properties))["params"] == {
        "page_title": "Python",
        "page_location": "https://a/1",
    }
    assert event(Page(user_id="u1"))["params"] == {}


def test_a_refusal_names_the_member_from_which_a_parameter_came():
    assert "in page_title; $.name has 301" in refused(checked(Page(user_id="u1", name="x" * 301)))
    assert "in page_location; $.properties.url has 1001" in refused(
        checked(Page(user_id="u1", properties={"url": "x" * 1001}))
    )


def test_a_screen_is_the_event_that_is_set():
    message = checked(Screen(user_id="u1", anonymous_id="i", name="Home", category="Main", properties={"tab": 2}))
    parameters = {"screen_name": "Home", "category": "Main", "tab": 2}
    for provider, name in [(APP, "screen_view"), *((evolve(p, screen_event="seen"), "seen") for p in (APP, PROVIDER))]:
        sent = event(message, provider)
        assert (sent["name"], sent["params"]) == (name, parameters)
        assert refusal(provider, message) is None


def test_the_groups_id_is_that_of_the_call():
    assert event(Group(user_id="u1", group_id="g1", traits={"group_id": "other", "plan": "pro"}))["params"] == {
        "group_id": "g1",
        "plan": "pro",
    }


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (Alias(user_id="u1", previous_id="a"), "GA4 has no alias call; send user_id and anonymous_id on one event"),
        (Identify(user_id="u1"), "GA4 has no identify call; set identify_event and user_properties"),
        (Screen(user_id="u1"), "GA4 web streams have no screen call; set screen_event"),
    ],
)
def test_a_call_without_a_place_is_refused_by_the_capabilities_and_by_encode(message, sentence):
    message = checked(message)
    assert refusal(PROVIDER, message).startswith(sentence)
    assert refused(message) == refusal(PROVIDER, message)


def test_engagement_is_added_where_the_caller_gave_none():
    engaged = evolve(PROVIDER, engagement_time_msec=100)
    assert params({"a": 1}, engaged) == {"a": 1, "engagement_time_msec": 100}
    assert params({"engagement_time_msec": 7}, engaged) == {"engagement_time_msec": 7}
    assert params({"a": 1}) == {"a": 1}


def test_the_time_is_in_microseconds_beside_the_name():
    at = datetime(2024, 2, 29, 15, 50, 30, 123_456, tzinfo=UTC)
    assert event(track(timestamp=at))["timestamp_micros"] == 1_709_221_830_123_456


# The head


def test_only_texts_of_a_context_have_a_place():
    context = {"ip": "203.0.113.9", "userAgent": " ", "locale": "en"}
    assert head(track(context=context)) == {
        "client_id": "3145859853.3156986554",
        "user_id": "u1",
        "ip_override": "203.0.113.9",
    }
    assert "ip_override" not in head(track(context={"ip": 7}))


def test_options_that_are_objects_go_as_they_are_and_others_are_counted():
    objects = {
        "consent": {"ad_user_data": "DENIED"},
        "user_location": {"city": "Mountain View"},
        "device": {"category": "mobile"},
    }
    message = track(options={"ga4": {**objects, "priority": 1}})
    found = head(message)
    assert {name: found[name] for name in objects} == objects
    assert "priority" not in found
    assert omitted(PROVIDER.capabilities, message) == ("options.priority",)


@pytest.mark.parametrize("name", ["user_properties", "consent", "user_location", "device"])
def test_an_option_must_be_an_object(name):
    assert refused(track(options={"ga4": {name: ["x"]}})) == f"GA4 takes an object as $.options.ga4.{name}"
    assert name not in head(track(options={"ga4": {name: None}}))
    assert name not in head(track(options={"ga4": {name: {}}}))


def test_what_has_no_place_is_counted():
    message = track(tenant_id="acme", idempotency_key="k", phone="+919999999999", integrations={"All": True})
    assert omitted(PROVIDER.capabilities, message) == ("phone", "integrations", "tenant_id", "idempotency_key")


# Requests


def test_one_request_is_about_one_user():
    given = [
        track("a", user_id="u1"),
        track("b", user_id="u2"),
        track("c", user_id="u1"),
        track("d", user_id="u1", context={"ip": "203.0.113.9"}),
    ]
    parts = [PROVIDER.encode(message) for message in given]
    requests = [
        PROVIDER.request([parts[place] for place in run], NOW)
        for run in runs(parts, PROVIDER.capabilities, lanes=[1, 2, 1, 1])
    ]
    sent = [json.loads(request.body) for request in requests]
    assert [(body["user_id"], [one["name"] for one in body["events"]]) for body in sent] == [
        ("u1", ["a", "c"]),
        ("u2", ["b"]),
        ("u1", ["d"]),
    ]


def test_the_declared_envelope_is_exact():
    parts = [PROVIDER.encode(track(context={"userAgent": "Mozilla/5.0"}))] * 3
    body = PROVIDER.request(parts, NOW).body
    size = PROVIDER.capabilities.envelope_bytes + len(parts[0].head) + 3 * len(parts[0].body) + 2
    assert len(body) == size


def test_requests_stay_below_the_limit_with_their_head():
    properties = {f"p{number}": "€" * 100 for number in range(25)}
    part = PROVIDER.encode(track(properties=properties, options={"ga4": {"device": {"model": "x" * 9_000}}}))
    found = batches([part] * 60, PROVIDER.capabilities)
    bodies = [PROVIDER.request(batch, NOW).body for batch in found]
    assert sum(map(len, found)) == 60
    assert all(len(body) <= MAX_BATCH_BYTES for body in bodies)
    assert len(bodies[0]) + len(part.body) + 1 > MAX_BATCH_BYTES


def test_the_secret_is_in_the_address_alone_and_quoted():
    odd = GA4(firebase_app_id="1:2:ios:a/b", api_secret="a+b&c=d/e f")
    part = odd.encode(track(anonymous_id="i"))
    request = odd.request([part], NOW)
    assert part.path == "/mp/collect"
    assert b"a+b" not in request.body + part.head
    assert "a+b" not in repr((odd, part, dict(request.headers)))
    assert request.url == (
        "https://www.google-analytics.com/mp/collect"
        "?firebase_app_id=1%3A2%3Aios%3Aa%2Fb&api_secret=a%2Bb%26c%3Dd%2Fe%20f"
    )
    assert dict(parse_qsl(urlsplit(request.url).query))["api_secret"] == "a+b&c=d/e f"


def test_strict_rules_are_asked_for_only_where_nothing_is_recorded():
    validating = evolve(PROVIDER, validate=True)
    part = validating.encode(track())
    assert part.path == "/debug/mp/collect"
    assert json.loads(part.head)["validation_behavior"] == "ENFORCE_RECOMMENDATIONS"
    assert "validation_behavior" not in head(track())


# Answers


@pytest.mark.parametrize("validate", [False, True])
@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (204, b"", Delivered),
        (200, b"", Delivered),
        (200, b"GIF89a", Delivered),
        (200, b'{"validationMessages":[]}', Delivered),
        (200, b'{"validationMessages":{}}', Delivered),
        (200, b"<html>login</html>", Hold),
        (302, b"", Hold),
        (400, b"", Rejected),
        (403, b"", Hold),
        (404, b"", Hold),
        (413, b"", Rejected),
        (429, b"", Retry),
        (500, b"", Retry),
        (503, b"", Retry),
    ],
)
def test_an_answer_means_what_the_page_says(validate, status, body, expected):
    provider = evolve(PROVIDER, validate=validate)
    outcomes = provider.outcomes(Response(status=status, body=body), [None] * 2)
    assert [type(outcome) for outcome in outcomes] == [expected] * 2


MESSAGES = {
    "validationMessages": [
        {
            "fieldPath": "events",
            "description": "Event at index: [0] has\ninvalid name",
            "validationCode": "NAME_INVALID",
        },
        {"description": "another"},
    ]
}


def test_the_validation_servers_first_remark_rejects():
    response = Response(status=200, body=json.dumps(MESSAGES).encode())
    outcomes = evolve(PROVIDER, validate=True).outcomes(response, [None] * 2)
    assert outcomes == [Rejected("200: Event at index: [0] has invalid name", 200)] * 2
    assert PROVIDER.outcomes(response, [None]) == [Delivered()]


@pytest.mark.parametrize("remark", [7, {}, {"description": None}, {"description": ["x"]}])
def test_a_remark_of_another_form_rejects_with_the_whole_answer(remark):
    response = Response(status=200, body=json.dumps({"validationMessages": [remark]}).encode())
    (outcome,) = evolve(PROVIDER, validate=True).outcomes(response, [None])
    assert isinstance(outcome, Rejected)
    assert "validationMessages" in outcome.reason


# Settings


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"measurement_id": None}, "measurement_id .* or firebase_app_id .*, and has neither"),
        ({"measurement_id": "  "}, "and has neither"),
        ({"firebase_app_id": "1:2:ios:a"}, "not both"),
        ({"measurement_id": 7}, "measurement_id must be text"),
        ({"api_secret": " \n"}, "api_secret is missing"),
        ({"api_secret": None}, "api_secret is missing"),
        ({"region": "in"}, "region must be one of 'us', 'eu'"),
        ({"client_id": "random"}, "client_id must be one of"),
        ({"names": "snake"}, "names must be one of"),
        ({"unfit": "drop"}, "unfit must be one of"),
        ({"value_limit": 0}, "value_limit must be a whole number"),
        ({"value_limit": 501}, "value_limit must be at most 500"),
        ({"engagement_time_msec": 0}, "engagement_time_msec must be a whole number"),
        ({"engagement_time_msec": True}, "engagement_time_msec must be a whole number"),
        ({"validate": "yes"}, "validate must be true or false"),
        ({"event_names": ["a"]}, "event_names must be a table"),
        ({"event_names": {"a": None}}, "event_names.a must be text"),
        ({"event_names": {"a": "Order Paid"}}, "event_names.a: GA4 takes event names"),
        ({"event_names": {"a": "error"}}, "event_names.a: GA4 keeps the event name"),
        ({"screen_event": "screen_view"}, "screen_event: GA4 keeps the event name"),
        ({"screen_event": 7}, "screen_event must be text"),
        ({"identify_event": "sign_in"}, "identify_event and user_properties go together"),
        ({"user_properties": ("plan",)}, "identify_event and user_properties go together"),
        ({"identify_event": "sign in", "user_properties": ("plan",)}, "identify_event: GA4 takes event names"),
        ({"identify_event": "sign_in", "user_properties": "plan"}, "user_properties must be a list"),
        ({"identify_event": "sign_in", "user_properties": 7}, "user_properties must be a list"),
        ({"identify_event": "sign_in", "user_properties": (7,)}, "user_properties must be a list"),
        ({"identify_event": "sign_in", "user_properties": ("user_id",)}, "user_properties: GA4 takes user property"),
        ({"identify_event": "sign_in", "user_properties": ("a b", "a_b")}, "user_properties: GA4 would get"),
    ],
)
def test_a_wrong_setting_is_named(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        GA4(**{"measurement_id": "G-TEST000001", "api_secret": SECRET, **settings})


def test_an_app_stream_may_name_its_screens_as_the_vendor_does():
    assert evolve(APP, screen_event="screen_view").capabilities.accepts >= {"screen"}


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, "https://www.google-analytics.com"),
        ({"base_url": ""}, "https://www.google-analytics.com"),
        ({"base_url": None}, "https://www.google-analytics.com"),
        ({"region": "eu"}, "https://region1.google-analytics.com"),
        ({"region": "eu", "base_url": None}, "https://region1.google-analytics.com"),
        ({"region": "eu", "base_url": " https://proxy.example/ga/ "}, "https://proxy.example/ga"),
    ],
)
def test_the_address_is_that_of_the_region_unless_one_is_given(settings, address):
    provider = GA4(measurement_id=" G-TEST000001\n", api_secret=f" {SECRET} ", **settings)
    assert provider.base_url == address
    url = provider.request([provider.encode(track())], NOW).url
    assert url == f"{address}/mp/collect?measurement_id=G-TEST000001&api_secret={SECRET}"


def test_a_configuration_can_hold_every_setting():
    table = {
        "provider": "ga4",
        "measurement_id": "G-TEST000001",
        "api_secret": {"env": "GA4_API_SECRET"},
        "region": "eu",
        "client_id": "verbatim",
        "names": "verbatim",
        "event_names": {"Order Paid": "purchase"},
        "unfit": "adapt",
        "value_limit": 500,
        "screen_event": "seen",
        "identify_event": "sign_in",
        "user_properties": ["plan"],
        "engagement_time_msec": 1,
        "validate": True,
    }
    config = load({"destinations": {"ga4": table}}, environ={"GA4_API_SECRET": SECRET})
    provider = config.destinations["ga4"].provider
    assert provider.event_names == {"Order Paid": "purchase"}
    assert list(provider.user_properties) == ["plan"]
    assert provider.api_secret == SECRET
    assert SECRET not in repr(config)


def test_time_before_1970_does_not_break_anything():
    at = datetime(1969, 12, 31, tzinfo=UTC)
    assert event(track(timestamp=at))["timestamp_micros"] == -timedelta(days=1) // timedelta(microseconds=1)
