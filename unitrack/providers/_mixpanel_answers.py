"""What Mixpanel answers: ``/import`` names each event that it refused, the other paths say 1 or 0 for all."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from ..answers import describe, json_body, outcome_of
from ..wire import Delivered, Outcome, Part, Rejected, Response


def outcomes(response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
    """Give one verdict for each part; never raises."""
    answer = json_body(response)
    if response.status == 400 and isinstance(answer, dict) and (refused := _refused(answer, parts)):
        # The others are stored: sent again, they would only count against the rate (docs).
        stored = answer.get("num_records_imported")
        others = Delivered()
        if type(stored) is int and stored < len(parts) - len(refused):
            # The answer contradicts itself. They count as stored, as documented, and the ledger shows the doubt.
            others = Delivered((f"Mixpanel imported {stored} of {len(parts)}, and named {len(refused)} as refused",))
        return [refused.get(place, others) for place in range(len(parts))]
    verdict = outcome_of(response)
    if isinstance(verdict, Delivered) and _says_no(answer):
        error = answer.get("error") if isinstance(answer, dict) else None
        # One and the same for all, so that the delivery splits until the bad one stands alone.
        verdict = Rejected(_reason(response.status, error), response.status)
    return [verdict] * len(parts)


def _says_no(answer: Any) -> bool:
    status = answer.get("status") if isinstance(answer, dict) else answer
    return bool(status == 0)


def _refused(answer: dict[str, Any], parts: Sequence[Part]) -> dict[int, Rejected]:
    """Return the verdicts on the records that failed, by place; none if the answer lists none that can be found."""
    records = answer.get("failed_records")
    ids = [_insert_id(part) for part in parts] if isinstance(records, list) else []
    places = {id_: place for place, id_ in reversed(list(enumerate(ids))) if isinstance(id_, str)}
    found: dict[int, Rejected] = {}
    for record in records if isinstance(records, list) else ():
        place = _place(record, ids, places) if isinstance(record, dict) else None
        if place is not None:
            found[place] = Rejected(_reason(400, record.get("field"), record.get("message")), 400, own=True)
    return found


def _place(record: dict[str, Any], ids: Sequence[object], places: Mapping[str, int]) -> int | None:
    index = record.get("index")
    if type(index) is not int or not 0 <= index < len(ids):
        index = None
    insert_id = record.get("insert_id", record.get("$insert_id"))  # one docs page has it so, another so
    if index is not None and ids[index] == insert_id:
        return index
    # The id of another part is a better witness than an index. One of no part may have been changed on the way.
    return places.get(insert_id, index) if isinstance(insert_id, str) else index


def _insert_id(part: Part) -> object:
    return orjson.loads(part.body).get("properties", {}).get("$insert_id")


def _reason(status: int, *words: object) -> str:
    text = ": ".join(word for word in words if isinstance(word, str) and word) or "refused without a reason"
    return describe(Response(status=status, body=text.encode()))
