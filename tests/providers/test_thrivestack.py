"""Thrivestack: its two forms, what goes into its context, and what its answers mean."""

from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest

from unitrack.errors import ConfigError, Unsupported
from unitrack.message import Alias, Group, Identify, Page, Screen, Track
from unitrack.providers.thrivestack import Thrivestack
from unitrack.testing import ProviderConformance
from unitrack.wire import Delivered, Hold, Part, Rejected, Response, Retry, omitted, refusal

from .vectors import NOW, cases, checked, differences

TOKEN = "s3cr3t.token.of-the-shop"
KEY = "s3cr3t-key-of-the-shop"
PING = {"user_id": "u-1", "event": "Ping"}


class TestThrivestackWithAToken(ProviderConformance):
    provider = Thrivestack(token=TOKEN)
    secrets = frozenset({TOKEN})
    success = Response(status=200, body=b'{"success":true,"message":"ok","response_id":"r-1"}')


class TestThrivestackWithAKey(ProviderConformance):
    provider = Thrivestack(api_key=KEY, event_key="both", source="product")
    secrets = frozenset({KEY})
    success = Response(status=200, body=b'{"success":true,"eventId":"e-1"}')


def thrivestack(config, base_url):
    settings = {name: value for name, value in config.items() if name not in ("preset", "base_url_suffix")}
    return Thrivestack(base_url=base_url, **settings)


def encoded(message, **settings):
    return Thrivestack(**settings or {"api_key": KEY}).encode(checked(message, "thrivestack"))


def body(message, **settings):
    return orjson.loads(encoded(message, **settings).body)


def verdict(status, content=b"", *, path="/api/track", **settings):
    provider = Thrivestack(**settings or {"api_key": KEY})
    (outcome,) = provider.outcomes(Response(status=status, body=content), [Part(path=path, body=b"{}")])
    return outcome


@pytest.mark.parametrize("case", cases("thrivestack"))
def test_it_sends_what_the_vendor_expects(case, tmp_path):
    assert differences("thrivestack", case, thrivestack, tmp_path) == []


# Settings


@pytest.mark.parametrize(
    ("settings", "ending"),
    [
        ({}, "has neither$"),
        ({"token": " ", "api_key": ""}, "has neither$"),
        ({"token": "a", "api_key": "b"}, "not both$"),
    ],
)
def test_exactly_one_credential_is_needed(settings, ending):
    with pytest.raises(ConfigError, match="^Thrivestack needs token or api_key, .*" + ending):
        Thrivestack(**settings)


@pytest.mark.parametrize("settings", [{"token": "a\nb"}, {"token": "schlüssel"}, {"token": 7}])
def test_a_credential_that_does_not_fit_into_a_header_is_refused(settings):
    with pytest.raises(ConfigError, match=r"^token must be text that fits into a header"):
        Thrivestack(**settings)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"event_key": "name"}, "event_key"),
        ({"body": "list"}, "body"),
        ({"page": "no"}, "page"),
        ({"source": 1}, "source"),
    ],
)
def test_a_wrong_setting_is_named(settings, named):
    with pytest.raises(ConfigError, match=f"^{named} must be"):
        Thrivestack(api_key=KEY, **settings)


def test_the_credential_chooses_the_form():
    old, new = Thrivestack(token=TOKEN), Thrivestack(api_key=KEY)
    assert (old.event_key, old.body, old.capabilities.max_batch) == ("event", "object", 1)
    assert (new.event_key, new.body, new.capabilities.max_batch) == ("event_name", "array", 1000)


def test_each_part_of_the_form_can_be_set_by_itself():
    provider = Thrivestack(token=TOKEN, event_key="both", body="array")
    part = provider.encode(checked(Track(**PING), "thrivestack"))
    request = provider.request([part, part], NOW)
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert [(m["event"], m["event_name"]) for m in orjson.loads(request.body)] == [("Ping", "Ping")] * 2


# Context


def test_what_a_context_names_itself_is_never_overwritten():
    named = {"group_id": "g", "device_id": "d", "source": "marketing"}
    sent = body(
        Track(**PING, context=named, tenant_id="t", anonymous_id="a"),
        api_key=KEY,
        source="product",
    )
    assert sent["context"] == named


def test_a_context_is_filled_from_tenant_anonymous_id_and_source():
    sent = body(Track(**PING, context={"ip": "::1"}, tenant_id="t", anonymous_id="a"), api_key=KEY, source="product")
    assert sent["context"] == {"ip": "::1", "group_id": "t", "device_id": "a", "source": "product"}


def test_an_empty_context_is_left_out():
    assert "context" not in body(Track(**PING))


def test_a_group_is_the_group_of_its_own_context_whatever_that_says():
    message = Group(user_id="u-1", group_id="g-1", tenant_id="t", context={"group_id": "other"})
    assert body(message)["context"] == {"group_id": "g-1"}
    assert omitted(Thrivestack(api_key=KEY).capabilities, checked(message, "thrivestack")) == ("tenant_id",)


# Members


def test_a_time_is_sent_in_utc_to_the_millisecond():
    there = timezone(timedelta(hours=5, minutes=30))
    sent = body(Track(**PING, timestamp=datetime(2024, 2, 29, 15, 50, 30, 123999, tzinfo=there)))
    assert sent["timestamp"] == "2024-02-29T10:20:30.123Z"


