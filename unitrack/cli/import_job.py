"""One run of an import: the file, the state beside it, the client, and what is said in the end."""

import os
import signal
import sys
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import combinations
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from attrs import Factory, define, field, frozen

from ..config import Client, Configuration
from ..errors import ConfigError
from ..importing import (
    SUFFIX,
    Failures,
    Format,
    Importer,
    Lines,
    Progress,
    Rejects,
    Row,
    RowIds,
    RowMapping,
    RowSource,
    State,
    Stopped,
    open_rows,
)
from ..results import Ledger

#: How long an interrupted import waits for the verdicts that are still out.
GRACE = 10.0
STDIN = "-"


@frozen(kw_only=True)
class Job:
    """What to import, and how."""

    file: str
    mapping: RowMapping
    kind: Format
    delimiter: str = ","
    encoding: str = "utf-8"
    rejects: Path | None = None
    state: Path | None = None
    restart: bool = False
    limit: int | None = None
    strict: bool = False
    patience: float = 60.0

    @property
    def state_path(self) -> Path | None:
        """Where to remember how far it came; ``None`` for standard input, which cannot be read again."""
        if self.file == STDIN:
            return None
        return self.state or Path(self.file + SUFFIX)

    @contextmanager
    def rows(self) -> Iterator[tuple[Lines, RowSource]]:
        """Open the file.

        Raises:
            ConfigError: it cannot be read, has no such columns, or would be written over.
        """
        self._check_apart()
        with ExitStack() as stack:
            lines = Lines(stack.enter_context(_opened(self.file)))
            yield lines, self._source(lines)

    def _source(self, lines: Lines) -> RowSource:
        begins = ""
        try:
            source = open_rows(lines, self.kind, delimiter=self.delimiter, encoding=self.encoding)
            if source.header is not None:
                begins = source.header[0]
                self.mapping.check_columns(source.header)
        except ConfigError as error:
            # What a header cannot be made of was not left behind.
            begins = begins or b"".join(lines.taken[:1]).removeprefix(BOM_UTF8).decode("utf-8", "replace")
            if self.kind == "csv" and begins.startswith("{"):
                raise ConfigError(f"{error}; for JSON lines say --input jsonl") from error
            raise
        return source

    def _check_apart(self) -> None:
        """Refuse names that mean one file: what is written would destroy what is read."""
        # The state is replaced by way of a file beside it, which must be nobody's either.
        state = self.state_path
        beside = None if state is None else State.beside(state)
        named = [("FILE", None if self.file == STDIN else Path(self.file)), ("--rejects", self.rejects),
                 ("the file for the state", state), ("the new file for the state", beside)]  # fmt: skip
        for (first, one), (second, other) in combinations(named, 2):
            if one is not None and other is not None and _is_same(one, other):
                option = "--rejects" if "--rejects" in (first, second) else "--state"
                raise ConfigError(f"{first} and {second} are both {other}; name another file with {option}")


@define
class Result:
    """How an import ended. Counts include earlier runs, the ledgers only this one."""

    importer: Importer
    ledgers: Mapping[str, Ledger] = Factory(dict)
    #: Why it ended before the file did.
    stopped: str = ""
    #: The signal that ended it, or 0.
    signal: int = 0
    resumable: bool = False

    @property
    def exit_code(self) -> int:
        """0 when everything arrived everywhere it was meant for."""
        if self.signal:
            return 128 + self.signal
        return int(bool(self.stopped or self.importer.rejected or self.importer.failed))


def run(job: Job, found: Configuration, on_progress: Callable[[Progress], Any]) -> Result:
    """Import what a job says.

    Raises:
        ConfigError: something is wrong before the first row.
    """
    with job.rows() as (lines, source), ExitStack() as stack:
        state = _state(job)
        if job.rejects is not None:
            end = state.rejects_end if state else 0
            rejects = Rejects(job.rejects, source.header, delimiter=job.delimiter, end=end)
            stack.callback(rejects.close)
        else:
            rejects = None
        failures = Failures()
        # In memory, whatever the configuration says: the file itself is what survives a crash.
        client = Client.from_config(found, on_drop=failures, queue="memory:", workers="internal")
        stack.callback(client.close, 0.0)
        signals = stack.enter_context(_Signals(resumable=job.state_path is not None))
        importer = Importer(
            client, job.mapping, failures, rejects,
            strict=job.strict, patience=job.patience, interrupted=signals.asked, on_progress=on_progress,
            on_settled=lambda progress: _save(job, lines, rejects, progress),
        )  # fmt: skip
        return _Run(job, lines, iter(source), importer, signals).go(state)


