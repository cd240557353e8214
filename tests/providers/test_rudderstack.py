"""RudderStack: the recorded requests, what unitrack relies on, and what is special here."""

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from attrs import evolve

from unitrack import Client
from unitrack.batching import batches
from unitrack.config import load
from unitrack.errors import ConfigError
from unitrack.forms import scoped
from unitrack.message import Alias, Group, Identify, Page, Screen, Track
from unitrack.providers.rudderstack import MAX_BATCH_BYTES, RudderStack
from unitrack.snapshot import snapshot
from unitrack.testing import body_of, recording
from unitrack.testing.conformance import ProviderConformance
from unitrack.wire import Delivered, Hold, Part, Rejected, Response, Retry, omitted

from .vectors import cases, differences

KEY = "wk-canary-0123456789"
URL = "https://shop.dataplane.example"
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
PROVIDER = RudderStack(write_key=KEY, data_plane_url=URL)


def rudderstack(config, base_url):
    return RudderStack(write_key=config["write_key"], data_plane_url=base_url, gzip=config.get("gzip", False))


def checked(message):
    return snapshot(message, lambda: "made-by-unitrack", lambda: NOW)[0]


def part(message, provider=PROVIDER):
    return provider.encode(checked(message))


def encoded(message, provider=PROVIDER):
    return json.loads(part(message, provider).body)


TRACK = Track(user_id="u", event="E", message_id="m-1")


@pytest.mark.parametrize("case", cases("rudderstack"))
def test_sends_what_the_vendor_expects(case, tmp_path):
    assert differences("rudderstack", case, rudderstack, tmp_path) == []


class TestAsItComes(ProviderConformance):
    provider = PROVIDER
    secrets = (KEY,)


class TestPlainWithTenantAndTheLimitOfTheDocs(ProviderConformance):
    provider = RudderStack(
        write_key=KEY, data_plane_url=f"{URL}/rudder/", gzip=False, tenant_as_group_id=True, max_message_bytes=32_768
    )
    secrets = (KEY,)


# Messages


@pytest.mark.parametrize(
    ("message", "own"),
    [
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


@pytest.mark.parametrize(
    ("traits", "there", "together"),
    [
        ({"plan": "pro"}, None, {"plan": "pro"}),
        ({}, None, {}),
        ({"plan": "pro"}, {"plan": "free", "age": 7}, {"plan": "pro", "age": 7}),
        ({}, {"plan": "free"}, {"plan": "free"}),
        ({"plan": "pro"}, ["no object"], {"plan": "pro"}),
    ],
)
def test_the_traits_of_identify_are_merged_into_the_context_and_win(traits, there, together):
    context = {"ip": "::1"} | ({} if there is None else {"traits": there})
    before = json.dumps(context)
    sent = encoded(Identify(user_id="u", traits=traits, context=context))
    assert sent["context"] == {"ip": "::1", "traits": together, "library": sent["context"]["library"]}
    assert "traits" not in sent
    assert json.dumps(context) == before


def test_merged_traits_keep_every_digit():
    digits = "0.12345678901234567890123"
    message = Identify(user_id="u", traits={"a": Decimal(digits)}, context={"traits": {"b": Decimal(digits)}})
    assert part(message).body.count(digits.encode()) == 2


def test_context_traits_of_other_calls_pass_through():
    assert encoded(evolve(TRACK, context={"traits": {"a": 1}}))["context"]["traits"] == {"a": 1}


def test_a_tenant_goes_into_the_context_only_on_request():
    message = checked(Identify(user_id="u", tenant_id="acme", traits={"a": 1}, context={"groupId": "other"}))
    assert json.loads(PROVIDER.encode(message).body)["context"]["groupId"] == "other"
    assert omitted(PROVIDER.capabilities, message) == ("tenant_id",)
    asking = evolve(PROVIDER, tenant_as_group_id=True)
    context = json.loads(asking.encode(message).body)["context"]
    assert (context["groupId"], context["traits"]) == ("acme", {"a": 1})
    assert omitted(asking.capabilities, message) == ()


def test_a_scope_of_the_users_is_kept():
    mine = evolve(PROVIDER, id_scope="mine")
    with recording({"a": mine, "b": PROVIDER}) as client:
        client.send([TRACK])
        assert client.recorder.bodies("a")[0]["batch"][0]["messageId"] == scoped("m-1", "mine")


# Requests


def test_the_key_is_in_the_header_and_not_in_the_body():
    request = PROVIDER.request([part(TRACK)], NOW)
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
    assert body_of(request).keys() == {"batch", "sentAt"}


def test_a_key_that_is_not_ascii_is_encoded_as_utf_8():
    headers = evolve(PROVIDER, write_key="schlüssel").request([part(TRACK)], NOW).headers
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == "schlüssel:".encode()


def test_bodies_are_compressed_unless_they_are_not_to_be():
    plain = evolve(PROVIDER, gzip=False).request([part(TRACK)] * 50, NOW)
    packed = PROVIDER.request([part(TRACK)] * 50, NOW)
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert packed == PROVIDER.request([part(TRACK)] * 50, NOW)


def test_every_attempt_has_its_own_sent_at_and_the_same_messages():
    first, second = (body_of(PROVIDER.request([part(TRACK)], now)) for now in (NOW, NOW + timedelta(seconds=90)))
    assert (first["sentAt"], second["sentAt"]) == ("2026-01-15T12:00:00.000Z", "2026-01-15T12:01:30.000Z")
    assert first["batch"] == second["batch"]


def test_the_declared_envelope_is_exact():
    one = part(TRACK)
    body = evolve(PROVIDER, gzip=False).request([one, one, one], NOW).body
    assert len(body) == PROVIDER.capabilities.envelope_bytes + 3 * len(one.body) + 2


def test_no_body_passes_the_limit_which_the_vendors_client_oversteps():
    large = part(Track(user_id="u", event="E", properties={"pad": "x" * 900_000}))
    plain = evolve(PROVIDER, gzip=False)
    sizes = [len(plain.request(batch, NOW).body) for batch in batches([large] * 10, PROVIDER.capabilities)]
    assert len(sizes) == 3
    assert max(sizes) <= MAX_BATCH_BYTES


def test_the_largest_message_fills_a_body_to_its_last_byte():
    least = len(part(Track(user_id="u", event="E", properties={"pad": ""})).body)
    most = PROVIDER.capabilities.message_bytes
    largest = part(Track(user_id="u", event="E", properties={"pad": "x" * (most - least)}))
    assert len(evolve(PROVIDER, gzip=False).request([largest], NOW).body) == MAX_BATCH_BYTES


def test_a_message_over_the_limit_that_was_set_is_too_large():
    with recording({"cdp": evolve(PROVIDER, max_message_bytes=32_768)}) as client:
        client.send([Track(user_id="u", event="E", properties={"pad": "x" * 33_000}), TRACK])
        ledger = client.stats()["cdp"]
        assert (ledger.delivered, ledger.dead) == (1, {"too_large": 1})


@pytest.mark.parametrize("most", [1, 100, 2500])
def test_a_batch_holds_as_many_messages_as_the_setting_says(most):
    small = Part(path="/v1/batch", body=b"{}")
    capabilities = evolve(PROVIDER, max_batch=most).capabilities
    assert [len(batch) for batch in batches([small] * (most + 1), capabilities)] == [most, 1]


# Answers


@pytest.mark.parametrize(("status", "body"), [(200, b"OK"), (202, b""), (204, b""), (200, b'{"success":false}')])
def test_every_2xx_delivers(status, body):
    assert PROVIDER.outcomes(Response(status=status, body=body), [None] * 3) == [Delivered()] * 3


def test_a_page_for_people_is_no_answer_of_the_service():
    assert isinstance(PROVIDER.outcomes(Response(status=200, body=b"<html>login"), [None])[0], Hold)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *[(status, Rejected) for status in (400, 413)],
        *[(status, Hold) for status in (302, 401, 403, 404)],
        *[(status, Retry) for status in (429, 500, 502, 503, 504)],
    ],
)
def test_a_failure_is_for_the_whole_batch_and_says_what_the_vendor_said(status, expected):
    outcomes = PROVIDER.outcomes(
        Response(status=status, body=b"request neither has anonymousId nor userId"), [None] * 2
    )
    assert [type(outcome) for outcome in outcomes] == [expected] * 2
    assert ("redirect" if status == 302 else "neither has") in outcomes[0].reason
    assert outcomes[0].code == status


