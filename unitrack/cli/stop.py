"""How a worker is asked to stop: SIGTERM, or Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any


class Stop:
    """Becomes set once. Not an Event: a handler that sets one may have interrupted the thread that waits for it."""

    def __init__(self) -> None:
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._told = False

    def tell(self) -> None:
        self._told = True
        self._tokens.put(None)

    def is_set(self) -> bool:
        return self._told

    def wait(self, seconds: float) -> None:
        with suppress(Empty):
            self._tokens.get(timeout=seconds)


@contextmanager
def told_to_stop() -> Iterator[Stop]:
    """Have the first SIGTERM or Ctrl-C ask for a stop; a second Ctrl-C raises KeyboardInterrupt, as ever."""
    stop = Stop()
    before: dict[signal.Signals, Any] = {}

    def told(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        stop.tell()

    for each in (signal.SIGTERM, signal.SIGINT):
        before[each] = signal.signal(each, told)
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
