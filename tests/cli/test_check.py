"""``unitrack check``: the configuration without secrets, what cannot be taken, what would be sent."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unitrack.cli.sample import Shown, dry_run
from unitrack.clock import utc_now
from unitrack.providers import Hightouch, Interakt, SuprSend, Thrivestack, Webhook
from unitrack.receivers import HightouchReceiver

from .running import KEY, unitrack, vendor

CANARY = "canary-2b7e"
ALL = f"""
[destinations.cdp]
provider = "hightouch"
write_key = "{CANARY}-a"
gzip = true
auth = "basic"
[destinations.whatsapp]
provider = "interakt"
api_key = {{ env = "IKEY" }}
events = ["Order *"]
linger = 2
[destinations.product]
provider = "thrivestack"
api_key = "{CANARY}-b"
[destinations.messages]
provider = "suprsend"
workspace_key = "wk_0123456789abcdefghij"
workspace_secret = "{CANARY}-c"
[destinations.hook]
provider = "webhook"
url = "https://hooks.example/services/{CANARY}-d"
headers = {{ "X-Key" = "{CANARY}-e" }}
token = "{CANARY}-f"
[delivery]
queue = "memory:"
max_events = 500
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def receiver(folder: Path) -> Iterator[HightouchReceiver]:
    with vendor(folder) as found:
        yield found


def test_it_shows_everything_but_secrets(folder: Path) -> None:
    (folder / "unitrack.toml").write_text(ALL)
    result = unitrack("check", IKEY=f"{CANARY}-g")
    assert (result.exit_code, result.stderr) == (0, "")
    assert CANARY not in result.stdout
    text = result.stdout
    assert text.startswith("configuration: unitrack.toml\ndelivery: max_events = 500\n\ncdp (hightouch)\n")
    for line in (
        "settings     write_key = (set)",
        'routing      events = ["Order *"]',
        "delivery     linger = 2.0",
        "cannot take  page: Interakt has no page call; send a track event instead",
        "leaves out   phone, tenant_id, attachments",
        "success is   taken; bad data gets it too",
        "success is   stored",
        "dry run      POST https://us-east-1.hightouch-events.com/v1/batch",
        "dry run      POST https://hooks.example/***",
        "Authorization: ***",
        "x-key: ***",
    ):
        assert f"  {line}\n" in text.replace(" " * 15, "  "), line


def test_the_same_can_be_had_as_json(folder: Path) -> None:
    (folder / "unitrack.toml").write_text(ALL)
    result = unitrack("check", "--format", "json", IKEY=f"{CANARY}-g")
    assert CANARY not in result.stdout
    found = json.loads(result.stdout)
    assert found["delivery"]["max_events"] == 500
    cdp = found["destinations"]["cdp"]
    assert (cdp["provider"], cdp["settings"]["write_key"]) == ("hightouch", "(set)")
    assert json.loads(cdp["dry_run"]["body"])["batch"][0]["event"] == "Unitrack Check"
    assert set(found["destinations"]["whatsapp"]["cannot_take"]) == {"page", "screen", "group", "alias"}


def test_without_live_nothing_is_sent(receiver: HightouchReceiver) -> None:
    assert unitrack("check").exit_code == 0
    assert receiver.tally.requests == 0


def test_live_sends_two_harmless_messages_and_shows_the_verdicts(receiver: HightouchReceiver) -> None:
    result = unitrack("check", "--live")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()[-3:]] == [
        ["destination", "call", "verdict", "detail"],
        ["cdp", "identify", "delivered"],
        ["cdp", "track", "delivered"],
    ]
    assert {(m["type"], m["userId"]) for m in receiver.messages} == {
        ("identify", "unitrack-check"), ("track", "unitrack-check"),
    }  # fmt: skip
    assert KEY not in result.stdout


def test_live_with_a_wrong_key_is_exit_code_1(folder: Path) -> None:
    with vendor(folder, key="wrong-key-123"):
        result = unitrack("check", "--live", "--format", "json")
    assert result.exit_code == 1
    assert {(each["verdict"], each["code"]) for each in json.loads(result.stdout)["verdicts"]} == {("failed", 401)}


@pytest.mark.parametrize("routing", ['events = ["Order *"]\nkinds = ["track"]', "sample = 0", 'consent = "ads"'])
def test_live_tries_a_key_whose_routing_is_about_other_messages(folder: Path, routing: str) -> None:
    with vendor(folder, more=routing + "\n") as receiver:
        assert unitrack("check", "--live").exit_code == 0
        wanted = {"track"} if "kinds" in routing else {"track", "identify"}
        assert {m["type"] for m in receiver.messages} == wanted
    with vendor(folder, key="wrong-key-123", more=routing + "\n"):
        result = unitrack("check", "--live")
    assert result.exit_code == 1
    assert "failed" in result.stdout


@pytest.mark.parametrize("output", ["text", "json"])
def test_live_is_no_success_for_a_destination_that_got_nothing(folder: Path, output: str) -> None:
    with vendor(folder, key="wrong-key-123", more='kinds = ["page"]\n') as receiver:
        result = unitrack("check", "--live", "--format", output)
    assert (result.exit_code, receiver.tally.requests) == (1, 0)
    assert result.stderr == ("Error: cdp: not tested, its routing filters the test messages (identify and track)\n")


def test_a_dry_run_that_routing_would_not_send_says_so(folder: Path) -> None:
    (folder / "unitrack.toml").write_text(ALL)
    text = unitrack("check", IKEY=f"{CANARY}-g").stdout
    assert [line for line in text.splitlines() if "whatever its routing says" in line] == [
        "  dry run      POST https://api.interakt.ai/v1/public/track/events/ (whatever its routing says)"
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            '[destinations.cdp]\nprovider = "hightouch"\nwrite_kye = "x"\n',
            "destinations.cdp.write_kye: there is no such",
        ),
        (
            '[destinations.cdp]\nprovider = "hightouch"\nwrite_key = "x"\nbase_url = "http://a.example"\n',
            "base_url must start",
        ),
        ('[destinations.cdp]\nprovider = "hightouch"\nwrite_key = "x"\nwrite_key = "x"\n', "(at line 4"),
        ('[destinations.cdp]\nprovider = "hightouch"\nwrite_key = "x"\n[delivery]\nqueue = "rabbit://x"\n', "queue"),
    ],
)
def test_a_wrong_configuration_is_exit_code_2(folder: Path, content: str, sentence: str) -> None:
    (folder / "unitrack.toml").write_text(content)
    result = unitrack("check")
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr


@pytest.mark.parametrize(
    "provider",
    [
        Hightouch(write_key="k"),
        Hightouch(write_key=CANARY, gzip=True, auth="basic"),
        Interakt(api_key="k"),
        Thrivestack(token=CANARY),
        SuprSend(workspace_uid="workspace-0123456789ab", api_key=CANARY),
        Webhook(url=f"https://x.example/{CANARY}", headers={"X-A": "s", "X-B": f"Key {CANARY}"}, batch=True),
    ],
    ids=lambda provider: provider.name,
)
def test_a_masked_request_holds_no_credential_however_short(provider: Any) -> None:
    shown = dry_run(provider, utc_now())
    assert isinstance(shown, Shown)
    assert CANARY not in str(shown)
    values = (
        [*shown.headers.values(), *json.loads(shown.body)] if shown.body.startswith("[") else shown.headers.values()
    )
    assert not {"k", "s"} & {str(value) for value in values}
    assert '"writeKey": "k"' not in shown.body
    assert "Unitrack Check" in shown.body
