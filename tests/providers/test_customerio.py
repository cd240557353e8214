"""Customer.io: the recorded requests, operations and their verdicts, ids, and the two forms of settings."""

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from unitrack.batching import batches
from unitrack.config import load
from unitrack.errors import ConfigError, Unsupported
from unitrack.message import Alias, Group, Identify, Page, Screen, Track
from unitrack.phone import Phone
from unitrack.providers.customerio import MAX_BYTES, CustomerIO
from unitrack.testing import ProviderConformance
from unitrack.testing.transports import reply
from unitrack.wire import Delivered, Hold, Rejected, Response, Retry, omitted, refusal

from .vectors import NOW, cases, checked, differences

SITE, KEY = "site-of-the-shop", "track-key-canary-0123"
SOURCE_KEY, EU_KEY = "source-key-canary-0123", "sk_eu_canary-0123456789"
TRACK = CustomerIO(site_id=SITE, api_key=KEY)
CDP = CustomerIO(api="cdp", api_key=SOURCE_KEY)
PART = TRACK.encode(checked(Track(user_id="u", event="E"), "customerio"))
#: The id of what happened at NOW, under the message id of these tests.
ULID = "01HQT62GCRVE05BR7061YNM0BB"


def customerio(config, base_url):
    return CustomerIO(**{k: v for k, v in config.items() if k != "base_url_suffix"}, base_url=base_url)


def complete(message):
    match message:
        case Identify(user_id=None):
            return evolve(message, user_id="u")
        case Page(name=None) | Screen(name=None):
            return evolve(message, name="Home")
    return message


def said(message, provider=TRACK):
    return json.loads(provider.encode(checked(message, "customerio")).body)


def unsupported(message, provider=TRACK):
    with pytest.raises(Unsupported) as caught:
        provider.encode(checked(message, "customerio"))
    return str(caught.value)


def verdicts(status, body=b"", count=3, provider=TRACK):
    answer = Response(status=status, body=body) if isinstance(body, bytes) else reply(status, body)
    return list(provider.outcomes(answer, [PART] * count))


@pytest.mark.parametrize("case", cases("customerio"))
def test_sends_what_the_vendor_expects(case, tmp_path):
    assert differences("customerio", case, customerio, tmp_path) == []


class TestTrack(ProviderConformance):
    provider = CustomerIO(site_id=SITE, api_key=KEY, region="eu", id_type="email", object_type_id="2")
    secrets = (KEY,)
    success = reply(207, {"errors": []})

    def messages(self):
        # An identify of an anonymous id alone has no operation, nor has a view without a name; see below.
        return super().messages().map(complete)


# With an older key only the header is another one; see the vectors and below.
class TestPipelines(ProviderConformance):
    provider = CustomerIO(api="cdp", api_key=EU_KEY, gzip=True)
    secrets = (EU_KEY,)


# Ids


def test_the_same_key_at_the_same_time_is_the_same_event_whatever_the_message_id_is():
    when = datetime(2024, 2, 29, 10, 20, 30, 123456, UTC)
    sent = [
        said(Track(user_id="u", event="E", idempotency_key="order-7", message_id=own, timestamp=at))["id"]
        for own, at in (("m-1", when), ("m-2", when), ("m-2", when + timedelta(milliseconds=1)))
    ]
    assert sent[:2] == ["01HQT62FHBVY6FG0H7XGS3F4HD"] * 2
    assert sent[2][:10] != sent[0][:10]
    assert sent[2][10:] == sent[0][10:]


@pytest.mark.parametrize("member", ["message_id", "idempotency_key"])
def test_a_ulid_of_the_callers_is_the_id(member):
    own = "01HQT0QYJF9Q3N0V5W9XKZ4T2B"
    assert said(Track(user_id="u", event="E", **{member: own}))["id"] == own


@pytest.mark.parametrize(
    "key",
    [
        "01hqt0qyjf9q3n0v5w9xkz4t2b",
        "81HQT0QYJF9Q3N0V5W9XKZ4T2B",
        "01HQT0QYJF9Q3N0V5W9XKZ4T2I",
        "01HQT0QYJF9Q3N0V5W9XKZ4T2",
    ],
)
def test_what_only_looks_like_a_ulid_is_made_one(key):
    sent = said(Track(user_id="u", event="E", idempotency_key=key))["id"]
    assert sent != key
    assert sent[:10] == ULID[:10]


