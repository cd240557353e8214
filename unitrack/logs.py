"""The one logger, and a way to use it that neither floods nor loops."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

logger = logging.getLogger("unitrack")

REPEAT_AFTER = 60.0
MAX_SHOWN = 200

_emitting = threading.local()


def shown(value: object) -> str:
    """Return the text of any object, of an exception with its type; never raises."""
    try:
        return repr(value) if isinstance(value, BaseException) else str(value)
    except Exception:  # noqa: BLE001  the user's own exceptions can fail even at this
        return f"<{type(value).__name__}>"


def printable(value: object) -> str:
    """Return text for a log line: at most 200 characters, with nothing that could forge a second line.

    Never raises. An exception is shown with its type.
    """
    whole = shown(value)
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in whole[: MAX_SHOWN + 1])
    return line if len(line) <= MAX_SHOWN else line[: MAX_SHOWN - 1] + "…"


class QuietLog:
    """Says each kind of thing at most once a minute, and then how often it kept silent.

    A log handler may itself track; such a line within a line is dropped, so that nothing goes round in circles.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.RLock()
        self._last: dict[str, float] = {}
        self._silent: dict[str, int] = {}

    def warning(self, key: str, message: str, *args: object) -> None:
        """Log a warning unless one with the same key was logged within the last minute."""
        with self._lock:
            now = self._monotonic()
            if now - self._last.get(key, -REPEAT_AFTER) < REPEAT_AFTER:
                self._silent[key] = self._silent.get(key, 0) + 1
                return
            self._last[key] = now
            more = self._silent.pop(key, 0)
        suffix = f" ({more} more like this in between)" if more else ""
        emit(logging.WARNING, message + suffix, *args)


def emit(level: int, message: str, *args: object) -> None:
    """Log one line, with its arguments made printable; a filter or handler that raises hurts nobody."""
    if getattr(_emitting, "level", None) is not None:
        return
    _emitting.level = level
    try:
        with suppress(Exception):  # there is no place left to say it
            logger.log(level, message, *(printable(arg) for arg in args))
    finally:
        _emitting.level = None


def in_debug_line() -> bool:
    """Tell whether this thread is writing one of our lines at DEBUG: whoever asks is a log handler."""
    return getattr(_emitting, "level", None) == logging.DEBUG
