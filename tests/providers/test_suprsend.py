"""SuprSend: the recorded requests, what unitrack relies on, events, sizes and settings."""

import json
import uuid
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import urlsplit

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from unitrack.attachment import Attachment
from unitrack.batching import batches
from unitrack.errors import ConfigError, Unsupported
from unitrack.message import Alias, Identify, Page, Track
from unitrack.providers.suprsend import BULK, EVENT, MAX_BATCH, MAX_BYTES, SuprSend
from unitrack.snapshot import snapshot
from unitrack.testing.conformance import ProviderConformance
from unitrack.testing.transports import reply
from unitrack.wire import omitted, refusal

from .vectors import cases, differences

WORKSPACE = "wk_0123456789abcdefghij"
SECRET = "ws-secret-canary-0123"
API_KEY = "SS.api-key-canary-0123"
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
GENERATED = "0d0c7d2a-6f2e-4a5c-8b6a-0a8f4f1f2f01"
SIGNED = SuprSend(workspace_key=WORKSPACE, workspace_secret=SECRET)
BEARER = SuprSend(workspace_uid="ws_uid_0123456789abcdef", api_key=API_KEY)


def suprsend(config, base_url):
    credentials = {
        name: config[name]
        for name in ("workspace_key", "workspace_secret", "workspace_uid", "api_key")
        if name in config
    }
    return SuprSend(base_url=base_url, **credentials)


def checked(message):
    message = snapshot(message, lambda: GENERATED, lambda: NOW)[0]
    return evolve(message, options=message.options.get("suprsend", {}))


def encoded(message, provider=SIGNED):
    return json.loads(provider.encode(checked(message)).body)


def unsupported(message, provider=SIGNED):
    with pytest.raises(Unsupported) as caught:
        provider.encode(checked(message))
    return str(caught.value)


@pytest.mark.parametrize("case", cases("suprsend"))
def test_sends_what_the_vendor_expects(case, tmp_path):
    assert differences("suprsend", case, suprsend, tmp_path) == []


class TestSigned(ProviderConformance):
    provider = SIGNED
    secrets = (SECRET,)
    success = reply(202, {"status": "success", "message_id": "m"})


class TestBearerAndEveryOption(ProviderConformance):
    provider = evolve(
        BEARER, anonymous_as_distinct_id=True, profile="sync", phone_channel="$whatsapp", max_event_bytes=102_400
    )
    secrets = (API_KEY,)


# Events


def test_one_event_is_an_object_and_two_are_a_bulk():
    part = SIGNED.encode(checked(Track(user_id="u", event="ev")))
    one, two = SIGNED.request([part], NOW), SIGNED.request([part, part], NOW)
    assert (urlsplit(one.url).path, type(json.loads(one.body))) == (EVENT, dict)
    assert (urlsplit(two.url).path, type(json.loads(two.body))) == (BULK, list)
    assert len(two.body) == SIGNED.capabilities.envelope_bytes + 2 * len(part.body) + 1


def test_the_insert_id_is_the_message_id_if_that_is_a_uuid():
    own = "6F9619FF-8B86-D011-B42D-00C04FC964FF"
    assert encoded(Track(user_id="u", event="ev"))["$insert_id"] == GENERATED
    assert encoded(Track(user_id="u", event="ev", message_id=own))["$insert_id"] == own


@pytest.mark.parametrize("own", ["order-7", "é" * 300, "00000000-0000-0000-0000-00000000000g", GENERATED + "\n"])
def test_any_other_message_id_gives_the_same_uuid_every_time(own):
    first, again = (encoded(Track(user_id="u", event="ev", message_id=own))["$insert_id"] for _ in range(2))
    assert first == again
    assert uuid.UUID(first).version == 5
    assert encoded(Track(user_id="u", event="ev", message_id=own + "2"))["$insert_id"] != first


def test_the_uuid_of_a_message_id_never_changes_between_releases():
    sent = encoded(Track(user_id="u", event="ev", message_id="order-7"))
    assert sent["$insert_id"] == "ef6528a1-f413-52b0-bcd3-36e4c082a79c"


def test_the_idempotency_key_is_what_the_caller_chose_and_nothing_else():
    assert "$idempotency_key" not in encoded(Track(user_id="u", event="ev"))
    assert encoded(Track(user_id="u", event="ev", message_id="m-1"))["$idempotency_key"] == "m-1"
    both = Track(user_id="u", event="ev", message_id="m-1", idempotency_key="order-7")
    assert encoded(both)["$idempotency_key"] == "order-7"