@pytest.mark.parametrize(
    ("when", "seconds", "start"),
    [
        (datetime(1969, 12, 31, 23, 59, 59, 1000, UTC), -1, "0000000000"),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), 253402300799, "76EZ91ZPZZ"),
        (datetime(2024, 2, 29, 15, 50, 30, 999999, timezone(timedelta(hours=5, minutes=30))), 1709202030, "01HQT62GCQ"),
    ],
)
def test_times_are_whole_seconds_cut_and_milliseconds_in_the_id(when, seconds, start):
    sent = said(Track(user_id="u", event="E", timestamp=when))
    assert sent["timestamp"] == seconds
    assert sent["id"][:10] == start


def test_pages_and_screens_are_told_by_an_id_and_the_others_have_none():
    assert said(Page(user_id="u", name="P"))["id"] == said(Screen(user_id="u", name="S"))["id"] == ULID
    for message in (Identify(user_id="u"), Group(user_id="u", group_id="g"), Alias(user_id="u", previous_id="v")):
        assert "id" not in said(message)


# Operations


@pytest.mark.parametrize("id_type", ["id", "email", "cio_id"])
def test_a_user_id_is_what_the_setting_says_wherever_it_stands(id_type):
    provider = evolve(TRACK, id_type=id_type)
    who = {id_type: "ada@example.com"}
    ada = {"user_id": "ada@example.com"}
    assert said(Identify(**ada), provider)["identifiers"] == who
    assert said(Track(**ada, event="E", anonymous_id="a"), provider)["identifiers"] == who
    assert said(Group(**ada, group_id="g"), provider)["cio_relationships"] == [{"identifiers": who}]
    merge = said(Alias(**ada, previous_id="v"), provider)
    assert (merge["primary"], merge["secondary"]) == (who, {id_type: "v"})


@pytest.mark.parametrize(
    "message",
    [Track(anonymous_id="a", event="E"), Page(anonymous_id="a", name="P"), Screen(anonymous_id="a", name="S")],
)
def test_an_unknown_person_has_events(message):
    assert said(message)["identifiers"] == {"anonymous_id": "a"}


def test_what_the_caller_calls_phone_anonymous_id_name_and_category_stays():
    traits = {"phone": "own", "anonymous_id": "own"}
    assert said(Identify(user_id="u", traits=traits, phone="+919999999999", anonymous_id="a"))["attributes"] == traits
    own = {"name": "own", "category": "own"}
    assert said(Page(user_id="u", name="P", category="C", properties=own))["attributes"] == own
    assert said(Screen(user_id="u", name="S", category="C", properties=own))["attributes"] == own


def test_a_phone_without_its_country_code_is_refused_unless_a_trait_has_one():
    bare = Phone("9999999999")
    assert "country code" in unsupported(Identify(user_id="u", phone=bare))
    assert said(Identify(user_id="u", phone=bare, traits={"phone": None}))["attributes"] == {"phone": None}


@pytest.mark.parametrize(
    ("properties", "name", "sent"),
    [
        ({"url": "https://x.example/"}, "Python", "https://x.example/"),
        ({"url": "https://x.example/"}, None, "https://x.example/"),
        ({"url": " "}, "Python", "Python"),
        ({"url": 7}, "Python", "Python"),
        ({}, "Python", "Python"),
    ],
)
def test_a_page_is_named_by_its_url_else_by_its_name(properties, name, sent):
    assert said(Page(user_id="u", name=name, properties=properties))["name"] == sent


@pytest.mark.parametrize("name", [None, "", "  "])
def test_pages_and_screens_without_a_name_are_refused(name):
    assert "CustomerIO names a page by properties.url" in unsupported(Page(user_id="u", name=name))
    assert unsupported(Screen(user_id="u", name=name)) == "CustomerIO needs the name of a screen"


def test_a_long_name_is_left_to_the_vendor_who_trims_it():
    assert said(Track(user_id="u", event="x" * 200))["name"] == "x" * 200


def test_a_group_of_an_unknown_person_and_a_group_of_nobody():
    unknown = said(Group(anonymous_id="a", group_id="g"))
    assert unknown["action"] == "identify_anonymous"
    assert unknown["cio_relationships"] == [{"identifiers": {"anonymous_id": "a"}}]
    alone = checked(Group(group_id="g", traits={"n": 1}, options={"customerio": {"object_type_id": 3}}), "customerio")
    assert refusal(TRACK, alone) is None
    assert json.loads(TRACK.encode(alone).body) == {
        "type": "object",
        "identifiers": {"object_type_id": "3", "object_id": "g"},
        "action": "identify",
        "attributes": {"n": 1},
    }


@pytest.mark.parametrize(("given", "sent"), [("2", "2"), (2, "2"), (0, "0"), (None, "9")])
def test_the_type_of_an_object_is_that_of_the_options_else_of_the_setting(given, sent):
    message = Group(user_id="u", group_id="g", options={"customerio": {"object_type_id": given}})
    assert said(message, evolve(TRACK, object_type_id="9"))["identifiers"]["object_type_id"] == sent


