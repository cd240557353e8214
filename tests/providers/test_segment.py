"""Segment: the recorded requests, what unitrack relies on, and what is special here."""

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from unitrack.batching import batches
from unitrack.config import load
from unitrack.errors import ConfigError
from unitrack.forms import scoped
from unitrack.message import Alias, Group, Identify, Page, Screen, Track
from unitrack.providers.segment import MAX_BATCH_BYTES, MAX_MESSAGE_BYTES, Segment
from unitrack.snapshot import snapshot
from unitrack.testing import recording
from unitrack.testing.conformance import ProviderConformance
from unitrack.wire import Delivered, Hold, Part, Rejected, Response, Retry, omitted

from .vectors import cases, differences

KEY = "wk-canary-0123456789"
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
PROVIDER = Segment(write_key=KEY)
BASIC = "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()


def segment(config, base_url):
    return Segment(write_key=config["write_key"], base_url=base_url, auth=config.get("auth", "both"))


def checked(message):
    return snapshot(message, lambda: "made-by-unitrack", lambda: NOW)[0]


def part(message, provider=PROVIDER):
    return provider.encode(checked(message))


def encoded(message, provider=PROVIDER):
    return json.loads(part(message, provider).body)


TRACK = Track(user_id="u", event="E", message_id="m-1")


@pytest.mark.parametrize("case", cases("segment"))
def test_sends_what_the_vendor_expects(case, tmp_path):
    assert differences("segment", case, segment, tmp_path) == []


class TestBothFormsOfTheKey(ProviderConformance):
    provider = PROVIDER
    secrets = (KEY,)


class TestEuropeBasicGzipAndTenant(ProviderConformance):
    provider = Segment(write_key=KEY, region="eu", auth="basic", gzip=True, tenant_as_group_id=True, max_batch=2500)
    secrets = (KEY,)


# Messages


@pytest.mark.parametrize(
    ("message", "own"),
    [
        (Identify(user_id="u", traits={"a": 1}), {"traits": {"a": 1}}),
        (Track(user_id="u", event="E", properties={"a": 1}), {"event": "E", "properties": {"a": 1}}),
        (Page(user_id="u", category="C", name="N"), {"category": "C", "name": "N", "properties": {}}),
        (Screen(user_id="u"), {"category": None, "name": None, "properties": {}}),
        (Group(user_id="u", group_id=7, traits={"a": 1}), {"groupId": "7", "traits": {"a": 1}}),
        (Alias(user_id="u", previous_id="p"), {"previousId": "p"}),
    ],
)
def test_each_kind_has_the_common_members_and_its_own(message, own):
    sent = encoded(message)
    common = {"type": message.kind, "userId": "u", "anonymousId": None, "messageId": "made-by-unitrack"}
    assert sent == {
        **common,
        **own,
        "timestamp": "2026-01-15T12:00:00.000+00:00",
        "context": {"library": sent["context"]["library"]},
        "integrations": {},
    }
    assert sent["context"]["library"]["name"] == "unitrack"


def test_a_tenant_goes_into_the_context_only_on_request():
    message = checked(Track(user_id="u", event="E", tenant_id="acme", context={"groupId": "other", "ip": "::1"}))
    assert json.loads(PROVIDER.encode(message).body)["context"]["groupId"] == "other"
    assert omitted(PROVIDER.capabilities, message) == ("tenant_id",)
    asking = evolve(PROVIDER, tenant_as_group_id=True)
    context = json.loads(asking.encode(message).body)["context"]
    assert (context["groupId"], context["ip"]) == ("acme", "::1")
    assert omitted(asking.capabilities, message) == ()


def test_a_scope_of_the_users_is_kept():
    mine = evolve(PROVIDER, id_scope="mine")
    assert encoded(TRACK, mine)["messageId"] == scoped("m-1", "mine")
    assert encoded(evolve(TRACK, message_id=None, idempotency_key="k"), mine)["messageId"] == scoped("k", "mine")
    with recording({"a": mine, "b": PROVIDER}) as client:
        client.send([TRACK])
        assert client.recorder.bodies("a")[0]["batch"][0]["messageId"] == scoped("m-1", "mine")


# Requests


@pytest.mark.parametrize(("auth", "header", "key"), [("both", BASIC, KEY), ("basic", BASIC, None), ("body", None, KEY)])
def test_the_key_goes_where_the_setting_says(auth, header, key):
    request = evolve(PROVIDER, auth=auth).request([part(TRACK)], NOW)
    assert request.headers.get("Authorization") == header
    assert json.loads(request.body).get("writeKey") == key


def test_a_key_that_is_not_ascii_is_encoded_as_utf_8():
    headers = Segment(write_key="schlüssel").request([part(TRACK)], NOW).headers
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == "schlüssel:".encode()


def test_every_attempt_has_its_own_sent_at_and_the_same_messages():
    first, second = (
        json.loads(PROVIDER.request([part(TRACK)], now).body) for now in (NOW, NOW + timedelta(seconds=90))
    )
    assert (first["sentAt"], second["sentAt"]) == ("2026-01-15T12:00:00.000Z", "2026-01-15T12:01:30.000Z")
    assert first["batch"] == second["batch"]


def test_only_a_repeat_says_how_often_it_was_tried():
    with recording({"cdp": PROVIDER}, answer=[503, 503, 200]) as client:
        client.send([TRACK])
        headers = [request.headers for request in client.recorder.requests("cdp")]
    assert [one.get("X-Retry-Count") for one in headers] == [None, "1", "2"]