def test_the_first_and_the_last_moment_of_the_calendar_can_be_sent():
    west = timezone(timedelta(hours=-12))
    assert body(Track(**PING, timestamp=datetime(1, 1, 1, tzinfo=UTC)))["timestamp"] == "0001-01-01T00:00:00.000Z"
    assert body(Track(**PING, timestamp=datetime(1, 1, 1, tzinfo=west)))["timestamp"] == "0001-01-01T12:00:00.000Z"
    assert body(Track(**PING, timestamp=datetime.max.replace(tzinfo=UTC)))["timestamp"] == "9999-12-31T23:59:59.999Z"


def test_a_phone_becomes_a_trait_unless_the_traits_name_one():
    assert body(Identify(user_id="u-1", phone="+919999999999"))["traits"] == {"phone": "+919999999999"}
    assert body(Identify(user_id="u-1", phone="+919999999999", traits={"phone": None}))["traits"] == {"phone": None}


def test_a_page_is_the_event_page_visit_with_its_name_as_title():
    part = encoded(Page(user_id="u-1", name="Pricing", properties={"page_path": "/p"}))
    assert part.path == "/api/track"
    sent = orjson.loads(part.body)
    assert sent["event_name"] == "page_visit"
    assert sent["properties"] == {"page_path": "/p", "page_title": "Pricing"}


def test_a_title_of_the_callers_own_stays():
    sent = body(Page(user_id="u-1", name="Pricing", properties={"page_title": "Preise"}))
    assert sent["properties"] == {"page_title": "Preise"}


def test_a_page_at_its_own_endpoint_needs_a_user_or_a_session_and_sends_one_of_them():
    settings = {"api_key": KEY, "page": "endpoint"}
    session = {"session_id": "s-1", "ip": "::1"}
    by_user = body(Page(user_id="u-1", name="Home", context=session), **settings)
    assert (by_user["user_id"], by_user["context"]) == ("u-1", session)
    by_session = body(Page(anonymous_id="a", name="Home", context=session), **settings)
    assert by_session.keys() == {"session_id", "properties", "timestamp", "context"}
    assert (by_session["session_id"], by_session["context"]) == ("s-1", {"ip": "::1", "device_id": "a"})
    with pytest.raises(Unsupported, match=r"^Thrivestack needs user_id$"):
        body(Page(anonymous_id="a", name="Home"), **settings)


def test_only_pages_may_go_by_a_session():
    with pytest.raises(Unsupported, match=r"^Thrivestack needs user_id$"):
        body(Track(event="Ping", anonymous_id="a", context={"session_id": "s-1"}), api_key=KEY, page="endpoint")


# Refusals


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (Screen(user_id="u-1"), "Thrivestack has no screen call"),
        (Alias(user_id="u-1", previous_id="a"), "Thrivestack cannot join two users"),
        (Track(anonymous_id="a", event="Ping"), "Thrivestack needs user_id"),
        (Identify(phone="+919999999999"), "Thrivestack needs user_id"),
    ],
)
def test_what_cannot_be_said_is_refused_in_words(message, sentence):
    message = checked(message, "thrivestack")
    assert refusal(Thrivestack(api_key=KEY), message) == sentence
    with pytest.raises(Unsupported, match=f"^{sentence}$"):
        Thrivestack(api_key=KEY).encode(message)


# Answers


@pytest.mark.parametrize(
    "content",
    [b'{"success":true,"response_id":"r"}', b'{"success":true,"eventId":"e"}', b"", b"OK", b"[]", b'{"warnings":7}'],
)
def test_a_success_is_delivered_whatever_else_its_body_is(content):
    assert verdict(200, content) == Delivered()


def test_remarks_on_a_success_reach_the_caller():
    content = b'{"success":true,"warnings":["no group_id",{"code":"W1"},"two\\nlines"," "]}'
    assert verdict(200, content) == Delivered(("no group_id", '{"code":"W1"}', "two lines"))


def test_a_success_whose_body_says_failure_is_rejected():
    content = b'{"success":false,"message":"no such account"}'
    assert verdict(200, content) == Rejected(f"200: {content.decode()}", 200)


def test_a_missing_name_says_which_setting_to_try():
    content = b'{"success":false,"message":"event_name is required"}'
    outcome = verdict(400, content, token=TOKEN)
    assert isinstance(outcome, Rejected)
    assert outcome.reason.endswith('try Thrivestack(event_key="event_name")')


@pytest.mark.parametrize(
    ("status", "content", "settings"),
    [
        (400, b'{"message":"event_name is required"}', {"api_key": KEY}),
        (400, b'{"message":"user_id is required"}', {"token": TOKEN}),
        (400, b'{"message":"user_name is too long"}', {"token": TOKEN, "path": "/api/identify"}),
        (401, b'{"message":"name unknown"}', {"token": TOKEN}),
    ],
)
def test_the_setting_is_named_only_where_it_can_help(status, content, settings):
    assert "event_key" not in verdict(status, content, **settings).reason


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, Rejected), (413, Rejected), (401, Hold), (403, Hold), (404, Hold), (429, Retry), (500, Retry)],
)
def test_other_answers_mean_what_they_mean_everywhere(status, expected):
    assert isinstance(verdict(status, b'{"success":false}'), expected)
