"""``unitrack track`` and ``unitrack identify``: one message, and every destination's verdict."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unitrack.cli.options import members
from unitrack.receivers import HightouchReceiver

from .running import KEY, finished, started, unitrack, vendor

SECOND = """
[destinations.whatsapp]
provider = "interakt"
api_key = "canary-api-key-77"
base_url = "http://127.0.0.1:9"
events = ["Order *"]
"""


@pytest.fixture
def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HightouchReceiver]:
    monkeypatch.chdir(tmp_path)
    with vendor(tmp_path) as found:
        yield found


def test_track_sends_one_event_and_prints_the_verdict(receiver: HightouchReceiver) -> None:
    more = ["--context", '{"ip": "127.0.0.1"}', "--timestamp", "2024-02-29T10:20:30Z", "--message-id", "m-1"]
    result = unitrack("track", "u-42", "Order Paid", "-p", "total=19.9", "-p", "zip=01234", *more)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "destination  verdict    detail\ncdp          delivered\n"
    (message,) = receiver.messages
    assert (message["userId"], message["event"], message["messageId"]) == ("u-42", "Order Paid", "m-1")
    assert message["properties"] == {"total": 19.9, "zip": "01234"}
    assert message["context"]["ip"] == "127.0.0.1"
    assert message["timestamp"].startswith("2024-02-29T10:20:30")


def test_identify_sends_traits_and_can_answer_in_json(receiver: HightouchReceiver) -> None:
    result = unitrack("identify", "u-42", "--traits", '{"plan": "free", "n": 1}', "-t", "plan=pro", "--format", "json")
    data = json.loads(result.stdout)
    assert data["verdicts"] == [{"destination": "cdp", "verdict": "delivered", "detail": "", "code": None}]
    assert receiver.messages[0]["messageId"] == data["message_id"]
    assert receiver.messages[0]["traits"] == {"plan": "pro", "n": 1}


def test_what_failed_is_told_with_its_reason_and_exit_code_1(tmp_path: Path) -> None:
    with vendor(tmp_path, key="wrong-key-123", more=SECOND):
        code, out, err = finished(started(tmp_path, "track", "u-42", "Order Paid", "--timeout", "2"))
    assert (code, err) == (1, "")
    heading, first, second = out.splitlines()
    assert heading.split() == ["destination", "verdict", "detail"]
    assert first.startswith("cdp          failed   401: ")
    assert second.startswith("whatsapp     failed ")
    assert "refused" in second
    assert "given up" in second


def test_a_destination_that_does_not_want_the_message_is_filtered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with vendor(tmp_path, more=SECOND):
        result = unitrack("track", "u-42", "Signed Up")
        assert result.exit_code == 0
        assert "whatsapp     filtered   its routing does not want this message" in result.stdout
        assert result.stderr == ""


@pytest.mark.parametrize(
    ("choice", "whatsapp"),
    [
        (["--exclude", "whatsapp"], "left out by --exclude"),
        (["--only", "cdp"], "left out by --only"),
        (["--only", "cdp", "--exclude", "whatsapp"], "left out by --only"),
    ],
)
def test_a_destination_that_the_caller_left_out_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: list[str], whatsapp: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with vendor(tmp_path, more=SECOND):
        result = unitrack("track", "u-42", "Order Paid", *choice)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == f"whatsapp     filtered   {whatsapp}"


@pytest.mark.parametrize("choice", [["--only", "whatsapp"], ["--exclude", "cdp", "--format", "json"]])
def test_a_message_that_no_destination_gets_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with vendor(tmp_path, more=SECOND) as receiver:
        result = unitrack("track", "u-42", "Signed Up", *choice)
    assert (result.exit_code, result.stderr) == (0, "Warning: no destination got the message\n")
    assert receiver.messages == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["track", "u", "E", "-p", "total"], "must be key=value"),
        (["track", "u", "E", "--properties", "[1]"], "--properties must be a JSON object"),
        (["track", "u", "E", "--context", "{"], "--context must be a JSON object"),
        (["track", "u", " "], "$.event: is empty"),
        (["track", "", "E"], "$.user_id: is missing"),
        (["track", "u", "E", "--timestamp", "yesterday"], "$.timestamp: must be ISO-8601"),
        (
            ["identify", "u", "--phone", "+91 99999 99999"],
            "$.phone: write + and digits only, such as +919999999999",
        ),
        (["identify", "u", "--only", "cpd"], "cpd"),
    ],
)
def test_a_bad_message_is_a_sentence_and_nothing_is_sent(
    receiver: HightouchReceiver, arguments: list[str], sentence: str
) -> None:
    result = unitrack(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert receiver.messages == []


@pytest.mark.parametrize(
    ("pair", "value"),
    [("a=1", 1), ("a=1.5", 1.5), ("a=true", True), ("a=null", None), ("a=[1]", [1]), ('a="1"', "1"),
     ("a=01", "01"), ("a=", ""), ("a=b=c", "b=c"), ("a=NaN", "NaN"), ("a=" + "[" * 9999, "[" * 9999)],
)  # fmt: skip
def test_a_value_is_json_if_it_can_be_and_else_text(pair: str, value: Any) -> None:
    assert members("-p", (pair,)) == {"a": value}


def test_the_log_is_shown_only_on_request_and_holds_no_secret(tmp_path: Path) -> None:
    with vendor(tmp_path, key="canary-wrong-key-1"):
        _, _, quiet = finished(started(tmp_path, "track", "u", "E", "--timeout", "1"))
        _, _, loud = finished(started(tmp_path, "-v", "track", "u", "E", "--timeout", "1"))
    assert quiet == ""
    assert "401" in loud
    assert "canary" not in loud
    assert KEY not in loud
