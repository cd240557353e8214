"""The directory of a queue on disk: who owns which file, what nobody owns any more, and who may read it."""

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import ConfigError

#: Set free when the disk is full, so that what was delivered can still be written down.
BALLAST = 1024 * 1024
#: Before the name of a damaged file: what could be read of it.
_SAVED = "saved-"
#: Up to the year 2286; what a planted name says beyond that would leave no number for ours.
_NAME = re.compile(r"spool-(0\d{19})-")
#: Where a lock and the size of a file mean nothing, or a file does not outlive the machine.
_DOUBTFUL = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "tmpfs", "ramfs"}


class FileLock:
    """Belongs to one process until that ends, however it ends; kept in a file beside the one that it protects.

    flock, because its owner is the open file: two clients of one process exclude each other, too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock, if nobody has it."""
        import fcntl  # no Windows has it

        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between the two lines above its owner may have removed it, and another one may stand there by now.
            if os.fstat(descriptor).st_ino == self.path.stat().st_ino:
                self._descriptor = descriptor
                return True
        except OSError:
            pass
        os.close(descriptor)
        return False

    def stands(self) -> bool:
        """Tell whether the lock is held, and its file is where others look for it."""
        try:
            return self._descriptor is not None and os.fstat(self._descriptor).st_ino == self.path.stat().st_ino
        except OSError:
            return False

    def remove(self) -> None:
        """Let go of the lock, and of its file; of nothing, if it is not held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                self.path.unlink()
            with suppress(OSError):
                os.close(descriptor)

    def release(self) -> None:
        """Let go of the lock. In a forked child the parent keeps it: it ends when the last of them lets go."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)


class Directory:
    """Where the files of a queue are. Each process has a file of its own, so nobody waits for anybody.

    Raises:
        ConfigError: it cannot be made or written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last = 0  # of the names given
        self._ballast = path / "ballast"
        if os.name == "nt":
            raise ConfigError("a queue on disk needs a system with file locks (flock), which Windows is not")
        try:
            if not path.exists():
                path.mkdir(mode=0o700, parents=True, exist_ok=True)  # another process may be quicker
                path.chmod(0o700)
            found = path.stat()
        except OSError as error:
            raise ConfigError(f"queue: the directory {path} cannot be made: {error.strerror}") from None
        if not stat.S_ISDIR(found.st_mode):
            raise ConfigError(f"queue: {path} is a file; name a directory that belongs to unitrack alone")
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise ConfigError(f"queue: {path} must be readable and writable by this user")
        if found.st_mode & 0o077:
            if found.st_uid != os.geteuid():
                raise ConfigError(f"queue: {path} belongs to another user and is open to others; make one of your own")
            path.chmod(0o700)  # there are people's data in it

    def new(self) -> tuple[Path, FileLock]:
        """Name a file that nobody has yet, and lock it. Its name is the last of all, also if the clock was set back."""
        self.path.mkdir(mode=0o700, exist_ok=True)  # somebody may have removed it since
        last = max(map(_number, os.listdir(self.path)), default=0)  # noqa: PTH208  there may be many
        while True:
            self._last = last = max(time.time_ns(), self._last + 1, last + 1)
            path = self.path / f"spool-{last:020d}-{os.getpid()}.db"
            lock = FileLock(path.with_suffix(".lock"))
            if lock.acquire():
                return path, lock

    def orphans(self) -> Iterator[tuple[Path, FileLock]]:
        """Lock and return the files whose processes are gone, oldest first."""
        for path in self.files():
            lock = FileLock(path.with_suffix(".lock"))
            with suppress(OSError):
                if not lock.acquire():
                    continue
                if path.exists():
                    yield path, lock
                else:
                    lock.remove()  # whoever had it was quicker

    def files(self) -> list[Path]:
        """Return the files in which messages wait, whoever has them, oldest first."""
        with suppress(OSError):
            return sorted(self.path.glob("spool-*.db"))
        return []

    def set_aside(self, path: Path) -> Path:
        """Rename a damaged file, with what belongs to it, so that nobody opens it again."""
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        target = path.with_name(f"damaged-{stamp}-{path.name}")
        for ending in ("", "-wal", "-shm"):
            with suppress(OSError):
                path.with_name(path.name + ending).rename(target.with_name(target.name + ending))
        return target

    def begin_rescue(self, damaged: Path) -> Path:
        """Name the file for what can be saved of a damaged one; as long as both are there, it is not complete."""
        saved = damaged.with_name(_SAVED + damaged.name)
        self.remove(saved)
        return saved

    def finish_rescue(self, saved: Path) -> tuple[Path, FileLock]:
        """Give what was saved a name under which it is found, and lock it."""
        path, lock = self.new()
        for ending in ("-wal", ""):
            with suppress(FileNotFoundError):
                saved.with_name(saved.name + ending).rename(path.with_name(path.name + ending))
        return path, lock

    def finish_rescues(self) -> None:
        """Go on where another process was killed in the middle of a rescue."""
        for saved in sorted(self.path.glob(f"{_SAVED}spool-*.db")):
            if saved.with_name(saved.name.removeprefix(_SAVED)).exists():
                self.remove(saved)  # the damaged one is still there, and will be read once more
            else:
                self.finish_rescue(saved)[1].release()

    def remove(self, path: Path) -> None:
        """Remove a file that is empty, or of no use."""
        with suppress(OSError):
            path.unlink()
        self.remove_log(path)

    def remove_log(self, path: Path) -> None:
        """Remove what SQLite keeps beside a file."""
        for ending in ("-wal", "-shm"):
            with suppress(OSError):
                path.with_name(path.name + ending).unlink()

    def lay_ballast(self) -> None:
        """Occupy some space, for the day when there is none."""
        if self._ballast.exists():
            return
        try:
            descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except OSError:
            return
        try:
            written = os.write(descriptor, bytes(BALLAST))
        except OSError:
            written = 0
        finally:
            os.close(descriptor)
        if written < BALLAST:
            self.drop_ballast()

    def drop_ballast(self) -> bool:
        """Give the space back; tell whether there was any."""
        try:
            self._ballast.unlink()
        except OSError:
            return False
        return True

    def doubts(self) -> str | None:
        """Say what kind of file system this is, if it does not keep what a queue promises."""
        try:
            lines = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return None
        mounts: Any = [line.split()[1:3] for line in lines if len(line.split()) > 2]
        real = str(self.path.resolve()).replace(" ", "\\040")
        best = max(  # the last of several, which lies on top of the others
            (mount for mount in reversed(mounts) if real == mount[0] or real.startswith(mount[0].rstrip("/") + "/")),
            key=lambda mount: len(mount[0]),
            default=("", ""),
        )
        return best[1] if best[1] in _DOUBTFUL else None


def _number(name: str) -> int:
    """Return the moment in the name of a file, in nanoseconds; 0 if nobody would have given it that name."""
    found = _NAME.match(name)
    return int(found[1]) if found else 0
