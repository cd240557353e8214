"""What a Python value becomes in JSON: the table of docs/decisions/0005-value-rules.md, one rule a test."""

import enum
import itertools
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
import pytest

from tests.interrupting import at_look, interrupted, press
from unitrack import values
from unitrack.errors import InvalidMessage
from unitrack.values import JsonObject, encode_object, text

INDIA = timezone(timedelta(hours=5, minutes=30))


class Plan(enum.Enum):
    PRO = "pro"
    PRICE = Decimal("19.90")
    TIERS = ("a", "b")
    BROKEN = float("nan")


class Level(enum.IntEnum):
    HIGH = 3


class Colour(enum.StrEnum):
    RED = "red"


class UserId(int):
    pass


class Celsius(float):
    pass


class Moment(datetime):
    pass


class Day(date):
    pass


class Key(UUID):
    pass


class Name(str):
    __slots__ = ()


class Nowhere(tzinfo):
    def __repr__(self) -> str:
        return "Nowhere()"  # the same in every process of a test run

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return None


Point = namedtuple("Point", "x y")


def encoded(value: object) -> str:
    problems: list[str] = []
    raw = encode_object({"x": value}, "$.properties", problems).raw.decode()
    assert problems == []
    return raw.removeprefix('{"x":').removesuffix("}")


