"""What Amplitude's answers mean for each message: 400 and 429 name events by index, and nothing was taken."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from ..answers import json_body, outcome_of, retry_after
from ..wire import Hold, Outcome, Part, Rejected, Response, Retry

THROTTLED_SECONDS = 30.0
#: The quota is one of 24 hours, and the answer does not say when it ends.
QUOTA_SECONDS = 3600.0

_FAULTS = {
    "events_with_invalid_fields": "invalid field",
    "events_with_missing_fields": "missing field",
    "events_with_invalid_id_lengths": "id too short",
}
_WRONG_KEY = "400: Amplitude does not know this api_key; copy it from the project's settings, and check the region"


def is_pair(part: Part) -> bool:
    """Tell whether a part is two events in an array: a group call that has both members and traits."""
    return part.body.startswith(b"[")


def outcomes(response: Response, parts: Sequence[Part]) -> list[Outcome]:
    """Give one verdict for each part; of two events in a part, the one that is named speaks for both."""
    answer = json_body(response)
    named: dict[int, Outcome] = {}
    wait = 0.0
    if isinstance(answer, dict) and response.status == 400:
        if _is_about_the_key(answer):
            return [Hold(_WRONG_KEY, 400)] * len(parts)
        named = _faulty(answer, _events_of(parts))
    elif isinstance(answer, dict) and response.status == 429:
        # The vendor documents no Retry-After; where there is one all the same, nobody may come sooner.
        wait = retry_after(response) or 0.0
        named = _throttled(answer, parts, wait)
    if not named:
        return [outcome_of(response)] * len(parts)
    reason = f"{response.status}: not taken because of other events in the request"
    spared = Retry(reason, wait, response.status, own=True)
    return [named.get(place, spared) for place in range(len(parts))]


def _is_about_the_key(answer: Mapping[str, Any]) -> bool:
    error = answer.get("error")
    wrong = isinstance(error, str) and error.startswith("Invalid API key")
    return wrong or answer.get("missing_field") == "api_key"


def _faulty(answer: Mapping[str, Any], events: Sequence[int]) -> dict[int, Outcome]:
    found: dict[int, Outcome] = {}
    for member, why in _FAULTS.items():
        for field, indexes in _items(answer.get(member)):
            for place in _places(indexes, events):
                found.setdefault(place, Rejected(f"400: {why} {field!r:.60}", 400, own=True))
    for place in _places(answer.get("silenced_events"), events):
        found.setdefault(place, Rejected("400: Amplitude has silenced this user or device", 400, own=True))
    return found


def _throttled(answer: Mapping[str, Any], parts: Sequence[Part], wait: float) -> dict[int, Outcome]:
    found: dict[int, Outcome] = {}
    for place in _places(answer.get("throttled_events"), _events_of(parts)):
        found[place] = Retry("429: too many events of this user or device", max(THROTTLED_SECONDS, wait), 429, own=True)
    for member, name in (("exceeded_daily_quota_users", "user_id"), ("exceeded_daily_quota_devices", "device_id")):
        for place in _places_of(dict(_items(answer.get(member))), name, parts):
            # An id over its quota is among the throttled ones too, and has to wait longer.
            found[place] = Retry("429: daily quota of this user or device", max(QUOTA_SECONDS, wait), 429, own=True)
    return found


def _items(value: object) -> Iterator[tuple[str, Any]]:
    yield from value.items() if isinstance(value, dict) else ()


def _events_of(parts: Sequence[Part]) -> list[int]:
    """Return, for each event of a request, the place of its part."""
    return [place for place, part in enumerate(parts) for _ in range(1 + is_pair(part))]


def _places(indexes: object, events: Sequence[int]) -> Iterator[int]:
    """Yield the places of the parts whose events have these indexes; anything that is no such index is ignored."""
    if isinstance(indexes, list):
        for index in indexes:
            if type(index) is int and 0 <= index < len(events):
                yield events[index]


def _places_of(ids: Mapping[str, Any], name: str, parts: Sequence[Part]) -> Iterator[int]:
    for place, part in enumerate(parts) if ids else ():
        event = orjson.loads(part.body)
        # Both events of a pair have the same ids.
        if (event[0] if is_pair(part) else event).get(name) in ids:
            yield place
