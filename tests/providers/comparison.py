"""When a request is the same as a recorded one: names of headers without case, bodies as data, times as instants."""

import base64
import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from attrs import frozen

from unitrack.testing import body_of
from unitrack.wire import Request

#: Headers that describe the client; they may be anything, or missing.
FREE_HEADERS = {"user-agent", "x-suprsend-client-user-agent"}
#: Volatile members that may be missing, by provider: how a client names itself, and what means the same when absent.
OPTIONAL_MEMBERS: Mapping[str, frozenset[str]] = {
    "hightouch": frozenset({"library"}),
    "suprsend": frozenset({"$ss_sdk_version"}),
    "segment": frozenset({"library"}),
    "rudderstack": frozenset({"library", "channel", "integrations"}),
    "posthog": frozenset(
        {
            "$lib", "$lib_version", "$is_server", "$python_runtime", "$python_version", "$os", "$os_version",
            "$os_distro", "historical_migration",
        }
    ),
    "mixpanel": frozenset({"mp_lib", "$lib_version", "token", "$time", "$ip"}),
    "amplitude": frozenset({"library"}),
    "customerio": frozenset({"library", "userId", "anonymousId", "category", "name"}),
    "ga4": frozenset({"params"}),
    "snowplow": frozenset({"tv"}),
}  # fmt: skip
#: Providers for whom a null member and an absent one are the same.
NULL_IS_ABSENT = {"hightouch", "suprsend", "segment", "rudderstack"}
#: Members that hold JSON as text, in base64url or plain; compared as data.
JSON_TEXTS: Mapping[str, Mapping[str, bool]] = {"snowplow": {"ue_px": True, "cx": True, "ue_pr": False, "co": False}}
#: Providers who take a form with JSON in its field ``data`` as well as JSON, and parameters in either place.
FORM_OR_JSON = {"mixpanel"}
#: A parameter of a form that asks for the kind of answer that JSON gets anyway.
FREE_PARAMETERS = {"verbose"}

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
    if want.get("method", got.method) != got.method:
        found.append(f"method: {want['method']!r} wanted, got {got.method!r}")
    found += _address_differences(want, got.url)
    skipped = {"content-type"} if name in FORM_OR_JSON else set()
    found += _header_differences(want.get("headers", {}), got.headers, set(rules.get("volatile", ())), skipped)
    if "body" in want:
        comparison = _Comparison(
            volatile=_in_body(rules, "volatile"),
            instants=_in_body(rules, "instants"),
            unordered=_in_body(rules, "unordered"),
            added=added,
            optional=OPTIONAL_MEMBERS.get(name, frozenset()),
            null_is_absent=name in NULL_IS_ABSENT,
        )
        texts = JSON_TEXTS.get(name, {})
        found += comparison.differences(unfolded(want["body"], texts), unfolded(body_of(got), texts), "")
    return found


def unfolded(value: Any, texts: Mapping[str, bool]) -> Any:
    """Return a body in which the members that hold JSON as text hold data, so that blanks and order do not count."""
    if isinstance(value, list):
        return [unfolded(item, texts) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _parsed(item, texts[name]) if name in texts else unfolded(item, texts) for name, item in value.items()
    }


def _parsed(text: str, in_base64: bool) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if in_base64 else text)


def _address_differences(want: Mapping[str, Any], url: str) -> Iterator[str]:
    if "path" not in want:
        return
    path, _, query = want["path"].partition("?")
    actual = urlsplit(url)
    if path != actual.path:
        yield f"path: {path!r} wanted, got {actual.path!r}"
    parameters = dict(parse_qsl(query)) | want.get("form", {})
    given = dict(parse_qsl(actual.query))
    for name, value in parameters.items():
        if name not in FREE_PARAMETERS and given.get(name) != value:
            yield f"parameter {name}: {value!r} wanted, got {given.get(name)!r}"


def _in_body(rules: Mapping[str, Any], member: str) -> set[str]:
    return {pointer.removeprefix("/body") for pointer in rules.get(member, ()) if pointer.startswith("/body")}


def _header_differences(
    want: Mapping[str, str], got: Mapping[str, str], volatile: set[str], skipped: set[str]
) -> Iterator[str]:
    actual = _lower(got)
    for header, value in want.items():
        name = header.lower()
        if name in FREE_HEADERS | skipped:
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
    optional: frozenset[str]
    null_is_absent: bool

    def differences(self, want: Any, got: Any, at: str) -> list[str]:
        if at in self.volatile:
            return []
        if at in self.instants:
            when = _milliseconds(want)
            same = want == got or (when is not None and when == _milliseconds(got))
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
            if name in self.added or (here in self.volatile and name in self.optional):
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
    """Milliseconds since 1970 of ISO text with an offset, extra digits cut off, or of a number; else ``None``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return round(value * 1000) if abs(value) < 1e11 else int(value)  # seconds, or milliseconds already
    try:
        when = dt.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return None if when.tzinfo is None else (when - _EPOCH) // dt.timedelta(milliseconds=1)