def test_a_time_that_the_server_names_is_waited_for():
    (outcome,) = PROVIDER.outcomes(Response(status=429, headers={"retry-after": "7"}), [None])
    assert outcome.after == 7.0


# Settings


def test_the_data_plane_url_is_the_base_url_and_keeps_its_path():
    provider = RudderStack(write_key=f" {KEY}\n", data_plane_url=f" {URL}/rudder/ ")
    assert provider.write_key == KEY
    assert provider.base_url == f"{URL}/rudder"
    assert provider.request([part(TRACK)], NOW).url == f"{URL}/rudder/v1/batch"


def test_there_is_no_default_data_plane():
    with pytest.raises(TypeError, match="data_plane_url"):
        RudderStack(write_key=KEY)
    with pytest.raises(ConfigError, match=r"destinations\.cdp\.data_plane_url is missing"):
        load({"destinations": {"cdp": {"provider": "rudderstack", "write_key": KEY}}}, environ={})


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "data_plane_url is empty"),
        (None, "data_plane_url must be text"),
        ("shop.dataplane.example", "data_plane_url has no scheme"),
        (f"{URL}?a=1", "data_plane_url must end before"),
        ("https://ada:canary@shop.example", "data_plane_url must not hold a user or password"),
    ],
)
def test_a_wrong_data_plane_url_is_called_by_the_name_that_the_user_knows(url, sentence):
    with pytest.raises(ConfigError, match=sentence) as raised:
        RudderStack(write_key=KEY, data_plane_url=url)
    assert "base_url" not in str(raised.value)
    assert "canary" not in str(raised.value)


def test_plain_http_is_for_this_machine_only():
    RudderStack(write_key=KEY, data_plane_url="http://127.0.0.1:8080")
    with pytest.raises(ConfigError, match="https"):
        Client({"cdp": RudderStack(write_key=KEY, data_plane_url="http://shop.example")})


@pytest.mark.parametrize("key", ["", "  \n", None, 7])
def test_a_missing_write_key_is_named(key):
    with pytest.raises(ConfigError, match="write_key"):
        RudderStack(write_key=key, data_plane_url=URL)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("gzip", "yes"),
        ("tenant_as_group_id", 1),
        ("max_batch", 0),
        ("max_message_bytes", 0),
        ("max_message_bytes", MAX_BATCH_BYTES + 1),
        ("id_scope", 7),
    ],
)
def test_a_wrong_setting_is_named(setting, value):
    with pytest.raises(ConfigError, match=setting):
        RudderStack(write_key=KEY, data_plane_url=URL, **{setting: value})
