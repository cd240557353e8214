"""The files that one process holds: its own, and those of dead processes that it emptied or is about to."""

import logging
import threading
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import define, evolve

from ..errors import QueueError
from ..logs import emit
from ..queue import Entry
from ._sqlite_directory import Directory, FileLock
from ._sqlite_errors import Damaged, Newer
from ._sqlite_frames import is_within
from ._sqlite_rows import Row
from ._sqlite_salvage import Remains, salvage
from ._sqlite_spool import Spool

#: Numbers of adopted messages: below all of ours, and rising from file to file.
_FIRST, _STRIDE = -(1 << 62), 1 << 40
#: What may be over at the next look.
_PASSING = {"disk_full", "disk_error", "locked"}

#: Called with a destination, and how many messages wait for it in a file that was adopted, their numbers and lanes.
Welcome = Callable[[str, int, Iterable[tuple[int, int]]], None]
#: Called with a number of messages that a damaged file has lost, and its name.
Lost = Callable[[int, str], None]


@define(eq=False)
class File:
    """A file that this process holds."""

    spool: Spool
    lock: FileLock
    offset: int = 0  #: from its numbers to ours
    left: int = 0  #: adopted messages that are not settled, counted per destination
    written: int = 0


class Files:
    """Whose files they are, and which message stands in which.

    What a dead process left behind is taken over in place. One process of all that share a directory does that, so
    that the messages of one user stay in order from file to file.
    """

    def __init__(self, directory: Directory, *, power: bool) -> None:
        self.directory = directory
        self._power = power
        self._lock = threading.RLock()
        self._restoring = threading.Lock()
        self.own: File | None = None
        self._maker = 0  # the thread that makes the file, if it was not interrupted since
        self._early: list[Row] = []  # came while the file was being made
        self._adopted: dict[int, File] = {}  # by the number of the adoption
        self._adoptions = 0
        self._adopter = FileLock(directory.path / "adopter.lock")
        self._adopts = False
        self._names: Sequence[str] = ()
        self._welcome: Welcome = lambda name, count, messages: None
        self._lost: Lost = lambda count, file: None
        self._left_alone: set[Path] = set()  # nothing for us in it, or of a later version
        self._said: set[tuple[Path, str]] = set()

    @property
    def adopted(self) -> bool:
        """Whether messages of others are here."""
        return bool(self._adopted)

    def write(self, row: Row, names: Sequence[str]) -> File | None:
        """Write into our own file, made for these destinations when it is needed; ``None``: it is written soon."""
        file = self.own
        if file is None:
            with self._lock:
                if self._maker == threading.get_ident() and is_within(Files._make.__code__, self):
                    self._early.append(row)  # a signal handler in the middle of making it
                    return None
                file = self._make(names)
        try:
            file.spool.insert(row)
        except QueueError:
            if self.own is file:
                raise
            return self.write(row, names)  # it was handed over at this moment
        file.written += 1
        return file

    def _make(self, names: Sequence[str]) -> File:
        self._maker = threading.get_ident()
        if self.own is not None:
            return self.own  # a signal handler made it
        path, lock = self.directory.new()
        try:
            file = File(Spool(path, names, power=self._power), lock)
        except BaseException:
            lock.remove()
            raise
        self.directory.lay_ballast()
        self.own = file
        self._maker = 0
        with suppress(QueueError):
            self.write_early(names)
        return file

    def write_early(self, names: Sequence[str]) -> None:
        """Write what came while the file could not be made.

        Raises:
            QueueError: it is still not written.
        """
        while self._early:
            with self._lock:
                file = self.own or self._make(names)
                if self._early:
                    file.spool.insert(self._early[0])
                    del self._early[0]

    def _settle_early(self, bit: int, seqs: Container[int]) -> None:
        with self._lock:
            left = [evolve(r, waiting=r.waiting & ~(1 << bit)) if r.seq in seqs else r for r in self._early]
            self._early[:] = [row for row in left if row.waiting]

    def of(self, seq: int) -> File | None:
        """Return the file in which a message stands."""
        return self.own if seq >= 0 else self._adopted.get(1 + (seq - _FIRST) // _STRIDE)

    def by_file(self, entries: Sequence[Entry]) -> list[tuple[File, list[Entry]]]:
        """Sort entries by the file in which they stand."""
        found: dict[int, tuple[File, list[Entry]]] = {}
        for entry in entries:
            if file := self.of(entry.seq):
                found.setdefault(id(file), (file, []))[1].append(entry)
        return list(found.values())

    def settle(self, name: str, bit: int, entries: Sequence[Entry]) -> None:
        """Remove what one destination, which has this bit in our own file, has no need of any more."""
        if self._early:
            self._settle_early(bit, {entry.seq for entry in entries})
        for file, some in self.by_file(entries):
            if not file.spool.settle(file.spool.bits[name], [entry.seq - file.offset for entry in some]):
                self.directory.drop_ballast()  # or another thread just did
                file.spool.repay()

    def settled(self, entries: Sequence[Entry]) -> None:
        """Count what was removed, each once, and be done with a file that has nothing more for us."""
        for file, some in self.by_file(entries):
            if file.offset:
                with self._lock:
                    file.left -= len(some)
                if file.left <= 0:
                    self._let_go(file)

    # -- what others left behind

    def adopt_all(
        self,
        names: Sequence[str],
        welcome: Welcome,
        lost: Lost,
    ) -> None:
        """Take over the files of processes that are gone.

        Args:
            names: our destinations; what waits for others stays where it is.
            welcome: hears what waits now.
            lost: hears what is lost.
        """
        self._names, self._welcome, self._lost = names, welcome, lost
        if self._adopts and not self._adopter.stands():
            self._adopter.release()  # somebody removed its file, and another process may have made it anew
            self._adopts = False
        if not self._adopts:
            self._adopts = self._adopter.acquire()
        if not self._adopts:
            return
        self.directory.finish_rescues()
        for path, lock in self.directory.orphans():
            if path in self._left_alone:
                lock.release()
                continue
            if path.is_symlink():
                self._leave_alone(path, lock, "it is a link to somewhere else")
                continue
            try:
                self._take_over(path, lock)
            except Newer as error:
                self._leave_alone(path, lock, str(error))
            except QueueError as error:
                if error.reason in _PASSING:
                    lock.release()
                    self._say_once(path, f"cannot be taken over yet: {error}")
                else:
                    self._leave_alone(path, lock, str(error))

    def _take_over(self, path: Path, lock: FileLock) -> None:
        try:
            self._adopt(path, lock)
        except Damaged as error:
            self._rescue(path, lock, str(error))
        except QueueError as error:
            if error.reason != "damaged":
                raise
            self._rescue(path, lock, str(error))

    def _adopt(self, path: Path, lock: FileLock) -> None:
        number = self._adoptions + 1
        file = File(Spool(path, power=self._power), lock, _FIRST + (number - 1) * _STRIDE)
        try:
            file.spool.nobody_sends(vanished=True)
            found = {
                name: file.spool.count(bit, _STRIDE) for name, bit in file.spool.bits.items() if name in self._names
            }
        except BaseException:
            file.spool.close()
            raise
        file.left = sum(found.values())
        self._adoptions = number
        self._adopted[number] = file
        for name, count in found.items():
            if count:
                # Not a list: there may be millions.
                rows = file.spool.waiting(file.spool.bits[name], _STRIDE)
                self._welcome(name, count, ((seq + file.offset, lane) for seq, lane in rows))
        if not file.left:
            self._let_go(file)

    def _let_go(self, file: File) -> None:
        """Be done with an adopted file: nothing in it is for us any more."""
        with self._lock:
            numbers = [number for number, one in self._adopted.items() if one is file]
            for number in numbers:
                del self._adopted[number]
        if not numbers:
            return  # another thread is at it, or closes everything
        file.spool.repay()
        sound = self._is_empty(file) or file.spool.is_sound()
        if self._close(file):
            return
        if not sound:
            # Its pages are in order as far as we got, but something in them is not, and hides the rest.
            names = {bit: name for name, bit in file.spool.bits.items()}
            settled = {(names[bit], seq) for bit, seq in file.spool.unwritten}
            try:
                self._rescue(file.spool.path, file.lock, "its pages do not fit together", settled)
            except QueueError as error:
                file.lock.release()
                self._say_once(file.spool.path, f"cannot be saved yet: {error}")
        else:
            self._leave_alone(file.spool.path, file.lock, "what is left in it is for destinations that are not here")

    def _leave_alone(self, path: Path, lock: FileLock, why: str) -> None:
        self._left_alone.add(path)
        lock.release()
        self._say_once(path, f"is left as it is: {why}")

    def _say_once(self, path: Path, what: str) -> None:
        if (path, what) not in self._said:
            self._said.add((path, what))
            emit(logging.WARNING, "unitrack: %s %s", path.name, what)

    def _rescue(self, path: Path, lock: FileLock, why: str, settled: Container[tuple[str, int]] = frozenset()) -> None:
        """Put what can be read of a damaged file into a new one, and the damaged one out of the way.

        Whoever is killed at this leaves both, and it is begun anew, until the damaged one has its new name.

        Raises:
            QueueError: there is no room for a new one, or the disk fails; it is still there.
        """
        saved = self.directory.begin_rescue(path)
        spool = Spool(saved, self._names, power=self._power)
        count = 0

        def keep(remains: Remains) -> None:
            nonlocal count
            names = [name for name in remains.names or self._names if (name, remains.seq) not in settled]
            bits = [spool.bits[name] for name in names if name in spool.bits]
            if waiting := sum(1 << bit for bit in bits):
                count += 1
                spool.insert(Row(count, waiting, remains.lane, remains.accepted_at, remains.message_id, remains.record))

        try:
            gone = salvage(path, keep)
        finally:
            spool.close()
        aside = self.directory.set_aside(path)
        lock.remove()
        emit(
            logging.ERROR, "unitrack: %s was damaged (%s); %s messages were saved, up to %s are lost; it is kept as %s",
            path.name, why, count, gone, aside.name,
        )  # fmt: skip
        if gone:
            self._lost(gone, path.name)
        new_path, new_lock = self.directory.finish_rescue(saved)
        try:
            self._adopt(new_path, new_lock)
        except BaseException:
            new_lock.release()
            raise

    def restore_own(self) -> None:
        """Write our own file anew if somebody removed it, or put something else in its place.

        Raises:
            QueueError: it cannot be written now.
        """
        if is_within(Files._restore_own.__code__, self):
            raise QueueError("a signal handler came in the middle of it", "locked")
        with self._restoring:
            self._restore_own()

    def _restore_own(self) -> None:
        file = self.own
        if file is None or not file.spool.has_vanished():
            return
        old, (path, lock) = file.spool.path, self.directory.new()
        moved = False
        try:
            moved = file.spool.move_to(path)
        except QueueError:
            if file.spool.broken:  # it cannot be read either, so the next message begins another one
                self.own = None
                file.lock.release()
                emit(logging.ERROR, "unitrack: %s is gone, and with it what waited there", old)
            raise
        finally:
            if not moved:
                lock.remove()
        if not moved:
            return
        self.directory.remove_log(old)  # with it, whatever stands there now would have our messages, too
        file.lock.release()
        file.lock = lock
        emit(logging.ERROR, "unitrack: %s was removed or replaced while it was in use; it is now %s", old, path.name)

    # -- the end

    def hand_over(self, names: Sequence[str]) -> bool:
        """Leave our own file to whoever adopts it, and tell whether that is done; the next message begins another."""
        if self.own is not None and self.own.spool.writing:
            return False  # a signal handler, in the middle of a write
        try:
            self.restore_own()
            self.write_early(names)
        except (QueueError, OSError):
            return False
        if self.own is not None and not self.own.spool.repay():
            return False
        with self._lock:
            file, self.own = self.own, None
        if file is not None:
            file.spool.close()
            file.lock.release()
        return True

    def close(self, names: Sequence[str]) -> None:
        """Close everything in order; what still waits is left for others to adopt."""
        with suppress(QueueError, OSError):
            self.restore_own()
        with suppress(QueueError, OSError):
            self.write_early(names)
        with self._lock:
            files = [*([self.own] if self.own else []), *self._adopted.values()]
            self.own, self._adopted = None, {}
        for file in files:
            file.spool.nobody_sends(vanished=False)
            if not self._close(file):
                file.lock.release()
        self._adopter.release()
        self._adopts = False

    def _close(self, file: File) -> bool:
        """Close a file, and remove it if nothing waits in it; tell whether that is so."""
        empty = file.spool.close()
        if empty:
            self.directory.remove(file.spool.path)
            file.lock.remove()
        return empty

    @staticmethod
    def _is_empty(file: File) -> bool:
        with suppress(Damaged, QueueError):
            return file.spool.is_empty()
        return False

    def abandon(self) -> list[object]:
        """Let go of everything without touching it, in a forked child; return what must be kept for ever."""
        files = [*([self.own] if self.own else []), *self._adopted.values()]
        self.own, self._adopted, self._adopts = None, {}, False
        self._adopter.release()
        kept: list[object] = []
        for file in files:
            kept.append(file.spool.abandon())
            file.lock.release()
        return kept
