"""Mixpanel: the recorded requests, what unitrack relies on, and what is special here."""

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from unitrack.attachment import Attachment
from unitrack.batching import batches
from unitrack.config import load
from unitrack.errors import ConfigError, Unsupported
from unitrack.message import Alias, Group, Identify, Page, Screen, Track
from unitrack.providers._mixpanel_members import NOBODY
from unitrack.providers.mixpanel import MAX_BATCH, Mixpanel
from unitrack.snapshot import snapshot
from unitrack.testing.conformance import ProviderConformance
from unitrack.wire import Delivered, Hold, Rejected, Response, Retry, omitted, refusal

from .vectors import cases, differences

TOKEN = "token-canary-0123456789"
ACCOUNT = {"username": "svc-canary-0123", "secret": "secret-canary-0123456789"}
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
ID = "11111111-2222-4333-8444-555555555555"
PROVIDER = Mixpanel(token=TOKEN)
ORIGINAL = Mixpanel(token=TOKEN, id_merge="original")
SERVICE = Mixpanel(token=TOKEN, service_account=ACCOUNT, project_id="4242")


def mixpanel(config, base_url):
    names = ("token", "endpoint", "id_merge", "group_key", "page_event", "project_id", "service_account")
    return Mixpanel(base_url=base_url, **{name: config[name] for name in names if name in config})


def checked(message):
    sound = snapshot(message, lambda: ID, lambda: NOW)[0]
    return evolve(sound, options=sound.options.get("here", {}))


def encoded(message, provider=PROVIDER):
    return json.loads(provider.encode(checked(message)).body)


def properties(provider=PROVIDER, **members):
    return encoded(Track(**{"user_id": "u", "event": "E"} | members), provider)["properties"]


def parts(*ids, provider=PROVIDER):
    return [provider.encode(checked(Track(user_id="u", event="E", message_id=one))) for one in ids]


def query(part):
    return {name: values[0] for name, values in parse_qs(urlsplit(part.path).query).items()}


def is_of_somebody(message):
    ids = (message.user_id, message.anonymous_id, getattr(message, "previous_id", None))
    return not any(given.lower() in NOBODY for given in ids if given)


# What has no place is left out and told, not refused: see below.
CASES = [case for case in cases("mixpanel") if case.id != "attachments-refused"]


@pytest.mark.parametrize("case", CASES)
def test_sends_what_the_vendor_expects(case, tmp_path):
    assert differences("mixpanel", case, mixpanel, tmp_path) == []


class OfSomebody(ProviderConformance):
    """Mixpanel is choosier about ids than capabilities can say."""

    def messages(self):
        return super().messages().filter(is_of_somebody)


class TestServiceAccountAtImport(OfSomebody):
    provider = evolve(SERVICE, gzip=True, max_batch_bytes=10_000_000)
    secrets = (TOKEN, *ACCOUNT.values())
    success = Response(status=200, body=b'{"code":200,"num_records_imported":1,"status":"OK"}')


class TestTokenAtTrackAndOriginalMerge(OfSomebody):
    provider = Mixpanel(token=TOKEN, endpoint="track", id_merge="original", region="in")
    secrets = (TOKEN,)
    success = Response(status=200, body=b'{"status":1,"error":null}')


# Events


def test_an_import_is_strict_and_looks_at_nobodys_address():
    part = PROVIDER.encode(checked(Track(user_id="u", event="E")))
    assert (urlsplit(part.path).path, query(part)) == ("/import", {"strict": "1", "ip": "0"})


def test_the_callers_properties_never_win_over_who_when_and_which():
    given = {"token": "x", "distinct_id": "x", "time": 1, "$insert_id": "x", "mp_lib": "x", "plan": "pro"}
    sent = properties(properties=given)
    assert (sent["token"], sent["distinct_id"], sent["$insert_id"]) == (TOKEN, "u", ID)
    assert (sent["time"], sent["mp_lib"], sent["plan"]) == (1768478400000, "unitrack", "pro")
    assert given["distinct_id"] == "x"


def test_numbers_stay_exact_also_beside_a_name_of_ours():
    body = PROVIDER.encode(checked(Track(user_id="u", event="E", properties={"n": Decimal("0.10"), "time": 1}))).body
    assert b'"n":0.10,' in body


def test_the_time_is_in_milliseconds_whatever_the_zone():
    india = timezone(timedelta(hours=5, minutes=30))
    assert properties(timestamp=datetime(2024, 2, 29, 15, 50, 30, 123_999, india))["time"] == 1709202030123


