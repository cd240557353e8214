"""What a vendor would not take is refused, in the vendor's words, and the sentence names the fault."""

import gzip
import json
from typing import Any

import pytest

from unitrack.receivers import (
    HightouchReceiver,
    InteraktReceiver,
    Received,
    Receiver,
    SuprSendReceiver,
    ThrivestackReceiver,
)
from unitrack.receivers.suprsend import CONTENT_TYPE

from .posting import DATE, SECRET, WORKSPACE, basic, post, signed

ID = "11111111-2222-4333-8444-555555555555"
WHEN = "2026-03-01T11:59:59.000Z"
GONE = object()


def changed(good: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Copy an object with some members set, or taken out with GONE."""
    return {name: value for name, value in {**good, **members}.items() if value is not GONE}


TRACK = {
    "type": "track",
    "userId": "u-42",
    "event": "Order Paid",
    "properties": {"total": 19.9},
    "messageId": ID,
    "timestamp": WHEN,
    "context": {},
    "integrations": {},
}


def hightouch(*messages: Any, key: str = "k", **request: Any) -> Received:
    return post("/v1/batch", {"batch": list(messages), "sentAt": WHEN, "writeKey": key}, {}, **request)


HIGHTOUCH = {
    "wrong key": (hightouch(TRACK, key="x"), 401, "write key is missing or not known"),
    "no key": (post("/v1/batch", {"batch": [TRACK]}, {}), 401, "write key is missing"),
    "wrong basic key": (post("/v1/batch", {"batch": [TRACK]}, basic("x")), 401, "write key"),
    "both forms of the key": (post("/v1/batch", {"batch": [TRACK], "writeKey": "k"}, basic("k")), 400, "not both"),
    "wrong path": (post("/v1/batches", {}, {}), 404, "no such path: /v1/batches"),
    "wrong method": (hightouch(TRACK, method="PUT"), 405, "PUT is not allowed"),
    "wrong content type": (post("/v1/batch", {}, {"content-type": "text/plain"}), 415, "not text/plain"),
    "wrong charset": (post("/v1/batch", {}, {"content-type": "application/json; charset=latin-1"}), 415, "latin-1"),
    "unknown coding": (post("/v1/batch", {}, {"content-encoding": "br"}), 415, "br is not known"),
    "not gzip": (post("/v1/batch", b"{}", {"content-encoding": "gzip"}), 400, "not gzip"),
    "cut gzip": (post("/v1/batch", gzip.compress(b"{}")[:-4], {"content-encoding": "gzip"}), 400, "cut off"),
    "gzip bomb": (post("/v1/batch", gzip.compress(b" " * 10**7), {"content-encoding": "gzip"}), 413, "500000"),
    "not UTF-8": (post("/v1/batch", b'{"batch": "\xff"}', {}), 400, "not UTF-8"),
    "not JSON": (post("/v1/batch", b"{", {}), 400, "not JSON"),
    "NaN": (hightouch(changed(TRACK, properties={"total": float("nan")})), 400, "NaN is not JSON"),
    "infinite number": (post("/v1/batch", b'{"batch": 1e999}', {}), 400, "beyond the range"),
    "member twice": (post("/v1/batch", b'{"batch": [], "batch": []}', {}), 400, "same member twice"),
    "half a surrogate pair": (post("/v1/batch", b'{"batch": "\\ud83d"}', {}), 400, "half of a surrogate"),
    "endless nesting": (post("/v1/batch", b"[" * 200_000, {}), 400, "not JSON"),
    "empty batch": (hightouch(), 400, "1 to 100 messages, not 0"),
    "101 messages": (hightouch(*[TRACK] * 101), 400, "1 to 100 messages, not 101"),
    "large message": (hightouch(changed(TRACK, properties={"x": "y" * 33_000})), 413, "more than 32768"),
    "large body": (hightouch(*[changed(TRACK, properties={"x": "y" * 9_000})] * 60), 413, "500000"),
    "unknown type": (hightouch(changed(TRACK, type="trak")), 400, "$.batch[0].type must be one of identify"),
    "no identity": (hightouch(changed(TRACK, userId=None)), 400, "must have userId or anonymousId"),
    "number as id": (hightouch(changed(TRACK, userId=42)), 400, "$.batch[0].userId must be text"),
    "blank event": (hightouch(TRACK, changed(TRACK, event=" ")), 400, "$.batch[1].event must be text"),
    "no event": (hightouch(changed(TRACK, event=GONE)), 400, "event is missing"),
    "no message id": (hightouch(changed(TRACK, messageId=GONE)), 400, "messageId is missing"),
    "no properties": (hightouch(changed(TRACK, properties=GONE)), 400, "properties is missing"),
    "time without offset": (hightouch(changed(TRACK, timestamp="2026-03-01T11:59:59")), 400, "offset"),
    "time as number": (hightouch(changed(TRACK, timestamp=1772366399)), 400, "ISO-8601"),
    "member of no call": (hightouch(changed(TRACK, userid="u")), 400, "userid is not known"),
    "alias without user": (
        hightouch(changed(TRACK, type="alias", event=GONE, properties=GONE, previousId="a", userId=None)),
        400,
        "userId must be text",
    ),
}

USER = {"userId": "u-42", "traits": {"email": "ada@example.com"}}
EVENT = {"userId": "u-42", "event": "Order Paid", "traits": {"total": 19.9}}


def interakt(body: Any, path: str = "events", key: str = "k", **headers: str) -> Received:
    return post(f"/v1/public/track/{path}/", body, basic(key) | headers)


INTERAKT = {
    "wrong key": (interakt(EVENT, key="x"), 401, "not known"),
    "no key": (post("/v1/public/track/events/", EVENT, {}), 401, "must be Basic"),
    "bearer": (interakt(EVENT, authorization="Bearer k"), 401, "must be Basic"),
    "key without colon": (interakt(EVENT, authorization="Basic aw=="), 401, "a colon and no password"),
    "not base64": (interakt(EVENT, authorization="Basic ???"), 401, "cannot be read"),
    "no slash at the end": (post("/v1/public/track/events", EVENT, basic("k")), 404, "no such path"),
    "wrong content type": (interakt(EVENT, **{"content-type": "text/json"}), 415, "application/json"),
    "array": (interakt([EVENT]), 400, "$ must be an object"),
    "NaN": (interakt(changed(EVENT, traits={"x": float("nan")})), 400, "NaN"),
    "no event name": (interakt(USER), 400, "event is missing"),
    "event at users": (interakt(EVENT, "users"), 400, "event is not known"),
    "no traits": (interakt(changed(EVENT, traits=GONE)), 400, "traits is missing"),
    "traits not an object": (interakt(changed(EVENT, traits=[])), 400, "$.traits must be an object"),
    "no identity": (interakt(changed(EVENT, userId=GONE)), 400, "must have userId or a phone number"),
    "null id": (interakt(changed(EVENT, userId=None)), 400, "$.userId must be text"),
    "number without country": (interakt(changed(EVENT, phoneNumber="9999999999")), 400, "go together"),
    "country without number": (interakt(changed(EVENT, countryCode="+91")), 400, "go together"),
    "number with plus": (interakt(changed(EVENT, phoneNumber="+919999999999", countryCode="+91")), 400, "digits"),
    "number in other digits": (interakt(changed(EVENT, phoneNumber="९९९९", countryCode="+91")), 400, "digits"),
    "full number beside pair": (
        interakt(changed(USER, fullPhoneNumber="919999999999", phoneNumber="9999999999", countryCode="+91"), "users"),
        400,
        "not beside them",
    ),
    "time without offset": (interakt(changed(EVENT, createdAt="2026-03-01T11:59:59")), 400, "offset"),
    "tags not a list": (interakt(changed(USER, tags="vip"), "users"), 400, "$.tags must be an array"),
    "sales cycle as text": (interakt(changed(USER, add_to_sales_cycle="yes"), "users"), 400, "true or false"),
    "anonymous id": (interakt(changed(EVENT, anonymousId="a")), 400, "anonymousId is not known"),
}

DONE = {"event_name": "Order Paid", "user_id": "u-42", "properties": {"total": 19.9}, "timestamp": WHEN}
GROUP = {"user_id": "u-42", "group_id": "g", "traits": {}, "timestamp": WHEN, "context": {"group_id": "g"}}


def thrivestack(body: Any, path: str = "track", **headers: str) -> Received:
    return post(f"/api/{path}", body, {"x-api-key": "k", **headers})


THRIVESTACK = {
    "wrong key": (thrivestack([DONE], **{"x-api-key": "x"}), 401, "not known"),
    "no key": (post("/api/track", [DONE], {}), 401, "missing"),
    "bearer beside the key": (thrivestack([DONE], authorization="Bearer k"), 401, "not known"),
    "unknown path": (thrivestack([DONE], "screen"), 404, "/api/screen"),
    "wrong content type": (thrivestack([DONE], **{"content-type": "text/plain"}), 415, "text/plain"),
    "object": (thrivestack(DONE), 400, "must be an array"),
    "empty array": (thrivestack([]), 400, "1 to 1000 messages, not 0"),
    "1001 messages": (thrivestack([DONE] * 1001), 400, "not 1001"),
    "large body": (thrivestack([changed(DONE, properties={"x": "y" * 2_000_000})]), 400, "2000000"),
    "NaN": (thrivestack([changed(DONE, properties={"x": float("inf")})]), 400, "Infinity is not JSON"),
    "name under the old key": (thrivestack([changed(DONE, event_name=GONE, event="E")]), 400, "event_name is missing"),
    "two names": (thrivestack([changed(DONE, event="Other")]), 400, "differ"),
    "no user": (thrivestack([DONE, changed(DONE, user_id=GONE)]), 400, "$[1]: user_id is missing"),
    "no time": (thrivestack([changed(DONE, timestamp=GONE)]), 400, "timestamp is missing"),
    "year of two digits": (thrivestack([changed(DONE, timestamp="20-11-23T22:28:55.111Z")]), 400, "ISO-8601"),
    "no properties": (thrivestack([changed(DONE, properties=GONE)]), 400, "properties is missing"),
    "context not text": (thrivestack([changed(DONE, context={"device_id": 7})]), 400, "context.device_id must be text"),
    "group elsewhere": (thrivestack([changed(GROUP, context={"group_id": "h"})], "group"), 400, "must equal group_id"),
    "page of nobody": (thrivestack([{"properties": {}, "timestamp": WHEN}], "page"), 400, "user_id or session_id"),
    "message id": (thrivestack([changed(DONE, message_id=ID)]), 400, "message_id is not known"),
}

PAID = {
    "$insert_id": ID,
    "$time": 1772366399000,
    "event": "order_paid",
    "env": WORKSPACE,
    "distinct_id": "u-42",
    "properties": {"total": 19.9},
}
EDIT = {**changed(PAID, event=GONE), "$schema": "2", "$user_operations": [{"$set": {"name": "Ada"}}]}


def suprsend(**members: Any) -> Received:
    return signed("/v2/event/", changed(PAID, **members))


def edit(**members: Any) -> Received:
    return signed("/event/", changed(EDIT, **members))


def attached(**members: Any) -> Received:
    whole = {
        "url": "https://x.example/a",
        "filename": None,
        "contentType": None,
        "data": None,
        "ignore_if_error": False,
    }
    return suprsend(properties={"$attachments": [changed(whole, **members)]})


GOOD = signed("/v2/event/", PAID)
SUPRSEND = {
    "wrong secret": (signed("/v2/event/", PAID, secret="x"), 401, "does not fit"),
    "body changed after signing": (post("/v2/event/", GOOD.body + b" ", GOOD.headers), 401, "does not fit"),
    "path changed after signing": (post("/v2/bulk/event/", GOOD.body, GOOD.headers), 401, "does not fit"),
    "other workspace": (
        post("/v2/event/", GOOD.body, {**GOOD.headers, "authorization": "x" + GOOD.headers["authorization"]}),
        401,
        "does not fit",
    ),
    "no signature": (post("/v2/event/", PAID, {"content-type": CONTENT_TYPE, "date": DATE}), 401, "does not fit"),
    "no date": (post("/v2/event/", PAID, {"content-type": CONTENT_TYPE}), 401, "Date header"),
    "old date": (signed("/v2/event/", PAID, date="Sun, 01 Mar 2026 11:44:59 GMT"), 401, "too old"),
    "future date": (signed("/v2/event/", PAID, date="Sun, 01 Mar 2026 12:15:01 GMT"), 401, "in the future"),
    "wrong content type": (post("/v2/event/", PAID, {"date": DATE}), 415, CONTENT_TYPE),
    "unknown path": (signed("/v2/events/", PAID), 404, "no such path"),
    "NaN": (suprsend(properties={"x": float("nan")}), 400, "NaN"),
    "array at the single path": (signed("/v2/event/", [PAID]), 400, "$ must be an object"),
    "object at the bulk path": (signed("/v2/bulk/event/", PAID), 400, "must be an array"),
    "empty bulk": (signed("/v2/bulk/event/", []), 400, "1 to 100 events, not 0"),
    "101 events": (signed("/v2/bulk/event/", [PAID] * 101), 400, "not 101"),
    "large event": (suprsend(properties={"x": "y" * 820_000}), 413, "819200"),
    "other env": (suprsend(env="wk_other_0123456789ab"), 400, f"$.env must be {WORKSPACE}"),
    "no env": (suprsend(env=GONE), 400, "env is missing"),
    "no insert id": (suprsend(**{"$insert_id": GONE}), 400, "$insert_id is missing"),
    "insert id no uuid": (suprsend(**{"$insert_id": "order-7"}), 400, "UUID"),
    "time in seconds": (suprsend(**{"$time": 1772366399}), 400, "milliseconds"),
    "time in microseconds": (suprsend(**{"$time": 1772366399000000}), 400, "milliseconds"),
    "time before 2022": (suprsend(**{"$time": 1640995199999}), 400, "2022-01-01"),
    "time as text": (suprsend(**{"$time": WHEN}), 400, "milliseconds"),
    "time as fraction": (suprsend(**{"$time": 1772366399000.5}), 400, "milliseconds"),
    "blank user": (suprsend(distinct_id=" "), 400, "distinct_id must be text"),
    "user with blanks": (suprsend(distinct_id=" u "), 400, "no blanks around"),
    "user as number": (suprsend(distinct_id=42), 400, "distinct_id must be text"),
    "short name": (suprsend(event="x"), 400, "at least 2 characters"),
    "reserved name": (suprsend(event="$paid"), 400, "reserved"),
    "reserved name in capitals": (suprsend(event="SS_paid"), 400, "reserved"),
    "no properties": (suprsend(properties=GONE), 400, "properties is missing"),
    "long key": (suprsend(**{"$idempotency_key": "x" * 256}), 400, "at most 255"),
    "empty key": (suprsend(**{"$idempotency_key": ""}), 400, "must be text"),
    "long tenant": (suprsend(tenant_id="x" * 65), 400, "at most 64"),
    "long brand": (suprsend(brand_id="x" * 65), 400, "at most 64"),
    "attachment from nowhere": (attached(url=None), 400, "url or data"),
    "attachment from two places": (attached(data="eA=="), 400, "url or data"),
    "attachment on disk": (attached(url="file:///etc/passwd"), 400, "http address"),
    "unknown operator": (edit(**{"$user_operations": [{"$put": {}}]}), 400, "operators such as $set"),
    "wrong schema": (edit(**{"$schema": 2}), 400, "$.$schema must be 2"),
    "large profile": (edit(**{"$user_operations": [{"$set": {"x": "y" * 11_000}}]}), 413, "10240"),
    "large upsert": (signed("/v1/user/u-42/", {"x": "y" * 11_000}), 413, "10240"),
    "upsert of a list": (signed("/v1/user/u-42/", []), 400, "must be an object"),
    "merge of nobody": (signed("/v1/user/u-42/merge/", {}), 400, "from_user_id is missing"),
}

RECEIVERS: dict[str, Receiver] = {
    "hightouch": HightouchReceiver(write_key="k"),
    "interakt": InteraktReceiver(api_key="k"),
    "thrivestack": ThrivestackReceiver(api_key="k"),
    "suprsend": SuprSendReceiver(workspace_key=WORKSPACE, workspace_secret=SECRET),
}
TABLES = {"hightouch": HIGHTOUCH, "interakt": INTERAKT, "thrivestack": THRIVESTACK, "suprsend": SUPRSEND}
UNDAMAGED = {
    "hightouch": [hightouch(TRACK), post("/v1/batch", {"batch": [TRACK]}, basic("k"))],
    "interakt": [interakt(EVENT), interakt(USER, "users")],
    "thrivestack": [thrivestack([DONE]), thrivestack([GROUP], "group")],
    "suprsend": [GOOD, signed("/event/", EDIT), attached(), signed("/v1/user/u-42/merge/", {"from_user_id": "a"})],
}


@pytest.mark.parametrize("vendor", RECEIVERS)
def test_undamaged_request_is_taken(vendor: str) -> None:
    for request in UNDAMAGED[vendor]:
        answer = RECEIVERS[vendor].judge(request)
        assert (answer.refused, len(answer.taken)) == ((), 1)


@pytest.mark.parametrize(
    ("vendor", "damaged", "status", "sentence"),
    [
        pytest.param(vendor, *row, id=f"{vendor}-{name}")
        for vendor, table in TABLES.items()
        for name, row in table.items()
    ],
)
def test_damaged_request_is_refused_and_the_sentence_says_why(
    vendor: str, damaged: Received, status: int, sentence: str
) -> None:
    answer = RECEIVERS[vendor].judge(damaged)
    assert answer.status == status
    assert sentence in answer.refused[0]
    assert answer.taken == ()
    # The sentence stands in the answer, where a client can show it.
    assert answer.refused[0] in str(json.loads(answer.body))


def test_bulk_with_one_bad_event_takes_the_others_and_answers_for_each() -> None:
    request = signed("/v2/bulk/event/", [PAID, changed(PAID, event="$bad"), changed(PAID, distinct_id="u-43")])
    answer = RECEIVERS["suprsend"].judge(request)
    records = json.loads(answer.body)["records"]
    assert answer.status == 207
    assert [record["status_code"] for record in records] == [202, 400, 202]
    assert "reserved" in records[1]["error"]["message"]
    assert [taken.user for taken in answer.taken] == ["u-42", "u-43"]


def test_thrivestack_token_takes_an_object_under_either_name() -> None:
    receiver = ThrivestackReceiver(token="t")
    for name in ("event", "event_name"):
        body = {**changed(DONE, event_name=GONE), name: "Order Paid"}
        answer = receiver.judge(post("/api/track", body, {"authorization": "Bearer t"}))
        assert json.loads(answer.body)["success"] is True


@pytest.mark.parametrize("settings", [{}, {"token": "t", "api_key": "k"}])
def test_thrivestack_receiver_wants_one_credential(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="one of them"):
        ThrivestackReceiver(**settings)


@pytest.mark.parametrize(
    "settings",
    [{}, {"workspace_key": WORKSPACE}, {"workspace_key": WORKSPACE, "workspace_secret": "s", "api_key": "k"}],
)
def test_suprsend_receiver_wants_one_whole_pair(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="workspace_key and workspace_secret, or"):
        SuprSendReceiver(**settings)
