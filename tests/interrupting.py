"""Interrupt a call somewhere in the middle, as Ctrl-C, a signal handler or a destructor does."""

import dis
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache
from types import CodeType, FrameType
from typing import Any

#: Tells of a trace event whether it counts; keeps what it has to know of a frame.
Where = Callable[[FrameType, str, dict[FrameType, str]], bool]

#: After these Python looks whether a signal came.
_LOOKS = ("CALL", "RESUME", "JUMP_BACKWARD", "POP_JUMP_BACKWARD")


def press() -> None:
    """Do as Ctrl-C does."""
    raise KeyboardInterrupt


@contextmanager
def alarms(handle: Callable[[], object], every: float) -> Iterator[None]:
    """Call something from a signal handler again and again, about every so many seconds.

    The end takes no handler away while a signal is on its way to it; Python would call that a race.
    """
    over = False

    def alarm(*_: object) -> None:
        handle()
        if not over:  # and only now, or a slow machine would be buried under alarms
            signal.setitimer(signal.ITIMER_REAL, every)

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, every)
        yield
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def at_line(frame: FrameType, event: str, last: dict[FrameType, str]) -> bool:
    """Before each line."""
    return event == "line"


def at_look(frame: FrameType, event: str, last: dict[FrameType, str]) -> bool:
    """Wherever Python looks whether a signal came."""
    if event != "opcode":
        return False
    before, last[frame] = last.get(frame, ""), _opnames(frame.f_code)[frame.f_lasti]
    return before.startswith(_LOOKS)


@cache
def _opnames(code: CodeType) -> dict[int, str]:
    return {one.offset: one.opname for one in dis.get_instructions(code)}


def interrupted(
    call: Callable[[], object], at: int, where: Where, interrupt: Callable[[], object], files: Collection[str]
) -> bool:
    """Call something, and something else at the ``at``-th place in some files; tell whether there are so many."""
    seen, last = 0, dict[FrameType, str]()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal seen
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = where is at_look
        if where(frame, event, last):
            seen += 1
            if seen == at:
                sys.settrace(None)
                interrupt()
        return trace

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = where is at_look  # or Python 3.12 tells of no opcodes anywhere
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return seen >= at
