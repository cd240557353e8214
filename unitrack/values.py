"""The value rules: what a Python value becomes in JSON, the same for every provider.

A caller's object is turned into JSON text in the call, so nothing that happens to it later can be sent.
The fast path is one call of orjson; only a value that orjson refuses is walked in Python, to repair or name it.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import orjson

from .errors import InvalidMessage

MAX_DEPTH = 200  # orjson gives up at 254; below it, both paths refuse alike
MAX_KEYS = 10_000
_INT64 = range(-(2**63), 2**64)


class JsonObject(Mapping[str, Any]):
    """A JSON object that keeps its text: read it like a dict, send it without encoding it again."""

    __slots__ = ("_data", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._data: dict[str, Any] | None = None

    @property
    def data(self) -> dict[str, Any]:
        if self._data is None:
            self._data = orjson.loads(self.raw)
        return self._data

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return 0 if self.raw == b"{}" else len(self.data)

    def __bool__(self) -> bool:
        return self.raw != b"{}"

    def __repr__(self) -> str:
        return repr(self.data)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, JsonObject):
            return self.raw == other.raw or self.data == other.data
        return self.data == other if isinstance(other, Mapping) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal to a dict, so as unhashable as one

    def extended(self, extra: Mapping[str, Any]) -> "JsonObject":
        """Return a copy with more members; ``extra`` wins. Splices the texts when no name can be in both."""
        if not extra:
            return self
        if self.raw == b"{}":
            return JsonObject(dumps(dict(extra)))
        # A name that does not occur in the text at all cannot be a member; if it does, parse to be sure.
        if any(dumps(name) in self.raw for name in extra):
            return JsonObject(dumps({**self.data, **extra}))
        return JsonObject(self.raw[:-1] + b"," + dumps(dict(extra))[1:])


EMPTY = JsonObject(b"{}")


def dumps(value: Any) -> bytes:
    """Encode data that already follows the rules (a provider's envelope) as compact UTF-8 JSON.

    >>> dumps({"userId": "u", "traits": JsonObject(b'{"a":1}')})
    b'{"userId":"u","traits":{"a":1}}'
    """
    return orjson.dumps(value, default=_default)


def encode_object(value: object, path: str, problems: list[str]) -> JsonObject:
    """Copy a caller's mapping into JSON by the value rules.

    Args:
        value: the mapping.
        path: where it stands in the message, for errors.
        problems: gets the path of every NaN or infinity, which became null.

    Raises:
        InvalidMessage: naming the path of a value or key with no JSON form.
    """
    if type(value) is JsonObject:
        return value
    if not isinstance(value, Mapping):
        raise InvalidMessage(path, f"must be an object (a dict), not {type(value).__name__}")
    if not value:
        return EMPTY
    try:
        raw = orjson.dumps(value if type(value) is dict else dict(value), default=_default, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError):
        raw = _dump_slowly(value, path, problems)
    else:
        # orjson writes NaN as null without a word, so look for one only where there is a null at all.
        if b"null" in raw:
            problems.extend(_non_finite(value, path))
    # orjson hands out bytes whose buffer stays at 4 KB; a copy of the exact size is what may wait in a queue.
    return JsonObject(bytes(memoryview(raw)))


_OPTIONS = orjson.OPT_NAIVE_UTC


def _default(value: object) -> Any:
    if isinstance(value, JsonObject):
        return orjson.Fragment(value.raw)
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, (bytes, bytearray)):
        return value.decode()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def _decimal(value: Decimal) -> Any:
    if not value.is_finite():
        return None
    if math.isinf(float(value)):
        return str(value)  # no reader keeps such a number; its text survives
    return orjson.Fragment(str(value).encode())


def _dump_slowly(value: object, path: str, problems: list[str]) -> bytes:
    for _ in range(3):
        try:
            plain = _Projection(problems).plain(value, path, 0)
            return orjson.dumps(plain, default=_default, option=_OPTIONS)
        except RecursionError:
            raise InvalidMessage(path, "is nested too deeply, or contains itself") from None
        except RuntimeError:
            continue  # another thread changed the dict while we walked it
        except (TypeError, ValueError) as error:
            if isinstance(error, InvalidMessage):
                raise
            raise InvalidMessage(path, "has no JSON form") from error
    raise InvalidMessage(path, "kept changing while it was copied; hand over a copy")


class _Projection:
    """Walks a value in Python: repairs what can be repaired, names the path of what cannot."""

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems
        self._keys = 0
        self._rules: list[tuple[Any, Callable[[Any, str, int], Any]]] = [
            ((bool, type(None), datetime, date, UUID), lambda v, p, d: v),
            (str, lambda v, p, d: text(v)),
            (Enum, lambda v, p, d: self.plain(v.value, p, d + 1)),
            (int, lambda v, p, d: self._integer(v, p)),
            ((float, Decimal), lambda v, p, d: self._number(v, p)),
            (Mapping, self._object),
            ((list, tuple, set, frozenset), self._array),
            ((bytes, bytearray), lambda v, p, d: self._bytes(v, p)),
        ]

    def plain(self, value: Any, path: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise InvalidMessage(path[:200], "is nested too deeply, or contains itself")
        for kinds, rule in self._rules:
            if isinstance(value, kinds):
                return rule(value, path, depth)
        try:
            return orjson.loads(orjson.dumps(value, option=_OPTIONS))  # times, dataclasses
        except (TypeError, ValueError):
            raise InvalidMessage(path, f"{type(value).__name__} has no JSON form; convert it first") from None

    def _integer(self, value: int, path: str) -> Any:
        if value in _INT64:
            return value
        try:
            return str(int(value))
        except ValueError:
            raise InvalidMessage(path, "has too many digits; send it as text") from None

    def _number(self, value: float | Decimal, path: str) -> Any:
        if not math.isfinite(value):
            self._problems.append(path)
            return None
        return value

    def _bytes(self, value: bytes | bytearray, path: str) -> str:
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InvalidMessage(path, "bytes that are not UTF-8 text; encode them, for example as base64") from None

    def _array(self, value: Any, path: str, depth: int) -> list[Any]:
        return [self.plain(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]

    def _object(self, value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._keys += len(value)
        if self._keys > MAX_KEYS:
            raise InvalidMessage(path, f"has more than {MAX_KEYS} members")
        for key, item in value.items():
            name = _member_name(key, path)
            if name in found:
                raise InvalidMessage(f"{path}.{name}", "stands twice: two keys have the same text")
            found[name] = self.plain(item, f"{path}.{name}", depth + 1)
        return found


def _member_name(key: object, path: str) -> str:
    if isinstance(key, Enum) and not isinstance(key, (str, int)):
        return _member_name(key.value, path)
    if isinstance(key, str):
        return text(str(key.value) if isinstance(key, Enum) else str(key))
    if key is None or isinstance(key, (bool, int, float)):
        # Exactly as json.dumps writes it: 1 -> "1", True -> "true", None -> "null".
        name: str = next(iter(json.loads(json.dumps({key: 0}))))
        return name
    raise InvalidMessage(path, f"has a key of type {type(key).__name__}; keys must be text")


def _non_finite(value: object, path: str) -> Iterator[str]:
    if isinstance(value, (float, Decimal)):
        if not math.isfinite(value):
            yield path
    elif isinstance(value, Enum):
        yield from _non_finite(value.value, path)
    elif isinstance(value, Mapping) and not isinstance(value, JsonObject):
        for key, item in value.items():
            yield from _non_finite(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, item in enumerate(value):
            yield from _non_finite(item, f"{path}[{index}]")


def text(value: str) -> str:
    """Replace lone surrogates, which no UTF-8 text can hold, by U+FFFD.

    >>> text("a\\ud800b")
    'a\N{REPLACEMENT CHARACTER}b'
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value
