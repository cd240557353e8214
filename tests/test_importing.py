"""The rules of an import: how rows are read, what they become, which ids they get, how an import goes on."""

import csv
import hashlib
import io
import json
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack import Client, ConfigError, Destination
from unitrack.importing import (
    BadRow,
    Cell,
    Failures,
    Importer,
    Lines,
    Progress,
    Rejects,
    Row,
    RowIds,
    RowMapping,
    State,
    Stopped,
    Time,
    format_of,
    open_rows,
)
from unitrack.importing.cells import shifted
from unitrack.importing.rows import MAX_ROW_BYTES, Format, RowSource
from unitrack.message import Alias, Group, Identify, Track
from unitrack.providers import Hightouch, Interakt
from unitrack.testing import FakeTransport

ORDERS = RowMapping(
    event="Order Completed", user_id="customer", timestamp="date", properties={"total": Cell("amount", "float")}
)
HEADER = b"customer,date,amount\n"


def rows_of(content: bytes, kind: Format = "csv", **options: Any) -> list[Row]:
    return list(open_rows(Lines(io.BytesIO(content)), kind, **options))


def values_of(content: bytes, kind: Format = "csv", **options: Any) -> list[Any]:
    return [row.values or row.error for row in rows_of(content, kind, **options)]


def message_of(mapping: RowMapping, **row: Any) -> Any:
    return mapping.message(row, RowIds(mapping))


def why_bad(mapping: RowMapping, **row: Any) -> str:
    with pytest.raises(BadRow) as caught:
        message_of(mapping, **row)
    return str(caught.value)


# Reading


def test_rows_of_csv_have_their_columns_their_line_and_where_they_end() -> None:
    content = b'\xef\xbb\xbfa,b\r\n1,"x\r\ny"\r\n\r\n2,z'
    rows = rows_of(content)
    assert [row.values for row in rows] == [{"a": "1", "b": "x\r\ny"}, {"a": "2", "b": "z"}]
    assert [row.line for row in rows] == [2, 5]
    assert [row.end for row in rows] == [content.index(b"\r\n\r\n") + 2, len(content)]


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")), min_size=2, max_size=2
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(["\n", "\r\n"]),
)
def test_whatever_csv_can_hold_comes_back(cells: list[list[str]], line_break: str) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator=line_break, quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b"])
    writer.writerows(cells)
    content = file.getvalue().encode()
    rows = rows_of(content)
    assert [list(row.values.values()) for row in rows] == cells
    assert b"".join([content[: rows[0].end - len(rows[0].raw)], *(row.raw for row in rows)]) == content


@given(st.binary(max_size=300), st.sampled_from(["csv", "jsonl"]))
def test_no_bytes_end_the_reading_and_every_byte_belongs_to_a_row_or_is_blank(noise: bytes, kind: Format) -> None:
    content = b"a,b\n" * (kind == "csv") + noise
    lines = Lines(io.BytesIO(content))
    ends = [row.end for row in open_rows(lines, kind)]
    assert lines.end == len(content)
    assert ends == sorted(set(ends))


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"1", "has 1 columns; the header has 2"),
        (b"1,2,3", "has 3 columns; the header has 2"),
        (b'1,"a"b', "is no CSV: ',' expected after '\"'"),
        (b"1,\xff", "is not utf-8 text"),
        (b"1," + b"x" * MAX_ROW_BYTES, "the row is longer than"),
        (b"1," + b"x" * 200_000, "is no CSV: field larger than field limit"),
    ],
)
def test_a_row_that_cannot_be_read_costs_only_itself(line: bytes, error: str) -> None:
    rows = rows_of(b"a,b\n1,2\n" + line + b"\n3,4\n")
    assert [row.values for row in rows] == [{"a": "1", "b": "2"}, {}, {"a": "3", "b": "4"}]
    assert error in rows[1].error
    assert [row.line for row in rows] == [2, 3, 4]


def test_a_quote_that_is_never_closed_costs_only_its_line() -> None:
    rows = rows_of(b'a,b\n1,"2\n3,4\n5,6\n')
    assert [row.values for row in rows] == [{}, {"a": "3", "b": "4"}, {"a": "5", "b": "6"}]
    assert "a quote that is opened in it is not closed" in rows[0].error
    assert rows[0].raw == b'1,"2\n'