@pytest.mark.parametrize("given", ["", " ", True, 1.5, ["1"]])
def test_a_type_that_is_none_is_refused(given):
    message = Group(user_id="u", group_id="g", options={"customerio": {"object_type_id": given}})
    assert "options.object_type_id" in unsupported(message)


@pytest.mark.parametrize("make", [lambda i: Track(user_id=i, event="E"), lambda i: Alias(user_id="u", previous_id=i)])
def test_an_id_has_at_most_150_bytes(make):
    assert said(make("é" * 75))
    assert "150 bytes" in unsupported(make("é" * 75 + "x"))


def test_numbers_are_sent_exactly_beside_a_member_of_ours():
    part = TRACK.encode(checked(Identify(user_id="u", anonymous_id="a", traits={"n": 2**63, "x": "anonymous_id"}), ""))
    assert b'"n":9223372036854775808' in part.body


@pytest.mark.parametrize(
    ("message", "left_out"),
    [
        (Track(user_id="u", event="E", phone="+919999999999", idempotency_key="k"), ("phone",)),
        (Track(anonymous_id="a", event="E", context={"n": 1}, integrations={"n": 1}), ("context", "integrations")),
        (Identify(user_id="u", anonymous_id="a", phone="+919999999999", tenant_id="t"), ("tenant_id",)),
        (Identify(user_id="u", idempotency_key="k"), ("idempotency_key",)),
        (Alias(user_id="u", previous_id="v", anonymous_id="a"), ("anonymous_id",)),
        (Group(user_id="u", group_id="g", options={"": {"object_type_id": "2", "role": "x"}}), ("options.role",)),
    ],
)  # fmt: skip
def test_what_has_no_place_is_counted(message, left_out):
    assert omitted(TRACK.capabilities, checked(message, "")) == left_out


def test_nobody_has_events():
    assert unsupported(Track(phone="+919999999999", event="E")) == "CustomerIO needs user_id or anonymous_id"
    options = {"customerio": {"object_type_id": "2"}}
    for provider in (TRACK, CDP):
        assert "needs user_id" in unsupported(Track(event="E", options=options), provider)
    assert "needs user_id" in unsupported(Group(group_id="g", options=options), CDP)


# Pipelines


def test_pipelines_know_an_anonymous_id_in_every_call_and_the_key_is_in_the_header():
    sent = said(Identify(anonymous_id="a", traits={"n": 1}, idempotency_key="k"), CDP)
    assert (sent["type"], sent["anonymousId"], sent["messageId"], sent["traits"]) == ("identify", "a", "k", {"n": 1})
    request = CDP.request([CDP.encode(checked(Track(user_id="u", event="E"), ""))], NOW)
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(f"{SOURCE_KEY}:".encode()).decode()
    assert json.loads(request.body).keys() == {"batch", "sentAt"}


def test_only_the_track_api_confirms():
    assert TRACK.capabilities.confirms
    assert not CDP.capabilities.confirms


def test_gzip_says_the_same_in_fewer_bytes():
    parts = [CDP.encode(checked(Track(user_id="u", event="E"), ""))] * 50
    packed, plain = (evolve(CDP, gzip=how).request(parts, NOW) for how in (True, False))
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 3


# Limits


@pytest.mark.parametrize("provider", [TRACK, CDP])
def test_the_declared_envelope_is_exact(provider):
    part = provider.encode(checked(Track(user_id="u", event="E"), ""))
    body = provider.request([part, part, part], NOW).body
    assert len(body) == provider.capabilities.envelope_bytes + 3 * len(part.body) + 2


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 400) | st.integers(31_000, 32_500), min_size=1, max_size=60))
def test_requests_stay_below_the_limits_and_keep_every_operation_once_in_order(sizes):
    parts = [
        TRACK.encode(checked(Track(user_id="u", event="E", properties={"i": i, "pad": "x" * size}), ""))
        for i, size in enumerate(sizes)
    ]
    requests = [TRACK.request(batch, NOW) for batch in batches(parts, TRACK.capabilities)]
    sent = [item["attributes"]["i"] for request in requests for item in json.loads(request.body)["batch"]]
    assert sent == list(range(len(sizes)))
    assert all(len(request.body) <= MAX_BYTES for request in requests)


# Answers


@pytest.mark.parametrize(("status", "body"), [(200, {}), (200, b""), (200, b"OK"), (204, b""), (207, {"errors": []})])
def test_an_answer_without_errors_delivers(status, body):
    assert verdicts(status, body) == [Delivered()] * 3


