"""What is the same at Segment and RudderStack, who speak one dialect and know repeats across sources."""

import json
from datetime import datetime, timedelta, timezone

import pytest
from attrs import evolve

from unitrack.attachment import Attachment
from unitrack.errors import InvalidMessage, Unsupported
from unitrack.forms import scoped
from unitrack.message import Track
from unitrack.providers.rudderstack import RudderStack
from unitrack.providers.segment import Segment
from unitrack.testing import recording

from .vectors import checked

TRACK = Track(user_id="u", event="E", message_id="m-1")


@pytest.fixture(params=["Segment", "RudderStack"])
def provider(request):
    if request.param == "Segment":
        return Segment(write_key="wk-of-the-shop")
    return RudderStack(write_key="wk-of-the-shop", data_plane_url="https://acme.dataplane.example", gzip=False)


def encoded(provider, message):
    return json.loads(provider.encode(checked(message, type(provider).__name__)).body)


def test_an_empty_event_name_is_refused_before_it_is_queued(provider):
    with pytest.raises(InvalidMessage, match=r"\$\.event"):
        encoded(provider, Track(user_id="u", event=""))


def test_a_timestamp_is_cut_to_milliseconds_and_sent_in_utc(provider):
    india = timezone(timedelta(hours=5, minutes=30))
    message = Track(user_id="u", event="E", timestamp=datetime(2024, 2, 29, 15, 50, 30, 999_999, tzinfo=india))
    assert encoded(provider, message)["timestamp"] == "2024-02-29T10:20:30.999+00:00"


def test_a_key_that_the_caller_chose_becomes_the_message_id_unless_an_id_was_chosen_too(provider):
    keyed = Track(user_id="u", event="E", idempotency_key="order-7")
    assert encoded(provider, keyed)["messageId"] == "order-7"
    assert encoded(provider, evolve(TRACK, idempotency_key="order-7"))["messageId"] == "m-1"


def test_phone_and_attachments_are_left_out_and_counted(provider):
    url = "https://shop.example/invoice.pdf"
    with recording({"cdp": provider}) as client:
        assert client.track("u", "E", phone="+919999999999", attachments=[Attachment(url)])
        assert client.stats()["cdp"].omitted == {"phone": 1, "attachments": 1}
        ((sent,),) = (body["batch"] for body in client.recorder.bodies("cdp"))
        assert url not in str(sent)
        assert "9999" not in str(sent)


def test_a_phone_alone_is_not_enough(provider):
    with pytest.raises(Unsupported, match=f"{type(provider).__name__} needs user_id or anonymous_id"):
        encoded(provider, Track(phone="+919999999999", event="E"))


def test_alone_it_sends_ids_as_they_are(provider):
    with recording({"cdp": provider}) as client:
        client.send([TRACK])
        assert client.recorder.bodies("cdp")[0]["batch"][0]["messageId"] == "m-1"


def test_of_two_destinations_each_has_ids_of_its_own_which_stay_the_same(provider):
    destinations = {"shop": provider, "blog": evolve(provider, write_key="wk-other")}
    with recording(destinations, answer=[503, 503, 200]) as client:
        client.send([TRACK])
        ids = {name: {body["batch"][0]["messageId"] for body in client.recorder.bodies(name)} for name in destinations}
    assert ids == {"shop": {scoped("m-1", "shop")}, "blog": {scoped("m-1", "blog")}}