def test_a_batch_has_the_count_of_its_most_tried_message():
    parts = [evolve(part(TRACK), attempt=attempt) for attempt in (1, 4, 2)]
    assert PROVIDER.request(parts, NOW).headers["X-Retry-Count"] == "3"


@pytest.mark.parametrize("auth", ["both", "basic", "body"])
def test_the_declared_envelope_is_exact(auth):
    provider = evolve(PROVIDER, auth=auth)
    one = part(TRACK)
    body = provider.request([one, one, one], NOW).body
    assert len(body) == provider.capabilities.envelope_bytes + 3 * len(one.body) + 2


def test_gzip_says_the_same_in_fewer_bytes_and_gives_the_same_bytes_again():
    parts, zipping = [part(TRACK)] * 50, evolve(PROVIDER, gzip=True)
    packed = zipping.request(parts, NOW)
    assert packed == zipping.request(parts, NOW)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == PROVIDER.request(parts, NOW).body
    assert len(packed.body) < len(PROVIDER.request(parts, NOW).body) / 3


def test_no_body_passes_the_limit_which_the_vendors_client_oversteps():
    least = len(part(Track(user_id="u", event="E", properties={"pad": ""})).body)
    full = part(Track(user_id="u", event="E", properties={"pad": "€" * ((MAX_MESSAGE_BYTES - least) // 3)}))
    requests = [PROVIDER.request(batch, NOW) for batch in batches([full] * 40, PROVIDER.capabilities)]
    assert [len(json.loads(request.body)["batch"]) for request in requests] == [15, 15, 10]
    assert max(len(request.body) for request in requests) <= MAX_BATCH_BYTES


@pytest.mark.parametrize("most", [1, 100, 2500])
def test_a_batch_holds_as_many_messages_as_the_setting_says(most):
    small = Part(path="/v1/batch", body=b"{}")
    capabilities = evolve(PROVIDER, max_batch=most).capabilities
    assert [len(batch) for batch in batches([small] * (most + 1), capabilities)] == [most, 1]


# Answers


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b'{"success":true}'), (200, b'{"success": false}'), (202, b"queued"), (204, b""), (200, b"[")],
)
def test_every_2xx_delivers(status, body):
    assert PROVIDER.outcomes(Response(status=status, body=body), [None] * 3) == [Delivered()] * 3


def test_a_page_for_people_is_no_answer_of_the_service():
    assert isinstance(PROVIDER.outcomes(Response(status=200, body=b"<html>login"), [None])[0], Hold)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((408, 429, 460, 500, 502, 503, 504, 520), Retry),
        ((301, 302, 401, 403, 404, 410, 501, 505, 511), Hold),
        ((400, 413, 422), Rejected),
    ],
)
def test_a_failure_is_for_the_whole_batch_and_says_what_the_vendor_said(statuses, expected):
    for status in statuses:
        answer = Response(status=status, body=b'{"code":"bad_thing","message":"no such source"}')
        outcomes = PROVIDER.outcomes(answer, [None] * 2)
        assert [type(outcome) for outcome in outcomes] == [expected] * 2, status
        assert "redirect" in outcomes[0].reason if status < 400 else "no such source" in outcomes[0].reason
        assert outcomes[0].code == status


@pytest.mark.parametrize("status", [429, 460, 503])
def test_a_time_that_the_server_names_is_waited_for(status):
    (outcome,) = PROVIDER.outcomes(Response(status=status, headers={"retry-after": "7"}), [None])
    assert outcome.after == 7.0


# Settings


def test_the_region_chooses_the_host():
    assert PROVIDER.base_url == "https://api.segment.io"
    assert Segment(write_key=KEY, region="eu").base_url == "https://eu1.api.segmentapis.com"
    assert Segment(write_key=KEY, region="eu", base_url=None).base_url == "https://eu1.api.segmentapis.com"
    assert Segment(write_key=KEY, region="us", base_url=None) == PROVIDER


def test_a_base_url_of_the_users_goes_before_the_region_and_keeps_its_path():
    provider = Segment(write_key=f" {KEY}\n", region="eu", base_url=" https://proxy.example/segment/ ")
    assert provider.write_key == KEY
    assert provider.request([part(TRACK)], NOW).url == "https://proxy.example/segment/v1/batch"


def test_a_configuration_can_name_the_region():
    settings = {"provider": "segment", "write_key": KEY, "region": "eu", "max_batch": 500}
    provider = load({"destinations": {"cdp": settings}}, environ={}).destinations["cdp"].provider
    assert provider == Segment(write_key=KEY, region="eu", max_batch=500)


@pytest.mark.parametrize("key", ["", "  \n", None, 7])
def test_a_missing_write_key_is_named(key):
    with pytest.raises(ConfigError, match="write_key"):
        Segment(write_key=key)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("auth", "bearer"),
        ("auth", None),
        ("region", "EU"),
        ("region", None),
        ("region", ["eu"]),
        ("gzip", "yes"),
        ("tenant_as_group_id", 1),
        ("max_batch", 0),
        ("max_batch", 2501),
        ("max_batch", "100"),
        ("id_scope", 7),
        ("id_scope", None),
    ],
)
def test_a_wrong_setting_is_named(setting, value):
    with pytest.raises(ConfigError, match=setting):
        Segment(write_key=KEY, **{setting: value})
