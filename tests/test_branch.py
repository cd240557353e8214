"""Credentials, taken out of whatever a server says."""

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from attrs import evolve, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from unitrack.branch import Branch, routes, secrets_of, unechoed, without
from unitrack.destination import Destination
from unitrack.message import Page, Track
from unitrack.providers import Hightouch, SuprSend
from unitrack.settings import Settings
from unitrack.waiting import Collector
from unitrack.wire import Hold, Response


@frozen(kw_only=True)
class Vault:
    token: str = field(metadata={"secret": True})
    headers: Mapping[str, str] = field(factory=dict, metadata={"secret": True})
    region: str = "region-1"


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@given(st.text(min_size=4, max_size=30), st.text(min_size=4, max_size=30))
def test_a_credential_that_is_echoed_is_blackened_in_every_form_in_which_it_travels(token: str, header: str) -> None:
    secrets = secrets_of(Vault(token=token, headers={"X-Key": header}))
    forms = [token, header, in_base64(token), in_base64(f"{token}:"), quote(token, safe="")]
    for form in forms:
        assert without(secrets, f"[{form}]") == "[***]"


@pytest.mark.parametrize(
    "echo",
    [
        r"ab\/cd+ef\"gh\\ü",  # PHP, unescaped unicode
        r"ab\/cd+ef\"gh\\\u00fc",  # PHP
        r"ab/cd+ef\"gh\\\u00fc",  # Python
        r"ab/cd+ef\"gh\\ü",  # JavaScript
        r"ab/cd\u002Bef\u0022gh\\\u00FC",  # .NET
        r"ab/cd\u002bef\u0022gh\\\u00fc",
    ],
)
def test_a_credential_that_is_echoed_in_json_is_blackened_whoever_wrote_that(echo: str) -> None:
    secrets = secrets_of(Vault(token='ab/cd+ef"gh\\ü'))
    assert without(secrets, f'{{"error":"bad key {echo}"}}') == '{"error":"bad key ***"}'
    assert unechoed(secrets, Response(status=400, body=echo.encode())).body == b"***"


def test_what_is_no_secret_stays() -> None:
    secrets = secrets_of(Vault(token="s3cr3t", headers={"X-Key": "k3y-k3y"}))
    assert without(secrets, "unknown key s3cr3t in region-1, s3cr3t:k3y-k3y") == "unknown key *** in region-1, ***:***"


def test_a_bearer_token_is_blackened_without_its_scheme_too() -> None:
    secrets = secrets_of(Vault(token="unused", headers={"Authorization": "Bearer abc123xyz"}))
    assert without(secrets, "invalid token abc123xyz") == "invalid token ***"
    assert without(secrets, "got Bearer abc123xyz") == "got ***"


def test_a_text_of_three_letters_is_no_secret_worth_every_other_word() -> None:
    assert without(secrets_of(Vault(token="api")), "the api is down") == "the api is down"


def test_the_longest_secret_goes_first() -> None:
    secrets = secrets_of(Vault(token="abcd", headers={"X-Key": "abcd-efgh"}))
    assert without(secrets, "abcd-efgh abcd") == "*** ***"


def test_a_provider_without_settings_has_no_secrets() -> None:
    assert secrets_of(object()) == ()


def test_the_secrets_of_a_real_provider_are_found() -> None:
    secrets = secrets_of(SuprSend(workspace_key="workspace-key-of-shop", workspace_secret="workspace-secret"))
    assert without(secrets, "workspace-key-of-shop:workspace-secret") == "workspace-key-of-shop:***"


@pytest.mark.parametrize(("token", "left"), [("k" * 12, b"no such key ***"), ("k" * 11, b"no such key kkkkkkkkkkk")])
def test_an_answer_says_no_long_secret_back(token: str, left: bytes) -> None:
    response = Response(status=401, headers={"date": "d"}, body=f"no such key {token}".encode())
    assert unechoed(secrets_of(Vault(token=token)), response) == evolve(response, body=left)


def test_an_answer_without_a_secret_is_handed_on_as_it_is() -> None:
    response = Response(status=401, body=b"no such key")
    assert unechoed(secrets_of(Vault(token="k" * 12)), response) is response


def test_all_bulks_that_wait_are_told() -> None:
    branch = Branch("cdp", Destination(Hightouch(write_key="k" * 8)), Settings())
    collector = Collector()
    for seq in (1, 2):
        collector.expect(seq, "cdp")
        branch.watched[seq] = collector
    branch.tell_all(Hold("401"))
    assert collector.outcomes() == {(1, "cdp"): Hold("401"), (2, "cdp"): Hold("401")}
    assert list(branch.watched) == [1, 2], "they wait on"


def test_each_branch_has_its_own_route() -> None:
    def branch(name: str, **rules: Any) -> Branch:
        return Branch(name, Destination(Hightouch(write_key="k" * 8), **rules), Settings())

    found = routes([branch("all"), branch("orders", events=["Order *"]), branch("pages", kinds=["page"])])
    assert {name for name, wants in found.items() if wants(Track(event="Order Paid"))} == {"all", "orders"}
    assert {name for name, wants in found.items() if wants(Page())} == {"all", "orders", "pages"}
