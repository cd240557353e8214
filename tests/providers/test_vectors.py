"""The harness itself: what a comparison lets pass, and what it must not."""

import copy
import gzip
import json
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from attrs import evolve, frozen

from unitrack.providers.thrivestack import Thrivestack
from unitrack.wire import Capabilities, Request

from .comparison import request_differences
from .vectors import BASE_URL, differences, load, message_of, value_of

PROVIDERS = tuple(sorted(path.stem for path in Path(__file__).with_name("wire").glob("*.json")))
RECORDED = [
    pytest.param(name, case, case["request"], id=f"{name}-{case['id']}")
    for name in PROVIDERS
    for case in load(name)
    if "expect" not in case and (case.get("request") or {}).get("body")
]


def replayed(record: dict[str, Any], body: Any) -> Request:
    url, content = BASE_URL + record["path"], json.dumps(body).encode()
    if form := urlencode(record.get("form", {})):
        url += ("&" if "?" in url else "?") + form
    if "Content-Encoding" in record["headers"]:
        content = gzip.compress(content)
    return Request(url=url, headers=record["headers"], body=content, method=record["method"])


def compared(want: Any, got: Any, **rules: Any) -> list[str]:
    return request_differences(
        "interakt", {"body": want}, replayed({"path": "/", "headers": {}, "method": "POST"}, got), rules
    )


@pytest.mark.parametrize(("name", "case", "record"), RECORDED)
def test_a_recorded_request_matches_itself_and_not_a_damaged_copy(name, case, record):
    want = value_of(record)
    assert request_differences(name, want, replayed(record, want["body"]), case) == []
    damaged = copy.deepcopy(want["body"])
    (damaged[0] if isinstance(damaged, list) else damaged)["unasked"] = 1
    assert request_differences(name, want, replayed(record, damaged), case) != []


def test_member_order_and_the_kind_of_number_are_free():
    assert compared({"a": 1, "b": 2}, {"b": 2.0, "a": 1}) == []


def test_true_is_not_one():
    assert compared({"a": True}, {"a": 1}) == ["/a: True wanted, got 1"]


def test_a_missing_and_an_unexpected_member_are_named():
    assert compared({"a": 1}, {"b": 1}) == ["/a: missing", "/b: not expected"]


def test_null_and_absent_are_the_same_only_where_the_vendor_says_so():
    request = replayed({"path": "/", "headers": {}, "method": "POST"}, {})
    assert request_differences("hightouch", {"body": {"a": None}}, request, {}) == []
    assert request_differences("interakt", {"body": {"a": None}}, request, {}) == ["/a: missing"]


def test_a_volatile_member_must_be_there_with_any_value():
    assert compared({"id": "x"}, {"id": "y"}, volatile=["/body/id"]) == []
    assert compared({"id": "x"}, {}, volatile=["/body/id"]) == ["/id: missing"]


def test_times_are_compared_as_instants_to_the_millisecond():
    want = {"at": "2024-02-29T10:20:30.123Z"}
    assert compared(want, {"at": "2024-02-29T15:50:30.123999+05:30"}, instants=["/body/at"]) == []
    assert compared(want, {"at": "2024-02-29T10:20:30.124Z"}, instants=["/body/at"]) != []
    assert compared(want, {"at": "2024-02-29T10:20:30.123"}, instants=["/body/at"]) != []


def test_an_unordered_array_may_come_in_any_order_but_complete():
    assert compared({"tags": [1, 2]}, {"tags": [2, 1]}, unordered=["/body/tags"]) == []
    assert compared({"tags": [1, 2]}, {"tags": [2, 2]}, unordered=["/body/tags"]) != []
    assert compared({"tags": [1, 2]}, {"tags": [2, 1]}) != []


def test_headers_are_compared_without_case_and_media_types_without_parameters():
    got = Request(url=BASE_URL, headers={"content-type": "application/json; charset=utf-8"}, body=b"{}")
    assert request_differences("x", {"headers": {"Content-Type": "application/json", "User-Agent": "x"}}, got, {}) == []
    assert request_differences("x", {"headers": {"Authorization": "Basic x"}}, got, {}) == [
        "header Authorization: missing"
    ]


@frozen(kw_only=True)
class Unbounded(Thrivestack):
    """Forgets the vendor's limits, and turns the order around."""

    @cached_property
    def capabilities(self) -> Capabilities:
        return evolve(Thrivestack(api_key=self.api_key).capabilities, max_batch_bytes=None)

    def request(self, parts, now):
        return super().request(parts[::-1], now)


def test_limits_and_order_of_generated_messages_are_watched(tmp_path):
    case = next(case for case in load("thrivestack") if case["id"] == "old-batch-bytes")
    found = differences("thrivestack", case, lambda config, url: Unbounded(api_key="unit-test-api-key"), tmp_path)
    assert [line.split(" has ")[0].split(": ")[0] for line in found] == [
        "request 0",
        "messages are lost, repeated or out of order",
    ]


def test_a_refusal_where_a_request_was_recorded_is_a_difference(tmp_path):
    case = next(case for case in load("thrivestack") if case["id"] == "seed-sample")
    found = differences("thrivestack", case, lambda config, url: Thrivestack(), tmp_path)
    assert found[0] == "1 requests wanted, got 0"
    assert "token or api_key" in found[1]


def test_a_request_where_a_refusal_was_recorded_is_a_difference(tmp_path):
    case = next(case for case in load("thrivestack") if case["id"] == "cur-screen")
    sent_anyway = {**case, "call": {"message": {"type": "track", "user_id": "u", "event": "e"}}}
    found = differences("thrivestack", sent_anyway, lambda config, url: Thrivestack(api_key="unit-test-key"), tmp_path)
    assert found == ["0 requests wanted, got 1", "a refusal was wanted"]


def test_a_local_file_is_written_where_its_message_is_built(tmp_path):
    neutral = {
        "type": "track",
        "user_id": "u",
        "event": "e",
        "attachments": [{"file": "a.txt", "content_base64": "aGk="}],
    }
    (attachment,) = message_of(neutral, tmp_path).attachments
    assert (attachment.filename, attachment.data) == ("a.txt", "aGk=")