def test_a_time_that_would_pass_for_seconds_is_sent_as_seconds():
    assert properties(timestamp="1972-01-01T00:00:00.250Z")["time"] == 63072000.25


@pytest.mark.parametrize(
    "message",
    [
        Track(user_id="u", event="E", timestamp="1970-12-31T23:59:59.999Z"),
        Identify(user_id="u", timestamp="1969-07-20T20:17:40Z"),
    ],
)
def test_a_time_before_1971_is_refused(message):
    with pytest.raises(Unsupported, match="Mixpanel takes times from 1971-01-01 on"):
        PROVIDER.encode(checked(message))


def test_the_first_time_is_taken():
    assert properties(timestamp="1971-01-01T00:00:00Z")["time"] == 31536000


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("2024-02-29T15:50:30+05:30", "2024-02-29T10:20:30+00:00"),
        ("2024-02-29T02:20:30.120-08:00", "2024-02-29T10:20:30.120000+00:00"),
        (datetime(2024, 2, 29, 15, 50, 30, tzinfo=timezone(timedelta(hours=5.5))), "2024-02-29T10:20:30+00:00"),
        *[
            (text, text)
            for text in (
                "2024-02-29T10:20:30Z",
                "2024-02-29T10:20:30.120+00:00",
                "2024-02-30T10:20:30+05:30",
                "0001-01-01T00:00:00+05:30",
                "at 2024-02-29T15:50:30+05:30",
                '"2024-02-29T15:50:30+05:30',
                '"2024-02-29T15:50:30+05:30"',
                "2024-02-29T15:50:30+05:30\\",
            )
        ],
    ],
)
def test_a_time_inside_is_moved_to_utc_because_its_offset_is_not_read(given, sent):
    properties = {"at": given, "list": [given, {"deep": given}], "2024-02-29T15:50:30+05:30": 1, "a,": given}
    whole = {"at": sent, "list": [sent, {"deep": sent}], "2024-02-29T15:50:30+05:30": 1, "a,": sent}
    event = encoded(Track(user_id="u", event="E", properties=properties))["properties"]
    assert whole.items() <= event.items()
    assert encoded(Identify(user_id="u", traits=properties))["$set"] == whole


def test_a_page_and_a_screen_are_events_with_a_set_name():
    provider = evolve(PROVIDER, page_event="Saw", screen_event="Opened")
    page = encoded(Page(user_id="u", name="Python", category="Docs", properties={"name": "own"}), provider)
    assert (page["event"], page["properties"]["name"], page["properties"]["category"]) == ("Saw", "own", "Docs")
    assert encoded(Screen(user_id="u", name="Cart"), provider)["event"] == "Opened"
    assert encoded(Screen(user_id="u", name="Cart"))["event"] == "Screen Viewed"
    assert "category" not in encoded(Screen(user_id="u", name="Cart"))["properties"]


def test_groups_are_properties_of_an_event_and_of_a_profile():
    groups = {"company": ["acme"], "distinct_id": "x"}
    event = properties(properties={"company": "own"}, options={"here": {"groups": groups}})
    assert (event["company"], event["distinct_id"]) == (["acme"], "u")
    profile = encoded(Identify(user_id="u", traits={"a": 1}, options={"here": {"groups": {"company": ["acme"]}}}))
    assert profile["$set"] == {"a": 1, "company": ["acme"]}


# Ids


def test_the_ids_under_simplified_merge():
    assert "$user_id" not in properties()
    alone = properties(user_id=None, anonymous_id="a")
    assert (alone["distinct_id"], alone["$device_id"], "$user_id" in alone) == ("$device:a", "a", False)
    both = properties(anonymous_id="a")
    assert (both["distinct_id"], both["$device_id"], both["$user_id"]) == ("u", "a", "u")
    assert encoded(Identify(anonymous_id="a"))["$distinct_id"] == "$device:a"
    assert encoded(Identify(user_id="u", anonymous_id="a"))["$distinct_id"] == "u"


def test_the_ids_under_original_merge():
    assert properties(ORIGINAL, user_id=None, anonymous_id="a")["distinct_id"] == "a"
    both = properties(ORIGINAL, anonymous_id="a")
    assert both["distinct_id"] == "u"
    assert not {"$device_id", "$user_id"} & both.keys()


