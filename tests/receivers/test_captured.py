"""What the vendors' own SDKs sent, and what the vendors document, gets in."""

import json
from typing import Any

import pytest

from unitrack.receivers import Received
from unitrack.receivers.suprsend import signature

from .posting import NOW, WIRE, captured, receiver_for, replayed

VENDORS = ("hightouch", "interakt", "suprsend", "thrivestack")

#: The SDKs wrote a bare NaN here, which is not JSON.
NOT_JSON = {"values-nan", "values-nan-inf"}

CASES = [
    pytest.param(vendor, config, request, id=f"{vendor}-{name}-{number}")
    for vendor in VENDORS
    for number, (name, config, request) in enumerate(captured(vendor))
    if name not in NOT_JSON
]
BAD_CASES = [
    pytest.param(vendor, config, request, id=f"{vendor}-{name}")
    for vendor in VENDORS
    for name, config, request in captured(vendor)
    if name in NOT_JSON
]
SIGNATURES = [
    pytest.param(case, id=case["id"]) for case in json.loads((WIRE / "suprsend.json").read_text()) if "expect" in case
]


def test_every_vendor_has_captured_requests() -> None:
    assert {case.values[0] for case in CASES} == set(VENDORS)
    assert len(CASES) > 100
    assert len(BAD_CASES) == 2


@pytest.mark.parametrize(("vendor", "config", "request_"), CASES)
def test_captured_request_is_taken(vendor: str, config: dict[str, Any], request_: dict[str, Any]) -> None:
    answer = receiver_for(vendor, config).judge(replayed(request_))
    assert answer.refused == ()
    assert 200 <= answer.status < 300
    assert answer.taken


@pytest.mark.parametrize(("vendor", "config", "request_"), BAD_CASES)
def test_bare_nan_is_refused(vendor: str, config: dict[str, Any], request_: dict[str, Any]) -> None:
    answer = receiver_for(vendor, config).judge(replayed(request_))
    assert answer.status == 400
    assert "is not JSON" in answer.refused[0]


@pytest.mark.parametrize("case", SIGNATURES)
def test_signature_is_that_of_the_vendors_sdk(case: dict[str, Any]) -> None:
    request = case["request"]
    headers = {name.lower(): value for name, value in request["headers"].items()}
    received = Received(
        method=request["method"], path=request["path"], headers=headers, body=request["body_text"].encode(), now=NOW
    )
    assert signature(case["call"]["signature_of"]["workspace_secret"], received) == case["expect"]["signature"]
