"""Many messages at once, and one report."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.desk import CDP, WHATSAPP, Desk, track
from unitrack.bulk import NO_VERDICT, Bulk
from unitrack.destination import Destination
from unitrack.message import Message, Page
from unitrack.results import FailedRecord, Report
from unitrack.wire import Delivered, Hold, Outcome, Rejected, Retry


def sent(desk: Desk, *messages: Any, verdicts: Mapping[str, Outcome] | None = None) -> tuple[Bulk, Report]:
    """Hand messages in, and give each destination's messages the same verdict."""
    bulk = Bulk(desk.intake.take)
    for message in messages:
        bulk.add(message)
    bulk.collector.complete()
    for _, taken in bulk.taken:
        for name in taken.receipt.destinations:
            if outcome := (verdicts or {}).get(name):
                bulk.collector.note(taken.seq, name, outcome)
    return bulk, bulk.report()


def two() -> Desk:
    return Desk(cdp=Destination(CDP), whatsapp=Destination(WHATSAPP))


def test_a_report_has_a_verdict_for_each_message_at_each_destination() -> None:
    good = {"cdp": Delivered(), "whatsapp": Rejected("no such template", 400)}
    first, second = track(message_id="m1"), track(message_id="m2")
    bulk, report = sent(two(), first, second, verdicts=good)
    assert bulk.collector.waiter.is_set()
    assert (report.status, report.success, report.failure, report.total) == ("partial", 2, 2, 4)
    assert report.verdicts == {
        ("m1", "cdp"): Delivered(),
        ("m1", "whatsapp"): Rejected("no such template", 400),
        ("m2", "cdp"): Delivered(),
        ("m2", "whatsapp"): Rejected("no such template", 400),
    }
    assert report.failed_records == (
        FailedRecord(first, "whatsapp", "no such template", 400),
        FailedRecord(second, "whatsapp", "no such template", 400),
    )
    assert report.delivered == (("m1", "cdp"), ("m2", "cdp"))


def test_a_failed_record_is_the_very_message_that_was_handed_in() -> None:
    bad = track(event="")
    _, report = sent(two(), bad)
    assert [record.record for record in report.failed_records] == [bad, bad]
    assert report.failed_records[0].record is bad
    assert report.failed_records[0].error.startswith("invalid: $.event")


@pytest.mark.parametrize(
    ("outcome", "error", "code"),
    [
        (None, NO_VERDICT, None),
        (Retry("503: busy", None, 503), f"503: busy ({NO_VERDICT})", 503),
        (Hold("401: bad key", 401), "401: bad key", 401),
    ],
    ids=["nothing yet", "retry", "hold"],
)
def test_a_message_without_a_verdict_in_time_says_so(outcome: Outcome | None, error: str, code: int | None) -> None:
    message = track(message_id="m")
    _, report = sent(Desk(), message, verdicts={"cdp": outcome} if outcome else None)
    assert report.failed_records == (FailedRecord(message, "cdp", error, code),)
    assert report.verdicts == ({("m", "cdp"): outcome} if outcome else {})
    assert (report.status, report.failure) == ("fail", 1)


def test_what_one_provider_cannot_take_fails_there_only() -> None:
    _, report = sent(two(), Page(user_id="u", message_id="m"), verdicts={"cdp": Delivered(), "whatsapp": Delivered()})
    assert (report.success, report.failure) == (1, 1)
    [failed] = report.failed_records
    assert (failed.destination, failed.error.partition(":")[0]) == ("whatsapp", "unsupported")
    assert report.verdicts["m", "whatsapp"] == Rejected(failed.error)


def test_what_was_filtered_is_no_failure() -> None:
    def stop(message: Message) -> None:
        return None

    _, report = sent(Desk(middleware=[stop]), track())
    assert (report.status, report.total) == ("success", 0)


def test_nothing_handed_in_is_a_success() -> None:
    bulk, report = sent(Desk())
    assert (report.status, report.total, report.failed_records) == ("success", 0, ())
    assert bulk.collector.waiter.is_set()


def test_two_messages_with_one_id_are_both_counted() -> None:
    _, report = sent(Desk(), track(message_id="m"), track(message_id="m"), verdicts={"cdp": Delivered()})
    assert (report.success, report.failure) == (2, 0)
    assert report.verdicts == {("m", "cdp"): Delivered()}


def test_what_gave_way_to_newer_messages_is_told() -> None:
    desk = Desk(cdp=Destination(CDP, max_events=1, on_full="drop_oldest"))
    _, report = sent(desk, track(message_id="m1"), track(message_id="m2"))
    assert {record.error for record in report.failed_records} == {
        "queue_full: newer messages took its place",
        NO_VERDICT,
    }


def test_a_report_can_be_asked_for_again_later() -> None:
    bulk, early = sent(Desk(), track(message_id="m"))
    [(_, taken)] = bulk.taken
    bulk.collector.note(taken.seq, "cdp", Delivered())
    assert (early.status, bulk.report().status) == ("fail", "success")