def test_an_alias_goes_to_track_wherever_events_go():
    part = ORIGINAL.encode(checked(Alias(previous_id="a", user_id="u")))
    assert (urlsplit(part.path).path, query(part)) == ("/track", {"verbose": "1", "ip": "0"})
    ids = {"distinct_id": "a", "alias": "u", "token": TOKEN}
    assert json.loads(part.body) == {"event": "$create_alias", "properties": ids}


def test_an_alias_under_simplified_merge_is_refused_with_advice():
    message = checked(Alias(previous_id="a", user_id="u"))
    sentence = "Mixpanel's simplified ID merge has no alias; send an event with both ids"
    assert refusal(PROVIDER, message) == sentence
    assert refusal(ORIGINAL, message) is None
    with pytest.raises(Unsupported, match=sentence):
        PROVIDER.encode(message)


@pytest.mark.parametrize("nobody", [*sorted(NOBODY), "Anonymous", "NULL", 0])
def test_an_id_that_stands_for_nobody_is_refused(nobody):
    for message in (
        Track(user_id=nobody, event="E"),
        Track(anonymous_id=nobody, event="E"),
        Track(user_id="u", anonymous_id=nobody, event="E"),
        Identify(user_id=nobody),
        Alias(previous_id=nobody, user_id="u"),
        Alias(previous_id="a", user_id=nobody),
    ):
        with pytest.raises(Unsupported, match=r"Mixpanel takes no id like .* which stands for nobody"):
            ORIGINAL.encode(checked(message))


def test_a_message_without_an_id_is_refused():
    with pytest.raises(Unsupported, match="Mixpanel needs user_id or anonymous_id"):
        PROVIDER.encode(checked(Track(phone="+919999999999", event="E")))


@pytest.mark.parametrize("fit", ["m-2", ID, "a" * 36, "order-7"])
def test_an_id_that_fits_is_the_insert_id(fit):
    assert properties(message_id=fit)["$insert_id"] == fit


@pytest.mark.parametrize("odd", ["a" * 37, "order 7", "ä", "order_7", "order-7\n", "null", "0"])
def test_an_id_that_does_not_fit_becomes_one_that_does_and_stays_the_same(odd):
    sent = properties(message_id=odd)["$insert_id"]
    assert len(sent) == 36
    assert set(sent) <= set("0123456789abcdef-")
    assert sent == properties(message_id=odd)["$insert_id"] != properties(message_id=odd + "x")["$insert_id"]


def test_the_uuid_of_zeros_is_no_insert_id():
    zeros = "00000000-0000-0000-0000-000000000000"
    assert properties(message_id=zeros)["$insert_id"] not in (zeros, ID)


def test_a_key_is_the_insert_id_unless_the_caller_chose_an_id():
    assert properties(idempotency_key="order-7")["$insert_id"] == "order-7"
    assert properties(idempotency_key="order-7", message_id="m-1")["$insert_id"] == "m-1"


# Profiles and groups


def test_a_profile_is_set_at_the_time_of_the_message():
    part = PROVIDER.encode(checked(Identify(user_id="u", traits={"$email": "a@b.example", " x ": 1})))
    assert (urlsplit(part.path).path, query(part)) == ("/engage", {"verbose": "1", "ip": "0"})
    assert json.loads(part.body) == {
        "$token": TOKEN,
        "$distinct_id": "u",
        "$time": 1768478400.0,
        "$set": {"$email": "a@b.example", " x ": 1},
    }


@pytest.mark.parametrize(
    ("operation", "sent"),
    [
        *[(name, {"a": 1}) for name in ("$set", "$set_once", "$add", "$append", "$union", "$remove")],
        ("$unset", ["a"]),
        ("$delete", ""),
    ],
)
def test_another_operation_is_an_option(operation, sent):
    profile = encoded(Identify(user_id="u", traits={"a": 1}, options={"here": {"operation": operation}}))
    assert [name for name in profile if name in (operation, "$set")] == [operation]
    assert profile[operation] == sent


