"""Recorded requests of the vendors (``wire/*.json``), and the way from such a case through unitrack.

A case holds messages in a neutral notation and the requests that must come of them. A test module says how its
provider is made and asks for the differences::

    @pytest.mark.parametrize("case", cases("interakt"))
    def test_sends_what_the_vendor_expects(case, tmp_path):
        assert differences("interakt", case, interakt, tmp_path) == []
"""

import base64
import datetime as dt
import enum
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from attrs import evolve, frozen

from unitrack.attachment import Attachment
from unitrack.batching import runs
from unitrack.errors import ConfigError, InvalidMessage, Unsupported
from unitrack.message import KINDS, Message
from unitrack.phone import Phone
from unitrack.snapshot import snapshot
from unitrack.testing import body_of
from unitrack.wire import Provider, Request, omitted, refusal

from .comparison import JSON_TEXTS, request_differences, unfolded

Case = dict[str, Any]
#: Makes a provider of a case's ``config`` and the base URL to use, ``None`` for the vendor's own.
Make = Callable[[Mapping[str, Any], str | None], Provider]

BASE_URL = "https://vendor.example"
NOW = dt.datetime(2024, 2, 29, 10, 20, 31, tzinfo=dt.UTC)

#: Members that a client adds by itself, which ``recommended`` bodies leave out.
ADDED = {
    "hightouch": frozenset({"sentAt", "writeKey", "library"}),
    "suprsend": frozenset({"$insert_id", "$time", "$ss_sdk_version"}),
    "segment": frozenset({"sentAt", "writeKey", "library"}),
    "rudderstack": frozenset({"sentAt", "library", "channel", "integrations"}),
    "posthog": frozenset(
        {
            "api_key", "sent_at", "created_at", "historical_migration", "$lib", "$lib_version", "$python_runtime",
            "$python_version", "$os", "$os_version", "$os_distro", "$is_server", "$geoip_disable",
        }
    ),
    "mixpanel": frozenset({"mp_lib", "$lib_version", "token", "$time", "$ip"}),
}  # fmt: skip


# Cases


def load(name: str) -> list[Case]:
    """Return all recorded cases of one provider, their Python values still in notation."""
    path = Path(__file__).with_name("wire") / f"{name}.json"
    found: list[Case] = json.loads(path.read_text("utf-8"))
    return found


def cases(name: str) -> list[Any]:
    """Return the cases about requests, ready for ``parametrize``."""
    return [pytest.param(case, id=case["id"]) for case in load(name) if not _is_about_signing(case)]


def signature_cases(name: str) -> list[Any]:
    """Return the cases about signatures: ``call.signature_of`` is what to sign, ``expect`` what must come out."""
    return [pytest.param(case, id=case["id"]) for case in load(name) if _is_about_signing(case)]


def _is_about_signing(case: Case) -> bool:
    return "signature_of" in case["call"]


# Notation to messages


def value_of(notation: Any) -> Any:
    """Replace every ``{"__py__": kind, …}`` by the Python value that it stands for."""
    if isinstance(notation, list):
        return [value_of(item) for item in notation]
    if not isinstance(notation, dict):
        return notation
    if "__py__" not in notation:
        return {name: value_of(item) for name, item in notation.items()}
    return _PYTHON[notation["__py__"]](notation)


_PYTHON: dict[str, Callable[[dict[str, Any]], Any]] = {
    "datetime": lambda n: dt.datetime.fromisoformat(n["value"]),
    "date": lambda n: dt.date.fromisoformat(n["value"]),
    "decimal": lambda n: Decimal(n["value"]),
    "uuid": lambda n: uuid.UUID(n["value"]),
    "enum": lambda n: enum.Enum("Choice", {n["name"]: value_of(n["value"])})[n["name"]],
    "set": lambda n: set(value_of(n["items"])),
    "tuple": lambda n: tuple(value_of(n["items"])),
    "bytes": lambda n: base64.b64decode(n["base64"]),
    "float": lambda n: float(n["value"]),
    "complex": lambda n: complex(1, 2),
    "timedelta": lambda n: dt.timedelta(seconds=1),
    "object": lambda n: object(),
    "repeat": lambda n: n["text"] * n["times"],
    "dict": lambda n: {value_of(key): value_of(item) for key, item in n["items"]},
}


