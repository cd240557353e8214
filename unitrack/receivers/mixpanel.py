"""Mixpanel on 127.0.0.1: four paths, JSON or a form around it, and a verdict on each event of an import."""

import base64
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from attrs import evolve

from .answer import Answer, Taken, encoded
from .reading import Fault, Received, media_type, posted, same, strict_json, unzipped
from .receiver import Receiver
from .shape import Check, Shape, anything, content_key, each, flag, json_bytes, text

MAX_BODY_BYTES = 2_097_152
MAX_ENTRY_BYTES = 1_000_000
MAX_ENTRIES = 2000
#: Fewer than so many properties, keys of an object inside, elements of an array.
MAX_MEMBERS = 255

FORM = "application/x-www-form-urlencoded"
_CHOICES = {"strict": ("0", "1"), "ip": ("0", "1"), "verbose": ("0", "1"), "project_id": None}
_PARAMETERS = {
    "/import": {"strict", "ip", "verbose", "project_id"},
    "/track": {"ip", "verbose"},
    "/engage": {"ip", "verbose"},
    "/groups": {"ip", "verbose"},
}

#: Ids that /import refuses, because they are mostly mistakes.
_PLACEHOLDERS = (
    *("00000000-0000-0000-0000-000000000000", "anon", "anonymous", "nil", "none", "null", "n/a", "na", "undefined"),
    *("unknown", "<nil>", "0", "-1", "true", "false", "[]", "{}"),
)
_INSERT_ID = re.compile(r"[A-Za-z0-9-]{1,36}")
#: The beginning of a sentence about an entry: where, and what is missing there.
_PLACE = re.compile(r"\$\[\d+\]\.?([^ :]*)(?:: (\S+) is)?")

_FIRST = datetime(1971, 1, 1, tzinfo=UTC)
_AHEAD = timedelta(hours=1)
_TRACK_AGE = timedelta(days=5)


