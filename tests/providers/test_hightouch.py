"""Hightouch: the recorded requests, what unitrack relies on, and what is special here."""

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from unitrack.batching import batches
from unitrack.errors import ConfigError, Unsupported
from unitrack.message import Alias, Identify, Page, Track
from unitrack.providers.hightouch import MAX_BATCH, MAX_BATCH_BYTES, Hightouch
from unitrack.snapshot import snapshot
from unitrack.testing.conformance import ProviderConformance
from unitrack.wire import Delivered, Hold, Rejected, Response, Retry, omitted

from .vectors import cases, differences

KEY = "wk-canary-0123456789"
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
PROVIDER = Hightouch(write_key=KEY)


def hightouch(config, base_url):
    return Hightouch(
        write_key=config["write_key"],
        base_url=base_url,
        auth=config.get("auth", "body"),
        gzip=config.get("gzip", False),
    )


def checked(message):
    return snapshot(message, lambda: "made-by-unitrack", lambda: NOW)[0]


def encoded(message, provider=PROVIDER):
    return json.loads(provider.encode(checked(message)).body)


def completed(case):
    # The advice for this case names an id that its call does not give.
    if case["id"] == "ts-text":
        message = {**case["call"]["message"], "message_id": "11111111-2222-4333-8444-555555555555"}
        return {**case, "call": {**case["call"], "message": message}}
    return case


@pytest.mark.parametrize("case", cases("hightouch"))
def test_sends_what_the_vendor_expects(case, tmp_path):
    assert differences("hightouch", completed(case), hightouch, tmp_path) == []


class TestKeyInTheBody(ProviderConformance):
    provider = PROVIDER
    secrets = (KEY,)


class TestBasicAuthGzipAndTenant(ProviderConformance):
    provider = Hightouch(write_key=KEY, auth="basic", gzip=True, tenant_as_group_id=True)
    secrets = (KEY,)


# Messages


def test_a_key_that_the_caller_chose_becomes_the_message_id():
    assert encoded(Track(user_id="u", event="E", idempotency_key="order-7"))["messageId"] == "order-7"


def test_a_message_id_of_the_callers_goes_before_the_key():
    message = Track(user_id="u", event="E", idempotency_key="order-7", message_id="m-1")
    assert encoded(message)["messageId"] == "m-1"


def test_the_library_is_unitrack_and_wins_over_the_callers():
    context = {"library": {"name": "analytics.js"}, "ip": "203.0.113.9"}
    sent = encoded(Track(user_id="u", event="E", context=context))["context"]
    assert sent["library"]["name"] == "unitrack"
    assert sent["library"]["version"]
    assert sent["ip"] == "203.0.113.9"
    assert context == {"library": {"name": "analytics.js"}, "ip": "203.0.113.9"}


def test_a_timestamp_is_cut_to_milliseconds_and_keeps_its_offset():
    india = timezone(timedelta(hours=5, minutes=30))
    message = Track(user_id="u", event="E", timestamp=datetime(2024, 2, 29, 15, 50, 30, 999_999, tzinfo=india))
    assert encoded(message)["timestamp"] == "2024-02-29T15:50:30.999+05:30"


def test_a_tenant_goes_into_the_context_only_on_request():
    message = checked(Track(user_id="u", event="E", tenant_id="acme", context={"groupId": "other", "ip": "::1"}))
    assert json.loads(PROVIDER.encode(message).body)["context"]["groupId"] == "other"
    assert omitted(PROVIDER.capabilities, message) == ("tenant_id",)
    asking = evolve(PROVIDER, tenant_as_group_id=True)
    context = json.loads(asking.encode(message).body)["context"]
    assert (context["groupId"], context["ip"], context["library"]["name"]) == ("acme", "::1", "unitrack")
    assert omitted(asking.capabilities, message) == ()


def test_a_phone_is_a_trait_only_if_the_caller_makes_it_one():
    message = checked(Identify(user_id="u", phone="+919999999999"))
    assert json.loads(PROVIDER.encode(message).body)["traits"] == {}
    assert omitted(PROVIDER.capabilities, message) == ("phone",)
    assert encoded(Identify(user_id="u", traits={"phone": "+919999999999"}))["traits"]["phone"] == "+919999999999"


def test_integrations_pass_through():
    assert encoded(Page(user_id="u", integrations={"All": False}))["integrations"] == {"All": False}


def test_an_alias_has_neither_properties_nor_traits():
    sent = encoded(Alias(previous_id="anon-1", user_id="u"))
    assert (sent["type"], sent["previousId"], sent["userId"]) == ("alias", "anon-1", "u")
    assert not {"properties", "traits"} & sent.keys()


def test_a_phone_alone_is_not_enough():
    with pytest.raises(Unsupported, match="Hightouch needs user_id or anonymous_id"):
        PROVIDER.encode(checked(Track(phone="+919999999999", event="E")))