def test_a_line_without_an_end_needs_no_memory_for_it() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            assert size == MAX_ROW_BYTES
            self.given += 1
            return b"x" * MAX_ROW_BYTES if self.given < 50 else b"" if self.given > 50 else b"\n"

    (row,) = open_rows(Lines(Endless()), "jsonl")  # type: ignore[arg-type]
    assert (row.error, row.raw, row.end) == (f"is longer than {MAX_ROW_BYTES} bytes", b"", 49 * MAX_ROW_BYTES + 1)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "the file has no header"),
        (b"\n1,2\n", "the file has no header"),
        (b"a,b,a\n", "the header names the column 'a' twice"),
        ("a,b\n".encode("utf-16"), "the file is UTF-16; save it as UTF-8"),
        (b'"a\n', "the first line is no header"),
    ],
)
def test_a_file_without_a_usable_header_is_refused(content: bytes, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        rows_of(content)


def test_columns_without_a_name_are_left_out() -> None:
    assert values_of(b"a,,\n1,2,3\n") == [{"a": "1"}]


def test_json_lines_keep_their_types() -> None:
    content = b'\xef\xbb\xbf{"a": 1, "b": {"c": [true]}}\n\n[1]\n{"a": \nnull\n{"a": "x"}'
    rows = rows_of(content, "jsonl")
    assert [row.values for row in rows] == [{"a": 1, "b": {"c": [True]}}, {}, {}, {}, {"a": "x"}]
    assert rows[1].error == "is no JSON object; write one object per line instead of an array"
    assert rows[2].error.startswith("is no JSON: ")
    assert [row.line for row in rows] == [1, 3, 4, 5, 6]


def test_delimiter_and_encoding_can_be_named() -> None:
    assert values_of(b"a;b\n\xe9;2\n", delimiter=";", encoding="latin-1") == [{"a": "é", "b": "2"}]
    for options, error in (
        ({"encoding": "utf-16"}, "cannot be read line by line"),
        ({"encoding": "utf-88"}, "there is no encoding"),
        ({"delimiter": "::"}, "the delimiter must be one character"),
    ):
        with pytest.raises(ConfigError, match=error):
            rows_of(b"a;b\n", **options)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.csv", ("csv", ",")), ("a.TSV", ("csv", "\t")), ("a.jsonl", ("jsonl", ",")), ("-", ("csv", ","))],
)
def test_the_format_is_guessed_from_the_name(name: str, expected: tuple[str, str]) -> None:
    assert format_of(name) == expected


# Cells


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("auto", "12", 12),
        ("auto", "-1.50", -1.5),
        ("auto", "0", 0),
        ("auto", "00004", "00004"),
        ("auto", "True", True),
        ("auto", "1e5", "1e5"),
        ("auto", "nan", "nan"),
        ("auto", "١٢", "١٢"),
        ("auto", " 12", " 12"),
        ("auto", "123456789012345678901", "123456789012345678901"),
        ("text", "12", "12"),
        ("int", " 12 ", 12),
        ("int", "007", 7),
        ("float", "1e3", 1000.0),
        ("float", "3", 3.0),
        ("bool", "Yes", True),
        ("bool", "0", False),
    ],
)
def test_a_cell_becomes_what_its_type_says(kind: Any, text: str, value: Any) -> None:
    found = Cell("x", kind).read({"x": text})
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "value", "error"),
    [
        ("int", "1.5", "column 'x': '1.5' is no whole number"),
        ("int", "1,000", "is no whole number"),
        ("int", True, "is no whole number"),
        ("float", "NaN", "column 'x': 'NaN' is no number"),
        ("float", "inf", "is no number"),
        ("float", "1_0", "is no number"),
        ("float", 10**400, "is no number"),
        ("bool", "maybe", "is neither true nor false"),
        ("text", {"a": 1}, "is no text"),
        ("int", "x" * 500, "…"),
    ],
)
def test_a_cell_of_another_type_is_a_bad_row_with_its_column(kind: Any, value: Any, error: str) -> None:
    with pytest.raises(BadRow) as caught:
        Cell("x", kind).read({"x": value})
    assert error in str(caught.value)
    assert len(str(caught.value)) < 120


def test_an_empty_cell_is_no_member() -> None:
    assert message_of(ORDERS, customer="u", date="1997-01-01", amount="").properties == {}


