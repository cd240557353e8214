"""Queues by the scheme of their URL."""

import re
from collections.abc import Callable, Mapping, Sequence

from attrs import evolve

from ..errors import ConfigError
from ..queue import DeadLetter, Queue, QueueView
from ..secret import discreet
from ..settings import Settings
from .memory import MemoryQueue


def _memory(settings: Settings) -> Queue:
    if settings.queue != "memory:":
        raise ConfigError(f"queue {settings.queue!r}: nothing can follow 'memory:'")
    if settings.workers == "external":
        raise ConfigError("workers = 'external' needs a queue that other processes reach: sqlite:///… or redis://…")
    return MemoryQueue()


def _sqlite(settings: Settings) -> Queue:
    from .sqlite import SqliteQueue, directory_of  # loaded by those who use it: SQLite is slow to load

    return SqliteQueue(directory_of(settings.queue), settings)


def _redis(settings: Settings) -> Queue:
    from .redis import RedisQueue, spool_directory
    from .sqlite import SqliteQueue

    # What is on its way to the broker is this process's to bring there, whoever sends.
    spool = SqliteQueue(spool_directory(settings.queue), evolve(settings, workers="internal"))
    return RedisQueue(settings.queue, settings, spool=spool)


BUILT_IN: Mapping[str, Callable[[Settings], Queue]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "redis": _redis,
    "rediss": _redis,
    "unix": _redis,
}


#: What may be shown of an address; a password that was written in the wrong place is none.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")


def look_at(settings: Settings, now: float) -> tuple[Sequence[QueueView], Sequence[str]]:
    """Look at a queue from outside, without taking part in it, and without making what is not there.

    Returns:
        What waits for each destination; and sentences about what could not be seen, and what should be known.

    Raises:
        ConfigError: it cannot be looked at: a queue in memory, a directory of another user, or a broker that does not
            answer; or there is no such queue.
    """
    scheme = _scheme(settings)
    if scheme == "sqlite":
        from .sqlite import directory_of, view

        return view(directory_of(settings.queue), now)
    if scheme != "memory":
        from .redis import view as broker_view

        return broker_view(settings.queue, now, allow_unsafe=settings.allow_unsafe_broker)
    raise ConfigError("messages in memory are seen by their own process only: Client.stats(); see docs/deployment.md")


def absent(settings: Settings) -> str | None:
    """Say what is not there yet, so that nothing can wait in it; ``None`` if there is a queue to look at.

    Raises:
        ConfigError: as in :func:`look_at`.
    """
    if _scheme(settings) == "sqlite":
        from .sqlite import directory_of, stands

        if not stands(directory := directory_of(settings.queue)):
            return f"there is no directory {directory} yet"
    return None


def dead_letters(settings: Settings) -> Sequence[DeadLetter]:
    """Return the dead letters of a queue, oldest first, without making what is not there.

    Raises:
        ConfigError: as in :func:`look_at`, or the broker may lose messages.
    """
    scheme = _scheme(settings)
    if absent(settings):
        return ()
    if scheme == "sqlite":
        queue = open_queue(settings)
    elif scheme != "memory":
        from .redis import RedisQueue

        look_at(settings, 0.0)  # a queue whose broker is away would just show nothing
        queue = RedisQueue(settings.queue, settings, spool=MemoryQueue())  # nothing is put, so no spool is needed
    else:
        raise ConfigError("dead letters in memory die with their process; ask that one: Client.dead_letters()")
    try:
        return queue.dead_letters()
    finally:
        queue.close()


def open_queue(settings: Settings) -> Queue:
    """Return the queue that the settings name.

    Raises:
        ConfigError: there is no such queue.

    >>> open_queue(Settings(queue="memory:")).durability
    'none'
    """
    return BUILT_IN[_scheme(settings)](settings)


@discreet
def _scheme(settings: Settings) -> str:
    """Return the word that says which queue it is.

    Raises:
        ConfigError: there is no such queue.
    """
    url: object = settings.queue
    if url == "memory":
        raise ConfigError("queue 'memory' has no colon; write \"memory:\"")
    scheme, colon, _ = url.partition(":") if isinstance(url, str) else (type(url).__name__, ":", "")
    if scheme not in BUILT_IN or not isinstance(url, str):
        # Not the whole of it: such an address may hold a password.
        shown = f"{scheme}:" if colon and _SCHEME.fullmatch(scheme) else "…"
        raise ConfigError(f"queue {shown!r} is not known; this version has {', '.join(f'{s}:' for s in BUILT_IN)}")
    return scheme