def test_a_207_refuses_what_it_lists_and_delivers_the_others():
    errors = [
        {"batch_index": 1, "reason": "required", "field": "name", "message": "name is required"},
        {"batch_index": 1, "reason": "invalid", "field": "id"},
    ]
    assert verdicts(207, {"errors": errors}) == [
        Delivered(),
        Rejected("207: name: name is required; id: invalid", 207, own=True),
        Delivered(),
    ]


@pytest.mark.parametrize("status", [200, 207])
@pytest.mark.parametrize("index", [None, "1", True, 1.0, -1, 3])
def test_an_error_that_names_nobody_is_for_the_batch_to_be_halved(status, index):
    errors = [{"batch_index": 0, "message": "bad"}, {"batch_index": index, "field": "name", "message": "worse"}]
    found = verdicts(status, {"errors": errors})
    assert found == [Rejected(f"{status}: bad; name: worse", status)] * 3
    # One and the same: by that the delivery sees that it is for all.
    assert not found[0].own
    assert all(outcome is found[0] for outcome in found)


@pytest.mark.parametrize("body", [b"", b"{", {"errors": {"name": ["bad"]}}, [1]])
def test_a_207_that_cannot_be_read_is_halved_too(body):
    found = verdicts(207, body)
    assert all(outcome is found[0] and isinstance(outcome, Rejected) for outcome in found)
    [alone] = verdicts(207, body, count=1)
    assert isinstance(alone, Delivered)
    assert alone.warnings[0].startswith("207 without a verdict that can be read: 207")


def test_a_400_is_for_all_and_says_what_is_wrong():
    errors = [{"reason": "invalid", "field": "timestamp", "message": "must be\nUNIX seconds"}, 7, {"field": 8}]
    assert verdicts(400, {"errors": errors}, count=1) == [Rejected("400: timestamp: must be UNIX seconds", 400)]
    assert verdicts(413, {"errors": errors}) == [Rejected("413: timestamp: must be UNIX seconds", 413)] * 3
    assert verdicts(400, {"errors": [8]}) == [Rejected('400: {"errors":[8]}', 400)] * 3
    assert verdicts(400, {"meta": {"error": "no"}}) == [Rejected('400: {"meta":{"error":"no"}}', 400)] * 3


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_credential_or_region_holds_and_says_where_to_look(status):
    (found,) = verdicts(status, {"errors": [{"batch_index": 0, "message": "no"}]}, count=1)
    assert isinstance(found, Hold)
    assert "no" in found.reason
    assert found.reason.endswith("check site_id, api_key and region")


def test_errors_beside_a_fault_of_the_service_refuse_nothing():
    assert [type(o) for o in verdicts(503, {"errors": [{"batch_index": 0, "message": "no"}]})] == [Retry] * 3
    assert [type(o) for o in verdicts(302, {"errors": [{"batch_index": 0, "message": "no"}]})] == [Hold] * 3


def test_pipelines_give_one_verdict_for_all():
    assert verdicts(200, {"errors": [{"batch_index": 0, "message": "no"}]}, provider=CDP) == [Delivered()] * 3
    found = verdicts(400, {"code": "invalid_request", "message": "no batch"}, provider=CDP)
    assert [type(outcome) for outcome in found] == [Rejected] * 3
    assert "no batch" in found[0].reason


def test_reasons_are_short_however_much_the_answer_says():
    body = {"errors": [{"batch_index": 0, "field": "f", "message": "x" * 100}] * 1000}
    (found,) = TRACK.outcomes(Response(status=207, body=json.dumps(body).encode()), [PART])
    assert isinstance(found, Rejected)
    assert len(found.reason) < 600


# Settings


@pytest.mark.parametrize(
    ("chosen", "host"),
    [
        ({"site_id": SITE}, "https://track.customer.io"),
        ({"site_id": SITE, "region": "us"}, "https://track.customer.io"),
        ({"site_id": SITE, "region": "eu"}, "https://track-eu.customer.io"),
        ({"api": "cdp"}, "https://cdp.customer.io"),
        ({"api": "cdp", "region": "eu"}, "https://cdp-eu.customer.io"),
    ],
)
@pytest.mark.parametrize("nothing", [{}, {"base_url": None}, {"base_url": ""}])
def test_api_and_region_choose_the_host(chosen, host, nothing):
    provider = CustomerIO(api_key=KEY, **chosen, **nothing)
    assert provider.base_url == evolve(provider).base_url == host