def refusal(value: object) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        encode_object(value, "$.properties", [])
    return caught.value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-7, "-7"),
        (2**53 + 1, "9007199254740993"),
        (2**64 - 1, "18446744073709551615"),
        (-(2**63), "-9223372036854775808"),
        (2**64, '"18446744073709551616"'),
        (-(2**63) - 1, '"-9223372036854775809"'),
        (10**399, '"1' + "0" * 399 + '"'),
        (UserId(7), "7"),
        (19.9, "19.9"),
        (-0.0, "-0.0"),
        (Celsius(36.6), "36.6"),
        ("", '""'),
        ("Grüße \U0001f600", '"Grüße \U0001f600"'),
        ("a\x00b", '"a\\u0000b"'),
        ("\u202eright to left", '"\u202eright to left"'),
        ("\ud800", '"\N{REPLACEMENT CHARACTER}"'),
        ("a\udc00b", '"a\N{REPLACEMENT CHARACTER}b"'),
        (Name("Ada"), '"Ada"'),
        (Decimal("19.90"), "19.90"),
        (Decimal("0.12345678901234567890123456789"), "0.12345678901234567890123456789"),
        (Decimal("12345678901234567890123"), "12345678901234567890123"),
        (Decimal("1E+2"), "1E+2"),
        (Decimal("1E+400"), '"1E+400"'),
        (datetime(2024, 2, 29, 10, 20, 30), '"2024-02-29T10:20:30+00:00"'),
        (datetime(2024, 2, 29, 10, 20, 30, 123456, UTC), '"2024-02-29T10:20:30.123456+00:00"'),
        (datetime(2024, 2, 29, 10, 20, 30, tzinfo=INDIA), '"2024-02-29T10:20:30+05:30"'),
        (datetime(2024, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")), '"2024-07-01T00:00:00+02:00"'),
        (datetime(1900, 1, 1, tzinfo=timezone(timedelta(seconds=19_270))), '"1899-12-31T18:38:50+00:00"'),
        (datetime(2024, 2, 29, tzinfo=Nowhere()), '"2024-02-29T00:00:00+00:00"'),
        (Moment(2024, 2, 29), '"2024-02-29T00:00:00+00:00"'),
        (Moment(2024, 2, 29, tzinfo=INDIA), '"2024-02-29T00:00:00+05:30"'),
        (date(2024, 2, 29), '"2024-02-29"'),
        (Day(2024, 2, 29), '"2024-02-29"'),
        (UUID(int=10), '"00000000-0000-0000-0000-00000000000a"'),
        (Key(int=10), '"00000000-0000-0000-0000-00000000000a"'),
        (Plan.PRO, '"pro"'),
        (Plan.PRICE, "19.90"),
        (Plan.TIERS, '["a","b"]'),
        (Level.HIGH, "3"),
        (Colour.RED, '"red"'),
        ((1, (2, "a")), '[1,[2,"a"]]'),
        (Point(1, Decimal("2.0")), "[1,2.0]"),
        ({7}, "[7]"),
        (frozenset({"a"}), '["a"]'),
        (b"caf\xc3\xa9", '"café"'),
        (bytearray(b"ok"), '"ok"'),
        ({"a": {"b": [Decimal("1.50")]}}, '{"a":{"b":[1.50]}}'),
        (OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
        (defaultdict(list, a=[1]), '{"a":[1]}'),
        (MappingProxyType({"a": 1}), '{"a":1}'),
        (UserDict(a=1), '{"a":1}'),
        (JsonObject(b'{"kept":1.000}'), '{"kept":1.000}'),
    ],
    ids=repr,
)
def test_a_value_is_written_as_the_table_says(value: object, written: str) -> None:
    assert encoded(value) == written


@pytest.mark.parametrize("companion", [2**70, {1: 1}, "\ud800"], ids=["big number", "number as key", "half a pair"])
def test_a_value_is_written_the_same_beside_one_that_needs_repair(companion: object) -> None:
    values = [
        Celsius(1.5),
        Moment(2024, 1, 1),
        Key(int=1),
        Decimal("1E+400"),
        Plan.PRICE,
        Level.HIGH,
        {3},
        b"x",
        UserId(5),
    ]
    alone, beside = [], []
    whole = encode_object({"v": values}, "$", alone).data["v"]
    repaired = encode_object({"v": values, "odd": companion}, "$", beside).data["v"]
    assert repaired == whole == [1.5, "2024-01-01T00:00:00+00:00", str(UUID(int=1)), "1E+400", 19.9, 3, [3], "x", 5]
    assert alone == beside == []


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (1, "1"),
        (-1.5, "-1.5"),
        (1e22, "1e+22"),
        (True, "true"),
        (None, "null"),
        (float("nan"), "NaN"),
        (10**30, "1" + "0" * 30),
        (Level.HIGH, "3"),
        (Colour.RED, "red"),
        (Plan.PRO, "pro"),
        (Name("n"), "n"),
        (" Email ", " Email "),
        ("", ""),
        ("a\ud800", "a\N{REPLACEMENT CHARACTER}"),
    ],
    ids=repr,
)
def test_a_key_is_written_as_json_dumps_writes_it(key: object, name: str) -> None:
    assert encode_object({"in": {key: 1}}, "$", []).data == {"in": {name: 1}}


@pytest.mark.parametrize(
    "pair", [(1, "1"), (True, "true"), (None, "null"), ("\ud800", "\udc00"), (1.5, "1.5")], ids=repr
)
def test_two_keys_with_the_same_text_are_refused(pair: tuple[object, object]) -> None:
    error = refusal({"in": {pair[0]: 1, pair[1]: 2}})
    assert error.path.startswith("$.properties.in.")
    assert "stands twice" in error.reason


@pytest.mark.parametrize("key", [(1, 2), b"a", UUID(int=1), Decimal(1), Plan.TIERS], ids=repr)
def test_a_key_that_is_no_text_is_refused_where_it_stands(key: object) -> None:
    error = refusal({"items": [{key: 1}]})
    assert error.path == "$.properties.items[0]"
    assert "keys must be text" in error.reason


def _generator() -> Iterator[int]:
    yield 1


class Hostile:
    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError

    __str__ = __repr__ = __iter__ = __len__ = lambda self: 1 / 0  # type: ignore[assignment]


