"""How a row becomes a message: columns by name, types, and an id that is the same in every run."""

import hashlib
import re
from array import array
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, Self
from uuid import UUID

import orjson
from attrs import asdict, field, fields, frozen

from ..config import make_converter, parse, read_text, structured
from ..errors import ConfigError, nearest
from ..message import KINDS, Message
from ..settings import one_of
from .cells import TYPES, BadRow, Cell, Time

Kind = Literal["track", "identify", "page", "screen", "group", "alias"]
MAX_FILE_BYTES = 256 * 1024
#: Columns that the importer itself writes beside a rejected row; never sent, and no part of a row's identity.
OWN_COLUMNS = "unitrack_"

_TRAITS = ("identify", "group")
#: Members that a column can fill as text, and the kinds that have them; all others are common.
_ONLY = {
    "event": ("track",),
    "category": ("page", "screen"),
    "name": ("page", "screen"),
    "group_id": ("group",),
    "previous_id": ("alias",),
}
_TEXTS = (
    *("user_id", "anonymous_id", "phone", "event", "category", "name", "group_id", "previous_id"),
    *("tenant_id", "idempotency_key", "message_id"),
)


def _column(value: Cell | str | None) -> Cell | None:
    return Cell(value) if isinstance(value, str) else value


def _literal(value: Cell | str | None) -> Cell | None:
    return Cell(value=value) if isinstance(value, str) else value


def _time(value: Time | str | None) -> Time | None:
    return Time(value) if isinstance(value, str) else value


def _cells(value: Mapping[str, Cell | str] | None) -> Mapping[str, Cell] | None:
    return (
        None if value is None else {name: Cell(cell) if isinstance(cell, str) else cell for name, cell in value.items()}
    )