def test_a_path_with_dots_leads_into_json() -> None:
    mapping = RowMapping(event="E", user_id="user.id", properties={"x": "a.b", "y": "a.z", "z": "a.b.c"})
    assert message_of(mapping, user={"id": 7}, a={"b": 1}).user_id == "7"
    assert message_of(mapping, user={"id": 7}, a={"b": 1}).properties == {"x": 1}
    assert message_of(mapping, **{"user.id": "exact", "user": {"id": "path"}}).user_id == "exact"


def test_a_cell_has_a_column_or_a_value() -> None:
    for arguments in ({}, {"column": "a", "value": 1}):
        with pytest.raises(ConfigError, match="either a column or a value"):
            Cell(**arguments)
    with pytest.raises(ConfigError, match="type must be one of"):
        Cell("a", "number")  # type: ignore[arg-type]


# Times


@pytest.mark.parametrize(
    ("settings", "value", "expected"),
    [
        ({}, "1997-01-18", datetime(1997, 1, 18, tzinfo=UTC)),
        ({}, "2024-02-29T10:20:30+05:30", datetime(2024, 2, 29, 4, 50, 30, tzinfo=UTC)),
        ({"zone": "Asia/Kolkata"}, "2024-01-01 00:00", datetime(2023, 12, 31, 18, 30, tzinfo=UTC)),
        ({"format": "unix"}, "1700000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ({"format": "unix-ms"}, 1700000000500, datetime(2023, 11, 14, 22, 13, 20, 500000, tzinfo=UTC)),
        ({"format": "%d/%m/%Y %H:%M"}, "31/12/2023 23:59", datetime(2023, 12, 31, 23, 59, tzinfo=UTC)),
        ({"shift": "28y"}, "1997-01-18", datetime(2025, 1, 18, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_by_its_format_zone_and_shift(settings: dict[str, str], value: Any, expected: datetime) -> None:
    found = Time("t", **settings).read({"t": value})
    assert found == expected
    assert found.tzinfo is not None


@pytest.mark.parametrize("value", ["1997-13-01", "yesterday", "", None, 5, "9999-12-31", True])
def test_what_is_no_time_is_a_bad_row(value: Any) -> None:
    assert why_bad(RowMapping(event="E", user_id="u", timestamp=Time("t", shift="28y")), u="1", t=value).startswith(
        "timestamp: column 't'"
    )


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        ("1y", datetime(2025, 2, 28, 10)),
        ("4y", datetime(2028, 2, 29, 10)),
        ("-1d", datetime(2024, 2, 28, 10)),
        ("+2w", datetime(2024, 3, 14, 10)),
        ("90m", datetime(2024, 2, 29, 11, 30)),
    ],
)
def test_a_shift_of_years_keeps_the_day_of_the_calendar(shift: str, expected: datetime) -> None:
    zone = timezone(timedelta(hours=2))
    assert shifted(datetime(2024, 2, 29, 10, tzinfo=zone), shift) == expected.replace(tzinfo=zone)


@pytest.mark.parametrize(
    "settings", [{"shift": "28 years"}, {"shift": "y"}, {"zone": "Mars/Olympus"}, {"zone": "../x"}]
)
def test_a_shift_or_zone_that_is_none_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        Time("t", **settings)


@pytest.mark.parametrize("text", ["%Q", "%", "%-d/%m/%Y", "%Y-%Y", "dd/mm/yyyy", "unix_ms", ""])
def test_a_format_that_can_read_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="format must be iso, unix, unix-ms, or one of Python's strptime"):
        Time("t", format=text)
    if text == "unix_ms":
        with pytest.raises(ConfigError, match="did you mean 'unix-ms'"):
            Time("t", format=text)


@pytest.mark.parametrize(
    "text", ["%d/%m/%Y", "%c", "%x %X %Z", "%Y-%m-%dT%H:%M:%S.%f%z", "%I:%M %p, %d %b %y", "%j%%%Y"]
)
def test_a_format_of_strptime_is_taken(text: str) -> None:
    assert Time("t", format=text).format == text


# Mapping


def test_a_row_becomes_a_message() -> None:
    message = message_of(ORDERS, customer="00004", date="1997-01-01", amount="29.33", other="x")
    assert isinstance(message, Track)
    assert (message.user_id, message.event) == ("00004", "Order Completed")
    assert (message.timestamp, message.properties) == (datetime(1997, 1, 1, tzinfo=UTC), {"total": 29.33})


def test_every_kind_can_be_made() -> None:
    identify = RowMapping(kind="identify", user_id="u", phone="p", traits={"plan": "plan"})
    assert message_of(identify, u="1", p="+919999999999", plan="pro") == Identify(
        user_id="1", phone="+919999999999", traits={"plan": "pro"}, message_id=RowIds(identify).next(
            {"u": "1", "p": "+919999999999", "plan": "pro"}))  # fmt: skip
    group = message_of(RowMapping(kind="group", user_id="u", group_id="g"), u="1", g="2", size="3")
    assert (type(group), group.group_id, group.traits) == (Group, "2", {"size": 3})
    alias = message_of(RowMapping(kind="alias", user_id="u", previous_id="p"), u="1", p="2")
    assert (type(alias), alias.user_id, alias.previous_id) == (Alias, "1", "2")
    page = message_of(RowMapping(kind="page", user_id="u", name="n", category=Cell(value="Docs")), u="1", n="Home")
    assert (page.name, page.category) == ("Home", "Docs")


def test_an_event_can_be_a_column() -> None:
    mapping = RowMapping(event=Cell("what"), user_id="u")
    assert message_of(mapping, u="1", what="Signed Up").event == "Signed Up"
    assert why_bad(mapping, u="1", what=" ") == "event: column 'what' is empty"


def test_without_properties_every_other_column_is_one_but_our_own() -> None:
    message = message_of(RowMapping(event="E", user_id="u"), u="1", a="2", b="", unitrack_line="9")
    assert message.properties == {"a": 2}


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"u": "", "a": " "}, "user_id and anonymous_id: columns 'u' and 'a' are empty"),
        ({"u": None, "a": None}, "columns 'u' and 'a' are empty"),
        ({"u": True, "a": "1"}, "user_id: column 'u' holds True, which is no identifier"),
        ({"u": {"id": 1}, "a": "1"}, "which is no identifier"),
    ],
)
def test_a_row_that_says_of_nobody_is_bad(row: dict[str, Any], error: str) -> None:
    assert error in why_bad(RowMapping(event="E", user_id="u", anonymous_id="a"), **row)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"user_id": "u"}, "event is missing"),
        ({"event": "E"}, "user_id is missing"),
        ({"kind": "identify", "user_id": "u", "event": "E"}, "event has no place in a message of kind identify"),
        (
            {"kind": "identify", "user_id": "u", "properties": {}},
            "properties have no place in a message of kind identify",
        ),
        ({"event": "E", "user_id": "u", "traits": {}}, "traits have no place in a message of kind track"),
        ({"kind": "alias", "user_id": "u", "previous_id": "p", "traits": {}}, "traits have no place"),
        ({"kind": "group", "user_id": "u"}, "group_id is missing"),
        ({"kind": "trak", "user_id": "u"}, "kind must be one of"),
    ],
)
def test_a_mapping_whose_parts_do_not_fit_is_refused(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        RowMapping(**arguments)


def test_a_mapping_can_be_a_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "orders.toml"
    path.write_text(
        'event = "Order Completed"\nuser_id = "customer"\ntimestamp = { column = "date", shift = "28y" }\n'
        '[properties]\ntotal = { column = "amount", type = "float" }\ncurrency = { value = "USD" }\nplain = "x"\n'
    )
    found = RowMapping.from_file(path, event="Other")
    assert found == RowMapping(
        event="Other",
        user_id="customer",
        timestamp=Time("date", shift="28y"),
        properties={"total": Cell("amount", "float"), "currency": Cell(value="USD"), "plain": "x"},
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('user = "c"\n', "user: there is no such member"),
        ('event = "E"\nuser_id = 3\n', "user_id must be"),
        ('event = "E"\nuser_id = "u"\n[properties]\nx = { column = "a", tpye = "int" }\n', "tpye"),
        ('event = "E"\nuser_id = "u"\ntimestamp = { column = "t", shift = "x" }\n', "shift must be a number with"),
        ("event = \n", "not valid TOML"),
    ],
)
def test_a_mistake_in_a_mapping_file_is_named(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(ConfigError, match=error):
        RowMapping.from_file(tmp_path / "m.toml")
    with pytest.raises(ConfigError, match="no such file"):
        RowMapping.from_file(tmp_path / "gone.toml")


def test_a_column_that_the_file_lacks_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"the file has no column 'customer' \(did you mean 'customers'\?\)"):
        ORDERS.check_columns(("customers", "date", "amount"))
    with pytest.raises(ConfigError, match="name its delimiter"):
        ORDERS.check_columns(("customer;date;amount",))
    ORDERS.check_columns(("customer", "date", "amount", "more"))