class BrokenZone(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta | None:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "value",
    [
        1j,
        timedelta(1),
        object(),
        Fraction(1, 3),
        len,
        _generator(),
        memoryview(b"a"),
        Hostile(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_json_form_is_refused_naming_its_full_path(value: object) -> None:
    error = refusal({"card": {"list": [1, {"holder": value}]}})
    assert error.path == "$.properties.card.list[1].holder"
    assert f"{type(value).__name__} has no JSON form; convert it first" in error.reason


def test_a_time_whose_zone_raises_is_refused_and_the_process_lives() -> None:
    # orjson 3.13 ends the process when it asks such a zone itself.
    error = refusal({"items": [1, {"at": datetime(2024, 1, 1, tzinfo=BrokenZone())}]})
    assert error.path == "$.properties.items[1].at"
    assert "ZeroDivisionError" in error.reason


def test_bytes_that_are_no_text_are_refused_with_advice() -> None:
    error = refusal({"a": [b"\xff"]})
    assert error.path == "$.properties.a[0]"
    assert "base64" in error.reason


def test_a_whole_number_of_thousands_of_digits_is_refused_with_advice() -> None:
    error = refusal({"a": 1 << 20_000})
    assert error.path == "$.properties.a"
    assert "send it as text" in error.reason
    assert refusal({1 << 20_000: 1}).path == "$.properties"


@pytest.mark.parametrize("value", [None, [], [("a", 1)], "text", 3, {1}])
def test_only_a_mapping_is_an_object(value: object) -> None:
    assert "must be an object (a dict)" in refusal(value).reason


@pytest.mark.parametrize(
    "nothing",
    [
        float("nan"),
        float("inf"),
        float("-inf"),
        Celsius("nan"),
        Decimal("NaN"),
        Decimal("-Infinity"),
        Decimal("sNaN"),
        Plan.BROKEN,
    ],
    ids=repr,
)
@pytest.mark.parametrize("companion", [1, 2**70], ids=["fast", "repaired"])
def test_what_json_has_no_number_for_is_null_and_its_path_is_told(nothing: object, companion: object) -> None:
    problems: list[str] = []
    value = {"n": nothing, "in": [{"a{}": (1, nothing)}, None], "c": companion, "none": None}
    data = encode_object(value, "$.traits", problems).data
    assert data["n"] is None
    assert data["in"] == [{"a{}": [1, None]}, None]
    assert problems == ["$.traits.n", "$.traits.in[0].a{}[1]"]


def test_none_is_no_problem() -> None:
    problems: list[str] = []
    encode_object({"a": None, "b": [None, {"c": None}], "null": "null"}, "$", problems)
    assert problems == []


def test_what_happens_to_the_callers_objects_later_is_not_sent() -> None:
    inner: list[Any] = [1, {"a": bytearray(b"x")}]
    value = {"list": inner, "map": {"k": "v"}}
    taken = encode_object(value, "$", [])
    inner[1]["a"][:] = b"changed"
    inner.append(2)
    value["map"].clear()  # type: ignore[attr-defined]
    value.clear()
    assert taken.data == {"list": [1, {"a": "x"}], "map": {"k": "v"}}
    assert orjson.loads(taken.raw) == taken.data


def test_text_keeps_everything_but_half_a_surrogate_pair() -> None:
    assert (
        text("\ufeffa\ud800\U0001f600\udfff\x00")
        == "\ufeffa\N{REPLACEMENT CHARACTER}\U0001f600\N{REPLACEMENT CHARACTER}\x00"
    )
    assert text("\ud83d\ude00") == "\U0001f600"
    assert type(text(Name("x"))) is str


@pytest.mark.parametrize("value", [{"a": Decimal("1.5")}, {"a": Decimal("NaN"), "b": {1: Decimal(2)}}])
def test_ctrl_c_is_never_taken_for_a_value_that_has_no_form(value: dict[str, Any]) -> None:
    """Also where orjson calls back, and makes a TypeError of whatever is raised there."""
    for at in itertools.count(1):
        with suppress(KeyboardInterrupt):
            swallowed = interrupted(lambda: encode_object(value, "p", []), at, at_look, press, {values.__file__})
            assert not swallowed
            break
    assert at > 10
