"""The value rules: what a Python value becomes in JSON, the same for every provider.

A caller's object is turned into JSON text in the call, so nothing that happens to it later can be sent.
First its containers are copied, each in one step that no other thread can come between; then one call of orjson
encodes the copy. Only a value that orjson refuses is walked once more, to repair or name it.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timezone
from decimal import Decimal
from enum import Enum
from itertools import islice
from typing import Any
from uuid import UUID

import orjson

from .errors import InvalidMessage
from .foreign import NAN, advice, opened
from .secret import NO_DATA, Secret

MAX_DEPTH = 200  # orjson gives up at 254, and envelopes need a few levels
MAX_VALUES = 50_000  # members and items in all; keeps the worst call in the tens of milliseconds

_TOO_DEEP = "is nested too deeply, or contains itself"

_ARRAYS: tuple[type[Any], ...] = (list, tuple, set, frozenset)
# Nothing of these is shared with the caller, or can be changed by it.
_ATOMS = frozenset({str, int, float, bool, type(None), Decimal, date, time, UUID, bytes})


class JsonObject(Mapping[str, Any]):
    """A JSON object that keeps its text: read it like a dict, send it without encoding it again."""

    __slots__ = ("_data", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._data: dict[str, Any] | None = None

    @property
    def data(self) -> dict[str, Any]:
        if not self:
            return {}  # anew each time: all empty objects may be one
        if self._data is None:
            self._data = orjson.loads(self.raw)
        return self._data

    @property
    def altered(self) -> bool:
        """Whether somebody changed what reading it gave; that changes nothing of what is sent."""
        return self._data is not None and self._data != orjson.loads(self.raw)

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def __bool__(self) -> bool:
        return self.raw != b"{}"

    def __repr__(self) -> str:
        return repr(self.data)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, JsonObject):
            return self.raw == other.raw or self.data == other.data
        return self.data == other if isinstance(other, Mapping) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal to a dict, so as unhashable as one

    def exact(self) -> dict[str, Any]:
        """Return the data anew, for encoding it again: a number that a float would round is a Decimal."""
        data: dict[str, Any] = json.loads(self.raw, parse_float=Decimal, parse_int=whole_number)
        return data

    def extended(self, extra: Mapping[str, Any]) -> "JsonObject":
        """Return a copy with more members; ``extra`` wins. Splices the texts when no name can be in both."""
        if not extra:
            return self
        if not self:
            return JsonObject(dumps(dict(extra)))
        # A name that does not occur in the text at all cannot be a member; if it does, parse to be sure.
        if any(dumps(name) in self.raw for name in extra):
            return JsonObject(dumps({**self.exact(), **extra}))
        return JsonObject(self.raw[:-1] + b"," + dumps(dict(extra))[1:])


EMPTY = JsonObject(b"{}")


def dumps(value: Any, option: int = 0) -> bytes:
    """Encode data that already follows the rules (a provider's envelope) as compact UTF-8 JSON.

    >>> dumps({"userId": "u", "traits": JsonObject(b'{"a":1}')})
    b'{"userId":"u","traits":{"a":1}}'
    """
    try:
        return orjson.dumps(value, default=_default, option=option)
    except TypeError as error:
        cause = error.__cause__
        if cause is not None and not isinstance(cause, Exception):
            raise cause from None  # Ctrl-C while orjson called us back says nothing about the value
        raise


def spliced(value: Any) -> Any:
    """Return a :class:`JsonObject` as what :func:`dumps` copies without a question; a call back costs a microsecond.

    >>> dumps({"properties": spliced(JsonObject(b'{"a":1}'))})
    b'{"properties":{"a":1}}'
    """
    return orjson.Fragment(value.raw) if type(value) is JsonObject else value


def encode_object(value: object, path: str, problems: list[str]) -> JsonObject:
    """Copy a caller's mapping into JSON by the value rules; see :func:`encode_text`."""
    return value if type(value) is JsonObject else JsonObject(encode_text(value, path, problems))


def encode_text(value: object, path: str, problems: list[str]) -> bytes:
    """Write a caller's mapping as JSON by the value rules.

    Args:
        value, path: the mapping, and where it stands in the message, for errors.
        problems: gets the path of every NaN or infinity, which became null.

    Raises:
        InvalidMessage: naming the path of a value or key with no JSON form.
    """
    if type(value) is JsonObject:
        return value.raw
    if type(value) is dict:
        own = value.copy()
        if len(own) > MAX_VALUES or not _ATOMS.issuperset(map(type, own.values())):
            own = _own_copy(own, path)
    elif isinstance(value, Mapping):
        own = _own_copy(value, path)
    else:
        raise InvalidMessage(path, f"must be an object (a dict), not {type(value).__name__}")
    try:
        raw = dumps(own, _OPTIONS)
    except (TypeError, RecursionError):
        return _dump_repaired(own, path, problems)
    # orjson writes NaN as null without a word, so look for one only where there is a null at all ("in" is slower).
    if raw.find(b"null") >= 0:
        _find_non_finite(own, path, problems)
    return raw


_OPTIONS = orjson.OPT_NAIVE_UTC | orjson.OPT_PASSTHROUGH_DATACLASS


def _default(value: object) -> Any:
    """Encode what orjson does not know: our types, and subclasses of types that it does know.

    Those come from well-known places: ``numpy.float64``, ``pandas.Timestamp``, the UUID of asyncpg, a frozen clock.
    """
    if isinstance(value, JsonObject):
        return orjson.Fragment(value.raw)
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, float):
        return float.__float__(value)  # its own, whatever a subclass says
    if isinstance(value, (bytes, bytearray)):
        return value.decode()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, datetime):
        return value.isoformat() if value.utcoffset() is not None else f"{value.isoformat()}+00:00"
    if isinstance(value, (date, time)) and not isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError


def _decimal(value: Decimal) -> Any:
    if not value.is_finite():
        return None
    if math.isinf(float(value)):
        return str(value)  # no reader keeps such a number; its text survives
    return orjson.Fragment(str(value).encode())


def whole_number(digits: str) -> int | Decimal:
    return int(digits) if len(digits) < 19 else Decimal(digits)


def _own_copy(value: Any, path: str) -> dict[Any, Any]:
    """Copy a mapping with all containers in it, so that nobody else can reach them.

    orjson must never see a container that another thread can reach: while it calls back for a Decimal the other may
    change it, and that ends the process (measured: a segmentation fault with orjson 3.13).
    """
    for _ in range(3):
        try:
            copy: dict[Any, Any] = _copied(value, 1, [0], path)
            return copy
        except InvalidMessage:
            raise
        except RecursionError:
            raise InvalidMessage(path, _TOO_DEEP) from None
        except (RuntimeError, KeyError):
            continue  # another thread changed a mapping that is no plain dict
        except Exception as error:  # a mapping of the caller's own can raise anything
            raise InvalidMessage(path, f"cannot be read ({type(error).__name__})") from error
    raise InvalidMessage(path, "kept changing while it was copied; hand over a copy")


def _copied(value: Any, depth: int, count: list[int], path: str) -> Any:
    places: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        own: Any = dict.copy(value)
        items, places = own.values(), own.items()
    elif isinstance(value, _ARRAYS):
        kind = type(value)
        if kind not in _ARRAYS:  # a class of the caller's, which may iterate without end
            kind = next(base for base in _ARRAYS if isinstance(value, base))
        items = own = list(kind.__iter__(value))
        places = enumerate(own)
    elif isinstance(value, Enum):
        return _copied(value.value, depth, count, path)
    elif isinstance(value, Mapping) and type(value) is not JsonObject:
        own = {key: value[key] for key in islice(value, MAX_VALUES + 1)}
        items, places = own.values(), own.items()
    elif isinstance(value, datetime):
        return _time(value)
    elif isinstance(value, Secret):
        return _NoForm(NO_DATA)
    else:
        plainer = value if type(value) is JsonObject else opened(value, MAX_VALUES)
        return value if plainer is value else _copied(plainer, depth, count, path)
    if depth > MAX_DEPTH:
        raise InvalidMessage(path, _TOO_DEEP)
    count[0] += len(own)
    if count[0] > MAX_VALUES:
        raise InvalidMessage(path, f"holds more than {MAX_VALUES} values")
    if not _ATOMS.issuperset(map(type, items)):
        for place, item in places:
            if type(item) not in _ATOMS:
                own[place] = _copied(item, depth + 1, count, path)
    return own


class _NoForm:
    """Stands in a copy for what must be refused where it stands, and is not for orjson to look at."""

    def __init__(self, why: str) -> None:
        self.why = why


def _time(value: datetime) -> Any:
    """Return a time that is naive, or whose zone is one of ours: orjson asks the zone for its offset.

    Where that raises, it ends the process (measured: a segmentation fault with orjson 3.13).
    """
    if value != value:
        return NAN  # pandas' NaT, the time that is missing
    if value.tzinfo is None or value.tzinfo is UTC:
        return value
    try:
        offset = value.utcoffset()
        local = value.replace(tzinfo=None)
        if offset is None:
            return local  # its zone does not know
        # Before 1900 places had offsets with seconds, which ISO-8601 text cannot hold.
        odd = offset.total_seconds() % 60
        return (local - offset).replace(tzinfo=UTC) if odd else local.replace(tzinfo=timezone(offset))
    except Exception as error:  # noqa: BLE001  a zone of the caller's own can raise anything
        return _NoForm(f"is a time whose zone cannot be asked ({type(error).__name__})")


