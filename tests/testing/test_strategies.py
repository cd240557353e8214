"""The strategies: messages that a provider must take, messages that it may refuse, answers of every kind."""

import doctest
from types import ModuleType

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from unitrack.codec import pack, unpack
from unitrack.message import KINDS, Message
from unitrack.phone import Phone
from unitrack.testing import checks, recorder, samples, strategies, transports
from unitrack.values import JsonObject
from unitrack.wire import Capabilities, Request, Response, refusal

from .acme import Acme

kinds = st.frozensets(st.sampled_from(list(KINDS)), min_size=1)
identities = st.lists(st.sampled_from(["user_id", "anonymous_id", "phone"]), min_size=1, unique=True).map(tuple)
abilities = st.builds(Capabilities, accepts=kinds, identities=identities)

quickly = settings(max_examples=100, deadline=None, database=None, phases=[Phase.generate])
#: The same examples in every run: whether an odd one is among them must not be a matter of luck.
patiently = settings(quickly, max_examples=2_000, derandomize=True)


def able(capabilities: Capabilities) -> Acme:
    return type("Able", (Acme,), {"capabilities": capabilities})(api_key="s3cr3t-value")


@quickly
@given(data=st.data(), capabilities=abilities)
def test_ordinary_messages_are_those_that_capabilities_let_pass(
    data: st.DataObject, capabilities: Capabilities
) -> None:
    message = data.draw(strategies.messages(capabilities))
    assert message.kind in capabilities.accepts
    if message.kind != "alias":
        assert refusal(able(capabilities), message) is None


@quickly
@given(data=st.data(), capabilities=abilities)
def test_messages_are_such_as_come_out_of_a_queue(data: st.DataObject, capabilities: Capabilities) -> None:
    message = data.draw(strategies.messages(capabilities))
    assert unpack(pack(message)) == message
    assert message.timestamp is not None
    assert message.message_id


@quickly
@given(strategies.any_messages(Capabilities()))
def test_any_message_is_checked_and_its_options_are_those_of_one_destination(message: Message) -> None:
    assert message.user_id or message.anonymous_id or isinstance(message.phone, Phone)
    assert isinstance(message.context, JsonObject)
    assert isinstance(message.options, JsonObject)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_tried(kind: str) -> None:
    for strategy in (strategies.messages(Capabilities()), strategies.any_messages(Capabilities())):
        assert find(strategy, lambda message: message.kind == kind, settings=patiently).kind == kind


@pytest.mark.parametrize(
    "odd",
    [
        lambda response: response.status == 503,
        lambda response: b"NaN" in response.body,
        lambda response: response.body.startswith(b"["),
        lambda response: b'"success": false' in response.body,
        lambda response: b'"records"' in response.body,
        lambda response: "retry-after" in response.headers,
        lambda response: not response.body.isascii(),
    ],
)
def test_odd_answers_are_tried(odd: object) -> None:
    assert isinstance(find(strategies.responses(), odd, settings=patiently), Response)


def test_messages_share_nothing_that_could_be_changed() -> None:
    first, second = samples.sample("track"), samples.sample("track")
    assert isinstance(first.context, JsonObject)
    first.context.data["library"] = "acme"
    assert second.context == {}
    assert samples.sample("track").context == {}


@pytest.mark.parametrize("capabilities", [Capabilities(), Acme.capabilities])
def test_there_is_a_sample_of_every_kind_that_is_accepted(capabilities: Capabilities) -> None:
    assert {message.kind for message in samples.samples(capabilities)} == capabilities.accepts


@pytest.mark.parametrize("module", [checks, recorder, samples, transports], ids=lambda module: module.__name__)
def test_the_examples_in_the_docstrings_hold(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_a_secret_is_found_in_every_form_it_travels_in() -> None:
    shown = ["key=s3cr3t/value", "key=s3cr3t%2Fvalue", "Basic czNjcjN0L3ZhbHVl", "Basic czNjcjN0L3ZhbHVlOg=="]
    for text in shown:
        with pytest.raises(AssertionError, match="a secret shows") as caught:
            checks.assert_no_secret({"s3cr3t/value"}, text)
        assert "s3cr3t" not in str(caught.value)
    checks.assert_no_secret({"s3cr3t/value"}, "key=***", repr(Request(url="https://a.example", headers={}, body=b"")))


@pytest.mark.parametrize("body", [b'{"a":NaN}', b'{"a":Infinity}', b'[{"a":1,"a":2}]'])
def test_what_only_lenient_readers_take_is_no_json(body: bytes) -> None:
    with pytest.raises(AssertionError):
        checks.strict_json(body)


def test_what_everyone_takes_is_json() -> None:
    assert checks.strict_json(b'[{"a":1.5},{"a":null}]') == [{"a": 1.5}, {"a": None}]