# Ids


def ids_of(content: bytes, mapping: RowMapping = ORDERS) -> list[str]:
    ids = RowIds(mapping)
    return [mapping.message(row.values, ids).message_id for row in rows_of(HEADER + content)]  # type: ignore[misc]


def test_a_second_run_gives_the_same_ids_and_alike_rows_get_different_ones() -> None:
    content = b"1,1997-01-01,2\n" * 3 + b"2,1997-01-01,2\n"
    first = ids_of(content)
    assert ids_of(content) == first
    assert len(set(first)) == 4


def test_ids_are_the_same_in_every_process_and_version() -> None:
    assert ids_of(b"1,1997-01-01,2\n") == ["f319b95c-5933-591a-a063-5c4948d3a2ed"]


def test_rows_that_are_appended_change_no_id_before_them() -> None:
    assert ids_of(b"1,1997-01-01,2\n2,1997-01-01,2\n")[:1] == ids_of(b"1,1997-01-01,2\n")


def test_another_mapping_gives_other_ids() -> None:
    other = RowMapping(event="Order Completed", user_id="customer", timestamp="date", properties={"total": "amount"})
    assert ids_of(b"1,1997-01-01,2\n", other) != ids_of(b"1,1997-01-01,2\n")


def test_our_own_columns_are_no_part_of_a_rows_identity() -> None:
    row = {"customer": "1", "date": "1997-01-01", "amount": "2"}
    assert RowIds(ORDERS).next({**row, "unitrack_reason": "mended"}) == RowIds(ORDERS).next(row)