def test_a_message_id_too_long_for_a_key_lends_its_uuid():
    sent = encoded(Track(user_id="u", event="ev", message_id="m" * 256))
    assert sent["$idempotency_key"] == sent["$insert_id"]


@pytest.mark.parametrize(
    ("when", "sent"),
    [
        (datetime(2024, 2, 29, 10, 20, 30, 123_999, tzinfo=UTC), 1709202030123),
        (datetime(2022, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))), 1640995200000),
        (None, 1768478400000),
    ],
)
def test_the_time_is_the_messages_own_in_milliseconds(when, sent):
    assert encoded(Track(user_id="u", event="ev", timestamp=when))["$time"] == sent


@pytest.mark.parametrize("message", [Track(user_id="u", event="ev"), Identify(user_id="u", traits={"a": 1})])
def test_a_time_before_2022_is_unsupported(message):
    old = evolve(message, timestamp=datetime(2021, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    assert unsupported(old) == "SuprSend takes times from 2022-01-01 on"


@pytest.mark.parametrize("event", ["$custom", "ss_paid", "SS_paid", "Ss_", " $custom ", "$User_Login"])
def test_reserved_names_are_unsupported(event):
    assert "start with $ or ss_" in unsupported(Track(user_id="u", event=event))


@pytest.mark.parametrize("event", ["$identify", "$app_launched", " $user_login ", "ssl", "s$", "ss-paid"])
def test_built_in_and_similar_names_are_sent(event):
    assert encoded(Track(user_id="u", event=event))["event"] == event.strip()


def test_a_name_of_one_character_is_unsupported():
    assert "2 characters" in unsupported(Track(user_id="u", event=" e "))


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"idempotency_key": "k" * 256}, "idempotency_key"),
        ({"tenant_id": "t" * 65}, "tenant_id"),
        ({"options": {"suprsend": {"brand_id": "b" * 65}}}, "brand_id"),
        ({"options": {"suprsend": {"brand_id": 7}}}, "brand_id"),
    ],
)
def test_a_member_too_long_for_the_vendor_is_named(members, named):
    assert named in unsupported(Track(user_id="u", event="ev", **members))


def test_tenant_and_brand_are_members_of_their_own():
    options = {"suprsend": {"brand_id": "b" * 64, "something_else": 1}}
    sent = encoded(Track(user_id="u", event="ev", tenant_id="t" * 64, options=options))
    assert (sent["tenant_id"], sent["brand_id"]) == ("t" * 64, "b" * 64)
    assert "something_else" not in sent


def test_a_file_travels_in_the_properties_and_leaves_the_callers_dict_alone(tmp_path):
    (tmp_path / "invoice.pdf").write_bytes(b"%PDF")
    properties = {"total": 1}
    files = [
        Attachment.from_file(tmp_path / "invoice.pdf"),
        Attachment("https://shop.example/a.png", ignore_if_error=True),
    ]
    sent = encoded(Track(user_id="u", event="ev", properties=properties, attachments=files))["properties"]
    assert sent == {
        "total": 1,
        "$attachments": [
            {
                "filename": "invoice.pdf",
                "contentType": "application/pdf",
                "data": "JVBERg==",
                "url": None,
                "ignore_if_error": False,
            },
            {
                "filename": None,
                "contentType": None,
                "data": None,
                "url": "https://shop.example/a.png",
                "ignore_if_error": True,
            },
        ],
    }
    assert properties == {"total": 1}
    assert encoded(Track(user_id="u", event="ev", properties=properties))["properties"] == {"total": 1}


def test_context_phone_and_integrations_have_no_place_on_an_event_and_are_counted():
    message = checked(
        Track(user_id="u", event="ev", phone="+919999999999", context={"a": 1}, integrations={"All": True})
    )
    assert set(omitted(SIGNED.capabilities, message)) == {"phone", "context", "integrations"}
    assert encoded(message).keys() == {"$insert_id", "$time", "event", "env", "distinct_id", "properties"}


def test_an_anonymous_id_stands_for_the_user_only_if_the_settings_say_so():
    message = Track(anonymous_id=" anon-1 ", event="ev")
    assert refusal(SIGNED, checked(message)) == unsupported(message) == "SuprSend needs user_id"
    assert encoded(message, evolve(SIGNED, anonymous_as_distinct_id=True))["distinct_id"] == "anon-1"


def test_a_call_without_a_place_says_what_to_do():
    assert unsupported(Page(user_id="u")) == "SuprSend has no page call; send a track event"
    assert refusal(SIGNED, checked(Page(user_id="u"))) == "SuprSend has no page call; send a track event"


