"""The recording client: what code under test said, to whom, and in whose words."""

import time
from pathlib import Path

import pytest
from attrs import evolve

import unitrack
from tests.patience import SLACK
from unitrack import Destination, Identify, InvalidMessage, Track, TransportError
from unitrack.providers import Hightouch, Interakt, Webhook
from unitrack.testing import RecordingClient, body_of, recording, reply

CDP = Hightouch(write_key="k-0123456789")
WHATSAPP = Destination(Interakt(api_key="k-0123456789"), events=["Order *"])


def test_it_is_a_client_and_takes_the_place_of_one() -> None:
    with recording({"cdp": CDP}) as client:
        assert isinstance(client, unitrack.Client)


def test_what_was_tracked_is_found_by_its_event() -> None:
    with recording({"cdp": CDP}) as client:
        client.track("u-42", "Order Paid", {"total": 19.9})
        client.track("u-43", "Order Paid", {"total": 7})
        client.track("u-42", "Signed Up")
    recorder = client.recorder
    assert recorder.events == ["Order Paid", "Order Paid", "Signed Up"]
    assert [message.properties["total"] for message in recorder.tracked("Order Paid")] == [19.9, 7]
    assert [message.user_id for message in recorder.tracked("Order Paid", user_id="u-43")] == ["u-43"]
    assert recorder.tracked("Order paid") == []


def test_messages_are_found_by_their_class_and_all_together_in_order() -> None:
    with recording({"cdp": CDP}) as client:
        client.identify("u-42", {"email": "ada@example.com"})
        client.track("u-42", "Signed Up")
        client.alias("anon-1", "u-42")
    assert [message.kind for message in client.recorder.messages] == ["identify", "track", "alias"]
    (identify,) = client.recorder.of(Identify)
    assert identify.traits == {"email": "ada@example.com"}


def test_a_message_is_recorded_for_those_destinations_that_took_it() -> None:
    with recording({"cdp": CDP, "whatsapp": WHATSAPP}) as client:
        client.track("u-42", "Order Paid")
        client.track("u-42", "Signed Up")
        client.page("u-42", "Docs")
        client.track("u-42", "Order Sent", exclude=["whatsapp"])
    recorder = client.recorder
    assert [message.event for message in recorder.of(Track, to="whatsapp")] == ["Order Paid"]
    assert recorder.tracked("Order Sent", to="whatsapp") == []
    assert recorder.tracked("Order Sent", to="cdp") == recorder.tracked("Order Sent")
    assert [message.kind for message in recorder.messages] == ["track", "track", "page", "track"]


def test_a_message_that_nobody_took_is_not_recorded() -> None:
    with recording({"whatsapp": WHATSAPP}) as client:
        client.track("u-42", "Signed Up")
        client.page("u-42", "Docs")
    assert client.recorder.messages == []


def test_messages_are_recorded_as_the_middleware_left_them() -> None:
    with recording({"cdp": CDP}, middleware=[add_release, no_robots]) as client:
        client.track("u-42", "Order Paid")
        client.track("robot", "Order Paid")
    (message,) = client.recorder.messages
    assert message.context["release"] == "2026.1"


def add_release(message: unitrack.Message) -> unitrack.Message:
    return evolve(message, context={**message.context, "release": "2026.1"})


def no_robots(message: unitrack.Message) -> unitrack.Message | None:
    return None if message.user_id == "robot" else message


def test_what_was_sent_is_there_in_each_vendors_words() -> None:
    with recording({"cdp": CDP, "whatsapp": WHATSAPP}) as client:
        client.track("u-42", "Order Paid", {"total": 19.9})
    recorder = client.recorder
    assert recorder.bodies("whatsapp") == [{"userId": "u-42", "event": "Order Paid", "traits": {"total": 19.9}}]
    (request,) = recorder.requests("cdp")
    assert request.url == "https://us-east-1.hightouch-events.com/v1/batch"
    assert body_of(request)["batch"][0]["properties"] == {"total": 19.9}


def test_exactly_one_message_is_handed_out() -> None:
    with recording({"cdp": CDP}) as client:
        client.track("u-42", "Order Paid", {"total": 19.9})
    assert client.recorder.tracked_once("Order Paid").properties["total"] == 19.9


def test_where_there_is_not_exactly_one_the_error_lists_what_was_tracked() -> None:
    with recording({"cdp": CDP}) as client:
        client.track("u-42", "Order Paid", {"total": 19.9})
        client.track("u-42", "Order Paid", {"total": 7})
    with pytest.raises(AssertionError) as caught:
        client.recorder.tracked_once("Order Payed", user_id="u-42", to="cdp")
    assert str(caught.value).splitlines() == [
        "'Order Payed' of 'u-42' to 'cdp' was tracked 0 times; this was tracked:",
        "  'Order Paid' of 'u-42' {'total': 19.9}",
        "  'Order Paid' of 'u-42' {'total': 7}",
    ]
    with pytest.raises(AssertionError, match="was tracked 2 times"):
        client.recorder.tracked_once("Order Paid")


