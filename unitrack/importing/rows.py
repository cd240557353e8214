"""Rows of CSV and JSON lines, one at a time, each with the place in the file where it ends."""

import codecs
import csv
import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Literal, Protocol

import orjson
from attrs import field, frozen

from ..errors import ConfigError, nearest

Format = Literal["csv", "jsonl"]
#: A longer row is rejected, so that a file of one endless line needs no memory.
MAX_ROW_BYTES = 1024 * 1024

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@frozen
class Row:
    """One row.

    Attributes:
        line: where it begins, counted from 1.
        values: by column.
        raw: as it stands in the file; empty for a row that is too long to keep.
        end: bytes of the file up to and with this row.
        error: why it cannot be read; then there are no values.
    """

    line: int
    values: Mapping[str, Any] = field(repr=False)
    raw: bytes = field(repr=False)
    end: int
    error: str = ""


class Lines:
    """The lines of a binary file, with their numbers and a digest of all that was read; some can be handed back."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: deque[bytes] = deque()
        self._digest = hashlib.sha256()
        self._before = (0, self._digest.copy())
        #: The lines of the row that is being read, and the number of the first.
        self.taken: list[bytes] = []
        self.number = 1
        self.end = 0

    def begin(self) -> int:
        """Begin a row; return the number of its first line."""
        self._before = (self.end, self._digest.copy())
        return self.number

    def next(self) -> bytes:
        """Return the next line with its line break; at the end, nothing."""
        line = self._waiting.popleft() if self._waiting else self._file.readline(MAX_ROW_BYTES)
        if line:
            self.taken.append(line)
        return line

    def settle(self) -> bytes:
        """Leave what was taken behind; return its bytes."""
        raw = b"".join(self.taken)
        self._digest.update(raw)
        self.end += len(raw)
        self.number += sum(line.endswith(b"\n") for line in self.taken)
        self.taken = []
        return raw

    def skip_line(self) -> None:
        """Leave the rest of a line behind that was too long to be taken, a piece at a time."""
        while (piece := self.next()) and not piece.endswith(b"\n"):
            self.settle()
        self.settle()

    def hand_back(self) -> None:
        """Keep only the first line of this row; the others begin rows of their own."""
        self._waiting.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]

    def prefix(self, end: int) -> str:
        """Return the digest of the file up to here, or up to the beginning of the last row."""
        at, digest = (self.end, self._digest) if end == self.end else self._before
        if at != end:
            raise ValueError(f"{end} is not the end of a row")
        return digest.hexdigest()


class RowSource(Protocol):
    """A reader of rows."""

    @property
    def header(self) -> tuple[str, ...] | None:
        """The columns, where the file names them once."""

    def __iter__(self) -> Iterator[Row]: ...


class CsvRows:
    """Rows of a CSV file whose first row names the columns.

    A row that cannot be read is handed out with the reason and costs only its first line: a quote that is never
    closed would otherwise swallow the rest of the file.

    Raises:
        ConfigError: there is no header, or it names a column twice.
    """

    def __init__(self, lines: Lines, *, delimiter: str = ",", encoding: str = "utf-8") -> None:
        self._lines = lines
        self._delimiter = delimiter
        self._encoding = encoding
        self._reader = self._new_reader()
        self.header = self._read_header()

    def __iter__(self) -> Iterator[Row]:
        while (row := self._next()) is not None:
            yield row

    def _next(self) -> Row | None:
        lines = self._lines
        while True:
            number = lines.begin()
            try:
                cells = next(self._reader)
            except StopIteration:
                return None
            except (csv.Error, UnicodeDecodeError, _TooLongError) as error:
                return self._unreadable(number, error)
            raw = lines.settle()
            if not cells:
                continue  # an empty line
            if len(cells) != len(self.header):
                reason = f"has {len(cells)} columns; the header has {len(self.header)}"
                return Row(number, {}, raw, lines.end, reason)
            values = dict(zip(self.header, cells, strict=True))
            values.pop("", None)  # spreadsheets leave columns without a name behind
            return Row(number, values, raw, lines.end)

    def _unreadable(self, number: int, error: Exception) -> Row:
        lines = self._lines
        swallowed = len(lines.taken) > 1
        lines.hand_back()
        too_long = len(lines.taken[0]) >= MAX_ROW_BYTES and not lines.taken[0].endswith(b"\n")
        raw = lines.settle()
        if too_long:
            lines.skip_line()
        self._reader = self._new_reader()
        if swallowed:
            reason = "is no CSV: a quote that is opened in it is not closed properly"
        elif isinstance(error, UnicodeDecodeError):
            reason = f"is not {self._encoding} text; name its encoding, or save the file as UTF-8"
        else:
            reason = f"is no CSV: {error}"
        return Row(number, {}, b"" if too_long else raw, lines.end, reason)

    def _new_reader(self) -> Iterator[list[str]]:
        # strict: a quote in the wrong place is an error, not a guess.
        return csv.reader(self._texts(), delimiter=self._delimiter, strict=True)

    def _texts(self) -> Iterator[str]:
        size = 0
        while line := self._lines.next():
            size = len(line) if len(self._lines.taken) == 1 else size + len(line)
            if size >= MAX_ROW_BYTES:
                raise _TooLongError(f"the row is longer than {MAX_ROW_BYTES} bytes")
            yield line.decode(self._encoding)

    def _read_header(self) -> tuple[str, ...]:
        try:
            cells = next(self._reader, None)
        except (csv.Error, UnicodeDecodeError, _TooLongError) as error:
            if self._lines.taken and self._lines.taken[0].startswith(_MARKS):
                raise ConfigError("the file is UTF-16; save it as UTF-8") from error
            raise ConfigError(f"the first line is no header of a CSV file: {error}") from error
        self._lines.settle()
        header = tuple(cell.removeprefix("\ufeff").strip() for cell in cells or ())
        if not any(header):
            raise ConfigError("the file has no header; its first line must name the columns")
        for name in header:
            if name and header.count(name) > 1:
                raise ConfigError(f"the header names the column {name!r} twice")
        return header


class _TooLongError(ValueError):
    pass


class JsonRows:
    """Rows of a file with one JSON object per line."""

    header = None

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[Row]:
        lines = self._lines
        while True:
            number = lines.begin()
            line = lines.next()
            if not line:
                return
            too_long = len(line) >= MAX_ROW_BYTES and not line.endswith(b"\n")
            raw = lines.settle()
            if too_long:
                lines.skip_line()
                yield Row(number, {}, b"", lines.end, f"is longer than {MAX_ROW_BYTES} bytes")
            elif text := raw.removeprefix(codecs.BOM_UTF8).strip():
                yield _json_row(number, text, raw, lines.end)


def _json_row(number: int, text: bytes, raw: bytes, end: int) -> Row:
    try:
        values = orjson.loads(text)
    except ValueError as error:
        return Row(number, {}, raw, end, f"is no JSON: {error}")
    if not isinstance(values, dict):
        hint = "; write one object per line instead of an array" if isinstance(values, list) else ""
        return Row(number, {}, raw, end, f"is no JSON object{hint}")
    return Row(number, values, raw, end)


def format_of(name: str) -> tuple[Format, str]:
    """Guess the format and the delimiter from a file's name.

    >>> format_of("orders.tsv")
    ('csv', '\\t')
    """
    suffix = name.rpartition(".")[2].lower()
    if suffix in ("jsonl", "ndjson", "json"):
        return "jsonl", ","
    return "csv", "\t" if suffix == "tsv" else ","


def open_rows(lines: Lines, kind: Format, *, delimiter: str = ",", encoding: str = "utf-8") -> RowSource:
    """Return a reader for a format.

    Raises:
        ConfigError: the file has no header, or the encoding is not one that keeps line breaks as single bytes.
    """
    if kind == "jsonl":
        return JsonRows(lines)
    try:
        usable = 'a\n,"'.encode(encoding) == b'a\n,"'
    except LookupError as error:
        raise ConfigError(
            f"there is no encoding {encoding!r}{nearest(encoding, ('utf-8', 'latin-1', 'cp1252'))}"
        ) from error
    if not usable:
        raise ConfigError(f"a file in {encoding} cannot be read line by line; save it as UTF-8")
    if len(delimiter) != 1:
        raise ConfigError(f"the delimiter must be one character, not {delimiter!r}")
    return CsvRows(lines, delimiter=delimiter, encoding=encoding)