# Size

# Mostly small; some that fill a request alone or nearly.
sizes = st.integers(0, 500) | st.integers(0, 500) | st.integers(80_000, 210_000) | st.integers(810_000, 818_500)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(sizes, st.sampled_from("xé€")), min_size=1, max_size=130))
def test_requests_stay_below_the_limits_as_sent_and_keep_every_message_once_in_order(fillers):
    messages = [
        Track(user_id="u", event="ev", properties={"i": number, "pad": letter * (size // len(letter.encode()))})
        for number, (size, letter) in enumerate(fillers)
    ]
    requests = [
        SIGNED.request(batch, NOW)
        for batch in batches([SIGNED.encode(checked(message)) for message in messages], SIGNED.capabilities)
    ]
    bodies = [json.loads(request.body) for request in requests]
    sent = [body if isinstance(body, list) else [body] for body in bodies]
    assert [item["properties"]["i"] for batch in sent for item in batch] == list(range(len(messages)))
    assert all(len(request.body) <= MAX_BYTES for request in requests)
    assert all(len(batch) <= MAX_BATCH for batch in sent)


def test_a_bulk_fills_the_limit_to_the_last_byte():
    room = MAX_BYTES - len(SIGNED.encode(checked(Track(user_id="u", event="ev", properties={"p": ""}))).body)
    half = (MAX_BYTES - 3) // 2 - (MAX_BYTES - room)
    small, large = (
        SIGNED.encode(checked(Track(user_id="u", event="ev", properties={"p": "x" * size})))
        for size in (half, half + 1)
    )
    (fits,) = batches([small, large], SIGNED.capabilities)
    assert len(SIGNED.request(fits, NOW).body) == MAX_BYTES
    assert len(batches([large, large], SIGNED.capabilities)) == 2


def test_events_profiles_and_merges_travel_apart_and_in_order():
    messages = [
        Track(user_id="u", event="ev"),
        Track(user_id="u", event="ev"),
        Identify(user_id="u", traits={"a": 1}),
        Identify(user_id="u", traits={"a": 2}),
        Alias(user_id="u", previous_id="a"),
        Track(user_id="u", event="ev"),
    ]
    groups = batches([SIGNED.encode(checked(message)) for message in messages], SIGNED.capabilities)
    paths = [urlsplit(SIGNED.request(group, NOW).url).path for group in groups]
    assert paths == [BULK, "/event/", "/event/", "/v1/user/u/merge/", EVENT]


# Settings


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"workspace_key": WORKSPACE},
        {"workspace_key": WORKSPACE, "workspace_secret": " "},
        {"workspace_key": WORKSPACE, "api_key": API_KEY},
        {"workspace_uid": WORKSPACE, "api_key": ""},
        {"workspace_key": WORKSPACE, "workspace_secret": SECRET, "workspace_uid": WORKSPACE, "api_key": API_KEY},
        {"workspace_key": WORKSPACE, "workspace_secret": SECRET, "api_key": API_KEY},
    ],
)
def test_it_takes_exactly_one_complete_pair_of_credentials(given):
    with pytest.raises(ConfigError, match="workspace_key and workspace_secret, or workspace_uid and api_key") as caught:
        SuprSend(**given)
    assert SECRET not in str(caught.value)
    assert API_KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("workspace_key", "short"),
        ("workspace_key", "wk_0123456789\r\nX-Evil: 1"),
        ("workspace_key", 12345678901234567890),
        ("workspace_secret", b"bytes"),
        ("max_event_bytes", 819_201),
        ("max_event_bytes", 0),
        ("phone_channel", "sms"),
        ("profile", "later"),
        ("anonymous_as_distinct_id", "yes"),
    ],
)
def test_a_wrong_setting_is_named(setting, value):
    with pytest.raises(ConfigError, match=setting):
        SuprSend(**{"workspace_key": WORKSPACE, "workspace_secret": SECRET, setting: value})


def test_an_api_key_that_would_break_a_header_is_refused_without_showing_it():
    with pytest.raises(ConfigError, match="api_key") as caught:
        SuprSend(workspace_uid=WORKSPACE, api_key="SS.abc\r\nX-Evil: 1")
    assert "SS.abc" not in str(caught.value)


def test_the_stricter_limit_of_older_accounts_can_be_set():
    assert evolve(SIGNED, max_event_bytes=102_400).capabilities.message_bytes == 102_400
    assert SIGNED.capabilities.message_bytes == 819_200
