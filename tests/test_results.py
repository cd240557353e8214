"""Receipts, reports and ledgers: what they say of themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.results import FailedRecord, Ledger, Receipt, Report
from unitrack.wire import Delivered, Hold, Rejected, Retry

counts = st.integers(0, 5)
reasons = st.dictionaries(st.sampled_from(["invalid", "queue_full", "rejected", "expired"]), counts)


def test_a_receipt_is_true_when_somebody_took_the_message() -> None:
    assert Receipt("m", True)
    assert not Receipt("m", False)


@pytest.mark.parametrize(
    ("success", "failure", "status"), [(0, 0, "success"), (3, 0, "success"), (2, 1, "partial"), (0, 1, "fail")]
)
def test_a_report_tells_all_some_or_none(success: int, failure: int, status: str) -> None:
    report = Report(success=success, failure=failure)
    assert (report.status, report.total) == (status, success + failure)


def test_a_report_names_what_arrived() -> None:
    verdicts = {
        ("m1", "a"): Delivered(),
        ("m2", "a"): Rejected("no"),
        ("m1", "b"): Hold("no"),
        ("m2", "b"): Retry("no"),
    }
    assert Report(success=1, failure=3, verdicts=verdicts).delivered == (("m1", "a"),)


def test_a_new_ledger_is_empty() -> None:
    ledger = Ledger()
    assert (ledger.accepted, ledger.delivered, ledger.filtered, ledger.pending) == (0, 0, 0, 0)
    assert (ledger.dropped, ledger.dead, ledger.omitted, ledger.warnings, ledger.held) == ({}, {}, {}, (), None)
    assert (ledger.retried, ledger.requests, ledger.bytes_sent) == (0, 0, 0)
    assert ledger.balanced


def test_a_failed_record_names_message_destination_error_and_code() -> None:
    failed = FailedRecord(None, "cdp", "no such plan", 400)
    assert (failed.record, failed.destination, failed.error, failed.code) == (None, "cdp", "no such plan", 400)


@given(counts, counts, reasons, reasons, counts, st.integers(-2, 2))
def test_a_ledger_balances_exactly_when_every_message_is_accounted_for(
    delivered: int, filtered: int, dropped: dict[str, int], dead: dict[str, int], pending: int, missing: int
) -> None:
    gone = delivered + filtered + sum(dropped.values()) + sum(dead.values())
    ledger = Ledger(
        accepted=gone + pending + missing,
        delivered=delivered,
        filtered=filtered,
        dropped=dropped,
        dead=dead,
        pending=pending,
        retried=7,
        requests=9,
    )
    assert ledger.balanced == (missing == 0)
