"""When a request is the same as a recorded one: names of headers without case, bodies as data, times as instants."""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from unitrack.testing import body_of
from unitrack.wire import Request

#: Headers that describe the client; they may be anything, or missing.
FREE_HEADERS = {"user-agent", "x-suprsend-client-user-agent"}
#: Volatile members by which a client names itself; they may be missing.
CLIENT_MARKS = {"library", "$ss_sdk_version"}
#: Providers for whom a null member and an absent one are the same.
NULL_IS_ABSENT = {"hightouch", "suprsend"}

_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)


def request_differences(
    name: str, want: Mapping[str, Any], got: Request, rules: Mapping[str, Any], *, added: frozenset[str] = frozenset()
) -> list[str]:
    """Say in what a request differs from the recorded one.

    Args:
        name: the provider.
        want: ``method``, ``path``, ``headers`` and ``body``; what is not there is not compared.
        got: the request to judge.
        rules: JSON pointers from the request: ``volatile`` members must be there with any value, ``instants`` are
            compared to the millisecond, ``unordered`` arrays in any order.
        added: names of members that are not compared, wherever they stand.
    """
    found = []
    for member, actual in (("method", got.method), ("path", urlsplit(got.url).path)):
        if want.get(member, actual) != actual:
            found.append(f"{member}: {want[member]!r} wanted, got {actual!r}")
    found += _header_differences(want.get("headers", {}), got.headers, set(rules.get("volatile", ())))
    if "body" in want:
        comparison = _Comparison(
            volatile=_in_body(rules, "volatile"),
            instants=_in_body(rules, "instants"),
            unordered=_in_body(rules, "unordered"),
            added=added,
            null_is_absent=name in NULL_IS_ABSENT,
        )
        found += comparison.differences(want["body"], body_of(got), "")
    return found


def _in_body(rules: Mapping[str, Any], member: str) -> set[str]:
    return {pointer.removeprefix("/body") for pointer in rules.get(member, ()) if pointer.startswith("/body")}


def _header_differences(want: Mapping[str, str], got: Mapping[str, str], volatile: set[str]) -> Iterator[str]:
    actual = _lower(got)
    for header, value in want.items():
        name = header.lower()
        if name in FREE_HEADERS:
            continue
        if name not in actual:
            yield f"header {header}: missing"
        elif name == "content-type":
            if _media_type(value) != _media_type(actual[name]):
                yield f"header {header}: {value!r} wanted, got {actual[name]!r}"
        elif f"/headers/{header}" not in volatile and value != actual[name]:
            yield f"header {header}: {value!r} wanted, got {actual[name]!r}"


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _media_type(value: str) -> str:
    return value.partition(";")[0].strip().lower()


@frozen(kw_only=True)
class _Comparison:
    """Compares JSON data: member order is free, 1 equals 1.0, true is not 1. Pointers start at the body."""

    volatile: set[str]
    instants: set[str]
    unordered: set[str]
    added: frozenset[str]
    null_is_absent: bool

    def differences(self, want: Any, got: Any, at: str) -> list[str]:
        if at in self.volatile:
            return []
        if at in self.instants:
            when = _milliseconds(want)
            same = when is not None and when == _milliseconds(got)
        elif isinstance(want, dict) and isinstance(got, dict):
            return self._of_objects(want, got, at)
        elif isinstance(want, list) and isinstance(got, list):
            return self._of_arrays(want, got, at)
        else:
            same = isinstance(want, bool) is isinstance(got, bool) and want == got
        return [] if same else [f"{at}: {want!r} wanted, got {got!r}"]

    def _of_objects(self, want: dict[str, Any], got: dict[str, Any], at: str) -> list[str]:
        found: list[str] = []
        for name in sorted(want.keys() | got.keys()):
            here = f"{at}/{name.replace('~', '~0').replace('/', '~1')}"
            if name in self.added or (here in self.volatile and name in CLIENT_MARKS):
                continue
            if name in want and name in got:
                found += self.differences(want[name], got[name], here)
            elif not (self.null_is_absent and want.get(name) is None and got.get(name) is None):
                found.append(f"{here}: {'missing' if name in want else 'not expected'}")
        return found

    def _of_arrays(self, want: Sequence[Any], got: Sequence[Any], at: str) -> list[str]:
        if len(want) != len(got):
            return [f"{at}: {len(want)} items wanted, got {len(got)}"]
        if at in self.unordered:
            want, got = (sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) for items in (want, got))
        pairs = enumerate(zip(want, got, strict=True))
        return [line for index, (a, b) in pairs for line in self.differences(a, b, f"{at}/{index}")]


def _milliseconds(value: Any) -> int | None:
    """Milliseconds since 1970 of ISO text with an offset, extra digits cut off; ``None`` for anything else."""
    try:
        when = dt.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return None if when.tzinfo is None else (when - _EPOCH) // dt.timedelta(milliseconds=1)