@pytest.mark.parametrize("key", ["pk_us_1", "sk_us_1", "pk_eu_1", "sk_eu_1"])
def test_a_region_key_chooses_bearer_and_the_region(key):
    region = key[3:5]
    provider = CustomerIO(api="cdp", api_key=key)
    assert provider == CustomerIO(api="cdp", api_key=key, base_url=provider.base_url)
    assert provider.base_url == CustomerIO(api="cdp", api_key=key, region=region).base_url
    assert provider.base_url == {"us": "https://cdp.customer.io", "eu": "https://cdp-eu.customer.io"}[region]
    assert provider.request([PART], NOW).headers["Authorization"] == f"Bearer {key}"
    other = {"us": "eu", "eu": "us"}[region]
    with pytest.raises(ConfigError, match=f"^region must be '{region}', as the api_key says, not '{other}'"):
        CustomerIO(api="cdp", api_key=key, region=other)


@pytest.mark.parametrize("key", ["pk_in_1", "sk_us", "PK_US_1", "xpk_us_1"])
def test_other_keys_of_pipelines_are_basic(key):
    provider = CustomerIO(api="cdp", api_key=key)
    assert provider.request([PART], NOW).headers["Authorization"].startswith("Basic ")
    assert provider.base_url == "https://cdp.customer.io"


def test_what_a_key_looks_like_means_nothing_to_the_track_api():
    provider = CustomerIO(site_id=SITE, api_key="sk_eu_1")
    assert provider.base_url == "https://track.customer.io"
    credentials = base64.b64encode(f"{SITE}:sk_eu_1".encode()).decode()
    assert provider.request([PART], NOW).headers["Authorization"] == f"Basic {credentials}"


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"site_id": SITE, "api_key": " \n"}, "^api_key is missing"),
        ({"site_id": SITE, "api_key": 7}, "^api_key is missing"),
        ({"api_key": KEY}, '^site_id is missing.*set api="cdp"'),
        ({"api_key": KEY, "site_id": " "}, "^site_id is missing"),
        ({"api_key": KEY, "site_id": 7}, "^site_id is missing"),
        ({"api_key": KEY, "site_id": f"{SITE}:{KEY}"}, "^site_id is missing, or is no site id"),
        ({"api_key": KEY, "site_id": SITE, "gzip": True}, '^gzip has no meaning with api="track"'),
        ({"api_key": KEY, "site_id": SITE, "object_type_id": ""}, "^object_type_id must be text"),
        ({"api_key": KEY, "site_id": SITE, "object_type_id": 1}, "^object_type_id must be text"),
        ({"api_key": KEY, "api": "cdp", "site_id": SITE}, '^site_id has no meaning with api="cdp"'),
        ({"api_key": KEY, "api": "cdp", "id_type": "email"}, "^id_type has no meaning"),
        ({"api_key": KEY, "api": "cdp", "object_type_id": "2"}, "^object_type_id has no meaning"),
        ({"api_key": "sk_us_ключ", "api": "cdp"}, "^api_key must be text that fits into a header"),
        ({"api_key": "sk_us_a\nb", "api": "cdp"}, "^api_key must be text that fits into a header"),
        ({"api_key": KEY, "api": "v1"}, "^api must be one of"),
        ({"api_key": KEY, "site_id": SITE, "region": "in"}, "^region must be one of"),
        ({"api_key": KEY, "site_id": SITE, "id_type": "phone"}, "^id_type must be one of"),
        ({"api_key": KEY, "api": "cdp", "gzip": 1}, "^gzip must be true or false"),
    ],
)
def test_a_wrong_setting_is_named(chosen, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        CustomerIO(**chosen)
    assert KEY not in str(caught.value)


def test_blanks_and_slashes_around_settings_are_dropped_and_a_path_is_kept():
    provider = CustomerIO(site_id=f" {SITE}\n", api_key=f" {KEY}\n", base_url=" https://proxy.example/cio/ ")
    assert provider.request([PART], NOW).url == "https://proxy.example/cio/api/v2/batch"
    assert provider.request([PART], NOW).headers == TRACK.request([PART], NOW).headers


def test_a_configuration_can_hold_every_setting():
    found = load(
        {
            "destinations": {
                "mail": {"provider": "customerio", "site_id": SITE, "api_key": {"env": "K"}, "region": "eu"}
                | {"id_type": "email", "object_type_id": "2", "base_url": "https://proxy.example"},
                "cdp": {"provider": "customerio", "api": "cdp", "api_key": {"env": "K"}, "gzip": True},
            }
        },
        environ={"K": KEY},
    )
    hosts = {name: destination.provider.base_url for name, destination in found.destinations.items()}
    assert hosts == {"mail": "https://proxy.example", "cdp": "https://cdp.customer.io"}
