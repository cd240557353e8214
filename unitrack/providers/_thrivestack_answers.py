"""What Thrivestack answers: one verdict for the whole request, with remarks, and a hint where the form is at fault."""

from typing import Any

from ..answers import describe, json_body, one_line, outcome_of
from ..values import dumps
from ..wire import Delivered, Outcome, Rejected, Response

TRACK = "/api/track"


def outcome(response: Response, path: str, event_key: str) -> Outcome:
    """Give the verdict on a request to a path in which an event's name was called ``event_key``."""
    answer = json_body(response)
    if 200 <= response.status < 300 and isinstance(answer, dict):
        if answer.get("success") is False:
            return Rejected(describe(response), response.status)
        if isinstance(warnings := answer.get("warnings"), list):
            return Delivered(tuple(line for warning in warnings[:20] if (line := one_line(_text(warning), 200))))
    if response.status == 400 and path == TRACK and event_key == "event" and b"name" in response.body.lower():
        # Every source but one sample calls the member event_name.
        return outcome_of(response, reason=describe(response) + ' - try Thrivestack(event_key="event_name")')
    return outcome_of(response)


def _text(warning: Any) -> str:
    return warning if isinstance(warning, str) else dumps(warning).decode()