def test_a_group_has_its_key_and_takes_fewer_operations():
    options = {"here": {"operation": "$set_once", "groups": {"team": ["other"]}}}
    message = Group(user_id="u", group_id="acme", traits={"a": 1}, options=options)
    part = evolve(PROVIDER, group_key="team").encode(checked(message))
    assert urlsplit(part.path).path == "/groups"
    body = json.loads(part.body)
    assert (body["$group_key"], body["$group_id"], body["$set_once"]) == ("team", "acme", {"a": 1})
    assert not {"$distinct_id", "$set"} & body.keys()
    with pytest.raises(Unsupported, match=r"Mixpanel takes options\.operation on group as one of"):
        PROVIDER.encode(checked(Group(user_id="u", group_id="g", options={"here": {"operation": "$add"}})))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"operation": "$put"}, "Mixpanel takes options.operation on identify as one of"),
        ({"operation": ["$set"]}, "Mixpanel takes options.operation on identify as one of"),
        ({"groups": ["acme"]}, "Mixpanel takes options.groups as a table"),
        ({"meta": "$ip"}, "Mixpanel takes options.meta as a table"),
        ({"meta": {"$token": "x"}}, "Mixpanel takes \\$ip and \\$ignore_time as options.meta"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options, sentence):
    with pytest.raises(Unsupported, match=sentence):
        PROVIDER.encode(checked(Identify(user_id="u", options={"here": options})))


def test_what_has_no_place_is_left_out_and_told():
    message = checked(
        Track(
            user_id="u",
            event="E",
            phone="+919999999999",
            tenant_id="t-0",
            context={"ip": "203.0.113.9"},
            integrations={"All": False},
            attachments=[Attachment("https://shop.example/i.pdf")],
            idempotency_key="k",
            options={"here": {"groups": {}, "colour": 1}},
        )
    )
    left_out = ("phone", "context", "integrations", "tenant_id", "attachments", "options.colour")
    assert omitted(PROVIDER.capabilities, message) == left_out
    names = {"token", "distinct_id", "time", "$insert_id", "mp_lib", "$lib_version"}
    assert json.loads(PROVIDER.encode(message).body)["properties"].keys() == names


# Requests


def header(user, password=""):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_only_an_import_is_authorized_because_the_token_is_in_the_data():
    (event,) = parts("m-1")
    assert PROVIDER.request([event], NOW).headers["Authorization"] == header(TOKEN)
    track = Mixpanel(token=TOKEN, endpoint="track")
    (event,) = parts("m-1", provider=track)
    assert (urlsplit(event.path).path, query(event)) == ("/track", {"verbose": "1", "ip": "0"})
    for provider, message in (
        (track, Track(user_id="u", event="E")),
        (SERVICE, Identify(user_id="u")),
        (SERVICE, Group(user_id="u", group_id="g")),
        (ORIGINAL, Alias(user_id="u", previous_id="a")),
    ):
        request = provider.request([provider.encode(checked(message))], NOW)
        assert request.headers == {"Content-Type": "application/json"}
        assert TOKEN.encode() in request.body


def test_a_service_account_names_its_project():
    (event,) = parts("m-1", provider=SERVICE)
    assert query(event) == {"strict": "1", "ip": "0", "project_id": "4242"}
    assert SERVICE.request([event], NOW).headers["Authorization"] == header(*ACCOUNT.values())


def test_kinds_of_different_paths_do_not_share_a_request():
    messages = [
        Track(user_id="u", event="E"),
        Identify(user_id="u"),
        Group(user_id="u", group_id="g"),
        Page(user_id="u"),
    ]
    made = batches([PROVIDER.encode(checked(message)) for message in messages], PROVIDER.capabilities)
    assert [urlsplit(batch[0].path).path for batch in made] == ["/import", "/engage", "/groups", "/import"]


@pytest.mark.parametrize(
    ("message", "zipped"),
    [
        (Track(user_id="u", event="E"), True),
        (Alias(user_id="u", previous_id="a"), True),
        (Identify(user_id="u"), False),
        (Group(user_id="u", group_id="g"), False),
    ],
)
def test_gzip_is_for_events_only(message, zipped):
    provider = evolve(ORIGINAL, gzip=True)
    batch = [provider.encode(checked(message))] * 3
    request = provider.request(batch, NOW)
    assert ("Content-Encoding" in request.headers) is zipped
    plain = gzip.decompress(request.body) if zipped else request.body
    assert plain == ORIGINAL.request(batch, NOW).body


def test_2000_events_share_a_request():
    assert [len(batch) for batch in batches(parts("m") * 2001, PROVIDER.capabilities)] == [MAX_BATCH, 1]


@pytest.mark.parametrize(
    ("region", "host"),
    [("us", "api.mixpanel.com"), ("eu", "api-eu.mixpanel.com"), ("in", "api-in.mixpanel.com")],
)
def test_the_region_chooses_the_host_unless_there_is_an_address(region, host):
    for empty in ({}, {"base_url": None}, {"base_url": " "}):
        provider = Mixpanel(token=TOKEN, region=region, id_merge="original", **empty)
        assert provider.base_url == f"https://{host}"
        # The vendor's client sends an alias to the US whatever it was told.
        alias = provider.encode(checked(Alias(user_id="u", previous_id="a")))
        assert urlsplit(provider.request([alias], NOW).url).netloc == host
    own = Mixpanel(token=TOKEN, region=region, base_url=" https://proxy.example/mp/ ")
    assert own.request(parts("m-1"), NOW).url.startswith("https://proxy.example/mp/import?")


