"""Webhook: the neutral words that it sends, and how its address and headers are kept."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.attachment import Attachment
from unitrack.errors import ConfigError
from unitrack.message import Alias, Group, Identify, Page, Track
from unitrack.phone import Phone
from unitrack.providers.webhook import Webhook
from unitrack.testing import ProviderConformance
from unitrack.wire import Delivered, Hold, Rejected, Response, Retry

from .vectors import NOW, checked

URL = "https://shop.example/events"


class TestWebhook(ProviderConformance):
    provider = Webhook(
        url="https://hooks.example/s3cr3t-of-the-path?team=7", token="s3cr3t-token", headers={"X-Key": "s3cr3t-header"}
    )
    secrets = frozenset({"s3cr3t-of-the-path", "s3cr3t-token", "s3cr3t-header"})
    secret_in_url = True  # a secret address is what such services hand out


class TestWebhookWithArrays(ProviderConformance):
    provider = Webhook(url=URL, method="PUT", batch=True, max_batch=7)
    secrets = frozenset({URL})
    secret_in_url = True


def requested(*messages, **settings):
    provider = Webhook(**{"url": URL, **settings})
    return provider.request([provider.encode(checked(message, "webhook")) for message in messages], NOW)


def test_a_message_is_one_object_in_neutral_words():
    message = Track(
        user_id="u-1",
        event="Order Paid",
        properties={"total": 19.9},
        context={"ip": "::1"},
        phone=Phone("9999999999", "+91"),
        message_id="m-1",
        tenant_id="acme",
        attachments=[Attachment("https://shop.example/invoice.pdf")],
        options={"webhook": {"queue": "fast"}, "other": {"not": "ours"}},
    )
    assert orjson.loads(requested(message).body) == {
        "type": "track",
        "message_id": "m-1",
        "timestamp": NOW.isoformat(),
        "user_id": "u-1",
        "event": "Order Paid",
        "tenant_id": "acme",
        "properties": {"total": 19.9},
        "context": {"ip": "::1"},
        "options": {"queue": "fast"},
        "phone": "+919999999999",
        "attachments": [
            {
                "url": "https://shop.example/invoice.pdf",
                "filename": None,
                "ignore_if_error": False,
                "content_type": None,
                "data": None,
            }
        ],
    }


@pytest.mark.parametrize(
    ("message", "own"),
    [
        (Identify(user_id="u", traits={"plan": "pro"}), {"traits": {"plan": "pro"}}),
        (Page(user_id="u", category="Docs", name="Python"), {"category": "Docs", "name": "Python"}),
        (Group(user_id="u", group_id="g"), {"group_id": "g"}),
        (Alias(user_id="u", previous_id="a"), {"previous_id": "a"}),
    ],
)
def test_every_kind_says_what_it_is_and_leaves_out_what_is_empty(message, own):
    sent = orjson.loads(requested(message).body)
    common = {"type": message.kind, "user_id": "u", "message_id": sent["message_id"], "timestamp": NOW.isoformat()}
    assert sent == common | own


def test_a_batch_is_an_array_even_of_one():
    one, two = Track(user_id="u", event="A"), Track(user_id="u", event="B")
    assert [m["event"] for m in orjson.loads(requested(one, two, batch=True).body)] == ["A", "B"]
    assert [m["event"] for m in orjson.loads(requested(one, batch=True).body)] == ["A"]
    assert Webhook(url=URL, batch=True, max_batch=7).capabilities.max_batch == 7
    assert Webhook(url=URL, max_batch=7).capabilities.max_batch == 1


def test_a_repeat_is_known_by_the_idempotency_key_or_else_the_message_id():
    message = Track(user_id="u", event="A", message_id="m-1")
    assert requested(message).headers["idempotency-key"] == "m-1"
    keyed = Track(user_id="u", event="A", message_id="m-1", idempotency_key="order 7/ü%")
    assert requested(keyed).headers["idempotency-key"] == "order%207/%C3%BC%25"
    assert "idempotency-key" not in requested(message, batch=True).headers


@given(st.lists(st.text(min_size=1).filter(lambda text: not text.isspace()), min_size=2, max_size=2, unique=True))
def test_two_keys_are_never_one_header(keys):
    first, second = (
        requested(Track(user_id="u", event="A", idempotency_key=key)).headers["idempotency-key"] for key in keys
    )
    assert first != second


def test_the_address_is_used_as_written_and_shown_nowhere():
    url = "https://hooks.example/T0/s3cr3t/?k=s3cr3t&k2="
    provider = Webhook(url=url)
    part = provider.encode(checked(Track(user_id="u", event="A"), "webhook"))
    assert provider.request([part], NOW).url == url
    assert provider.base_url == "https://hooks.example"
    assert "s3cr3t" not in repr(provider) + repr(part)


def test_headers_of_the_users_own_win_over_ours_in_any_spelling():
    own = {"Content-Type": "application/cloudevents+json", "AUTHORIZATION": "Key k", "X-Key": "k"}
    headers = requested(Track(user_id="u", event="A", message_id="m-1"), token="t", headers=own).headers
    assert headers == {
        "content-type": "application/cloudevents+json",
        "authorization": "Key k",
        "idempotency-key": "m-1",
        "x-key": "k",
    }


def test_the_token_is_sent_as_a_bearer_and_the_method_as_set():
    assert requested(Track(user_id="u", event="A"), token="t").headers["authorization"] == "Bearer t"
    assert requested(Track(user_id="u", event="A"), method="PATCH").method == "PATCH"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"url": ""}, "url is missing; give a whole address"),
        ({"url": "shop.example/events"}, "url must be a whole address"),
        ({"url": "https://[::1/"}, "url must be a whole address"),
        ({"url": "https://shop.example/a b"}, "url must be a whole address"),
        ({"url": None}, "url is missing; give a whole address"),
        ({"headers": ["X-Key"]}, "headers must be a table"),
        ({"headers": {"X Key": "v"}}, "headers must be a table"),
        ({"headers": {"X-Key": "a\r\nX-Other: b"}}, "the value of X-Key must be printable ASCII"),
        ({"headers": {"token": "a\r\nX-Other: b"}}, "the value of token must be printable ASCII"),
        ({"headers": {"X-Key": 7}}, "the value of X-Key must be printable ASCII"),
        ({"token": "schlüssel"}, "the value of token must be printable ASCII"),
        ({"method": "GET"}, "method must be one of"),
        ({"batch": 1}, "batch must be true or false"),
        ({"max_batch": 0}, "max_batch must be a whole number"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_not_shown(settings, sentence):
    with pytest.raises(ConfigError, match=f"^{sentence}"):
        Webhook(**{"url": URL, **settings})


@pytest.mark.parametrize(
    ("status", "expected"), [(200, Delivered), (204, Delivered), (400, Rejected), (401, Hold), (503, Retry)]
)
def test_answers_mean_what_they_mean_everywhere(status, expected):
    provider = Webhook(url=URL)
    part = provider.encode(checked(Track(user_id="u", event="A"), "webhook"))
    (outcome,) = provider.outcomes(Response(status=status), [part])
    assert isinstance(outcome, expected)