def _dump_repaired(own: Mapping[Any, Any], path: str, problems: list[str]) -> bytes:
    try:
        plain = _Projection(problems).plain(own, path)
        return dumps(plain, _OPTIONS)
    except RecursionError:
        raise InvalidMessage(path, _TOO_DEEP) from None
    except TypeError as error:  # a subclass of a number or a text that fails when it is asked
        raise InvalidMessage(path, "holds a value that cannot be read") from error


class _Projection:
    """Walks a copy in Python: repairs what can be repaired, names the path of what cannot."""

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems
        self._rules: list[tuple[Any, Callable[[Any, str], Any]]] = [
            ((bool, type(None), JsonObject), lambda v, p: v),
            (str, text),
            (int, _integer),
            ((float, Decimal), self._number),
            (dict, self._object),
            (list, self._array),
            ((bytes, bytearray), _bytes),
            (time, lambda v, p: v.isoformat()),
        ]

    def plain(self, value: Any, path: str) -> Any:
        for kinds, rule in self._rules:
            if isinstance(value, kinds):
                return rule(value, path)
        if isinstance(value, _NoForm):
            raise InvalidMessage(path, value.why)
        try:
            return orjson.loads(dumps(value, _OPTIONS))  # times, UUIDs
        except Exception as error:  # an object of the caller's can raise anything
            raise InvalidMessage(path, f"{type(value).__name__} {advice(value)}") from error

    def _number(self, value: float | Decimal, path: str) -> Any:
        if not _is_finite(value):
            self._problems.append(path)
            return None
        return value

    def _array(self, value: Any, path: str) -> list[Any]:
        return [self.plain(item, f"{path}[{index}]") for index, item in enumerate(value)]

    def _object(self, value: Mapping[Any, Any], path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in value.items():
            name = _member_name(key, path)
            if name in found:
                raise InvalidMessage(f"{path}.{name}", "stands twice: two keys have the same text")
            found[name] = self.plain(item, f"{path}.{name}")
        return found


def _integer(value: int, path: str) -> Any:
    if -(2**63) <= value < 2**64:
        return value
    try:
        return int.__repr__(value)
    except ValueError:
        raise InvalidMessage(path, "has too many digits; send it as text") from None


def _bytes(value: bytes | bytearray, path: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidMessage(path, "bytes that are not UTF-8 text; encode them, for example as base64") from None


def _member_name(key: object, path: str) -> str:
    if isinstance(key, Enum):
        return _member_name(key.value, path)
    if isinstance(key, str):
        return text(key, path)
    if key is None or isinstance(key, (bool, int, float)):
        try:
            # Exactly as json.dumps writes it: 1 -> "1", True -> "true", None -> "null".
            name: str = next(iter(json.loads(json.dumps({key: 0}))))
        except ValueError:
            raise InvalidMessage(path, "has a key with too many digits; make it text") from None
        return name
    if isinstance(plainer := opened(key, 1), (str, bool, int, float)):
        return _member_name(plainer, path)
    raise InvalidMessage(path, f"has a key of type {type(key).__name__}; keys must be text")


def _is_finite(value: float | Decimal) -> bool:
    return value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)


def _find_non_finite(value: dict[Any, Any] | list[Any], path: str, problems: list[str]) -> None:
    """Name the places in a copy where a NaN or an infinity stands."""
    is_object = isinstance(value, dict)
    for step, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, (float, Decimal)):
            if not _is_finite(item):
                problems.append(f"{path}.{step}" if is_object else f"{path}[{step}]")
        elif isinstance(item, (dict, list)):
            _find_non_finite(item, f"{path}.{step}" if is_object else f"{path}[{step}]", problems)


def text(value: str, path: str = "$") -> str:
    """Return plain text, with lone surrogates, which no UTF-8 text can hold, replaced by U+FFFD; no credential.

    >>> text("a\\ud800b")
    'a\N{REPLACEMENT CHARACTER}b'
    """
    if type(value) is str and value.isascii():
        return value
    if isinstance(value, Secret):
        raise InvalidMessage(path, NO_DATA)
    try:
        encoded = str.encode(value)
    except UnicodeEncodeError:
        return str.encode(value, "utf-16", "surrogatepass").decode("utf-16", "replace")
    return value if type(value) is str else encoded.decode()