# Answers


def failed(*records, imported=None):
    answer = {"code": 400, "error": "some data points", "status": "Bad Request", "num_records_imported": imported}
    return Response(status=400, body=json.dumps({**answer, "failed_records": list(records)}).encode())


def record(index, insert_id, key="insert_id"):
    return {"index": index, key: insert_id, "field": "properties.time", "message": "is too old"}


BAD = Rejected("400: properties.time: is too old", 400, own=True)
GOOD = Delivered()


@pytest.mark.parametrize(
    ("records", "verdicts"),
    [
        ([record(1, "m-1")], [GOOD, BAD, GOOD]),
        ([record(1, "m-1", key="$insert_id")], [GOOD, BAD, GOOD]),
        ([record(2, "m-2"), record(0, "m-0")], [BAD, GOOD, BAD]),
        # The id is that of another event than the index.
        ([record(0, "m-2")], [GOOD, GOOD, BAD]),
        ([record(0, "m-2", key="$insert_id")], [GOOD, GOOD, BAD]),
        ([record(99, "m-1")], [GOOD, BAD, GOOD]),
        ([record("1", "m-1")], [GOOD, BAD, GOOD]),
        # The id is nobody's, or there is none.
        ([record(1, "other")], [GOOD, BAD, GOOD]),
        ([record(1, "")], [GOOD, BAD, GOOD]),
        ([record(1, None)], [GOOD, BAD, GOOD]),
        ([record(1, ["m-2"])], [GOOD, BAD, GOOD]),
        ([record(1, "m-1"), None, 7, record(True, ""), record(-1, "")], [GOOD, BAD, GOOD]),
    ],
)
def test_a_partial_refusal_names_its_events_and_delivers_the_others(records, verdicts):
    outcomes = PROVIDER.outcomes(failed(*records), parts("m-0", "m-1", "m-2"))
    assert outcomes == verdicts
    assert [getattr(outcome, "own", None) for outcome in outcomes] == [getattr(one, "own", None) for one in verdicts]


def test_an_answer_that_contradicts_itself_is_a_remark():
    found = PROVIDER.outcomes(failed(record(1, "m-2"), imported=0), parts("m-1", "m-2", "m-3"))
    remark = Delivered(("Mixpanel imported 0 of 3, and named 1 as refused",))
    assert found == [remark, BAD, remark]
    assert PROVIDER.outcomes(failed(record(1, "m-2"), imported=2), parts("m-1", "m-2", "m-3")) == [GOOD, BAD, GOOD]


def test_a_repeat_in_one_request_is_told_by_its_index():
    assert PROVIDER.outcomes(failed(record(2, "m-1")), parts("m-1", "m-2", "m-1")) == [GOOD, GOOD, BAD]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"field": "properties.time", "message": "too\nold"}, "400: properties.time: too old"),
        ({"message": "too old"}, "400: too old"),
        ({"field": 7, "message": None}, "400: refused without a reason"),
    ],
)
def test_the_reason_is_what_the_vendor_said_of_the_event(said, reason):
    assert PROVIDER.outcomes(failed({"index": 0, **said}), parts("m-1"))[0].reason == reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"failed_records":[]}',
        b'{"failed_records":null}',
        b'{"failed_records":{"index":0}}',
        b'{"failed_records":[{"index":9},7]}',
    ],
)
def test_a_refusal_that_names_no_event_is_for_all_and_can_be_split(body):
    outcomes = PROVIDER.outcomes(Response(status=400, body=body), parts("m-1", "m-2"))
    assert [(type(outcome), outcome.own) for outcome in outcomes] == [(Rejected, False)] * 2


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"status":0,"error":"data, missing or empty"}', "200: data, missing or empty"),
        (b'{"status":0,"error":null}', "200: refused without a reason"),
        (b"0", "200: refused without a reason"),
        (b" 0\n", "200: refused without a reason"),
    ],
)
def test_a_zero_is_a_refusal_of_the_whole_request_which_is_split(body, reason):
    first, second = PROVIDER.outcomes(Response(status=200, body=body), parts("m-1", "m-2"))
    assert first == Rejected(reason, 200)
    assert first is second
    assert not first.own


