"""Messages wait on disk and survive the process: SQLite, a file for each process in one directory.

Memory is a window on the file. Most messages pass through both: written to the file, sent from memory, removed from
the file. Where more wait than memory should hold, the rest is on disk only and is read when its turn comes.

What a dead process left behind is taken over by one of the others, in place: its file is locked, opened and emptied.
"""

import logging
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..errors import ConfigError, QueueError
from ..logs import emit
from ..position import LEASE, Position
from ..queue import DeadLetter, Durability, Entry, News, Ready, Refusal, Settled
from ..settings import Settings
from ._sqlite_branch import Branch
from ._sqlite_directory import Directory
from ._sqlite_errors import Damaged
from ._sqlite_files import File, Files
from ._sqlite_letters import Letters
from ._sqlite_reader import Reader, told
from ._sqlite_rows import Row
from ._sqlite_view import stands, view

__all__ = ["SqliteQueue", "directory_of", "stands", "view"]

#: What is read from disk at a time.
READ_EVENTS, READ_BYTES = 1_000, 8 * 1024 * 1024
#: Seconds between two looks for files that nobody has.
SCAN_EVERY = 2.0
#: Bytes of an empty file that are worth giving back.
WORTH_SHRINKING = 1024 * 1024
#: Messages and seconds after which a file is handed over, where other processes send.
SEGMENT_EVENTS, SEGMENT_SECONDS = 1_000, 1.0
MAX_DESTINATIONS = 62


