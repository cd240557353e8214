"""Queues by the scheme of their URL."""

from collections.abc import Callable, Mapping

from ..errors import ConfigError
from ..queue import Queue
from ..settings import Settings
from .memory import MemoryQueue


def _memory(settings: Settings) -> Queue:
    if settings.queue != "memory:":
        raise ConfigError(f"queue {settings.queue!r}: nothing can follow 'memory:'")
    return MemoryQueue()


BUILT_IN: Mapping[str, Callable[[Settings], Queue]] = {"memory": _memory}


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
