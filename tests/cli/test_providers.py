"""``unitrack providers``: the table of what each provider takes."""

import json
from typing import ClassVar

import pytest
from attrs import field, frozen

from unitrack import ConfigError
from unitrack.cli import capabilities
from unitrack.providers import BUILT_IN, Hightouch, Interakt, SuprSend, find, names
from unitrack.wire import Capabilities, secret

from .running import unitrack


def test_the_table_has_a_row_for_every_provider() -> None:
    lines = unitrack("providers").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["provider", *names()]


def test_it_can_be_markdown() -> None:
    lines = unitrack("providers", "--format", "markdown").stdout.splitlines()
    assert lines[1] == "|" + " --- |" * len(capabilities.HEADERS)
    assert len({line.count(" | ") for line in lines[2:]}) == 1
    [hightouch] = [line for line in lines if line.startswith("| hightouch |")]
    assert hightouch.startswith(
        "| hightouch | track, identify, page, screen, group, alias | user_id or anonymous_id | 100 |"
    )


def test_it_can_be_json_and_says_what_the_provider_declares() -> None:
    found = {each["name"]: each for each in json.loads(unitrack("providers", "--format", "json").stdout)}
    assert found["interakt"]["max_batch"] == Interakt(api_key="k").capabilities.max_batch
    assert found["interakt"]["rate_per_minute"] == 300
    assert set(found["hightouch"]["accepts"]) == Hightouch(write_key="k").capabilities.accepts
    assert found["suprsend"]["refusals"]["page"].startswith("SuprSend has no page call")


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_provider_can_be_made_of_placeholders(name: str) -> None:
    made = capabilities.example(find(name))
    assert made.name == name


def test_credentials_that_belong_together_are_found_by_trying() -> None:
    made = capabilities.example(SuprSend)
    assert isinstance(made, SuprSend)
    assert (bool(made.workspace_key), bool(made.workspace_secret)) == (True, True)


def test_what_a_vendor_takes_in_some_calls_only_is_said_so() -> None:
    can = Capabilities(carries=frozenset({"context", "identify.phone"}), identities=("user_id", "anonymous_id"))
    assert capabilities.leaves_out(can) == [
        "phone (but for identify)", "integrations", "tenant_id", "idempotency_key", "attachments",
    ]  # fmt: skip


@frozen(kw_only=True)
class Picky:
    name: ClassVar[str] = "picky"
    key: str = secret()
    region: str | None = field(default=None)

    def __attrs_post_init__(self) -> None:
        raise ConfigError("region must be a region")


def test_a_provider_that_needs_more_has_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "names", lambda: ["picky"])
    monkeypatch.setattr(capabilities, "find", lambda name: Picky)
    assert "it cannot be made without settings of yours" in unitrack("providers").stdout
    assert json.loads(unitrack("providers", "--format", "json").stdout)[0]["name"] == "picky"