def message_of(neutral: Mapping[str, Any], folder: Path) -> Message:
    """Build a message from its neutral notation, writing the local files that it attaches into ``folder``.

    Raises:
        InvalidMessage: an attached file that cannot be read.
    """
    members = {name: value_of(item) for name, item in neutral.items()}
    kind = KINDS[members.pop("type")]
    if "created_at" in members:
        members["timestamp"] = members.pop("created_at")
    if isinstance(members.get("phone"), dict):
        members["phone"] = Phone(members["phone"]["number"], members["phone"].get("country_code"))
    if "attachments" in members:
        members["attachments"] = [_attachment(item, folder) for item in members["attachments"]]
    return kind(**members)


def _attachment(neutral: dict[str, Any], folder: Path) -> Attachment:
    if "file" not in neutral:
        return Attachment(**neutral)
    path = folder / neutral["file"]
    if "content_base64" in neutral:
        path.write_bytes(base64.b64decode(neutral["content_base64"]))
    return Attachment.from_file(path, neutral.get("filename"), neutral.get("ignore_if_error", False))


def _neutral_messages(call: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "generate" in call:
        rule = call["generate"]
        other = rule.get("override", {"every": 1, "offset": None, "set": {}})
        for index in range(rule["count"]):
            is_other = index % other["every"] == other["offset"]
            yield _numbered({**rule["message"], **(other["set"] if is_other else {})}, index)
    elif "messages" in call:
        yield from call["messages"]
    else:
        yield call["message"]


def _numbered(notation: Any, index: int) -> Any:
    """Fill ``{i}``, ``{i:03d}`` and ``{i:int}`` (the number itself) with the index."""
    match notation:
        case "{i:int}":
            return index
        case str():
            return notation.format(i=index) if "{i" in notation else notation
        case dict():
            return {name: _numbered(item, index) for name, item in notation.items()}
        case list():
            return [_numbered(item, index) for item in notation]
    return notation


# Messages to requests


@frozen
class Sent:
    """What came of a case: requests in order, and the sentence of every refusal."""

    requests: tuple[Request, ...] = ()
    refusals: tuple[str, ...] = ()
    #: Members that were left out because they have no place, which the ledger counts.
    left_out: frozenset[str] = frozenset()


def checked(message: Message, name: str, message_id: str = "00000000-0000-4000-8000-000000000000") -> Message:
    """Return a message as the provider ``name`` is handed it: checked, and with only its own options."""
    message, _ = snapshot(message, lambda: message_id, lambda: NOW)
    return evolve(message, options=message.options.get(name, {}))


def sent(name: str, case: Case, make: Make, folder: Path) -> Sent:
    """Take a case's messages the whole way that they go in a client, up to the transport."""
    call = case["call"]
    config = call.get("config") or {}
    try:
        provider = make(config, BASE_URL + config.get("base_url_suffix", ""))
    except ConfigError as error:
        return Sent(refusals=(str(error),))
    parts, lanes, refusals, left_out = [], [], [], set()
    for number, neutral in enumerate(_neutral_messages(call)):
        try:
            message = checked(message_of(neutral, folder), name, f"00000000-0000-4000-8000-{number:012}")
            if reason := refusal(provider, message):
                raise Unsupported(reason)
            part = provider.encode(message)
            if len(part.body) > provider.capabilities.message_bytes:
                raise Unsupported(f"is larger than {provider.capabilities.message_bytes} bytes")
        except (InvalidMessage, Unsupported) as error:
            refusals.append(str(error))
        else:
            parts.append(part)
            lanes.append(hash(message.user_id or message.anonymous_id))
            left_out.update(omitted(provider.capabilities, message))
    groups = runs(parts, provider.capabilities, limit=config.get("upload_size"), lanes=lanes)
    requests = tuple(provider.request([parts[at] for at in run], NOW) for run in groups)
    return Sent(requests, tuple(refusals), frozenset(left_out))


# Requests against the record


def differences(name: str, case: Case, make: Make, folder: Path) -> list[str]:
    """Say in what the requests for a case differ from the recorded ones; nothing when they fit."""
    got = sent(name, case, make, folder)
    if "constraints" in case:
        return _refused(got) + _broken_constraints(name, case, got)
    if "requests" in case:
        found = _refused(got) + _miscounted(len(case["requests"]), got)
        for want, request in zip(case["requests"], got.requests, strict=False):
            found += request_differences(name, value_of(want), request, want)
        return found
    if "recommended" in case:
        return min((_against_advice(name, case, advice, got) for advice in case["recommended"]), key=len)
    if case.get("rule", "").endswith("refuse or report") and "attachments" in got.left_out:
        return _miscounted(1, got)  # reported: left out and counted
    if case["request"] is None:
        return _unless_nothing_sent(case, got)
    # In a bulk the vendor's client reports what it refused and sends the rest.
    failures = case.get("vendor_result", {}).get("failure", 0) if "messages" in case["call"] else 0
    found = _miscounted(1, got)
    if len(got.refusals) != failures:
        found.append(f"{failures} refusals wanted, got {list(got.refusals)}")
    for request in got.requests[:1]:
        found += request_differences(name, value_of(case["request"]), request, case)
    if "url" in case.get("expect", {}):
        (request,) = sent(name, case, lambda config, _: make(config, None), folder).requests
        if request.url != case["expect"]["url"]:
            found.append(f"address {case['expect']['url']!r} wanted, got {request.url!r}")
    return found


def _unless_nothing_sent(case: Case, got: Sent) -> list[str]:
    found = _miscounted(0, got)
    if "error" not in case:
        return found + _refused(got)
    if not got.refusals:
        found.append("a refusal was wanted")
    sentence = case["error"].get("message") if case["error"].get("kind") == "unsupported" else None
    if sentence is not None and sentence not in got.refusals:
        found.append(f"refusal {sentence!r} wanted, got {list(got.refusals)}")
    return found


def _against_advice(name: str, case: Case, advice: Mapping[str, Any], got: Sent) -> list[str]:
    if advice.get("refuse"):
        return _miscounted(0, got) + ([] if got.refusals else ["a refusal was wanted"])
    found = _refused(got) + _miscounted(1, got)
    for request in got.requests[:1]:
        found += request_differences(name, value_of(advice), request, case, added=ADDED.get(name, frozenset()))
    return found


def _refused(got: Sent) -> list[str]:
    return [f"refused: {sentence}" for sentence in got.refusals]


def _miscounted(wanted: int, got: Sent) -> list[str]:
    return [] if len(got.requests) == wanted else [f"{wanted} requests wanted, got {len(got.requests)}"]


def _broken_constraints(name: str, case: Case, got: Sent) -> list[str]:
    rules = case["constraints"]
    found: list[str] = []
    order: list[Any] = []
    for number, request in enumerate(got.requests):
        messages = _messages_in(unfolded(body_of(request), JSON_TEXTS.get(name, {})))
        order += [_number_in(item) for item in messages]
        if len(messages) > rules.get("max_batch", len(messages)):
            found.append(f"request {number} holds {len(messages)} messages")
        if len(request.body) > rules.get("max_body_bytes", len(request.body)):
            found.append(f"request {number} has {len(request.body)} bytes")
        sizes = [len(json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()) for item in messages]
        if max(sizes) > rules.get("max_message_bytes", max(sizes)):
            found.append(f"request {number} holds a message of {max(sizes)} bytes")
        if urlsplit(request.url).path != rules.get("path", urlsplit(request.url).path):
            found.append(f"request {number} went to {request.url}")
    if order != list(range(case["call"]["generate"]["count"])):
        found.append(f"messages are lost, repeated or out of order: {order}")
    return found


def _messages_in(body: Any) -> list[dict[str, Any]]:
    """Return the messages of a body: an array, or the one array in an envelope, or a single object."""
    if isinstance(body, list):
        return body
    return next((item for item in body.values() if isinstance(item, list)), [body])


def _number_in(value: Any) -> int | None:
    """Return the member ``i``, wherever a provider put the properties."""
    if isinstance(value, dict) and "i" in value:
        number: int = value["i"]
        return number
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((number for item in inner if (number := _number_in(item)) is not None), None)