def test_a_destination_that_does_not_exist_is_an_error_and_not_an_empty_list() -> None:
    with recording({"cdp": CDP}) as client:
        for look in (client.recorder.bodies, lambda name: client.recorder.tracked("Order Paid", to=name)):
            with pytest.raises(KeyError, match="no destination 'cpd'; known: cdp"):
                look("cpd")
        with pytest.raises(KeyError, match="no destination 'cpd'; known: cdp"):
            recording({"cdp": CDP}, answer={"cpd": 503})


def test_a_bad_value_raises() -> None:
    with recording({"cdp": CDP}) as client, pytest.raises(InvalidMessage, match=r"\$.properties.basket"):
        client.track("u-42", "Order Paid", {"basket": object()})


def test_a_call_returns_when_all_is_delivered() -> None:
    with recording({"cdp": CDP}) as client:
        assert client.track("u-42", "Order Paid").destinations == ("cdp",)
        assert client.stats()["cdp"].delivered == 1


def test_an_outage_that_ends_is_survived_without_waiting() -> None:
    took = []
    for _ in range(3):
        begin = time.monotonic()
        with recording({"cdp": CDP}, answer=[503, TransportError("reset"), 200]) as client:
            assert client.track("u-42", "Order Paid")
        assert len(client.recorder.requests("cdp")) == 3
        took.append(time.monotonic() - begin)
    assert min(took) < 0.5


def test_a_wait_that_the_server_asks_for_is_left_out() -> None:
    begin = time.monotonic()
    with recording({"cdp": CDP}, answer=[reply(429, headers={"Retry-After": "60"}), 200]) as client:
        assert client.track("u-42", "Order Paid")
    assert time.monotonic() - begin < SLACK


def test_an_outage_that_does_not_end_is_given_up_after_four_attempts() -> None:
    with recording({"cdp": CDP}, answer=503) as client:
        receipt = client.track("u-42", "Order Paid")
        assert not receipt
        assert client.stats()["cdp"].dead == {"exhausted": 1}
    assert len(client.recorder.requests("cdp")) == 4


def test_each_destination_can_have_its_own_answers() -> None:
    with recording({"cdp": CDP, "whatsapp": WHATSAPP}, answer={"cdp": 400}) as client:
        assert client.track("u-42", "Order Paid").destinations == ("whatsapp",)
        assert client.stats()["cdp"].dead == {"rejected": 1}


def test_a_wrong_key_does_not_make_a_test_hang() -> None:
    begin = time.monotonic()
    with recording({"cdp": CDP}, answer=401) as client:
        assert "401" in (client.track("u-42", "Order Paid").reason or "")
    assert time.monotonic() - begin < SLACK


def test_it_works_in_the_background_as_well() -> None:
    with recording({"cdp": CDP}, mode="background") as client:
        for number in range(50):
            client.track(f"u-{number}", "Order Paid")
        assert client.flush(5.0)
        assert len(client.recorder.tracked("Order Paid")) == 50
        assert sum(len(body["batch"]) for body in client.recorder.bodies("cdp")) == 50


def test_a_bulk_is_recorded_too() -> None:
    with recording({"cdp": CDP}) as client:
        report = client.send([Track(user_id="u-42", event="Order Paid"), Track(user_id="u-43", event="Order Sent")])
    assert report.status == "success"
    assert client.recorder.events == ["Order Paid", "Order Sent"]


def test_settings_of_a_destination_are_kept() -> None:
    picky = Destination(Webhook(url="https://shop.example/events"), drop=["properties.email"], max_retries=0)
    with recording({"hook": picky}, answer=503) as client:
        client.track("u-42", "Signed Up", {"email": "ada@example.com", "plan": "free"})
    (body,) = client.recorder.bodies("hook")
    assert body["properties"] == {"plan": "free"}
    assert client.recorder.tracked_once("Signed Up").properties == {"email": "ada@example.com", "plan": "free"}


def test_cleared_it_has_seen_nothing() -> None:
    with recording({"cdp": CDP}) as client:
        client.track("u-42", "Signed Up")
        client.recorder.clear()
        assert client.recorder.messages == []
        assert client.recorder.bodies("cdp") == []


def test_a_configuration_can_be_recorded(tmp_path: Path) -> None:
    file = tmp_path / "unitrack.toml"
    file.write_text(
        '[destinations.cdp]\nprovider = "hightouch"\nwrite_key = "k-0123456789"\n[delivery]\nmode = "sync"\n'
    )
    with RecordingClient.from_config(file) as client:
        client.track("u-42", "Signed Up")
    assert client.recorder.events == ["Signed Up"]
    assert len(client.recorder.bodies("cdp")) == 1
