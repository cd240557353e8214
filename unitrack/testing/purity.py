"""Watch code that must be pure: what it reaches outside is found, under whatever name it was imported."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from types import FrameType
from typing import Any

_TIMERS = ("time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime")
_CLOCKS = frozenset({*_TIMERS, *(name + "_ns" for name in _TIMERS), "sleep", "localtime"})
#: Written in C; all of their functions reach outside.
_BUILTIN_MODULES = frozenset({"posix", "nt", "_socket", "_ssl", "_random", "_uuid", "select", "random", "socket"})
#: Written in Python; whoever calls into them is about to reach outside.
_MODULES = frozenset(
    {"socket", "ssl", "http.client", "urllib.request", "subprocess", "random", "secrets", "asyncio", "tempfile"}
    | {"urllib3", "requests", "httpx", "aiohttp"}
)
_HARMLESS = frozenset({"fspath"})


class Impure(AssertionError):
    """Code that must be pure reached outside: a clock, a file, a socket, chance, a thread."""


@contextmanager
def pure(what: str) -> Iterator[None]:
    """Fail when the block reads a clock, opens a file or a socket, rolls dice or starts a thread.

    A profiler sees each call as it is made, so a name imported with ``from time import time`` is no hiding place,
    and the call is stopped before it happens. Call the code once before: a first call may have to import.

    Args:
        what: named in the failure.

    Raises:
        Impure: at the end of the block at the latest, even if the code inside swallowed the exception.
    """
    found: list[str] = []

    def look(frame: FrameType, event: str, arg: Any) -> None:
        name = _reaches_outside(frame, event, arg)
        if name is not None:
            found.append(name)
            raise Impure(f"{what} called {name}; a provider is handed all it needs, the time included")

    previous, collects = sys.getprofile(), gc.isenabled()
    # A collection in the middle would call finalizers and hooks of others, and those may well read a clock.
    gc.disable()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(previous)
        if collects:
            gc.enable()
    if found:
        raise Impure(f"{what} called {found[0]} and hid it")


def _reaches_outside(frame: FrameType, event: str, arg: Any) -> str | None:
    if event == "call":
        module = str(frame.f_globals.get("__name__"))
        known = module in _MODULES or module.partition(".")[0] in _MODULES
        return f"{module}.{frame.f_code.co_name}" if known else None
    if event != "c_call":
        return None
    name: str = arg.__name__
    owner = getattr(arg, "__self__", None)
    if isinstance(owner, type):
        # The clock of datetime is a class method written in C: no patch reaches it, a profiler does.
        return f"{owner.__name__}.{name}" if issubclass(owner, date) and name in {"now", "utcnow", "today"} else None
    module = getattr(arg, "__module__", None) or type(owner).__module__
    outside = (
        arg is open
        or (module == "_thread" and name.startswith("start_"))
        or (module == "time" and name in _CLOCKS)
        or (module in _BUILTIN_MODULES and name not in _HARMLESS)
    )
    return f"{module}.{name}" if outside else None
