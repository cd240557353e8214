"""Interakt: what its requests look like, and what its answers mean."""

from base64 import b64encode
from datetime import UTC, datetime

import orjson
import pytest
from attrs import evolve

from unitrack.errors import ConfigError, Unsupported
from unitrack.message import Alias, Group, Identify, Page, Screen, Track
from unitrack.phone import Phone
from unitrack.providers.interakt import Interakt
from unitrack.testing import ProviderConformance
from unitrack.wire import Delivered, Hold, Part, Rejected, Response, Retry, omitted, refusal

from .vectors import NOW, cases, checked, differences

KEY = "s3cr3t-of-the-shop"
IDENTITY = {"user_id": "u-1"}


class TestInterakt(ProviderConformance):
    provider = Interakt(api_key=KEY)
    secrets = frozenset({KEY})
    success = Response(status=201, body=b'{"result":true,"message":"ok","id":"e-1"}')


class TestInteraktWithEverySetting(ProviderConformance):
    provider = Interakt(
        api_key=b64encode(f"{KEY}:".encode()).decode(),
        base_url="http://127.0.0.1:8080",
        default_country_code="44",
        rate_per_minute=600,
        always_created_at=True,
    )
    secrets = frozenset({provider.api_key})


def interakt(config, base_url):
    return Interakt(api_key=config["api_key"], base_url=base_url)


def body(message, **settings):
    part = Interakt(api_key=KEY, **settings).encode(checked(message, "interakt"))
    return orjson.loads(part.body)


def authorization(api_key):
    part = Part(path="/", body=b"{}")
    return Interakt(api_key=api_key).request([part], NOW).headers["Authorization"]


def verdict(status, content=b"", **headers):
    (outcome,) = Interakt(api_key=KEY).outcomes(
        Response(status=status, body=content, headers=headers), [Part(path="/", body=b"{}")]
    )
    return outcome


@pytest.mark.parametrize("case", cases("interakt"))
def test_it_sends_what_the_vendor_expects(case, tmp_path):
    assert differences("interakt", case, interakt, tmp_path) == []


# Settings


@pytest.mark.parametrize("shown", [KEY, f"{KEY}:", f"  {KEY}\n", b64encode(f"{KEY}:".encode()).decode()])
def test_a_key_is_taken_decoded_and_as_the_dashboard_shows_it(shown):
    assert authorization(shown) == "Basic " + b64encode(f"{KEY}:".encode()).decode()


def test_a_key_that_only_looks_like_base64_is_left_alone():
    assert authorization("abcd1234") == "Basic " + b64encode(b"abcd1234:").decode()


@pytest.mark.parametrize("key", ["", "  ", ":", b64encode(b":").decode(), None, 7])
def test_a_missing_key_says_where_to_find_it(key):
    with pytest.raises(ConfigError, match=r"^api_key is missing; copy the Secret Key from Settings"):
        Interakt(api_key=key)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"default_country_code": "+999"}, "default_country_code"),
        ({"default_country_code": 91}, "default_country_code"),
        ({"rate_per_minute": 0}, "rate_per_minute"),
        ({"rate_per_minute": "300"}, "rate_per_minute"),
        ({"always_created_at": "yes"}, "always_created_at"),
    ],
)
def test_a_wrong_setting_is_named(settings, named):
    with pytest.raises(ConfigError, match=rf"^{named} must be"):
        Interakt(api_key=KEY, **settings)


def test_the_rate_is_that_of_the_plan():
    assert Interakt(api_key=KEY).capabilities.rate_per_minute == 300
    assert Interakt(api_key=KEY, rate_per_minute=600).capabilities.rate_per_minute == 600


# Identity


def test_a_number_without_a_country_code_gets_that_of_the_setting():
    sent = body(Track(event="Ping", phone=Phone("07911123456")), default_country_code="+44")
    assert (sent["countryCode"], sent["phoneNumber"]) == ("+44", "07911123456")


def test_an_e164_text_is_cut_into_its_country_code_and_the_rest():
    sent = body(Track(event="Ping", phone="+14155550100"))
    assert (sent["countryCode"], sent["phoneNumber"]) == ("+1", "4155550100")


FULL_NUMBER = {"interakt": {"fullPhoneNumber": "919999999999"}}


def test_a_full_number_stands_instead_of_the_pair():
    assert body(Identify(phone="+14155550100", options=FULL_NUMBER)) == {
        "fullPhoneNumber": "919999999999",
        "traits": {},
    }


def test_a_full_number_may_stand_beside_a_user_id():
    sent = body(Track(event="Ping", options=FULL_NUMBER, **IDENTITY))
    assert (sent["userId"], sent["fullPhoneNumber"]) == ("u-1", "919999999999")


def test_options_are_no_identity_unless_they_hold_a_number():
    with pytest.raises(Unsupported, match=r"^Interakt needs user_id or phone$"):
        body(Identify(anonymous_id="a-1", options={"interakt": {"tags": ["lead"]}}))


# Members


