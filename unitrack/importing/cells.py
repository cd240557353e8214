"""One value of a row: which column it comes from, and which type it becomes."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from attrs import Attribute, field, frozen

from ..errors import ConfigError, nearest
from ..settings import one_of

Type = Literal["auto", "text", "int", "float", "bool"]
TYPES: tuple[Type, ...] = ("auto", "text", "int", "float", "bool")

_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
# A number with a leading zero is a code (a postcode, a customer number), so "auto" leaves it as text.
_PLAIN_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)
_PLAIN_FLOAT = re.compile(r"-?(0|[1-9]\d{0,17})\.\d{1,17}", re.ASCII)
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_NAMED_FORMATS = ("iso", "unix", "unix-ms")
#: A time whose every part has a value of its own.
_KNOWN = datetime(2024, 1, 2, 15, 4, 5, 678_901, tzinfo=UTC)
_SHIFT = re.compile(r"(?P<count>[+-]?\d{1,5})(?P<unit>[ywdhms])", re.ASCII)
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


class BadRow(ValueError):
    """A row that cannot become a message; the text says why, in a user's words."""


def _is_shift(_: Any, __: "Attribute[Any]", value: Any) -> None:
    if value and not (isinstance(value, str) and _SHIFT.fullmatch(value)):
        raise ConfigError(f"shift must be a number with one of y, w, d, h, m, s (such as 28y or -12h), not {value!r}")


def _is_zone(_: Any, __: "Attribute[Any]", value: Any) -> None:
    try:
        _zone(value)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise ConfigError(f"zone must be the name of a time zone such as Asia/Kolkata, not {value!r}") from error


def _is_format(_: Any, __: "Attribute[Any]", value: Any) -> None:
    if value in _NAMED_FORMATS:
        return
    try:
        if "%" not in value:
            raise ValueError
        # There and back: what strptime cannot read it refuses with the first row, and with every other one.
        datetime.strptime(_KNOWN.strftime(value), value)  # noqa: DTZ007  only whether it can be read
    except (ValueError, TypeError, re.error):
        raise ConfigError(
            f"format must be iso, unix, unix-ms, or one of Python's strptime such as '%d/%m/%Y', not {value!r}"
            f"{nearest(value, _NAMED_FORMATS)}"
        ) from None


@frozen
class Cell:
    """A value of a message.

    Args:
        column: the column's name; in JSON lines also a path with dots, ``user.id``.
        type: ``"auto"`` reads numbers, true and false out of text; a number with a leading zero stays text.
        value: a constant instead of a column.
    """

    column: str | None = None
    type: Type = field(default="auto", validator=one_of(*TYPES))
    value: str | int | float | bool | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if (self.column is None) == (self.value is None):
            raise ConfigError("a cell has either a column or a value")

    def read(self, row: Mapping[str, Any]) -> Any:
        """Return the value, or ``None`` where the row has none.

        Raises:
            BadRow: it is not of the type.
        """
        if self.column is None:
            return self.value
        found = lookup(row, self.column)
        if found is None or found == "":
            return None
        try:
            return _converted(found, self.type)
        except ValueError as error:
            raise BadRow(f"column {self.column!r}: {shown(found)} {error}") from None

    def identifier(self, row: Mapping[str, Any], member: str) -> str | None:
        """Return the value as an identifier, exactly as written; blank is ``None``."""
        found = self.value if self.column is None else lookup(row, self.column)
        if isinstance(found, (bool, float)) or not isinstance(found, (str, int, type(None))):
            raise BadRow(f"{member}: column {self.column!r} holds {shown(found)}, which is no identifier")
        return str(found) if found is not None and not str(found).isspace() and found != "" else None


