"""From disk to memory: the next messages of a backlog, and what becomes of those that cannot be read."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from ..errors import QueueError
from ..queue import Entry, News, Settled
from ._sqlite_branch import Branch
from ._sqlite_errors import Damaged
from ._sqlite_files import File, Files
from ._sqlite_rows import Loaded
from ._sqlite_spool import CLOSED

#: A wait that was stored is cut to this, for the clock may have been set back since.
MAX_WAIT = 3_600.0


class Reader:
    """Reads what is on disk only.

    Args:
        files: where it stands.
        lost: called with what cannot be read, and why.
    """

    def __init__(self, files: Files, lost: Callable[[Branch, Sequence[int], str], None]) -> None:
        self._files = files
        self._lost = lost

    def read_on(self, branch: Branch, now: float, *, events: int, size: int) -> None:
        """Read the next messages of the backlog into memory: so many of them, or so many bytes."""
        if branch.reading.locked():
            return  # another thread is at it, or a signal handler came in the middle of it
        with branch.reading:
            seqs: list[int] = []
            come: set[int] = set()
            try:
                with branch.lock:
                    seqs = branch.backlog.pop(events)
                for file, some in self._runs(seqs):
                    for loaded in self._loaded(file, branch, some, come):
                        item = _item(loaded, file)
                        branch.position.load(item, min(loaded.due, now + MAX_WAIT))
                        come.add(item[0])
                        size -= len(loaded.record)
                        if size <= 0:
                            return
                come.update(seqs)  # of those that are missing, there is no file any more
            finally:
                _give_back(branch, seqs, come)

    def give_up_first(self, branch: Branch, given_up: list[Entry]) -> bool:
        """Take the first message out of the backlog, past what is in memory; False if there is none to be had now."""
        if branch.reading.locked():
            return False
        with branch.reading:
            while True:
                with branch.lock:
                    seqs = branch.backlog.pop(1)
                if not seqs:
                    return False
                come: set[int] = set()
                try:
                    for file, some in self._runs(seqs):
                        for loaded in self._loaded(file, branch, some, come):
                            given_up.append(Entry(*_item(loaded, file)))
                            come.update(seqs)
                            return True
                    come.update(seqs)
                finally:
                    _give_back(branch, seqs, come)

    def _runs(self, seqs: Sequence[int]) -> list[tuple[File, list[int]]]:
        """Cut numbers where the next one is of another file."""
        runs: list[tuple[File, list[int]]] = []
        for seq in seqs:
            file = self._files.of(seq)
            if file is None:
                continue
            if not runs or runs[-1][0] is not file:
                runs.append((file, []))
            runs[-1][1].append(seq - file.offset)
        return runs

    def _loaded(self, file: File, branch: Branch, seqs: Sequence[int], come: set[int]) -> Iterable[Loaded]:
        bit = file.spool.bits[branch.name]
        try:
            rows = list(file.spool.load(bit, seqs))
        except (Damaged, QueueError) as error:
            if isinstance(error, QueueError) and error.reason == CLOSED:
                return []  # whoever adopts it sends them
            rows = []
            for seq in seqs:  # those beside the damage can be read
                with suppress(Damaged, QueueError):
                    rows += file.spool.load(bit, [seq])
        found = {row.seq for row in rows}
        lost = [seq + file.offset for seq in seqs if seq not in found]
        if lost:
            self._lost(branch, lost, file.spool.path.name)
            come.update(lost)
        return rows


def _give_back(branch: Branch, seqs: list[int], come: set[int]) -> None:
    """Leave to the next reader what this one did not bring."""
    with branch.lock:
        branch.backlog.give_back([seq for seq in seqs if seq not in come])
        branch.backlog.settle_down()


def _item(row: Loaded, file: File) -> tuple[int, str, int, bytes, float, int, int]:
    seq = row.seq + file.offset
    return (seq, row.message_id, row.lane, row.record, row.accepted_at, row.attempts, row.abandoned)


def told(seqs: Sequence[int], file: str) -> News:
    """Say of messages that they cannot be read."""
    return News(settled=[Settled(seq, "", 0, "damaged", f"it cannot be read from {file}") for seq in seqs])