def test_a_column_can_give_the_id() -> None:
    mapping = RowMapping(event="E", user_id="u", message_id="id")
    assert message_of(mapping, u="1", id="order-7").message_id == "order-7"
    assert why_bad(mapping, u="1", id="") == "message_id: column 'id' is empty"


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers(0, 9)), max_size=30))
def test_ids_are_unique_and_repeat(rows: Sequence[dict[str, Any]]) -> None:
    def run() -> list[str]:
        ids = RowIds(ORDERS)
        return [ids.next(row) for row in rows]

    assert run() == run()
    assert len(set(run())) == len(rows)


# State and rejects


def test_a_state_comes_back_and_half_of_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.unitrack-state"
    state = State(mapping="ab", prefix="cd", end=9, rows=2, rejected=1, failed=0, rejects_end=7)
    assert State.load(path) is None
    state.save(path)
    assert State.load(path) == state
    assert list(tmp_path.iterdir()) == [path]
    for content in ("", "{", "[]", '{"version": 2}', json.dumps({"version": 1, "mapping": 1})):
        path.write_text(content)
        with pytest.raises(ConfigError, match="--restart begins anew"):
            State.load(path)


def test_rejected_rows_can_be_mended_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    rows = rows_of(HEADER + b'1,1997-01-01,"a,b"\n"x\n')
    rejects = Rejects(path, ("customer", "date", "amount"))
    for row in rows:
        rejects.write(row, row.error or "no good")
    rejects.close()
    assert values_of(path.read_bytes()) == [
        {"customer": "1", "date": "1997-01-01", "amount": "a,b",
         "unitrack_line": "2", "unitrack_reason": "no good", "unitrack_raw": ""},
        {"customer": "", "date": "", "amount": "",
         "unitrack_line": "3", "unitrack_reason": rows[1].error, "unitrack_raw": '"x'},
    ]  # fmt: skip


def test_rejected_json_lines_stay_json_lines(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path / "bad", None)
    for row in rows_of(b'{"a": 1}\n{\n', "jsonl"):
        rejects.write(row, "no good")
    rejects.close()
    assert [json.loads(line) for line in (tmp_path / "bad").read_text().splitlines()] == [
        {"a": 1, "unitrack_line": 1, "unitrack_reason": "no good"},
        {"unitrack_line": 2, "unitrack_reason": "no good", "unitrack_raw": "{"},
    ]


