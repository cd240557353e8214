"""What a soak counts with: the process of its vendors, marks, times, and ears for the log."""

import json
import logging
import math
import os
import subprocess
import sys
from collections import Counter
from typing import Any

from attrs import define, field

from tests.faults.conftest import assert_clean


class Vendors:
    """The process with the four servers."""

    def __init__(self, seed: int, faults: float) -> None:
        command = [sys.executable, "-m", "tests.faults.soak_server", str(seed), str(faults)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.urls: dict[str, str] = self._answer()

    def ask(self, what: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = self._answer()
        return answer

    def close(self) -> None:
        self._process.communicate(timeout=30)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


class Marks:
    """One byte for each message number; a thread that marks one disturbs no other."""

    def __init__(self, capacity: int) -> None:
        self._bytes = bytearray(capacity)

    def add(self, number: int) -> None:
        self._bytes[number] = 1

    def __contains__(self, number: int) -> bool:
        return bool(self._bytes[number])

    def all(self) -> set[int]:
        return {number for number, marked in enumerate(self._bytes) if marked}


@define
class Calls:
    """How long calls took, in buckets of a fifth of a power of two, so that any number of them fits."""

    worst: float = 0.0
    _buckets: Counter[int] = field(factory=Counter)

    def add(self, seconds: float) -> None:
        self.worst = max(self.worst, seconds)
        self._buckets[math.ceil(5 * math.log2(max(seconds, 1e-7)))] += 1

    def share(self, share: float) -> float:
        """Return the time that this share of the calls did not exceed."""
        left = share * self._buckets.total()
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return min(self.worst, math.pow(2.0, bucket / 5))
        return self.worst


class Ears(logging.Handler):
    """Hears every line of our log and keeps none: no secret may be among them."""

    def __init__(self, problems: Counter[str]) -> None:
        super().__init__(logging.DEBUG)
        self._problems = problems

    def emit(self, record: logging.LogRecord) -> None:
        try:
            assert_clean(record.getMessage())
        except AssertionError:
            self._problems["log lines with a secret"] += 1


def rss() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0  # no /proc here, so growth is not measured


def descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    except OSError:
        return 0