@define
class _Run:
    job: Job
    lines: Lines
    rows: Iterator[Row]
    importer: Importer
    signals: "_Signals"

    def go(self, state: State | None) -> Result:
        ids = RowIds(self.job.mapping)
        result = Result(self.importer)
        if state is not None:
            self._skip(state, ids)
        limit = _Limit(self.rows, self.job.limit)
        try:
            self.importer.run(limit, ids)
            if limit.reached:
                result.stopped = f"{self.job.limit} rows were asked for"
        except Stopped as stop:
            result.stopped = str(stop)
            self.signals.patient = False
            self.importer.stop(0.0 if stop.hopeless else GRACE)
        except KeyboardInterrupt:
            result.stopped = "interrupted"
            self.importer.stop(GRACE)
        result.signal = self.signals.number
        result.ledgers = self.importer.client.stats()
        path = self.job.state_path
        if path is not None and not result.stopped:
            path.unlink(missing_ok=True)
        result.resumable = path is not None and path.exists()
        if limit.reached:
            result.stopped = ""
        return result

    def _skip(self, state: State, ids: RowIds) -> None:
        importer = self.importer
        importer.skip(self.rows, state.end, ids)
        changed = self.lines.end != state.end or self.lines.prefix(state.end) != state.prefix
        if changed or state.mapping != self.job.mapping.fingerprint.hex():
            what = "the file" if changed else "the mapping"
            raise ConfigError(f"{what} has changed since the import stopped; --restart imports from the beginning")
        importer.rows, importer.rejected, importer.failed = state.rows, state.rejected, state.failed


def _state(job: Job) -> State | None:
    path = job.state_path
    if path is None:
        return None
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"cannot write {path}; name another file for the state with --state")
    return None if job.restart else State.load(path)


def _save(job: Job, lines: Lines, rejects: Rejects | None, progress: Progress) -> None:
    rejects_end = rejects.flush() if rejects is not None else 0
    path = job.state_path
    if path is None or not progress.end:
        return
    State(
        mapping=job.mapping.fingerprint.hex(), prefix=lines.prefix(progress.end), end=progress.end,
        rows=progress.rows, rejected=progress.rejected, failed=progress.failed, rejects_end=rejects_end,
    ).save(path)  # fmt: skip


def _is_same(one: Path, other: Path) -> bool:
    """Tell whether two names mean one file, by whatever spelling or link; it need not be there yet."""
    try:
        return one.resolve() == other.resolve() or one.samefile(other)
    except (OSError, RuntimeError):
        return False  # one of them is not there, or cannot be: whoever opens it says so


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == STDIN:
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(name).open("rb"))
        except OSError as error:
            raise ConfigError(f"cannot read {name}: {error.strerror}") from error
        yield file


@define
class _Limit:
    """Rows up to a number."""

    rows: Iterator[Row]
    limit: int | None
    reached: bool = False

    def __iter__(self) -> Iterator[Row]:
        for count, row in enumerate(self.rows, 1):
            yield row
            if count == self.limit:
                self.reached = True
                return


@define
class _Signals:
    """Turns the first Ctrl-C or SIGTERM into a question that the importer asks between rows; the second one raises.

    A read of standard input may wait for ever, so there the first one raises at once.
    """

    resumable: bool
    number: int = 0
    patient: bool = True
    _before: dict[int, Any] = field(factory=dict, init=False)

    def __enter__(self) -> "_Signals":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:
                break  # not the main thread: whoever runs us there has other ways to stop
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self) -> bool:
        """Tell whether to stop."""
        return self.number != 0 and self.patient

    def _note(self, number: int, _: FrameType | None) -> None:
        again, self.number = self.number != 0, number
        if again or not self.resumable:
            raise KeyboardInterrupt