def test_rejects_written_after_the_last_settled_row_are_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "bad"
    first, second = rows_of(b'{"a": 1}\n{"a": 2}\n', "jsonl")
    rejects = Rejects(path, None)
    rejects.write(first, "x")
    end = rejects.flush()
    rejects.write(second, "x")
    rejects.close()
    rejects = Rejects(path, None, end=end)
    rejects.write(second, "y")
    rejects.close()
    assert [json.loads(line)["unitrack_reason"] for line in path.read_text().splitlines()] == ["x", "y"]


# The importer


def content_of(count: int) -> bytes:
    return HEADER + b"".join(b"%d,1997-01-01,%d\n" % (n % 7, n) for n in range(count))


def importing(
    client: Client, content: bytes, failures: Failures | None = None, **options: Any
) -> tuple[Importer, Lines, Iterator[Row], RowIds]:
    lines = Lines(io.BytesIO(content))
    source: RowSource = open_rows(lines, "csv")
    return Importer(client, ORDERS, failures or Failures(), **options), lines, iter(source), RowIds(ORDERS)


def test_every_row_arrives_once_and_in_the_order_of_its_user() -> None:
    transport = FakeTransport()
    with Client({"cdp": Hightouch(write_key="k")}, transport=transport) as client:
        importer, lines, rows, ids = importing(client, content_of(1_000))
        importer.run(rows, ids)
        assert client.stats()["cdp"].delivered == importer.rows == 1_000
    assert lines.end == len(content_of(1_000))
    sent = [m for request in transport.requests for m in json.loads(request.body)["batch"]]
    assert len({m["messageId"] for m in sent}) == 1_000
    of_one = [m["properties"]["total"] for m in sent if m["userId"] == "3"]
    assert of_one == sorted(of_one)


def test_no_more_rows_are_in_flight_than_a_quarter_of_the_smallest_queue() -> None:
    most = 0
    settled: list[Progress] = []

    def watch(progress: Progress) -> None:
        nonlocal most
        most = max(most, *(ledger.pending for ledger in client.stats().values()))

    destinations = {
        "cdp": Destination(Hightouch(write_key="k"), max_events=40),
        "whatsapp": Interakt(api_key="k", rate_per_minute=1e6),
    }
    with Client(destinations, transport=FakeTransport(), linger=0.0) as client:
        importer, _, rows, ids = importing(client, content_of(300), on_progress=watch, on_settled=settled.append)
        importer.run(rows, ids)
        assert [ledger.dropped for ledger in client.stats().values()] == [{}, {}]
        assert [ledger.delivered for ledger in client.stats().values()] == [300, 300]
    assert most <= 10
    assert len(settled) < 40, "rows travel in windows, not one by one"


def test_bad_rows_are_counted_and_written_with_their_line_and_reason(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path / "bad.csv", ("customer", "date", "amount"))
    content = HEADER + b"1,1997-01-01,2\n,1997-01-01,2\n1,never,2\n1,1997-01-01,x\n1\n2,1997-01-01,2\n"
    with Client({"cdp": Hightouch(write_key="k")}, transport=FakeTransport()) as client:
        importer, _, rows, ids = importing(client, content, rejects=rejects)
        importer.run(rows, ids)
        assert client.stats()["cdp"].delivered == 2
    rejects.close()
    assert (importer.rows, importer.rejected, importer.failed) == (6, 4, 0)
    assert [line for line, _ in importer.reasons] == [3, 4, 5, 6]
    assert [row["unitrack_line"] for row in values_of((tmp_path / "bad.csv").read_bytes())] == ["3", "4", "5", "6"]


def test_rows_that_a_destination_refuses_are_failed_with_all_its_reasons(tmp_path: Path) -> None:
    failures = Failures()
    rejects = Rejects(tmp_path / "bad.csv", ("customer", "date", "amount"))

    def refuse_one(request: Any) -> int:
        return 400 if b'"total":1.0' in request.body else 200

    destinations = {"a": Hightouch(write_key="k"), "b": Hightouch(write_key="k")}
    with Client(destinations, transport=FakeTransport(refuse_one), on_drop=failures) as client:
        importer, _, rows, ids = importing(client, content_of(3), failures, rejects=rejects)
        importer.run(rows, ids)
        assert [ledger.delivered for ledger in client.stats().values()] == [2, 2]
    rejects.close()
    assert (importer.rows, importer.rejected, importer.failed) == (3, 0, 1)
    ((line, reason),) = importer.reasons
    assert line == 3
    assert "a: rejected" in reason
    assert "b: rejected" in reason
    assert [row["amount"] for row in values_of((tmp_path / "bad.csv").read_bytes())] == ["1"]


