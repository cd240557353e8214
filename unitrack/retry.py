"""When to try again; pure, the caller brings the dice."""

from collections.abc import Callable

BASE = 0.5
CAP = 60.0
PROBE_CAP = 15 * 60.0


def backoff(attempt: int, dice: Callable[[], float], *, base: float = BASE, cap: float = CAP) -> float:
    """Return how many seconds to wait after the given attempt (1, 2, …) failed: full jitter, doubling to a cap.

    Full jitter spreads clients that failed together, so that they do not come back together.

    >>> [backoff(n, lambda: 1.0) for n in (1, 2, 3, 20)]
    [0.5, 1.0, 2.0, 60.0]
    """
    return dice() * min(cap, base * 2.0 ** min(attempt - 1, 30))


def wait_for(attempt: int, after: float | None, dice: Callable[[], float], *, max_after: float) -> float:
    """Return the wait before the next attempt: our backoff, but never less than the server asked for, up to a cap.

    >>> wait_for(1, 3.0, lambda: 0.0, max_after=3600)
    3.0
    >>> wait_for(1, 99999999.0, lambda: 0.0, max_after=3600)
    3600
    """
    own = backoff(attempt, dice)
    return own if after is None else max(own, min(after, max_after))


def probe_wait(probes: int, interval: float) -> float:
    """Return how long a destination on hold is left alone after so many probes: doubling from ``interval`` to 15 min.

    >>> [probe_wait(n, 30) for n in (0, 1, 2, 10)]
    [30.0, 60.0, 120.0, 900.0]
    """
    return min(max(PROBE_CAP, interval), interval * 2.0 ** min(probes, 30))
