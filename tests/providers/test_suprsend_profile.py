"""SuprSend: who someone is, and which two ids are one person."""

import json
import re
from datetime import UTC, datetime

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from unitrack.errors import Unsupported
from unitrack.message import Alias, Identify
from unitrack.phone import Phone
from unitrack.providers.suprsend import SuprSend
from unitrack.snapshot import snapshot
from unitrack.wire import omitted

WORKSPACE = "wk_0123456789abcdefghij"
SECRET = "ws-secret-canary-0123"
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
SIGNED = SuprSend(workspace_key=WORKSPACE, workspace_secret=SECRET)


def checked(message):
    message = snapshot(message, lambda: "0d0c7d2a-6f2e-4a5c-8b6a-0a8f4f1f2f01", lambda: NOW)[0]
    return evolve(message, options=message.options.get("suprsend", {}))


def unsupported(message, provider=SIGNED):
    with pytest.raises(Unsupported) as caught:
        provider.encode(checked(message))
    return str(caught.value)


def path_and_body(message, provider=SIGNED):
    part = provider.encode(checked(message))
    assert part.alone
    return part.path, json.loads(part.body)


def test_a_profile_is_changed_by_operations_and_addresses_become_channels():
    message = Identify(
        user_id=" u1 ", traits={"name": "A", "email": " a@example.com "}, phone=Phone("9999999999", "91")
    )
    path, body = path_and_body(message)
    assert path == "/event/"
    assert body["distinct_id"] == "u1"
    assert body["$user_operations"] == [
        {"$set": {"name": "A"}},
        {"$append": {"$email": "a@example.com"}},
        {"$append": {"$sms": "+919999999999"}},
    ]


@pytest.mark.parametrize(
    ("channel", "appended"),
    [
        ("$sms", [{"$append": {"$sms": "+14155550100"}}]),
        ("$whatsapp", [{"$append": {"$whatsapp": "+14155550100"}}]),
        (None, []),
    ],
)
def test_the_caller_chooses_the_channel_of_a_phone(channel, appended):
    provider = evolve(SIGNED, phone_channel=channel)
    message = checked(Identify(user_id="u", traits={"a": 1}, phone="+14155550100"))
    assert json.loads(provider.encode(message).body)["$user_operations"] == [{"$set": {"a": 1}}, *appended]
    assert omitted(provider.capabilities, message) == (() if channel else ("phone",))


def test_a_phone_without_its_country_code_is_unsupported_rather_than_guessed():
    assert "country code" in unsupported(Identify(user_id="u", phone=Phone("9999999999")))


@pytest.mark.parametrize("email", [None, "", "  ", ["a@example.com"], 7])
def test_an_email_that_is_no_address_stays_a_trait(email):
    assert path_and_body(Identify(user_id="u", traits={"email": email}))[1]["$user_operations"] == [
        {"$set": {"email": email}}
    ]


@pytest.mark.parametrize(
    ("options", "provider"),
    [({"suprsend": {"upsert": True}}, SIGNED), ({}, evolve(SIGNED, profile="sync"))],
)
def test_an_upsert_says_the_same_at_top_level(options, provider):
    traits = {"name": "A", "email": "a@example.com"}
    message = Identify(user_id="u 1/é", traits=traits, phone="+14155550100", options=options)
    assert path_and_body(message, provider) == (
        "/v1/user/u%201%2F%C3%A9/",
        {"name": "A", "$email": ["a@example.com"], "$sms": ["+14155550100"]},
    )


def test_one_message_can_choose_operations_where_upserts_are_the_rule():
    message = Identify(user_id="u", traits={"a": 1}, options={"suprsend": {"upsert": False}})
    assert path_and_body(message, evolve(SIGNED, profile="sync"))[0] == "/event/"


def test_channels_in_the_callers_words_are_kept_and_ours_added_once():
    options = {
        "suprsend": {"$email": ["b@example.com", "a@example.com"], "$sms": "+14155550199", "$slack": [{"id": "x"}]}
    }
    message = Identify(user_id="u", traits={"email": "a@example.com"}, phone="+14155550100", options=options)
    assert path_and_body(message)[1] == {
        "$email": ["b@example.com", "a@example.com"],
        "$sms": ["+14155550199", "+14155550100"],
        "$slack": [{"id": "x"}],
    }


def test_an_empty_profile_is_created_by_an_empty_upsert():
    assert path_and_body(Identify(user_id="u")) == ("/v1/user/u/", {})


def test_a_profile_of_more_than_10_kib_is_unsupported():
    def of(size):
        return Identify(user_id="u", traits={"t": "x" * size}, options={"suprsend": {"upsert": True}})

    room = 10_240 - len(b'{"t":""}')
    assert len(SIGNED.encode(checked(of(room))).body) == 10_240
    assert "at most 10240 bytes" in unsupported(of(room + 1))


def test_an_alias_merges_the_previous_id_into_the_one_that_is_kept():
    assert path_and_body(Alias(previous_id=" anon-9 ", user_id="u/1")) == (
        "/v1/user/u%2F1/merge/",
        {"from_user_id": "anon-9"},
    )


@pytest.mark.parametrize("user_id", [".", "..", " .. "])
def test_an_id_that_would_lead_to_another_endpoint_is_unsupported(user_id):
    assert "another id" in unsupported(Alias(previous_id="anon-9", user_id=user_id))
    assert "another id" in unsupported(Identify(user_id=user_id))


@given(st.text(min_size=1).filter(lambda text: text.strip() not in ("", ".", "..")))
def test_an_id_is_one_segment_of_the_path_whatever_it_is(user_id):
    path, _ = path_and_body(Alias(previous_id="anon-9", user_id=user_id))
    assert re.fullmatch(r"/v1/user/[A-Za-z0-9._~%-]+/merge/", path)