@frozen
class Time:
    """When a message happened.

    Args:
        column: the column's name.
        format: ``"iso"``, ``"unix"`` (seconds), ``"unix-ms"``, or a format of :meth:`datetime.strptime`.
        zone: of times without an offset; default UTC.
        shift: moves every time: ``"28y"``, ``"-12h"``; units y, w, d, h, m, s. Years keep the day of the calendar.
    """

    column: str
    format: str = field(default="iso", kw_only=True, validator=_is_format)
    zone: str = field(default="UTC", kw_only=True, validator=_is_zone)
    shift: str = field(default="", kw_only=True, validator=_is_shift)

    def read(self, row: Mapping[str, Any]) -> datetime:
        """Return the time, aware.

        Raises:
            BadRow: it is missing, or not of the format.
        """
        found = lookup(row, self.column)
        if found is None or found == "":
            raise BadRow(f"timestamp: column {self.column!r} is empty")
        try:
            when = self._parsed(found)
            if when.tzinfo is None:
                when = when.replace(tzinfo=_zone(self.zone))
            return shifted(when, self.shift) if self.shift else when
        except (ValueError, OverflowError, OSError):
            raise BadRow(f"timestamp: column {self.column!r}: {shown(found)} is no time ({self.format})") from None

    def _parsed(self, value: Any) -> datetime:
        if self.format in ("unix", "unix-ms"):
            if isinstance(value, bool):
                raise ValueError
            seconds = float(value) / (1000 if self.format == "unix-ms" else 1)
            return datetime.fromtimestamp(seconds, UTC)
        if not isinstance(value, str):
            raise ValueError
        text = value.strip()
        if self.format == "iso":
            return datetime.fromisoformat(text)
        return datetime.strptime(text, self.format)  # noqa: DTZ007  the caller adds the zone


def shifted(when: datetime, shift: str) -> datetime:
    """Move a time by ``28y``, ``-3d``, …; the 29th of February becomes the 28th where there is none.

    >>> shifted(datetime(1997, 1, 18, tzinfo=UTC), "28y").isoformat()
    '2025-01-18T00:00:00+00:00'
    """
    match = _SHIFT.fullmatch(shift)
    if match is None:
        raise ValueError(shift)
    count = int(match["count"])
    if match["unit"] != "y":
        return when + timedelta(seconds=count * _SECONDS[match["unit"]])
    try:
        return when.replace(year=when.year + count)
    except ValueError:
        if (when.month, when.day) != (2, 29):
            raise
        return when.replace(year=when.year + count, day=28)


def lookup(row: Mapping[str, Any], column: str) -> Any:
    """Return a column's value: by its name, else by its path with dots; ``None`` if there is none."""
    if column in row or "." not in column:
        return row.get(column)
    found: Any = row
    for name in column.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def shown(value: Any) -> str:
    """Quote a value of a row for a person, shortened."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def automatic(text: str) -> Any:
    """Read a number, true or false out of a text where it can be nothing else.

    >>> [automatic(text) for text in ("12", "-1.50", "00004", "true", "12 apples", "nan")]
    [12, -1.5, '00004', True, '12 apples', 'nan']
    """
    if _PLAIN_INTEGER.fullmatch(text):
        return int(text)
    if _PLAIN_FLOAT.fullmatch(text):
        return float(text)
    return {"true": True, "false": False}.get(text.lower(), text)


def _converted(value: Any, kind: Type) -> Any:
    match kind:
        case "auto":
            return automatic(value) if isinstance(value, str) else value
        case "text":
            if isinstance(value, (Mapping, list)):
                raise ValueError("is no text")
            return str(value).lower() if isinstance(value, bool) else str(value)
        case "int":
            return _integer(value)
        case "float":
            return _number(value)
        case "bool":
            truth = value if isinstance(value, bool) else _TRUTH.get(str(value).strip().lower())
            if truth is None:
                raise ValueError("is neither true nor false")
            return truth


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not _INTEGER.fullmatch(value.strip()):
        raise ValueError("is no whole number")
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            found = float(value)
        except (ValueError, OverflowError):
            found = math.nan
        # float() also takes "nan", "inf" and "1_000", which no exporter means as an amount.
        if math.isfinite(found) and "_" not in str(value):
            return found
    raise ValueError("is no number")


@cache
def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)  # a system without a zone database still knows UTC
