"""SuprSend: what is signed, and how."""

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import urlsplit

import pytest
from attrs import evolve

from unitrack.message import Track
from unitrack.providers.suprsend import SuprSend, signature, text_to_sign
from unitrack.snapshot import snapshot

from .vectors import signature_cases

WORKSPACE = "wk_0123456789abcdefghij"
SECRET = "ws-secret-canary-0123"
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
API_KEY = "SS.api-key-canary-0123"
SIGNED = SuprSend(workspace_key=WORKSPACE, workspace_secret=SECRET)
BEARER = SuprSend(workspace_uid="ws_uid_0123456789abcdef", api_key=API_KEY)


def checked(message):
    message = snapshot(message, lambda: "0d0c7d2a-6f2e-4a5c-8b6a-0a8f4f1f2f01", lambda: NOW)[0]
    return evolve(message, options=message.options.get("suprsend", {}))


@pytest.mark.parametrize("case", signature_cases("suprsend"))
def test_signs_as_the_vendor_does(case):
    what, expect = case["call"]["signature_of"], case["expect"]
    url = urlsplit(what["url"])
    text = text_to_sign(what["method"], url.path, what["body_text"].encode(), what["date"])
    assert text == expect["string_to_sign"]
    assert text.split("\n")[1] == expect["content_md5"]
    assert signature(what["workspace_secret"], text) == expect["signature"]


def test_the_signature_is_over_the_bytes_the_date_and_the_path_as_sent():
    provider = evolve(SIGNED, base_url=" http://127.0.0.1:8080/staging// ")
    part = provider.encode(checked(Track(user_id="ü-१", event="ऑर्डर 🎉")))
    request = provider.request([part, part], NOW)
    assert request.url == "http://127.0.0.1:8080/staging/v2/bulk/event/"
    assert request.headers["Date"] == "Thu, 15 Jan 2026 12:00:00 GMT"
    text = text_to_sign("POST", "/staging/v2/bulk/event/", request.body, request.headers["Date"])
    assert request.headers["Authorization"] == f"{WORKSPACE}:{signature(SECRET, text)}"


def test_every_attempt_is_signed_for_its_own_date_and_carries_the_same_event():
    part = SIGNED.encode(checked(Track(user_id="u", event="ev")))
    first, second = SIGNED.request([part], NOW), SIGNED.request([part], NOW + timedelta(seconds=1))
    assert first.headers["Authorization"] != second.headers["Authorization"]
    assert first.body == second.body


def test_a_date_is_in_gmt_wherever_the_clock_stands():
    part = SIGNED.encode(checked(Track(user_id="u", event="ev")))
    india = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert SIGNED.request([part], india) == SIGNED.request([part], NOW)


def test_an_api_key_is_a_bearer_token_without_a_date():
    request = BEARER.request([BEARER.encode(checked(Track(user_id="u", event="ev")))], NOW)
    assert request.headers == {
        "Authorization": f"Bearer {API_KEY}",
        "Content-Type": "application/json; charset=utf-8",
    }