class SqliteQueue:
    """A queue in a directory.

    Args:
        directory: absolute; made if it does not exist, for this user alone.
        settings: ``durability`` and ``workers`` are looked at.

    Raises:
        ConfigError: the directory cannot be used.
    """

    def __init__(self, directory: Path, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self.durability: Durability = settings.durability
        self._external = settings.workers == "external"
        self._reads = not self._external
        self._directory = Directory(directory)
        if doubts := self._directory.doubts():
            emit(logging.WARNING, "unitrack: the queue in %s is on %s, which keeps no promises", directory, doubts)
        self._files = Files(self._directory, power=self.durability == "power")
        self._reader = Reader(self._files, self._unreadable)
        self._letters = Letters(directory / "dead.db")
        self._branches: dict[str, Branch] = {}
        self._looked_at = -SCAN_EVERY
        self._looking = threading.Lock()
        self._tell: Callable[[str, News], None] = lambda name, news: None
        self._timer: threading.Timer | None = None
        _alive.add(self)

    def open(self, destination: str, *, max_events: int, max_bytes: int, lease: float = LEASE) -> None:
        bit = len(self._branches)
        if bit >= MAX_DESTINATIONS:
            raise ConfigError(f"a queue on disk takes {MAX_DESTINATIONS} destinations")
        position = Position(1 << 62, 1 << 62, lease)
        self._branches[destination] = Branch(destination, bit, max_events, max_bytes, position)

    # -- in

    def put(
        self, seq: int, message_id: str, lane: int, record: bytes, accepted_at: float, destinations: Sequence[str]
    ) -> Mapping[str, Refusal]:
        try:
            return self._put(seq, message_id, lane, record, accepted_at, destinations)
        except Exception:
            raise
        except BaseException:  # Ctrl-C
            for name in destinations:
                self._branches[name].doubtful = True
            raise

    def _put(
        self, seq: int, message_id: str, lane: int, record: bytes, accepted_at: float, destinations: Sequence[str]
    ) -> Mapping[str, Refusal]:
        refused: dict[str, Refusal] = {}
        admitted: list[tuple[Branch, bool]] = []
        waiting, size = 0, len(record)
        for name in destinations:
            branch = self._branches[name]
            self._resolve_doubt(branch, size)
            answer = "duplicate" if self._is_on_disk(branch, message_id) else branch.admit(message_id, lane, size)
            if isinstance(answer, str):
                refused[name] = answer
            else:
                admitted.append((branch, answer))
                waiting |= 1 << branch.bit
        if not admitted:
            return refused
        stored = 0
        try:
            row = Row(seq, waiting, lane, accepted_at, message_id, record)
            file = self._files.write(row, list(self._branches))
            if self._external:
                stored = len(admitted)
                self._note_written(file)
                return refused
            item = (seq, message_id, lane, record, accepted_at, 0, 0)
            for branch, to_memory in admitted:
                if branch.store(item, to_memory):  # another thread put the same message at the same moment
                    refused[branch.name] = "duplicate"
                    if file is not None:
                        file.spool.settle(branch.bit, [seq])
                    branch.withdraw(size, to_memory)
                stored += 1
        except BaseException:
            for branch, to_memory in admitted[stored:]:
                branch.withdraw(size, to_memory)
            raise
        return refused

    def _resolve_doubt(self, branch: Branch, size: int) -> None:
        """Count anew, where there seems to be no room for a message and that may be wrong."""
        if branch.doubtful and not branch.has_room(size) and not self._external and not self._files.adopted:
            own = self._files.own
            with suppress(QueueError, Damaged):  # what the disk does not tell now, it may tell the next time
                branch.count_anew(own.spool.weigh(branch.bit) if own is not None and branch.backlog else 0)

    def _is_on_disk(self, branch: Branch, message_id: str) -> bool:
        own = self._files.own
        if not branch.backlog or own is None or not own.spool.indexed:
            return False
        with suppress(QueueError, Damaged):
            return own.spool.knows(message_id, branch.bit)
        return False

    def drop_oldest(self, destination: str, size: int, given_up: list[Entry] | None = None) -> Sequence[Entry]:
        branch = self._branches[destination]
        given_up = [] if given_up is None else given_up
        if size > branch.max_bytes or self._files.adopted:
            return given_up  # what others left behind is older, and to give that up would make no room for ours
        self._resolve_doubt(branch, size)
        try:
            while not branch.has_room(size) and self._give_up_oldest(branch, given_up):
                self._forget(branch, given_up[-1:])
        except BaseException:
            branch.doubtful = True
            raise
        return given_up

    def _give_up_oldest(self, branch: Branch, given_up: list[Entry]) -> bool:
        if branch.begins_on_disk and self._reader.give_up_first(branch, given_up):
            return True
        return branch.position.pop_oldest(given_up) is not None or self._reader.give_up_first(branch, given_up)

    # -- out

    def take(self, destination: str, limit: int, max_bytes: int | None, now: float) -> Sequence[Entry]:
        branch = self._branches[destination]
        if branch.backlog and branch.position.ready(now).count < limit:
            self._read_on(branch, now)
        entries = branch.position.take(limit, max_bytes, now)
        try:
            for file, some in self._files.by_file(entries):
                file.spool.tried(file.spool.bits[destination], some, file.offset)
        except BaseException:  # Ctrl-C: nobody hears that they are out
            branch.position.put_back(entries, 0.0, counted=False)
            raise
        return entries

    def renew(self, destination: str, lease: int, now: float) -> bool:
        return self._branches[destination].position.renew(lease, now)

    def absolve(self, destination: str, entry: Entry) -> None:
        for file, some in self._files.by_file([entry]):
            file.spool.absolve(file.spool.bits[destination], some, file.offset)

    def take_expired(self, destination: str, accepted_before: float, limit: int, now: float) -> Sequence[Entry]:
        branch = self._branches[destination]
        if branch.backlog and branch.position.holds_less_than(READ_EVENTS, READ_BYTES):
            self._read_on(branch, now)  # while a destination is on hold nobody else does
        return branch.position.take_expired(accepted_before, limit, now)

    def done(self, destination: str, entries: Iterable[Entry]) -> Sequence[Entry]:
        return self._settle(self._branches[destination], list(entries))

    def retry(self, destination: str, entries: Sequence[Entry], due: float) -> Sequence[Entry]:
        return self._put_back(destination, entries, due, counted=True)

    def release(self, destination: str, entries: Sequence[Entry]) -> None:
        self._put_back(destination, entries, 0.0, counted=False)

    def bury(self, destination: str, entry: Entry, reason: str, detail: str, now: float) -> bool:
        branch = self._branches[destination]
        if not branch.position.owns(entry):
            return False
        # Kept first: a crash in between leaves it in both places, and it is only sent once more than it should be.
        self.keep_dead(
            DeadLetter(
                destination, entry.message_id, reason, detail, entry.attempts, entry.accepted_at, now, entry.record
            )
        )
        return bool(self._settle(branch, [entry]))

    def _put_back(self, destination: str, entries: Sequence[Entry], due: float, *, counted: bool) -> Sequence[Entry]:
        branch = self._branches[destination]
        mine = [entry for entry in entries if branch.position.owns(entry)]
        # Written first: as soon as it is back, another thread may take it and write something later about it.
        for file, some in self._files.by_file(mine):
            file.spool.back(file.spool.bits[destination], some, file.offset, due, counted=counted)
        return branch.position.put_back(mine, due, counted=counted)

    def _settle(self, branch: Branch, entries: Sequence[Entry]) -> Sequence[Entry]:
        try:
            return self._settle_now(branch, entries)
        except BaseException:  # Ctrl-C: their fate is sealed all the same, and they must not be sent again
            branch.doubtful = True
            self._settle_now(branch, entries)
            raise

    def _settle_now(self, branch: Branch, entries: Sequence[Entry]) -> Sequence[Entry]:
        mine = [entry for entry in entries if branch.position.owns(entry)]
        self._files.settle(branch.name, branch.bit, mine)  # the disk first: it outlives what is known here
        mine = branch.position.forget(mine)
        branch.gone(mine)
        self._files.settled(mine)
        return mine

    def _forget(self, branch: Branch, entries: Sequence[Entry]) -> None:
        """Remove what the position does not have."""
        self._files.settle(branch.name, branch.bit, entries)
        branch.gone(entries)
        self._files.settled(entries)

    # -- what there is

    def waiting(self, destination: str) -> int:
        branch = self._branches[destination]
        return len(branch.position.fresh) + len(branch.backlog)

    def has_room(self, destination: str, size: int) -> bool:
        branch = self._branches[destination]
        self._resolve_doubt(branch, size)
        return branch.has_room(size)

    def ready(self, destination: str, now: float) -> Ready:
        branch = self._branches[destination]
        ready = branch.position.ready(now)
        if not ready.count and branch.backlog:
            self._read_on(branch, now)
            ready = branch.position.ready(now)
        return ready

    def dead_letters(self, destination: str | None = None, since: float = 0.0) -> Sequence[DeadLetter]:
        return self._letters.all(destination, since)

    def keep_dead(self, letter: DeadLetter) -> None:
        self._letters.keep(letter)

    def discard_dead(self, letter: DeadLetter) -> bool:
        return self._letters.discard(letter)

    def _read_on(self, branch: Branch, now: float) -> None:
        self._reader.read_on(branch, now, events=READ_EVENTS, size=READ_BYTES)

    def _unreadable(self, branch: Branch, seqs: Sequence[int], file: str) -> None:
        self._tell(branch.name, told(seqs, file))
        self._forget(branch, [Entry(seq, "", 0, b"", 0.0) for seq in seqs])

    # -- what others left behind

    def look_around(self, now: float, tell: Callable[[str, News], None]) -> None:
        self._tell = tell
        if time.monotonic() - self._looked_at < SCAN_EVERY or self._looking.locked():
            return
        with self._looking:
            try:
                self._looked_at = time.monotonic()
                self._tidy()
                if self._reads:
                    self._files.adopt_all(list(self._branches), self._welcome, self._lost)
            except Exception as error:  # noqa: BLE001  whatever stands in the files of others, the program goes on
                where = self._directory.path
                emit(logging.WARNING, "unitrack: the queue in %s cannot be looked after: %s", where, error)

    def _tidy(self) -> None:
        self._files.write_early(list(self._branches))
        own = self._files.own
        if own is None:
            return
        self._files.restore_own()
        if own.spool.repay() and not any(branch.count for branch in self._branches.values()):
            # Only its size is asked for: whoever opens the file by other means takes SQLite's locks away from it.
            if own.spool.path.stat().st_size > WORTH_SHRINKING:
                own.spool.shrink()
            self._directory.lay_ballast()
        elif not own.spool.indexed and any(branch.backlog for branch in self._branches.values()):
            own.spool.index_ids()

    def _welcome(self, name: str, count: int, messages: Iterable[tuple[int, int]]) -> None:
        branch = self._branches[name]
        self._tell(name, News(arrived=count))
        with branch.lock:
            branch.backlog.extend(messages)

    def _lost(self, count: int, file: str) -> None:
        for name in self._branches:
            self._tell(name, News(arrived=count, settled=[Settled(0, "", 0, "damaged", file)] * count))

    # -- other processes send

    def _note_written(self, file: File | None) -> None:
        if file is not None and file.written >= SEGMENT_EVENTS and self.hand_over(0.0):
            return
        timer = self._timer
        if timer is None or not timer.is_alive():
            self._hand_over_in_time()

    def _hand_over_in_time(self) -> None:
        self._timer = timer = threading.Timer(SEGMENT_SECONDS, self._time_is_up)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # there is no thread to be had, or the interpreter is ending
            self.hand_over(0.0)

    def _time_is_up(self) -> None:
        if not self.hand_over(0.0):
            self._hand_over_in_time()

    def trouble(self) -> str | None:
        return None  # what a disk does is said by each call

    def stop_reading(self) -> None:
        self._reads = False

    def hand_over(self, timeout: float) -> bool:
        self._timer = None
        if not self._files.hand_over(list(self._branches)):
            return False
        for branch in self._branches.values():
            branch.begin_anew()
        return True

    def close(self) -> None:
        self._files.close(list(self._branches))
        self._letters.close()

    def abandon(self) -> None:
        """Let go of everything without touching it, in a forked child: it is the parent's."""
        _kept.extend((*self._files.abandon(), self._letters.abandon()))


#: Queues of this process, and connections of a parent's, which must never be closed here.
_alive: "weakref.WeakSet[SqliteQueue]" = weakref.WeakSet()
_kept: list[object] = []


def _abandon_all() -> None:
    for queue in list(_alive):
        queue.abandon()
    _alive.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)


def directory_of(url: str) -> Path:
    """Return the directory that a URL names: ``sqlite:///var/lib/shop`` is ``/var/lib/shop``.

    >>> directory_of("sqlite:////var/lib/shop")  # one too many is no other directory
    PosixPath('/var/lib/shop')

    Raises:
        ConfigError: it is no absolute path.
    """
    parts = urlsplit(url)
    path = Path(re.sub("^/+", "/", unquote(parts.path)))
    if parts.netloc or not path.is_absolute() or parts.query or parts.fragment or not path.name:
        raise ConfigError(
            f"queue {url!r}: write sqlite:/// and an absolute directory, such as sqlite:///var/lib/shop/unitrack; "
            "a relative one would be another one in each working directory"
        )
    return path
