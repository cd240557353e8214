"""Requests as they would come off the wire: captured ones of the vendors' own SDKs, and damaged copies of good ones."""

import base64
import gzip
import json
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
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
from unitrack.receivers.suprsend import CONTENT_TYPE, signature

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DATE = "Sun, 01 Mar 2026 12:00:00 GMT"
WIRE = Path(__file__).parent.parent / "providers" / "wire"

WORKSPACE = "wk_0123456789abcdefghij"
SECRET = "ws_secret_0123456789"


def post(path: str, body: object, headers: Mapping[str, str], *, method: str = "POST") -> Received:
    """Make a request; a body that is not bytes yet is written as JSON."""
    sent = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    lower = {"content-type": "application/json"} | {name.lower(): value for name, value in headers.items()}
    return Received(method=method, path=path, headers=lower, body=sent, now=NOW)


def basic(key: str) -> dict[str, str]:
    """Return the header for a key without a password."""
    return {"authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


def signed(path: str, body: object, *, secret: str = SECRET, date: str = DATE) -> Received:
    """Make a request to SuprSend whose signature fits its bytes."""
    bare = post(path, body, {"content-type": CONTENT_TYPE, "date": date})
    return post(path, bare.body, {**bare.headers, "authorization": f"{WORKSPACE}:{signature(secret, bare)}"})


def captured(vendor: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield the id, the settings and each request of every case that has one, but not those that only test signing."""
    for case in json.loads((WIRE / f"{vendor}.json").read_text()):
        requests = case.get("requests") or [case.get("request")]
        for request in requests:
            if request and "signature_of" not in case["call"]:
                yield case["id"], case["call"].get("config", {}), request


def captured_cases(vendor: str, *, skip: Collection[str] = ()) -> list[Any]:
    """Return settings and request of each captured one, ready for ``parametrize``, but for the cases to skip."""
    return [
        pytest.param(config, request, id=f"{name}-{number}")
        for number, (name, config, request) in enumerate(captured(vendor))
        if name not in skip
    ]


def replayed(request: Mapping[str, Any]) -> Received:
    """Make a captured request again, in the bytes that the vendor's SDK wrote."""
    text = request.get("body_text") or json.dumps(_expanded(request["body"]), ensure_ascii=False)
    headers = {name.lower(): value for name, value in request.get("headers", {}).items()}
    now = (
        datetime.strptime(headers["date"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
        if "date" in headers
        else NOW
    )
    body = gzip.compress(text.encode()) if headers.get("content-encoding") == "gzip" else text.encode()
    return Received(method=request["method"], path=request["path"], headers=headers, body=body, now=now)


def _expanded(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("__py__") == "repeat":
            return value["text"] * value["times"]
        return {name: _expanded(member) for name, member in value.items()}
    return [_expanded(item) for item in value] if isinstance(value, list) else value


def receiver_for(vendor: str, config: Mapping[str, Any]) -> Receiver:
    """Make the receiver that lets a case's credentials in."""
    match vendor:
        case "hightouch":
            return HightouchReceiver(write_key=config["write_key"])
        case "interakt":
            return InteraktReceiver(api_key=config["api_key"])
        case "thrivestack" if "token" in config:
            return ThrivestackReceiver(token=config["token"])
        case "thrivestack":
            return ThrivestackReceiver(api_key=config["api_key"])
    names = ("workspace_key", "workspace_secret", "workspace_uid", "api_key")
    return SuprSendReceiver(**{name: config[name] for name in names if name in config})
