"""Steps that must be whole: one at a time, and put right by the next one where an exception from outside ended it."""

import threading
from collections import deque
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from .lanes import Waiting
from .turns import give_way

_S = TypeVar("_S", bound="Steps")
_P = ParamSpec("_P")
_R = TypeVar("_R")


class Steps:
    """A lock, and what is known about who is in the middle of what.

    The lock is re-entrant, because a signal handler or a destructor may put in the middle of any step; such a message
    stands aside until that is done. An exception may end any step anywhere, too (Ctrl-C, a time limit). Then the next
    one, whoever takes it, mends first what that left half done.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # Under way, one in the middle of another; -1 for a put. Those that did not come to their end leave it so.
        self._steps = 0
        # What came in the middle of a step, and when it is due.
        self._aside: deque[tuple[Waiting, float]] = deque()

    def _is_inside(self) -> bool:
        """Tell whether this thread is in the middle of a step; to be asked before the lock is taken once more.

        Where another one is, that is let go on first.
        """
        if not self._steps:
            return False
        give_way(self._lock, lambda: self._steps != 0)
        return bool(self._steps) and self._lock._is_owned()  # type: ignore[attr-defined]  # as a Condition asks

    def _begin(self, inside: bool) -> None:
        if self._steps:
            if not inside:
                self._mend()
            elif self._steps > 0:
                self._steps += 1
                return
        self._steps = 1

    def _end(self) -> None:
        if self._aside and self._steps == 1:
            self._bring_in()
        self._steps -= 1

    def _bring_in(self) -> None:
        while self._aside:
            self._take_in(*self._aside[0])
            self._aside.popleft()

    def _take_in(self, item: Waiting, due: float) -> None:
        raise NotImplementedError

    def _mend(self) -> None:
        raise NotImplementedError


def step(method: Callable[Concatenate[_S, _P], _R]) -> Callable[Concatenate[_S, _P], _R]:
    """Make a method one step. What is called most often says the same by itself, for a call less."""

    @wraps(method)
    def whole(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        inside = self._is_inside()
        # The lock itself, for it is written in C: nothing comes between taking it and being bound to give it back.
        with self._lock:
            self._begin(inside)
            result = method(self, *args, **kwargs)
            self._end()
            return result

    return whole