class MixpanelReceiver(Receiver):
    """Takes what Mixpanel documents and its Python SDK 5.4.1 sends.

    Where the service answers 1 and drops something in silence (an event at /track that is older than five days, a
    token of no project, data of an import without ``strict=1``), this one says what is wrong.

    Args:
        token: of the only project there is; as Basic user it is let in at /import.
        service_account: ``username`` and ``secret``, let in at /import too, together with ``project_id``.
        project_id: of the project, as text.
        clock: seconds since 1970.
    """

    # Events are told by event, time, distinct_id and $insert_id. A change of a profile that comes again word for
    # word is left out as well, though the service would apply it again; the tally counts it as a repeat.
    drops_repeats = True

    def __init__(
        self,
        *,
        token: str,
        service_account: Mapping[str, str] | None = None,
        project_id: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if (service_account is None) != (project_id is None):
            raise ValueError("give service_account and project_id, or none of them")
        super().__init__(token, (service_account or {}).get("secret", ""), clock=clock)
        self._token = token
        self._project_id = project_id
        self._basic_token = _basic(token, "")
        self._basic_account = _basic(service_account["username"], service_account["secret"]) if service_account else ""

    def take(self, request: Received) -> Answer:
        path = posted(evolve(request, path=request.path.partition("?")[0]), list(_PARAMETERS))
        parameters, data = _read(request, path)
        if path == "/import":
            self._authorize(request, parameters)
            return self._imported(_entries(data), request.now)
        try:
            taken = [self._taken(path, entry, f"$[{index}]", request.now) for index, entry in enumerate(_entries(data))]
        except Fault as fault:
            if fault.status != 400:
                raise
            return _said(0, fault.reason, parameters, path, refused=(fault.reason,))
        return _said(1, None, parameters, path, taken=tuple(taken))

    def refusal(self, fault: Fault) -> bytes:
        return encoded(code=fault.status, error=fault.reason, status="refused")

    def _authorize(self, request: Received, parameters: Mapping[str, str]) -> None:
        given = request.headers.get("authorization")
        if same(given, self._basic_token):
            if "project_id" in parameters:
                raise Fault("project_id goes with a service account, not with the token", 401)
        elif not self._basic_account or not same(given, self._basic_account):
            raise Fault("the credential is missing or not known", 401)
        elif parameters.get("project_id") != self._project_id:
            raise Fault("project_id is missing or not that of the service account", 403)

    def _imported(self, entries: list[Any], now: datetime) -> Answer:
        taken: list[Taken] = []
        failed: list[dict[str, Any]] = []
        for index, entry in enumerate(entries):
            try:
                taken.append(self._taken("/import", entry, f"$[{index}]", now))
            except Fault as fault:
                if fault.status != 400:
                    raise
                failed.append(_record(index, entry, fault.reason))
        stored = {"num_records_imported": len(taken)}
        if not failed:
            body = encoded(code=200, **stored, status="OK")
            return Answer(status=200, body=body, call="import", taken=tuple(taken))
        error = "some data points in the request failed validation"
        body = encoded(code=400, error=error, failed_records=failed, **stored, status="Bad Request")
        refused = tuple(record["message"] for record in failed)
        return Answer(status=400, body=body, call="import", taken=tuple(taken), refused=refused)

    def _taken(self, path: str, entry: Any, where: str, now: datetime) -> Taken:
        anything(entry, where)
        if path in _UPDATES:
            self._check_token(entry, "$token", where)
            _update(path, entry, where)
            taken = Taken(entry, str(entry[_WHO[path]]), content_key(path, entry))
        else:
            Shape({"event": text, "properties": anything})(entry, where)
            properties = entry["properties"]
            if path == "/track" or "token" in properties:
                self._check_token(properties, "token", f"{where}.properties")
            taken = _event(path, entry, f"{where}.properties", now)
        if (size := json_bytes(entry)) > MAX_ENTRY_BYTES:
            raise Fault(f"{where} has {size} bytes, more than {MAX_ENTRY_BYTES}")
        return taken

    def _check_token(self, members: Mapping[str, Any], name: str, where: str) -> None:
        if not same(members.get(name), self._token):
            raise Fault(f"{where}: {name} is missing or not known", 401)


# Reading a request


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _read(request: Received, path: str) -> tuple[dict[str, str], Any]:
    """Return the parameters, which stand in the query or in the form, and the data."""
    if "content-encoding" in request.headers and path not in ("/import", "/track"):
        raise Fault(f"{path} takes no content coding", 415)
    body = unzipped(request, 3 * MAX_BODY_BYTES)  # a form needs up to three bytes for one
    pairs = _pairs(request.path.partition("?")[2])
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM:
        pairs += _pairs(body.decode("ascii", "replace"))
        sent = [value for name, value in pairs if name == "data"]
        if len(sent) != 1:
            raise Fault("the form must have one field data")
        pairs.remove(("data", sent[0]))
        body = sent[0].encode("utf-8", "surrogatepass")
    else:
        media_type(request)
    if len(body) > MAX_BODY_BYTES:
        raise Fault(f"the data has {len(body)} bytes, more than {MAX_BODY_BYTES}", 413)
    return _parameters(pairs, path), strict_json(body)


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict")
    except ValueError as error:
        raise Fault("the query or the form cannot be read") from error


def _parameters(pairs: Iterable[tuple[str, str]], path: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in _PARAMETERS[path]:
            raise Fault(f"{path} has no parameter {name}")
        if name in found:
            raise Fault(f"the parameter {name} stands twice")
        choices = _CHOICES[name]
        if choices and value not in choices:
            raise Fault(f"the parameter {name} must be {' or '.join(choices)}")
        found[name] = value
    return found


def _entries(data: Any) -> list[Any]:
    entries = data if isinstance(data, list) else [data]
    if not 1 <= len(entries) <= MAX_ENTRIES:
        raise Fault(f"$ must hold 1 to {MAX_ENTRIES} entries, not {len(entries)}")
    return entries


# Answers


def _record(index: int, entry: Any, reason: str) -> dict[str, Any]:
    """Say which event failed and where, as one of ``failed_records``."""
    properties = entry.get("properties") if isinstance(entry, dict) else None
    insert_id = properties.get("$insert_id", "") if isinstance(properties, dict) else ""
    found = _PLACE.match(reason)
    place, missing = found.groups() if found else ("", "")
    field = ".".join(filter(None, (place, missing)))
    return {"index": index, "insert_id": insert_id, "field": field, "message": reason}


def _said(
    status: int,
    error: str | None,
    parameters: Mapping[str, str],
    path: str,
    *,
    taken: tuple[Taken, ...] = (),
    refused: tuple[str, ...] = (),
) -> Answer:
    """Answer 1 or 0 for all, as JSON if that was asked for; the status is 200 either way."""
    verbose = parameters.get("verbose") == "1"
    body = encoded(status=status, error=error) if verbose else str(status).encode()
    return Answer(status=200, body=body, call=path[1:], taken=taken, refused=refused)


# Events


def _event(path: str, entry: Mapping[str, Any], where: str, now: datetime) -> Taken:
    properties = entry["properties"]
    if path == "/track" and entry["event"] == "$create_alias":
        Shape({"token": text, "distinct_id": text, "alias": text})(properties, where)
        return Taken(entry, properties["alias"], content_key(path, entry))
    if path == "/import" and entry["event"] == "$merge":
        Shape({"$distinct_ids": _two_texts}, {"token": text})(properties, where)
        return Taken(entry, properties["$distinct_ids"][0], content_key(path, entry))
    when = _when(properties, where)
    if not _FIRST <= when <= now + _AHEAD:
        raise Fault(f"{where}.time must be from 1971 on, and at most one hour ahead")
    if path == "/track" and when < now - _TRACK_AGE:
        raise Fault(f"{where}.time is older than five days, which only /import takes")
    user = _user(properties, where)
    insert_id = _insert_id(properties, where, required=path == "/import")
    _slim(properties, where)
    told_by = [entry["event"], when.isoformat(), user, insert_id]
    return Taken(entry, user, content_key("event", told_by) if insert_id else content_key(path, entry))


def _when(properties: Mapping[str, Any], where: str) -> datetime:
    value = properties.get("time")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Fault(f"{where}.time must be seconds or milliseconds since 1970")
    try:
        return datetime.fromtimestamp(value if abs(value) < 1e11 else value / 1000, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise Fault(f"{where}.time must be seconds or milliseconds since 1970") from error


def _user(properties: Mapping[str, Any], where: str) -> str:
    for name in ("$user_id", "$device_id"):
        if name in properties:
            text(properties[name], f"{where}.{name}")
    # With simplified ID merge the service makes it of the other two.
    if "distinct_id" not in properties and "$user_id" in properties:
        return str(properties["$user_id"])
    if "distinct_id" not in properties and "$device_id" in properties:
        return f"$device:{properties['$device_id']}"
    user = properties.get("distinct_id")
    if user == "":
        return ""  # an event of nobody
    _person(user, f"{where}.distinct_id")
    if str(user).lower() in _PLACEHOLDERS:
        raise Fault(f"{where}.distinct_id is {user}, which stands for nobody")
    return str(user)


def _insert_id(properties: Mapping[str, Any], where: str, *, required: bool) -> str:
    value: Any = properties.get("$insert_id")
    if value is None and not required:
        return ""
    text(value, f"{where}.$insert_id")
    if required and (not _INSERT_ID.fullmatch(value) or value.lower() in _PLACEHOLDERS):
        raise Fault(f"{where}.$insert_id must be 1 to 36 letters, digits or '-', and no placeholder")
    return str(value)


def _slim(value: Any, where: str) -> None:
    if isinstance(value, (dict, list)):
        if len(value) >= MAX_MEMBERS:
            raise Fault(f"{where} must have fewer than {MAX_MEMBERS} members, not {len(value)}")
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            _slim(item, f"{where}.{step}" if isinstance(value, dict) else f"{where}[{step}]")


# Profiles and groups


def _person(value: Any, where: str) -> None:
    # The vendor's client sends the number that it is given.
    if isinstance(value, bool) or not isinstance(value, int):
        text(value, where)


def _number(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Fault(f"{where} must be a number")


def _two_texts(value: Any, where: str) -> None:
    each(text)(value, where)
    if len(value) != 2:
        raise Fault(f"{where} must hold two ids")


def _members(inner: Check) -> Check:
    def check(value: Any, where: str) -> None:
        anything(value, where)
        for name, item in value.items():
            inner(item, f"{where}.{name}")

    return check


def _nothing(value: Any, where: str) -> None:
    if value != "":
        raise Fault(f"{where} must be an empty text")


_OF_GROUPS: dict[str, Check] = {
    "$set": anything,
    "$set_once": anything,
    "$union": _members(each(lambda value, where: None)),
    "$unset": each(text),
    "$remove": anything,
    "$delete": _nothing,
}
_UPDATES: dict[str, dict[str, Check]] = {
    "/engage": {**_OF_GROUPS, "$add": _members(_number), "$append": anything},
    "/groups": _OF_GROUPS,
}
_WHO = {"/engage": "$distinct_id", "/groups": "$group_id"}
_NAMED: dict[str, dict[str, Check]] = {
    "/engage": {"$token": text, "$distinct_id": _person},
    "/groups": {"$token": text, "$group_key": text, "$group_id": _person},
}
_BESIDE: dict[str, dict[str, Check]] = {
    "/engage": {"$time": _number, "$ip": text, "$ignore_time": flag},
    "/groups": {"$time": _number},
}


def _update(path: str, entry: Mapping[str, Any], where: str) -> None:
    operations = _UPDATES[path]
    found = [name for name in operations if name in entry]
    if len(found) != 1:
        raise Fault(f"{where} must have one of {', '.join(operations)}, not {len(found)} of them")
    Shape(_NAMED[path] | {found[0]: operations[found[0]]}, _BESIDE[path])(entry, where)
