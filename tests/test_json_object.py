"""A JSON object that keeps its text, and what holds for all values that are encoded."""

import copy
import enum
import json
import math
import pickle
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from unitrack.errors import InvalidMessage
from unitrack.values import EMPTY, JsonObject, _dump_repaired, _own_copy, dumps, encode_object


class Kind(enum.Enum):
    TEXT = "text"
    PRICE = Decimal("19.900")
    LIST = (1, "a", None)
    NESTED = {"a": 1.5}  # noqa: RUF012


#: Any text at all, halves of surrogate pairs included.
wild_texts = st.text(st.characters(exclude_categories=()), max_size=10)
zones = st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=8))])
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | wild_texts
    | st.decimals()
    | st.datetimes(timezones=zones)
    | st.dates()
    | st.uuids()
    | st.text(max_size=5).map(str.encode)
    | st.sampled_from(Kind)
    | st.frozensets(st.integers(0, 99), max_size=3)
)
keys = wild_texts | st.none() | st.booleans() | st.integers() | st.floats()
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
wild_objects = st.dictionaries(keys, trees, max_size=5)

#: What needs no repair.
plain_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=10)
    | st.decimals()
    | st.datetimes(timezones=zones)
    | st.dates()
    | st.uuids()
    | st.sampled_from(Kind)
)
plain_trees = st.recursive(
    plain_leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
plain_objects = st.dictionaries(st.text(max_size=8), plain_trees, max_size=6)
json_objects = st.dictionaries(
    st.text(max_size=4), st.recursive(st.none() | st.integers(-9, 9) | st.text(max_size=6), st.lists, max_leaves=4)
)


def _written_text(value: str) -> str:
    def sound(found: re.Match[str]) -> str:
        pair = found[0]
        return chr(0x10000 + (ord(pair[0]) - 0xD800) * 0x400 + ord(pair[1]) - 0xDC00) if len(pair) == 2 else "\ufffd"

    return re.sub("[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]", sound, value)


def _written_key(key: object) -> str:
    return _written_text(key) if isinstance(key, str) else next(iter(json.loads(json.dumps({key: 0}))))


def written(value: Any) -> Any:
    """Say what a reader of the JSON finds, as docs/decisions/0005-value-rules.md has it."""
    match value:
        case enum.Enum():
            return written(value.value)
        case None | bool():
            return value
        case str():
            return _written_text(value)
        case int():
            return value if -(2**63) <= value < 2**64 else str(value)
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return (str(value) if math.isinf(float(value)) else float(value)) if value.is_finite() else None
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
        case date():
            return value.isoformat()
        case UUID():
            return str(value)
        case bytes():
            return value.decode()
        case dict():
            return {_written_key(key): written(item) for key, item in value.items()}
        case _:
            return [written(item) for item in value]


def has_twins(value: Any) -> bool:
    match value:
        case dict():
            return len({_written_key(key) for key in value}) < len(value) or any(map(has_twins, value.values()))
        case list() | tuple():
            return any(map(has_twins, value))
        case _:
            return False


@given(wild_objects)
def test_what_is_sent_is_the_documented_projection_and_the_callers_objects_stay_as_they_are(
    value: dict[Any, Any],
) -> None:
    before = repr(value)
    if has_twins(value):
        with pytest.raises(InvalidMessage, match="stands twice"):
            encode_object(value, "$", [])
    else:
        assert orjson.loads(encode_object(value, "$", []).raw) == written(value)
    assert repr(value) == before


@given(plain_objects)
def test_with_and_without_repair_the_bytes_and_the_reported_paths_are_the_same(value: dict[str, Any]) -> None:
    told: list[str] = []
    told_by_repair: list[str] = []
    fast = encode_object(value, "$", told).raw
    assert fast == _dump_repaired(_own_copy(value, "$"), "$", told_by_repair)
    assert told == told_by_repair


@given(wild_objects)
def test_json_takes_what_was_encoded_for_exactly_the_same_again(value: dict[Any, Any]) -> None:
    assume(not has_twins(value))
    once = encode_object(value, "$", [])
    assert encode_object(once, "$", []) is once
    assert encode_object({"in": once}, "$", []).raw == b'{"in":' + once.raw + b"}"


@given(wild_objects)
def test_the_exact_data_loses_no_digit(value: dict[Any, Any]) -> None:
    assume(not has_twins(value))
    taken = encode_object(value, "$", [])
    every_digit = json.loads(taken.raw, parse_float=Decimal, parse_int=Decimal)
    assert json.loads(dumps(taken.exact()), parse_float=Decimal, parse_int=Decimal) == every_digit


@given(json_objects)
def test_it_reads_like_the_dict_that_it_was(value: dict[str, Any]) -> None:
    taken = encode_object(value, "$", [])
    assert isinstance(taken, Mapping)
    assert dict(taken) == {**taken} == value == taken
    assert taken == value
    assert (len(taken), bool(taken), list(taken)) == (len(value), bool(value), list(value))
    assert all(taken[name] == item and name in taken for name, item in value.items())
    assert taken.get("not there") == value.get("not there")
    assert repr(taken) == repr(value)
    assert taken != {**value, "more": 1}
    assert pickle.loads(pickle.dumps(taken)) == copy.deepcopy(taken) == taken


def test_it_is_as_unhashable_as_a_dict() -> None:
    with pytest.raises(TypeError):
        hash(JsonObject(b"{}"))


def test_it_equals_no_list_and_no_text() -> None:
    assert JsonObject(b'{"a":1}') != [("a", 1)]
    assert JsonObject(b'{"a":1}') != '{"a":1}'


def test_two_spellings_of_the_same_object_are_equal() -> None:
    assert JsonObject(b'{"a":1,"b":2}') == JsonObject(b'{"b":2,"a":1}')
    assert JsonObject(b'{"a":1}') != JsonObject(b'{"a":2}')


def test_whoever_changes_what_reading_gave_is_found_out() -> None:
    taken = encode_object({"card": {"number": "4111"}, "n": Decimal("1.10")}, "$", [])
    assert not taken.altered
    assert taken["card"]["number"] == "4111"
    assert not taken.altered
    taken["card"]["number"] = "[gone]"
    assert taken.altered
    assert taken.raw == b'{"card":{"number":"4111"},"n":1.10}'


def test_nobody_can_put_anything_into_the_one_empty_object() -> None:
    EMPTY.data["a"] = 1
    assert EMPTY == {}
    assert encode_object({}, "$", []).data == {}


# -- more members

#: Names that are found inside other names and texts, and such as need an escape.
tricky_names = st.sampled_from(["a", "ab", "b", '"', 'a"', '\\"a', "a\\", "\n", "a\n", "é", '":', ',"a":1', "{}", ""])
tricky = st.dictionaries(tricky_names, tricky_names | st.none() | st.dictionaries(tricky_names, st.just(1), max_size=2))


@given(tricky | json_objects, tricky | json_objects)
def test_added_members_win_and_no_name_stands_twice(value: dict[str, Any], extra: dict[str, Any]) -> None:
    longer = encode_object(value, "$", []).extended(extra)
    pairs = json.loads(longer.raw, object_pairs_hook=lambda pairs: pairs)
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names))
    assert orjson.loads(longer.raw) == {**value, **extra}


@given(tricky)
def test_adding_nothing_changes_nothing(value: dict[str, Any]) -> None:
    taken = encode_object(value, "$", [])
    assert taken.extended({}) is taken


@pytest.mark.parametrize("extra", [{"plan": "pro"}, {"note": "new"}], ids=["spliced", "replaced"])
def test_adding_members_loses_no_digit_of_an_amount(extra: dict[str, str]) -> None:
    taken = encode_object({"note": "old", "total": Decimal("12345678901234567.890"), "n": 2**63}, "$", [])
    longer = taken.extended(extra)
    assert b'"total":12345678901234567.890' in longer.raw
    assert b'"n":9223372036854775808' in longer.raw


def test_adding_members_leaves_the_first_as_it_was() -> None:
    taken = encode_object({"a": 1}, "$", [])
    taken.extended({"b": 2}).data["a"] = 5
    assert taken == {"a": 1}