@frozen(kw_only=True)
class RowMapping:
    """Says which column of a file becomes which member of a message.

    A plain text names a column, but for ``event``, where it is the event's name itself; ``Cell(value=…)`` is a
    constant, ``Cell("column", "int")`` has a type.

    Args:
        kind: of all messages; default ``"track"``.
        message_id: a column with unique ids. Default: made from the row, the same in every run of the same mapping.
        properties: by the name that is sent; default: every column that is not used otherwise, types found out.
            For ``identify`` and ``group`` say ``traits`` instead.

    Raises:
        ConfigError: the parts do not fit each other.
    """

    kind: Kind = field(default="track", validator=one_of(*KINDS))
    user_id: Cell | str | None = field(default=None, converter=_column)
    anonymous_id: Cell | str | None = field(default=None, converter=_column)
    phone: Cell | str | None = field(default=None, converter=_column)
    event: Cell | str | None = field(default=None, converter=_literal)
    category: Cell | str | None = field(default=None, converter=_column)
    name: Cell | str | None = field(default=None, converter=_column)
    group_id: Cell | str | None = field(default=None, converter=_column)
    previous_id: Cell | str | None = field(default=None, converter=_column)
    tenant_id: Cell | str | None = field(default=None, converter=_column)
    idempotency_key: Cell | str | None = field(default=None, converter=_column)
    message_id: Cell | str | None = field(default=None, converter=_column)
    timestamp: Time | str | None = field(default=None, converter=_time)
    properties: Mapping[str, Cell | str] | None = field(default=None, converter=_cells)
    traits: Mapping[str, Cell | str] | None = field(default=None, converter=_cells)

    def __attrs_post_init__(self) -> None:
        for name, kinds in _ONLY.items():
            if getattr(self, name) is not None and self.kind not in kinds:
                raise ConfigError(f"{name} has no place in a message of kind {self.kind}")
            if getattr(self, name) is None and self.kind in kinds and name not in ("category", "name"):
                raise ConfigError(f"{name} is missing; a message of kind {self.kind} needs it")
        wrong, right = ("properties", "traits") if self.kind in _TRAITS else ("traits", "properties")
        if self.kind == "alias":
            wrong, right = ("properties" if self.properties is not None else "traits", "neither")
        if getattr(self, wrong) is not None:
            raise ConfigError(f"{wrong} have no place in a message of kind {self.kind}; it has {right}")
        if self.user_id is None and self.anonymous_id is None and self.phone is None:
            raise ConfigError("user_id is missing; say which column tells who it was (or anonymous_id, or phone)")

    @classmethod
    def from_file(cls, path: str | Path, **changes: Any) -> Self:
        """Read a mapping from a TOML file; ``changes`` are arguments that win over it.

        Raises:
            ConfigError: naming every wrong key by its path.
        """
        try:
            content = read_text(Path(path), MAX_FILE_BYTES)
        except ConfigError as error:
            raise ConfigError(f"cannot read the mapping {error}") from error
        return cls.from_table(parse(content, str(path)), str(path), **changes)

    @classmethod
    def from_table(cls, table: Mapping[str, Any], name: str = "mapping", **changes: Any) -> Self:
        """Make a mapping of plain data; ``name`` is what errors call it."""
        converter = make_converter({}, Path())
        known = {f.name: f.type for f in fields(cls)}
        problems = [f"{key}: there is no such member{nearest(key, known)}" for key in table if key not in known]
        values = {
            key: structured(converter, value, known[key], key, problems) for key, value in table.items() if key in known
        }
        if problems:
            raise ConfigError("\n  ".join([f"{name}:", *problems]))
        try:
            return cls(**{**values, **changes})
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error

    @cached_property
    def columns(self) -> frozenset[str]:
        """Every column that is named; those that are taken because nobody named any are not among them."""
        cells = [*self._texts.values(), *(self._named_facts or {}).values(), self.timestamp]
        return frozenset(cell.column for cell in cells if cell is not None and cell.column is not None)

    @cached_property
    def _texts(self) -> dict[str, Cell]:
        return {name: cell for name in _TEXTS if (cell := getattr(self, name)) is not None}

    @property
    def _named_facts(self) -> Any:
        return self.traits if self.kind in _TRAITS else self.properties

    @property
    def _typed(self) -> frozenset[str | None]:
        return frozenset(cell.column for cell in (self._named_facts or {}).values())

    def check_columns(self, header: tuple[str, ...]) -> None:
        """Raise :class:`ConfigError` unless a file with these columns has all that are named."""
        for column in sorted(self.columns):
            if column not in header:
                before, colon, kind = column.rpartition(":")
                if colon and before in header and column in self._typed:
                    raise ConfigError(
                        f"column {before!r}: there is no type {kind!r}{nearest(kind, TYPES)}; "
                        f"the types are {', '.join(TYPES)}"
                    )
                have = ", ".join(map(repr, header))
                hint = "; name its delimiter" if len(header) == 1 and re.search("[;|\t]", have) else ""
                raise ConfigError(f"the file has no column {column!r}{nearest(column, header)}; it has {have}{hint}")

    @property
    def fingerprint(self) -> bytes:
        """A digest of what this mapping makes of a row; another mapping makes other ids."""
        # Written out, not hash(): it must be the same in every process and version.
        # What is not set is left out, so that a member that comes with a later version changes no id.
        own = asdict(self, filter=lambda attribute, value: value != attribute.default)
        return hashlib.sha256(orjson.dumps(own, option=orjson.OPT_SORT_KEYS)).digest()

    def message(self, row: Mapping[str, Any], ids: "RowIds") -> Message:
        """Make the message of a row.

        Raises:
            BadRow: saying which column is at fault.
        """
        members: dict[str, Any] = {}
        for name, cell in self._texts.items():
            members[name] = cell.identifier(row, name)
        if self.timestamp is not None:
            members["timestamp"] = self.timestamp.read(row)  # type: ignore[union-attr]  # converted
        self._check_present(members)
        if self.kind != "alias":
            members["traits" if self.kind in _TRAITS else "properties"] = self._facts(row)
        if self.message_id is None:
            members["message_id"] = ids.next(row)
        return KINDS[self.kind](**members)

    def _facts(self, row: Mapping[str, Any]) -> dict[str, Any]:
        named = self._named_facts
        if named is None:
            used = self.columns
            named = {name: _plain(name) for name in row if name not in used and not name.startswith(OWN_COLUMNS)}
        return {name: value for name, cell in named.items() if (value := cell.read(row)) is not None}

    def _check_present(self, members: Mapping[str, Any]) -> None:
        identities = [name for name in ("user_id", "anonymous_id", "phone") if name in members]
        if all(members[name] is None for name in identities):
            raise BadRow(f"{' and '.join(identities)}: {_where(self, identities)}")
        for name in ("event", "group_id", "previous_id", "message_id"):
            if name in members and members[name] is None:
                raise BadRow(f"{name}: {_where(self, [name])}")


def _where(mapping: RowMapping, names: list[str]) -> str:
    columns = " and ".join(repr(getattr(mapping, name).column) for name in names)
    return f"column {columns} is empty" if len(names) == 1 else f"columns {columns} are empty"


@lru_cache(maxsize=4096)
def _plain(column: str) -> Cell:
    return Cell(column)


class RowIds:
    """Makes message ids out of rows: the same rows in the same file get the same ids in every run.

    Rows that are alike to the letter are told apart by their order. They are counted in a table of fixed size,
    so that a file of any length needs 4 MiB; two different rows that share a place in it only get higher numbers.
    """

    NAMESPACE = UUID("93f9195c-0ae0-47e3-803c-2218499104ee")
    _PLACES = 1 << 20

    def __init__(self, mapping: RowMapping) -> None:
        self._start = hashlib.sha1(self.NAMESPACE.bytes + mapping.fingerprint, usedforsecurity=False)
        self._seen = array("I", bytes(4 * self._PLACES))

    def next(self, row: Mapping[str, Any]) -> str:
        """Return the id of the next row (a UUID of version 5) and count it."""
        own = {name: value for name, value in row.items() if not name.startswith(OWN_COLUMNS)}
        digest = self._start.copy()
        digest.update(orjson.dumps(own, option=orjson.OPT_SORT_KEYS))
        place = int.from_bytes(digest.digest()[:4]) % self._PLACES
        digest.update(b"#%d" % self._seen[place])
        self._seen[place] += 1
        return str(UUID(bytes=digest.digest()[:16], version=5))
