"""The rows that did not make it, in a file of the same format, each with its line and the reason."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import orjson

from ..errors import ConfigError
from .mapping import OWN_COLUMNS
from .rows import Row

LINE, REASON, RAW = f"{OWN_COLUMNS}line", f"{OWN_COLUMNS}reason", f"{OWN_COLUMNS}raw"


def rejected_before(values: Mapping[str, Any]) -> str:
    """Return why a row could not be read, where it comes from a file of rejected rows and nobody has mended it.

    Such a row has nothing but the text that was kept of it; any other one gives an empty text.

    >>> rejected_before({"user": "", "unitrack_line": "6", "unitrack_reason": "has 1 columns", "unitrack_raw": "d"})
    'has 1 columns'
    """
    if not values.get(RAW):
        return ""
    if any(value not in ("", None) for name, value in values.items() if not name.startswith(OWN_COLUMNS)):
        return ""
    return str(values.get(REASON) or "") or "could not be read"


class Rejects:
    """Writes rejected rows so that the file can be mended and imported: the columns added here are ignored then.

    A row that comes back as it was written keeps what these columns say of it.

    Args:
        path: where to.
        header: the columns of a CSV file; ``None`` writes JSON lines.
        end: bytes to keep of a file that an interrupted import left behind; what came later is written anew.

    Raises:
        ConfigError: the file cannot be written.
    """

    def __init__(self, path: Path, header: Sequence[str] | None, *, delimiter: str = ",", end: int = 0) -> None:
        self._delimiter = delimiter
        self._own = tuple(name for name in header or () if not name.startswith(OWN_COLUMNS))
        self._is_csv = header is not None
        try:
            self._file: IO[bytes] = path.open("r+b" if end and path.exists() else "wb")
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error
        self._file.truncate(end)
        self._file.seek(0, io.SEEK_END)
        if self._is_csv and not self._file.tell():
            self._write_cells([*self._own, LINE, REASON, RAW])

    def write(self, row: Row, reason: str) -> None:
        """Add a row."""
        # A row that could not be read has no cells, so its text is kept in a column of its own.
        raw = "" if row.values else row.raw.decode("utf-8", "replace").rstrip("\r\n")
        line: Any = row.line
        if rejected_before(row.values):
            # It is read here as a row of empty cells; its text and its line are those of the file that had it first.
            raw, line = row.values[RAW], row.values.get(LINE) or line
        if self._is_csv:
            cells = [row.values.get(name, "") for name in self._own]
            self._write_cells([*cells, str(line), reason, raw])
        else:
            values = {name: value for name, value in row.values.items() if not name.startswith(OWN_COLUMNS)}
            added = {LINE: line, REASON: reason} | ({RAW: raw} if raw else {})
            self._file.write(orjson.dumps(values | added) + b"\n")

    def flush(self) -> int:
        """Hand everything to the system; return the bytes of the file."""
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()

    def _write_cells(self, cells: Sequence[str]) -> None:
        text = io.StringIO()
        csv.writer(text, delimiter=self._delimiter, lineterminator="\n").writerow(cells)
        self._file.write(text.getvalue().encode())
