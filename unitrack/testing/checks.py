"""Claims about what a provider says, for the conformance suite: sound JSON, no secret, verdicts fit for a log."""

import base64
import json
import math
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from ..wire import Delivered, Hold, Outcome, Rejected, Retry

MAX_REASON = 1000


def strict_json(body: bytes) -> Any:
    """Read JSON as a careful server does: UTF-8, no NaN, no name twice in one object.

    >>> strict_json(b'{"a":1,"a":2}')
    Traceback (most recent call last):
    AssertionError: the name 'a' stands twice in one object
    """

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            assert name not in found, f"the name {name!r} stands twice in one object"
            found[name] = value
        return found

    def constant(word: str) -> Any:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(body.decode(), object_pairs_hook=members, parse_constant=constant)


def _forms(secret: str) -> set[str]:
    encoded = [base64.b64encode(text.encode()).decode().rstrip("=") for text in (secret, secret + ":")]
    return {secret, quote(secret, safe=""), *encoded}


def assert_sound(outcome: Outcome) -> None:
    match outcome:
        case Delivered(warnings):
            texts: tuple[str, ...] = warnings
        case Retry(reason, after, _):
            texts = (reason,)
            assert after is None or (math.isfinite(after) and after >= 0), f"a wait of {after} s"
        case Hold(reason, _) | Rejected(reason, _):
            texts = (reason,)
        case _:
            raise AssertionError(f"{outcome!r} is no verdict")
    for text in texts:
        assert isinstance(text, str), f"a reason is text, not {text!r}"
        assert text.strip(), "a verdict has a reason"
        # It goes into logs: one line, and not a megabyte.
        assert text.isprintable(), f"a reason is one printable line: {text!r}"
        assert len(text) <= MAX_REASON, f"a reason of {len(text)} characters; {MAX_REASON} are enough"


def assert_no_secret(secrets: Iterable[str], *texts: str) -> None:
    """Claim that texts show no secret: as it is, as part of an address, or in base64."""
    for secret in secrets:
        for form in _forms(secret):
            for shown in texts:
                assert form not in shown, f"a secret shows in {shown.replace(form, '…')!r}"