# Requests


def test_every_attempt_has_its_own_sent_at_and_the_same_messages():
    part = PROVIDER.encode(checked(Track(user_id="u", event="E")))
    first = json.loads(PROVIDER.request([part], NOW).body)
    second = json.loads(PROVIDER.request([part], NOW + timedelta(seconds=90)).body)
    assert first["sentAt"] == "2026-01-15T12:00:00.000Z"
    assert second["sentAt"] == "2026-01-15T12:01:30.000Z"
    assert first["batch"] == second["batch"]


@pytest.mark.parametrize("auth", ["body", "basic"])
def test_the_declared_envelope_is_exact(auth):
    provider = evolve(PROVIDER, auth=auth)
    part = provider.encode(checked(Track(user_id="u", event="E")))
    body = provider.request([part, part, part], NOW).body
    assert len(body) == provider.capabilities.envelope_bytes + 3 * len(part.body) + 2


def test_basic_auth_keeps_the_key_out_of_the_body():
    part = PROVIDER.encode(checked(Track(user_id="u", event="E")))
    request = evolve(PROVIDER, auth="basic").request([part], NOW)
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
    assert KEY.encode() not in request.body


def test_gzip_says_the_same_in_fewer_bytes_and_gives_the_same_bytes_again():
    parts = [PROVIDER.encode(checked(Track(user_id="u", event="E")))] * 50
    packed = evolve(PROVIDER, gzip=True).request(parts, NOW)
    assert packed == evolve(PROVIDER, gzip=True).request(parts, NOW)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == PROVIDER.request(parts, NOW).body
    assert len(packed.body) < len(PROVIDER.request(parts, NOW).body) / 3


def test_a_key_with_quotes_does_not_break_the_body():
    provider = Hightouch(write_key='a"b\\c')
    part = provider.encode(checked(Track(user_id="u", event="E")))
    assert json.loads(provider.request([part], NOW).body)["writeKey"] == 'a"b\\c'


# Just under and just over the edges, in Latin letters and in letters of three bytes.
sizes = st.integers(0, 2_000) | st.integers(9_000, 10_000) | st.integers(29_000, 32_000)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(sizes, st.sampled_from("xé€")), min_size=1, max_size=150), st.sampled_from(["body", "basic"]))
def test_requests_stay_below_the_limits_as_sent_and_keep_every_message_once_in_order(fillers, auth):
    provider = evolve(PROVIDER, auth=auth)
    messages = [
        Track(user_id="u", event="E", properties={"i": number, "pad": letter * (size // len(letter.encode()))})
        for number, (size, letter) in enumerate(fillers)
    ]
    requests = [
        provider.request(batch, NOW)
        for batch in batches([provider.encode(checked(message)) for message in messages], provider.capabilities)
    ]
    sent = [json.loads(request.body)["batch"] for request in requests]
    assert [item["properties"]["i"] for batch in sent for item in batch] == list(range(len(messages)))
    assert all(len(request.body) <= MAX_BATCH_BYTES for request in requests)
    assert all(len(batch) <= MAX_BATCH for batch in sent)


# Answers


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b'{"success":true}'), (201, b"{}"), (202, b'{"message":"queued"}'), (204, b""), (200, b"OK")],
)
def test_every_2xx_delivers(status, body):
    assert PROVIDER.outcomes(Response(status=status, body=body), [None] * 3) == [Delivered()] * 3


@pytest.mark.parametrize(
    ("status", "expected"), [(400, Rejected), (401, Hold), (403, Hold), (404, Hold), (413, Rejected), (429, Retry)]
)
def test_a_failure_is_for_the_whole_batch_and_says_what_the_vendor_said(status, expected):
    answer = Response(status=status, body=b'{"code":"bad_thing","message":"no such source"}')
    outcomes = PROVIDER.outcomes(answer, [None] * 2)
    assert [type(outcome) for outcome in outcomes] == [expected] * 2
    assert "no such source" in outcomes[0].reason


# Settings


@pytest.mark.parametrize("key", ["", "  \n", None, 7])
def test_a_missing_write_key_is_named(key):
    with pytest.raises(ConfigError, match="write_key"):
        Hightouch(write_key=key)


@pytest.mark.parametrize(
    ("setting", "value"), [("auth", "bearer"), ("gzip", "yes"), ("tenant_as_group_id", 1), ("auth", None)]
)
def test_a_wrong_setting_is_named(setting, value):
    with pytest.raises(ConfigError, match=setting):
        Hightouch(write_key=KEY, **{setting: value})


def test_blanks_and_slashes_around_settings_are_dropped():
    provider = Hightouch(write_key=f" {KEY}\n", base_url=" https://ap-south-1.hightouch-events.com/ ")
    assert provider.write_key == KEY
    assert provider.base_url == "https://ap-south-1.hightouch-events.com"
