"""What the figures were measured on, and how fast it was while they were."""

import json
import os
import platform
import statistics
import timeit
from pathlib import Path

from .event import plain

_LOOPS, _TURNS = 2_000, 7


def yardstick() -> float:
    """Return the microseconds that this Python takes to make the event, write it as JSON and read it again.

    Nothing of ours and nothing compiled but the standard library is in it, so it compares machines and interpreters,
    and one minute of a shared machine with another.
    """
    times = timeit.repeat(lambda: json.loads(json.dumps(plain(42))), number=_LOOPS, repeat=_TURNS)
    return statistics.median(times) / _LOOPS * 1e6


def load() -> float:
    """Return how many programs wanted a processor during the last minute."""
    return os.getloadavg()[0]


def describe() -> dict[str, str]:
    """Say which machine this is, without its name or anybody's path."""
    return {
        "processor": _said("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}",
    }


def _memory() -> str:
    said = _said("/proc/meminfo", "MemTotal")
    return f"{int(said.split()[0]) / 1e6:.0f} GB" if said else "unknown"


def _said(file: str, name: str) -> str:
    path = Path(file)
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