def test_strict_stops_before_the_bad_row() -> None:
    content = HEADER + b"1,1997-01-01,2\n1,never,2\n2,1997-01-01,2\n"
    settled: list[Progress] = []
    with Client({"cdp": Hightouch(write_key="k")}, transport=FakeTransport()) as client:
        importer, lines, rows, ids = importing(client, content, strict=True, on_settled=settled.append)
        with pytest.raises(Stopped, match="line 3: timestamp"):
            importer.run(rows, ids)
        assert importer.stop(5)
    assert (settled[-1].rows, settled[-1].rejected) == (1, 0)
    assert content[: settled[-1].end] == HEADER + b"1,1997-01-01,2\n"
    assert lines.prefix(settled[-1].end) == hashlib.sha256(content[: settled[-1].end]).hexdigest()


@pytest.mark.parametrize("strict", [False, True])
def test_a_message_that_the_client_refuses_is_a_bad_row_whether_strict_or_not(strict: bool) -> None:
    mapping, failures = RowMapping(event="E", user_id="u", phone="p"), Failures()
    with Client(
        {"cdp": Hightouch(write_key="k")}, transport=FakeTransport(), strict=strict, on_drop=failures
    ) as client:
        importer = Importer(client, mapping, failures)
        importer.run(open_rows(Lines(io.BytesIO(b"u,p\n1,12 34\n2,+919999999999\n")), "csv"), RowIds(mapping))
    assert (importer.rows, importer.rejected, importer.failed) == (2, 1, 0)
    ((line, reason),) = importer.reasons
    assert (line, "$.phone" in reason) == (2, True)


def test_an_import_stops_when_nothing_is_taken_instead_of_letting_messages_expire() -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    with Client({"cdp": Hightouch(write_key="k")}, transport=FakeTransport(401)) as client:
        importer, _, rows, ids = importing(client, content_of(10), patience=5.0, clock=clock)
        with pytest.raises(Stopped, match=r"nothing was taken for 5 s \(cdp: 401") as caught:
            importer.run(rows, ids)
        assert caught.value.hopeless
        assert client.stats()["cdp"].pending == 10
        client.close(0.0)


def test_an_interrupt_stops_between_rows_and_nothing_unsettled_counts_as_settled() -> None:
    settled: list[Progress] = []
    gate = threading.Event()

    def answer(request: Any) -> int:
        return 200 if gate.wait(10) else 503

    with Client({"cdp": Hightouch(write_key="k")}, transport=FakeTransport(answer)) as client:
        importer, _, rows, ids = importing(
            client, content_of(1_000), interrupted=lambda: importer.rows >= 60, on_settled=settled.append
        )
        with pytest.raises(Stopped, match="interrupted"):
            importer.run(rows, ids)
        assert [progress.rows for progress in settled] == [0]
        gate.set()
        assert importer.stop(5)
    assert settled[-1].rows == importer.rows == 60


def test_an_import_goes_on_with_the_ids_of_an_uninterrupted_one() -> None:
    content = HEADER + b"1,1997-01-01,2\n" * 500
    whole = ids_of(content[len(HEADER) :])
    transport = FakeTransport()
    with Client({"cdp": Hightouch(write_key="k")}, transport=transport) as client:
        importer, _, rows, ids = importing(client, content)
        importer.interrupted = lambda: importer.rows >= 200
        with pytest.raises(Stopped):
            importer.run(rows, ids)
        importer.stop(5)
        end = len(HEADER) + 200 * len(b"1,1997-01-01,2\n")
        importer, lines, rows, ids = importing(client, content)
        importer.skip(rows, end, ids)
        assert lines.end == end
        importer.run(rows, ids)
    sent = [m["messageId"] for request in transport.requests for m in json.loads(request.body)["batch"]]
    assert sent == whole
