"""Which members an object must and may have, as data; and how large and how alike two of them are."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from attrs import Factory, frozen

from .reading import Fault

#: Checks one value and raises :class:`Fault` naming ``where`` it stands.
Check = Callable[[Any, str], None]


def json_bytes(value: Any) -> int:
    """Tell how many bytes a value takes as JSON in UTF-8 without blanks."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))


def content_key(path: str, value: Any) -> str:
    """Make a key of all that a message says, for a vendor that has no id for it."""
    return hashlib.sha256((path + json.dumps(value, sort_keys=True)).encode()).hexdigest()


@frozen
class Shape:
    """An object with these members and no others; itself a check."""

    required: Mapping[str, Check]
    optional: Mapping[str, Check] = Factory(dict)

    def __call__(self, value: Any, where: str) -> None:
        anything(value, where)
        for name, check in self.required.items():
            if name not in value:
                raise Fault(f"{where}: {name} is missing")
            check(value[name], f"{where}.{name}")
        for name in sorted(value.keys() - self.required.keys()):
            if name not in self.optional:
                raise Fault(f"{where}: {name} is not known")
            self.optional[name](value[name], f"{where}.{name}")


def anything(value: Any, where: str) -> None:
    """Check for an object, whatever its members are."""
    if not isinstance(value, dict):
        raise Fault(f"{where} must be an object")


def flag(value: Any, where: str) -> None:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise Fault(f"{where} must be true or false")


def text(value: Any, where: str) -> None:
    """Check for text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise Fault(f"{where} must be text and not blank")


def trimmed(value: Any, where: str) -> None:
    """Check for text without blanks around it."""
    text(value, where)
    if value != value.strip():
        raise Fault(f"{where} must have no blanks around it")


def at_most(characters: int) -> Check:
    """Make a check for text of at most so many characters."""

    def check(value: Any, where: str) -> None:
        text(value, where)
        if len(value) > characters:
            raise Fault(f"{where} must have at most {characters} characters, not {len(value)}")

    return check


def matching(pattern: str, what: str) -> Check:
    """Make a check for text that a pattern describes from its first to its last character."""
    compiled = re.compile(pattern)

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise Fault(f"{where} must be {what}")

    return check


def exactly(expected: object) -> Check:
    """Make a check for one value."""

    def check(value: Any, where: str) -> None:
        if type(value) is not type(expected) or value != expected:
            raise Fault(f"{where} must be {expected}")

    return check


def nullable(inner: Check) -> Check:
    """Make a check that lets null pass."""
    return lambda value, where: None if value is None else inner(value, where)


def each(inner: Check) -> Check:
    """Make a check for an array of things that pass another check."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise Fault(f"{where} must be an array")
        for index, item in enumerate(value):
            inner(item, f"{where}[{index}]")

    return check


def instant(value: Any, where: str) -> None:
    """Check for ISO-8601 text with a year of four digits, a time and an offset."""
    try:
        when = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise Fault(f"{where} must be ISO-8601 text") from error
    if when.tzinfo is None:
        raise Fault(f"{where} must have an offset from UTC")
