"""Queues by the scheme of their URL."""

from collections.abc import Callable, Mapping

from ..errors import ConfigError
from ..queue import Queue
from .memory import MemoryQueue

BUILT_IN: Mapping[str, Callable[[], Queue]] = {"memory:": MemoryQueue}


def open_queue(url: str) -> Queue:
    """Return the queue that a URL names.

    Raises:
        ConfigError: there is no such queue.

    >>> open_queue("memory:").durability
    'none'
    """
    if not isinstance(url, str) or url not in BUILT_IN:
        # Not the whole of it: such an address may hold a password.
        shown = url.partition(":")[0] + ":" if isinstance(url, str) else type(url).__name__
        raise ConfigError(f"queue {shown!r} is not known; this version has {', '.join(map(repr, BUILT_IN))}")
    return BUILT_IN[url]()
