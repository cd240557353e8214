"""What SuprSend wants in an event and in an asynchronous edit of a profile (SDK 0.20.0, vendor docs)."""

from typing import Any

from .reading import Fault
from .shape import Check, Shape, anything, at_most, each, exactly, flag, matching, nullable, text, trimmed

_FIRST_MS = 1_640_995_200_000  # 2022-01-01 (SDK 0.20.0)
_LAST_MS = 253_402_300_800_000  # the end of the calendar: beyond it are not milliseconds but microseconds
_OWN_EVENTS = {
    "$identify",
    "$notification_delivered",
    "$notification_dismiss",
    "$notification_clicked",
    "$app_launched",
    "$user_login",
    "$user_logout",
}
_OPERATORS = {"$set", "$set_once", "$add", "$append", "$remove", "$unset"}
_UUID = matching(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", "a UUID of 36 characters")


def event_shape(env: str) -> Shape:
    """Return the shape of an event of one workspace."""
    required: dict[str, Check] = {"event": _event_name, "properties": _properties}
    optional = {"$idempotency_key": at_most(255), "tenant_id": at_most(64), "brand_id": at_most(64)}
    return Shape(_dated(env) | required, optional)


def profile_shape(env: str) -> Shape:
    """Return the shape of an edit of a profile in one workspace."""
    required: dict[str, Check] = {"$schema": exactly("2"), "$user_operations": each(_operation)}
    return Shape(_dated(env) | required, {"properties": anything})


def _dated(env: str) -> dict[str, Check]:
    return {"$insert_id": _UUID, "$time": _moment, "env": exactly(env), "distinct_id": trimmed}


def _moment(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not _FIRST_MS <= value < _LAST_MS:
        raise Fault(f"{where} must be milliseconds since 1970, from 2022-01-01 on")


def _event_name(value: Any, where: str) -> None:
    trimmed(value, where)
    if len(value) < 2:
        raise Fault(f"{where} must have at least 2 characters")
    if value.lower().startswith(("$", "ss_")) and value not in _OWN_EVENTS:
        raise Fault(f"{where}: names that start with $ or ss_ are reserved")


def _attachment(value: Any, where: str) -> None:
    Shape(
        {"url": nullable(matching(r"(?i)https?://\S+", "an http address")), "ignore_if_error": flag},
        {"filename": nullable(text), "contentType": nullable(text), "data": nullable(text)},
    )(value, where)
    if (value["url"] is None) == (value.get("data") is None):
        raise Fault(f"{where} must have url or data, one of them")


def _properties(value: Any, where: str) -> None:
    anything(value, where)
    if "$attachments" in value:
        each(_attachment)(value["$attachments"], f"{where}.$attachments")


def _operation(value: Any, where: str) -> None:
    anything(value, where)
    if not value or not value.keys() <= _OPERATORS:
        raise Fault(f"{where} must hold operators such as $set and nothing else")
