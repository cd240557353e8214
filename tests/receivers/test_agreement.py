"""Two independent readings of each vendor agree: what a provider sends, the receiver takes."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unitrack.providers.hightouch import Hightouch
from unitrack.providers.interakt import Interakt
from unitrack.providers.suprsend import SuprSend
from unitrack.providers.thrivestack import Thrivestack
from unitrack.receivers import (
    HightouchReceiver,
    InteraktReceiver,
    Receiver,
    SuprSendReceiver,
    ThrivestackReceiver,
)
from unitrack.testing.strategies import any_messages, messages
from unitrack.wire import Capabilities, Provider

from .agreeing import URL, assert_agreed
from .posting import SECRET, WORKSPACE

PAIRS: dict[str, tuple[Provider, Receiver]] = {
    "hightouch": (Hightouch(write_key="k", base_url=URL), HightouchReceiver(write_key="k")),
    "hightouch-gzip-basic": (
        Hightouch(write_key="k", base_url=URL, auth="basic", gzip=True),
        HightouchReceiver(write_key="k"),
    ),
    "interakt": (Interakt(api_key="k", base_url=URL), InteraktReceiver(api_key="k")),
    "interakt-dated": (Interakt(api_key="k", base_url=URL, always_created_at=True), InteraktReceiver(api_key="k")),
    "thrivestack-token": (Thrivestack(token="t", base_url=URL), ThrivestackReceiver(token="t")),
    "thrivestack-key": (Thrivestack(api_key="k", base_url=URL, source="product"), ThrivestackReceiver(api_key="k")),
    "thrivestack-page": (
        Thrivestack(api_key="k", base_url=URL, page="endpoint"),
        ThrivestackReceiver(api_key="k"),
    ),
    "suprsend-signed": (
        SuprSend(workspace_key=WORKSPACE, workspace_secret=SECRET, base_url=URL),
        SuprSendReceiver(workspace_key=WORKSPACE, workspace_secret=SECRET),
    ),
    "suprsend-bearer": (
        SuprSend(workspace_uid=WORKSPACE, api_key="k", base_url=URL, profile="sync"),
        SuprSendReceiver(workspace_uid=WORKSPACE, api_key="k"),
    ),
}


@pytest.mark.parametrize("make", [messages, any_messages])
@pytest.mark.parametrize("name", PAIRS)
# Whole messages with nested values take their time; the conformance suite draws many more of them.
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_a_provider_sends_is_taken(
    name: str, make: Callable[[Capabilities], st.SearchStrategy[Any]], data: st.DataObject
) -> None:
    provider, receiver = PAIRS[name]
    assert_agreed(provider, receiver, data.draw(st.lists(make(provider.capabilities), min_size=1, max_size=4)))
