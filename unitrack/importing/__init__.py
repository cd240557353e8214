"""Messages out of CSV and JSON lines: mapped by column, with the same ids in every run, resumable."""

from .cells import BadRow, Cell, Time
from .importer import Failures, Importer, Progress, Stopped
from .mapping import RowIds, RowMapping
from .rejects import Rejects, rejected_before
from .rows import Format, Lines, Row, RowSource, format_of, open_rows
from .state import SUFFIX, State

__all__ = [
    "SUFFIX",
    "BadRow",
    "Cell",
    "Failures",
    "Format",
    "Importer",
    "Lines",
    "Progress",
    "Rejects",
    "Row",
    "RowIds",
    "RowMapping",
    "RowSource",
    "State",
    "Stopped",
    "Time",
    "format_of",
    "open_rows",
    "rejected_before",
]