@pytest.mark.parametrize(
    "body",
    [
        b'{"code":200,"num_records_imported":2,"status":"OK"}',
        b'{"status":1,"error":null}',
        b"1",
        b"",
        b"{}",
        b"OK",
        b'{"failed_records":[]}',
    ],
)
def test_every_other_success_delivers(body):
    assert PROVIDER.outcomes(Response(status=200, body=body), parts("m-1", "m-2")) == [GOOD] * 2


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, Hold), (403, Hold), (413, Rejected), (429, Retry), (500, Retry), (502, Retry), (503, Retry)],
)
def test_a_failure_is_for_all_and_says_what_the_vendor_said(status, expected):
    answer = Response(status=status, body=b'{"code":0,"error":"too much of it"}')
    outcomes = PROVIDER.outcomes(answer, parts("m-1", "m-2"))
    assert [type(outcome) for outcome in outcomes] == [expected] * 2
    assert "too much of it" in outcomes[0].reason


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["index", "insert_id", "$insert_id", "field", "message"]), inner)
        ),
        max_leaves=8,
    )
)
def test_records_of_any_form_give_one_verdict_each(records):
    answer = Response(status=400, body=json.dumps({"failed_records": records}).encode())
    assert len(PROVIDER.outcomes(answer, parts("m-1", "m-2"))) == 2


def test_only_import_confirms():
    assert PROVIDER.capabilities.confirms
    assert not Mixpanel(token=TOKEN, endpoint="track").capabilities.confirms


# Settings


@pytest.mark.parametrize("token", ["", "  \n", None, 7])
def test_a_missing_token_is_named(token):
    with pytest.raises(ConfigError, match="token is missing"):
        Mixpanel(token=token)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"region": "us-east-1"}, "region"),
        ({"endpoint": "engage"}, "endpoint"),
        ({"id_merge": None}, "id_merge"),
        ({"gzip": 1}, "gzip"),
        ({"group_key": " "}, "group_key"),
        ({"page_event": ""}, "page_event"),
        ({"screen_event": None}, "screen_event"),
        ({"max_batch_bytes": 1_999_999}, "max_batch_bytes"),
        ({"max_batch_bytes": 10_000_001}, "max_batch_bytes must be at most 10000000"),
        ({"project_id": "4242"}, "project_id and service_account go together"),
        ({"service_account": ACCOUNT}, "project_id and service_account go together"),
        ({"service_account": ACCOUNT, "project_id": "4&x=1"}, "project_id must be the number"),
        ({"service_account": ACCOUNT, "project_id": ""}, "project_id must be the number"),
        ({"service_account": ACCOUNT, "project_id": "4242", "endpoint": "track"}, "service_account is for endpoint"),
        *[
            ({"service_account": wrong, "project_id": "4242"}, "service_account must be a table of username and secret")
            for wrong in (
                "svc:s3cret",
                {},
                {"username": "svc"},
                {**ACCOUNT, "more": "x"},
                {**ACCOUNT, "secret": " "},
                {**ACCOUNT, "username": 7},
            )
        ],
        ({"service_account": {**ACCOUNT, "username": "s:vc"}, "project_id": "4242"}, "no colon"),
    ],
)
def test_a_wrong_setting_is_named(settings, sentence):
    with pytest.raises(ConfigError, match=sentence) as raised:
        Mixpanel(token=TOKEN, **settings)
    assert ACCOUNT["secret"] not in str(raised.value)


def test_blanks_around_credentials_are_dropped_and_the_callers_table_is_copied():
    account = {name: f" {value}\n" for name, value in ACCOUNT.items()}
    provider = Mixpanel(token=f" {TOKEN}\n", service_account=account, project_id="4242")
    account["secret"] = "changed"
    assert provider == SERVICE


def test_a_configuration_can_take_the_service_account_from_the_environment():
    table = {
        "destinations": {
            "product": {
                "provider": "mixpanel",
                "token": {"env": "TOKEN"},
                "project_id": "4242",
                "service_account": {"username": {"env": "USERNAME"}, "secret": {"env": "SECRET"}},
            }
        }
    }
    environ = {"TOKEN": TOKEN, "USERNAME": ACCOUNT["username"], "SECRET": ACCOUNT["secret"]}
    found = load(table, environ=environ)
    assert found.destinations["product"].provider == SERVICE
    assert ACCOUNT["secret"] not in repr(found) + str(found.describe())