def test_the_time_is_sent_only_when_the_caller_chose_it():
    chosen = datetime(2024, 2, 29, 10, 20, 30, 123000, tzinfo=UTC)
    assert "createdAt" not in body(Track(event="Ping", **IDENTITY))
    assert datetime.fromisoformat(body(Track(event="Ping", timestamp=chosen, **IDENTITY))["createdAt"]) == chosen


def test_the_time_can_be_sent_always():
    assert datetime.fromisoformat(body(Track(event="Ping", **IDENTITY), always_created_at=True)["createdAt"]) == NOW


def test_tags_and_the_sales_cycle_belong_to_users_not_to_events():
    options = {"interakt": {"tags": ["lead"], "add_to_sales_cycle": True}}
    assert body(Identify(options=options, **IDENTITY)) == {
        "userId": "u-1",
        "traits": {},
        "tags": ["lead"],
        "add_to_sales_cycle": True,
    }
    assert body(Track(event="Ping", options=options, **IDENTITY)) == {"userId": "u-1", "event": "Ping", "traits": {}}


def test_traits_of_the_same_name_as_an_option_stay_traits():
    assert body(Identify(traits={"tags": ["a"]}, **IDENTITY)) == {"userId": "u-1", "traits": {"tags": ["a"]}}


@pytest.mark.parametrize(
    "option",
    [
        {"tags": "lead"},
        {"tags": [1]},
        {"add_to_sales_cycle": "yes"},
        {"fullPhoneNumber": 919999999999},
        {"fullPhoneNumber": "+919999999999"},
        {"fullPhoneNumber": "٩٩٩"},
        {"fullPhoneNumber": ""},
    ],
)
def test_an_option_of_the_wrong_type_is_refused_with_what_it_takes(option):
    with pytest.raises(Unsupported, match=rf"option '{next(iter(option))}': tags is a list .*, add_to_sales_cycle"):
        body(Identify(options={"interakt": option}, **IDENTITY))


def test_an_option_of_another_provider_is_left_out_and_counted():
    message = Identify(options={"interakt": {"tag": ["lead"], "tags": ["vip"]}}, **IDENTITY)
    assert body(message)["tags"] == ["vip"]
    assert "tag" not in body(message)
    own = evolve(message, options=message.options["interakt"])
    assert omitted(Interakt(api_key=KEY).capabilities, own) == ("options.tag",)


def test_what_has_no_place_is_left_out_and_can_be_counted():
    message = checked(
        Track(event="Ping", anonymous_id="a", context={"ip": "::1"}, tenant_id="t", idempotency_key="k", **IDENTITY),
        "interakt",
    )
    lost = omitted(Interakt(api_key=KEY).capabilities, message)
    assert lost == ("anonymous_id", "context", "tenant_id", "idempotency_key")
    assert body(message).keys() == {"userId", "event", "traits"}


# Refusals


@pytest.mark.parametrize(
    "message",
    [
        Page(**IDENTITY),
        Screen(**IDENTITY),
        Group(group_id="g", **IDENTITY),
        Alias(previous_id="a", **IDENTITY),
    ],
)
def test_a_call_that_interakt_does_not_have_says_what_to_send_instead(message):
    sentence = f"Interakt has no {message.kind} call; send a track event instead"
    assert refusal(Interakt(api_key=KEY), checked(message, "interakt")) == sentence
    with pytest.raises(Unsupported, match=f"^{sentence}$"):
        body(message)


def test_an_anonymous_id_is_no_identity():
    message = checked(Track(event="Ping", anonymous_id="a"), "interakt")
    assert refusal(Interakt(api_key=KEY), message) == "Interakt needs user_id or phone"
    with pytest.raises(Unsupported, match=r"^Interakt needs user_id or phone$"):
        body(message)


# Answers


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (202, b'{"result":true,"message":"user taken"}'),
        (201, b'{"result":true,"message":"event taken","id":"e-1"}'),
        (200, b""),
        (200, b"OK"),
        (200, b'["result"]'),
        (200, b'{"result":null}'),
    ],
)
def test_a_success_is_delivered_whatever_else_its_body_is(status, content):
    assert verdict(status, content) == Delivered()


def test_a_success_whose_body_says_failure_is_rejected_with_its_words():
    # The vendor's client counts it as sent (measured).
    outcome = verdict(200, b'{"result":false,"message":"bad traits"}')
    assert outcome == Rejected('200: {"result":false,"message":"bad traits"}', 200)


@pytest.mark.parametrize("content", [b'{"result":false}', b'["bad"]', b'"bad"', b"<html>bad</html>", b""])
def test_a_bad_request_is_rejected_at_once_whatever_its_body_is(content):
    # The vendor's client raises over a list and then repeats the request three times (measured).
    assert isinstance(verdict(400, content), Rejected)


def test_a_busy_server_is_tried_again_not_before_it_says():
    limited = b'{"message":"Rate limit exceeded for this resource"}'
    assert verdict(429, limited, **{"retry-after": "5"}) == Retry(f"429: {limited.decode()}", 5.0, 429)
    assert isinstance(verdict(503), Retry)


@pytest.mark.parametrize("status", [301, 401, 403, 404])
def test_a_wrong_key_plan_or_address_holds_the_messages(status):
    assert isinstance(verdict(status, b'{"result":false}'), Hold)
