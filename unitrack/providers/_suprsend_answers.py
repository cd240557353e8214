"""What SuprSend answers: one verdict for the whole request, or a record for each event of a bulk."""

from collections.abc import Sequence
from typing import Any

from ..answers import RETRY_STATUS, clocks_apart, describe, json_body, outcome_of, retry_after
from ..wire import Delivered, Outcome, Rejected, Response, Retry

# Repeated with the same $insert_id; the vendor's client calls such an event delivered (measured).
_UNKNOWN = Retry("the answer has no verdict on this event")


def outcomes(response: Response, count: int) -> Sequence[Outcome]:
    """Give one verdict for each of ``count`` events, by position; never raises."""
    data = json_body(response)
    status = response.status
    reason = _reason(data, status) if status >= 400 else None
    if status in (401, 403) and (times := clocks_apart(response)):
        reason = f"{reason or describe(response)} - {times}"
    verdict = outcome_of(response, reason=reason)
    # An empty body, or the bare OK of older service versions, takes all of them.
    if not isinstance(verdict, Delivered) or not isinstance(data, dict):
        return [verdict] * count
    records = data.get("records")
    if isinstance(records, list) and records:
        found = [_of_record(record, response) for record in records[:count]]
        return found + [_UNKNOWN] * (count - len(found))
    if data.get("status") == "error":
        return [Rejected(_reason(data, status) or describe(response), status)] * count
    # Records that are there and say nothing are no bare OK; a single event never has any.
    return [verdict if records is None or count == 1 else _UNKNOWN] * count


def _of_record(record: Any, response: Response) -> Outcome:
    if not isinstance(record, dict):
        return _UNKNOWN
    status, code = record.get("status"), record.get("status_code")
    if isinstance(code, bool) or not isinstance(code, int):
        code = None
    if status == "error" or (code is not None and code >= 400):
        reason = _reason(record, code or response.status) or f"{code or response.status}: no reason is named"
        if code is not None and (code in RETRY_STATUS or code >= 500):
            return Retry(reason, retry_after(response), code)
        return Rejected(reason, code)
    return Delivered() if status == "success" or (code is not None and 200 <= code < 300) else _UNKNOWN


def _reason(data: Any, status: int) -> str | None:
    """Say in one line what an error object says, if there is one."""
    error = data.get("error") if isinstance(data, dict) else None
    words = [error.get("type"), error.get("message")] if isinstance(error, dict) else [error]
    text = ": ".join(word for word in words if isinstance(word, str) and word)
    return describe(Response(status=status, body=text.encode())) if text else None
