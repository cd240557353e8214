"""Snowplow: the recorded requests, what unitrack relies on, and what is special here."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from attrs import evolve

from unitrack.batching import batches
from unitrack.errors import ConfigError, Unsupported
from unitrack.forms import epoch
from unitrack.message import Alias, Group, Identify, Page, Screen, Track
from unitrack.providers.snowplow import MAX_BODY_BYTES, Snowplow
from unitrack.testing import strategies
from unitrack.testing.conformance import ProviderConformance
from unitrack.wire import Delivered, Hold, Rejected, Response, Retry, omitted, refusal

from .comparison import JSON_TEXTS, unfolded
from .vectors import cases, checked, differences

COLLECTOR = "https://collector.shop.example"
URL = "https://shop.example/docs"
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
ID = "11111111-2222-4333-8444-555555555555"
PROVIDER = Snowplow(base_url=COLLECTOR, app_id="shop", vendor="com.acme")
PLAIN = evolve(PROVIDER, encode_base64=False)
ALL_CALLS = evolve(
    PLAIN,
    identify_schema="iglu:com.acme/user_updated/jsonschema/1-0-0",
    group_schema="iglu:com.acme/company_joined/jsonschema/2-0-0",
)


def snowplow(config, base_url):
    return Snowplow(base_url=base_url, **{name: value for name, value in config.items() if name != "base_url_suffix"})


def events(request):
    """Return the events of a request, the JSON in them read."""
    return unfolded(json.loads(request.body), JSON_TEXTS["snowplow"])["data"]


def encoded(message, provider=PLAIN):
    part = provider.encode(checked(message, "snowplow", ID))
    return unfolded(json.loads(part.body), JSON_TEXTS["snowplow"])


def data_of(event):
    return event.get("ue_px", event.get("ue_pr"))["data"]


def paid(**members):
    return Track(**{"user_id": "u", "event": "Order Paid", **members})


def optioned(**options):
    return paid(options={"snowplow": options})


@pytest.mark.parametrize("case", cases("snowplow"))
def test_sends_what_the_vendor_expects(case, tmp_path):
    assert differences("snowplow", case, snowplow, tmp_path) == []


class SnowplowConformance(ProviderConformance):
    """The suite, for a vendor who wants to know the address of a page and the name of a screen."""

    def messages(self):
        return strategies.messages(self.provider.capabilities).map(self._completed)

    def _completed(self, message):
        if isinstance(message, Page):
            return evolve(message, properties=message.properties.extended({"url": URL}))
        return evolve(message, name=message.name or "Home") if isinstance(message, Screen) else message

    @property
    def _kinds_with_room(self):
        # Pages and screens have some places, and none for the rest of their properties.
        return [kind for kind in super()._kinds_with_room if kind not in ("page", "screen")]

    def test_every_message_of_a_batch_is_in_the_request_once_and_in_order(self):
        # The suite looks for its marks in the body, where base64 hides them.
        for kind in self._kinds_with_room:
            marks = [f"mark-{number:04}" for number in range(120)]
            parts = [self.provider.encode(self._sample(kind, {"mark": mark})) for mark in marks]
            requests = [self.provider.request(batch, NOW) for batch in batches(parts, self.provider.capabilities)]
            sent = [data_of(event)["data"]["mark"] for request in requests for event in events(request)]
            assert sent == marks


class TestBase64(SnowplowConformance):
    provider = PROVIDER


class TestPlainTextAllCallsAndSmallBodies(SnowplowConformance):
    provider = evolve(ALL_CALLS, max_body_bytes=40_000, platform="mob")


# Events


def test_every_member_is_text():
    message = paid(
        anonymous_id="d",
        context={"ip": "203.0.113.9", "locale": 7},
        properties={"n": 1},
        timestamp=NOW,
        idempotency_key=ID,
    )
    sent = json.loads(PROVIDER.encode(checked(message, "snowplow")).body)
    assert all(isinstance(value, str) for value in sent.values())
    assert sent["lang"] == "7"


@pytest.mark.parametrize("context", [{}, {"ip": None, "locale": " ", "timezone": {"name": "UTC"}, "userAgent": True}])
def test_members_without_a_text_are_left_out(context):
    sent = encoded(Track(anonymous_id="d", event="E", context=context))
    assert not {"uid", "ip", "lang", "tz", "ua", "co"} & sent.keys()


def test_the_time_of_the_event_is_its_true_time_cut_to_milliseconds():
    when = datetime(2024, 2, 29, 10, 20, 30, 999_999, tzinfo=UTC)
    sent = encoded(paid(timestamp=when))
    assert (sent["dtm"], sent["ttm"]) == ("1709202030999", "1709202030999")


def test_the_tracker_says_what_it_is():
    sent = encoded(paid(), evolve(PLAIN, namespace="billing", platform="app"))
    assert (sent["tna"], sent["aid"], sent["p"]) == ("billing", "shop", "app")
    assert sent["tv"].startswith("unitrack-")


def test_a_key_of_the_callers_goes_before_the_message_id():
    key = "0d9f8e7c-0000-4000-8000-000000000001"
    assert encoded(paid(idempotency_key=key, message_id=ID))["eid"] == key
    assert encoded(paid(idempotency_key=key.upper(), message_id=ID))["eid"] == key.upper()


def test_a_key_that_is_no_uuid_becomes_the_same_one_everywhere():
    # Written out, because it must never change.
    assert encoded(paid(idempotency_key="order-7-paid", message_id=ID))["eid"] == "d7e693c4-e996-5ab3-a625-8f653022f8a0"
    assert encoded(paid(idempotency_key="order-8-paid"))["eid"] != encoded(paid(idempotency_key="order-7-paid"))["eid"]


def test_numbers_of_an_order_stay_exact():
    body = PLAIN.encode(checked(paid(properties={"total": Decimal("12345678901234567890.10")}), "snowplow")).body
    assert rb"\"total\":12345678901234567890.10" in body


def test_what_is_in_base64_is_what_would_be_in_plain_text():
    message = optioned(contexts=[{"schema": "iglu:com.acme/user/jsonschema/1-0-0", "data": {"plan": "🎉"}}])
    folded, plain = (json.loads(p.encode(checked(message, "snowplow")).body) for p in (PROVIDER, PLAIN))
    for in_base64, in_text in [("ue_px", "ue_pr"), ("cx", "co")]:
        assert re.fullmatch("[A-Za-z0-9_-]+=*", folded[in_base64])
        assert base64.urlsafe_b64decode(folded[in_base64]).decode() == plain[in_text]
        assert in_text not in folded
        assert in_base64 not in plain


def test_what_has_no_place_is_left_out_and_named():
    message = checked(
        paid(phone="+919999999999", tenant_id="acme", integrations={"All": True}, options={"snowplow": {"colour": 1}}),
        "snowplow",
    )
    assert omitted(PLAIN.capabilities, message) == ("phone", "integrations", "tenant_id", "options.colour")
    PLAIN.encode(message)


def test_options_alone_make_no_identity():
    with pytest.raises(Unsupported, match="Snowplow needs user_id or anonymous_id"):
        encoded(Track(event="E", options={"snowplow": {"schema": "iglu:com.acme/e/jsonschema/1-0-0"}}))


# Schemas


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ("Order Paid", "order_paid"),
        ("  Order -- Paid! ", "order_paid"),
        ("orderPaid2", "orderpaid2"),
        ("__order__", "order"),
        ("Paid 🎉", "paid"),
    ],
)
def test_an_event_is_named_in_snake_case(event, name):
    assert data_of(encoded(paid(event=event)))["schema"] == f"iglu:com.acme/{name}/jsonschema/1-0-0"


@pytest.mark.parametrize("event", ["भुगतान", "Café Visited", "!!!", "٣"])
def test_an_event_that_no_schema_can_be_named_after_is_refused(event):
    with pytest.raises(Unsupported) as refused:
        encoded(paid(event=event))
    assert str(refused.value) == (
        f"Snowplow needs a schema for {event!r}; set schemas or vendor, or give options.structured"
    )
    table = {event: "iglu:com.acme/payment/jsonschema/1-0-0"}
    assert data_of(encoded(paid(event=event), evolve(PLAIN, schemas=table)))["schema"] == table[event]


def test_the_messages_schema_goes_before_the_table_and_the_table_before_the_vendor():
    provider = evolve(PLAIN, schemas={"Order Paid": "iglu:com.acme/order/jsonschema/3-0-0"})
    assert data_of(encoded(paid(), provider))["schema"] == "iglu:com.acme/order/jsonschema/3-0-0"
    assert data_of(encoded(paid(event="Order paid"), provider))["schema"] == "iglu:com.acme/order_paid/jsonschema/1-0-0"
    own = "iglu:org.x/paid/jsonschema/2-1-0"
    assert data_of(encoded(optioned(schema=own), provider))["schema"] == own


def test_the_messages_schema_goes_before_those_of_identify_and_group_too():
    own = {"snowplow": {"schema": "iglu:org.x/who/jsonschema/2-1-0"}}
    for message in (Identify(user_id="u", options=own), Group(user_id="u", group_id="g", options=own)):
        assert data_of(encoded(message, ALL_CALLS))["schema"] == "iglu:org.x/who/jsonschema/2-1-0"


BAD_SCHEMAS = [
    "com.acme/e/jsonschema/1-0-0",
    "iglu:com.acme/e/jsonschema/1-0",
    "iglu:com.acme/e/avro/1-0-0",
    "iglu:com.acme/e f/jsonschema/1-0-0",
    "iglu:com.acme/é/jsonschema/1-0-0",
    "iglu:com.acme/e/jsonschema/1-0-0\n",
    "iglu:com.acme/e/jsonschema/१-0-0",
    7,
]


@pytest.mark.parametrize("schema", BAD_SCHEMAS)
def test_a_wrong_schema_is_refused_wherever_it_stands(schema):
    with pytest.raises(Unsupported, match=r"Snowplow needs options\.schema to read iglu:"):
        encoded(optioned(schema=schema))
    with pytest.raises(Unsupported, match=r"Snowplow needs options\.contexts"):
        encoded(optioned(contexts=[{"schema": schema, "data": {}}]))
    with pytest.raises(ConfigError, match=r"schemas\.Order Paid must read iglu:"):
        evolve(PLAIN, schemas={"Order Paid": schema})
    for setting in ("identify_schema", "group_schema"):
        with pytest.raises(ConfigError, match=f"{setting} must read iglu:"):
            evolve(PLAIN, **{setting: schema})


# Entities


@pytest.mark.parametrize(
    "contexts",
    [
        "user",
        {"schema": "iglu:com.acme/user/jsonschema/1-0-0", "data": {}},
        [7],
        [{"schema": "iglu:com.acme/user/jsonschema/1-0-0"}],
        [{"schema": "iglu:com.acme/user/jsonschema/1-0-0", "data": {}, "more": 1}],
    ],
)
def test_entities_that_do_not_fit_are_refused(contexts):
    with pytest.raises(Unsupported, match=r"Snowplow needs options\.contexts to be a list of tables"):
        encoded(optioned(contexts=contexts))


@pytest.mark.parametrize("contexts", [None, []])
def test_no_entities_are_no_member(contexts):
    assert "co" not in encoded(optioned(contexts=contexts))


def test_entities_go_with_any_event_and_keep_their_numbers():
    given = {
        "snowplow": {
            "contexts": [{"schema": "iglu:com.acme/plan/jsonschema/1-0-0", "data": {"price": Decimal("0.10")}}]
        }
    }
    for message in (
        paid(options=given),
        Page(user_id="u", properties={"url": URL}, options=given),
        Screen(user_id="u", name="Home", options=given),
        Identify(user_id="u", options=given),
    ):
        body = ALL_CALLS.encode(checked(message, "snowplow")).body
        assert rb"{\"schema\":\"iglu:com.acme/plan/jsonschema/1-0-0\",\"data\":{\"price\":0.10}}" in body


# Structured events


def structured(**given):
    sent = encoded(optioned(structured=given))
    assert "ue_pr" not in sent
    return {name: value for name, value in sent.items() if name == "e" or name.startswith("se_")}


def test_a_structured_event_is_named_after_the_event():
    assert structured(category="shop") == {"e": "se", "se_ca": "shop", "se_ac": "Order Paid"}
    assert structured(category="shop", action=" ", label="", property=None)["se_ac"] == "Order Paid"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (9.99, "9.99"), (-1.5, "-1.5"), (Decimal("19.90"), "19.90"), (2**63 + 1, "9223372036854775809")],
)
def test_a_structured_value_is_a_number_as_exact_text(value, text):
    assert structured(category="shop", value=value)["se_va"] == text


def test_a_structured_event_needs_neither_vendor_nor_schema():
    message = optioned(structured={"category": "shop"}, schema="nonsense")
    assert encoded(message, evolve(PLAIN, vendor=None))["e"] == "se"


@pytest.mark.parametrize(
    "given",
    [
        "shop",
        {},
        {"action": "add"},
        {"category": " "},
        {"category": "shop", "label": ["a"]},
        {"category": "shop", "value": "9.99"},
        {"category": "shop", "value": True},
        {"category": "shop", "colour": "red"},
    ],
)
def test_a_structured_event_that_does_not_fit_is_refused(given):
    with pytest.raises(Unsupported, match=r"Snowplow needs options\.structured to be a table of texts"):
        encoded(optioned(structured=given))


# Views


def test_a_page_is_titled_by_its_name_or_else_its_title():
    named = Page(user_id="u", name="Python", properties={"url": URL, "title": "Docs"})
    titled = Page(user_id="u", properties={"url": URL, "title": "Docs", "referrer": "https://x.example/"})
    assert encoded(named)["page"] == "Python"
    sent = encoded(titled)
    assert (sent["e"], sent["url"], sent["page"], sent["refr"]) == ("pv", URL, "Docs", "https://x.example/")


@pytest.mark.parametrize("properties", [{}, {"url": " "}, {"url": None}, {"url": ["https://x.example/"]}])
def test_a_page_without_an_address_is_refused(properties):
    with pytest.raises(Unsupported, match=r"^Snowplow page views need properties\.url$"):
        encoded(Page(user_id="u", properties=properties))


def test_a_screen_says_what_its_schema_knows():
    before = {"previousName": "Start", "previousId": "s-0", "previousType": "feed", "transitionType": "swipe"}
    message = Screen(
        user_id="u", name="Home", category="no", properties={"type": "feed", "id": "s-1", "x": 1, **before}
    )
    assert data_of(encoded(message))["data"] == {"id": "s-1", "name": "Home", "type": "feed", **before}


def test_a_screen_without_an_id_is_known_by_the_event():
    assert data_of(encoded(Screen(user_id="u", name="Home")))["data"] == {"id": ID, "name": "Home"}


@pytest.mark.parametrize(
    ("screen", "why"),
    [
        (Screen(user_id="u", category="feed"), "Snowplow screen views need a name"),
        (Screen(user_id="u", name="Home", properties={"id": "x" * 37}), "properties.id of at most 36 characters"),
    ],
)
def test_a_screen_that_its_schema_would_refuse_is_refused_here(screen, why):
    with pytest.raises(Unsupported, match=why):
        encoded(screen)


# Profiles


def test_a_group_is_an_event_with_its_id():
    message = Group(user_id="u", group_id="g-1", traits={"name": "Initech", "group_id": "other"})
    data = data_of(encoded(message, ALL_CALLS))
    assert data == {"schema": ALL_CALLS.group_schema, "data": {"name": "Initech", "group_id": "g-1"}}


def test_calls_without_a_schema_are_refused_before_they_are_queued():
    can = ALL_CALLS.capabilities
    assert can.accepts == {"track", "page", "screen", "identify", "group"}
    assert PLAIN.capabilities.accepts == {"track", "page", "screen"}
    for message in (Identify(user_id="u"), Group(user_id="u", group_id="g"), Alias(user_id="u", previous_id="d")):
        sentence = refusal(PLAIN, message)
        assert sentence.startswith(f"Snowplow has no {message.kind} call; ")
        with pytest.raises(Unsupported, match=re.escape(sentence)):
            encoded(message)
    assert refusal(ALL_CALLS, Alias(user_id="u", previous_id="d")) is not None


# Requests


@pytest.mark.parametrize("provider", [PROVIDER, PLAIN])
def test_every_attempt_has_its_own_time_and_the_same_event(provider):
    parts = [provider.encode(checked(paid(properties={"i": i}), "snowplow")) for i in range(3)]
    first, second = events(provider.request(parts, NOW)), events(provider.request(parts, NOW + timedelta(seconds=90)))
    assert [event.pop("stm") for event in first] == ["1768478400000"] * 3
    assert [event.pop("stm") for event in second] == ["1768478490000"] * 3
    assert first == second
    assert [data_of(event)["data"]["i"] for event in first] == [0, 1, 2]


def test_a_clock_that_is_wrong_by_ages_makes_no_broken_body():
    part = PLAIN.encode(checked(paid(), "snowplow"))
    for year in (1950, 1971, 2001, 2400):
        (event,) = events(PLAIN.request([part], datetime(year, 6, 1, tzinfo=UTC)))
        assert event["e"] == "ue"
        assert int(event["stm"]) == epoch(datetime(year, 6, 1, tzinfo=UTC))


@pytest.mark.parametrize("provider", [PROVIDER, PLAIN])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 1000])
def test_the_declared_envelope_is_exact(provider, size):
    part = provider.encode(checked(paid(properties={"x": "y" * size}), "snowplow"))
    body = provider.request([part, part, part], NOW).body
    assert len(body) == provider.capabilities.envelope_bytes + 3 * len(part.body) + 2


def test_requests_go_below_the_collectors_address():
    part = PLAIN.encode(checked(paid(), "snowplow"))
    request = evolve(PLAIN, base_url=f"{COLLECTOR}/sp").request([part], NOW)
    assert (request.method, request.url) == ("POST", f"{COLLECTOR}/sp/com.snowplowanalytics.snowplow/tp2")
    assert dict(request.headers) == {"Content-Type": "application/json; charset=utf-8"}


# Answers


@pytest.mark.parametrize(("status", "body"), [(200, b"ok"), (200, b""), (204, b""), (202, b"{}")])
def test_every_2xx_delivers(status, body):
    assert PROVIDER.outcomes(Response(status=status, body=body), [None] * 3) == [Delivered()] * 3
    assert not PROVIDER.capabilities.confirms


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((400, Rejected), (413, Rejected), (422, Rejected)),
        *((401, Hold), (403, Hold), (404, Hold), (410, Hold)),
        *((429, Retry), (500, Retry), (503, Retry)),
    ],
)
def test_a_failure_is_for_the_whole_request(status, expected):
    outcomes = PROVIDER.outcomes(Response(status=status, body=b"no"), [None] * 2)
    assert [type(outcome) for outcome in outcomes] == [expected] * 2
    # The same verdict for all, so that the delivery halves the request.
    assert outcomes[0] is outcomes[1]


# Settings


@pytest.mark.parametrize("name", ["base_url", "app_id", "namespace"])
@pytest.mark.parametrize("value", ["", " \n", None, 7])
def test_a_missing_setting_is_named(name, value):
    with pytest.raises(ConfigError, match=f"^{name} is missing; give "):
        evolve(PROVIDER, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("platform", "server"),
        ("platform", None),
        ("encode_base64", "yes"),
        ("vendor", ""),
        ("vendor", "com.acme/x"),
        ("vendor", "अ"),
        ("vendor", 7),
        ("schemas", ["iglu:com.acme/e/jsonschema/1-0-0"]),
        ("schemas", None),
        ("max_body_bytes", 999),
        ("max_body_bytes", 1e6),
    ],
)
def test_a_wrong_setting_is_named(name, value):
    with pytest.raises(ConfigError, match=name):
        evolve(PROVIDER, **{name: value})


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("collector.shop.example", "https://collector.shop.example"),
        (" collector.shop.example:8443/sp/\n", "https://collector.shop.example:8443/sp"),
        ("https://collector.shop.example/", "https://collector.shop.example"),
        ("http://127.0.0.1:9090", "http://127.0.0.1:9090"),
    ],
)
def test_an_address_without_a_scheme_is_https(given, used):
    assert evolve(PROVIDER, base_url=given).base_url == used


def test_the_table_of_schemas_is_a_copy():
    table = {"Order Paid": "iglu:com.acme/order/jsonschema/3-0-0"}
    provider = evolve(PLAIN, schemas=table)
    table["Order Paid"] = "nonsense"
    assert data_of(encoded(paid(), provider))["schema"] == "iglu:com.acme/order/jsonschema/3-0-0"


def test_the_limits_are_those_of_the_settings():
    assert PROVIDER.capabilities.max_batch == 100
    assert PROVIDER.capabilities.max_batch_bytes == MAX_BODY_BYTES == 1_000_000
    assert evolve(PROVIDER, max_body_bytes=40_000).capabilities.max_batch_bytes == 40_000
