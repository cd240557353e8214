"""Queues by the scheme of their URL."""

from collections.abc import Callable, Mapping, Sequence

from attrs import evolve

from ..errors import ConfigError
from ..queue import Queue, QueueView
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


def look_at(settings: Settings, now: float) -> tuple[Sequence[QueueView], Sequence[str]]:
    """Look at a queue from outside, without taking part in it.

    Returns:
        What waits for each destination, and sentences about what could not be seen.

    Raises:
        ConfigError: it cannot be looked at: a queue in memory, or a broker that does not answer.
    """
    scheme = settings.queue.partition(":")[0]
    if scheme == "sqlite":
        from .sqlite import directory_of, view

        return view(directory_of(settings.queue), now)
    if scheme in BUILT_IN and scheme != "memory":
        from .redis import view as broker_view

        return broker_view(settings.queue, now), ()
    raise ConfigError("messages in memory are seen by their own process only: Client.stats(); see docs/deployment.md")


def open_queue(settings: Settings) -> Queue:
    """Return the queue that the settings name.

    Raises:
        ConfigError: there is no such queue.

    >>> open_queue(Settings(queue="memory:")).durability
    'none'
    """
    url: object = settings.queue
    scheme = url.partition(":")[0] if isinstance(url, str) else type(url).__name__
    if scheme not in BUILT_IN or not isinstance(url, str):
        # Not the whole of it: such an address may hold a password.
        raise ConfigError(
            f"queue {scheme + ':'!r} is not known; this version has {', '.join(f'{s}:' for s in BUILT_IN)}"
        )
    return BUILT_IN[scheme](settings)
