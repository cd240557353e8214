"""How much memory a process holds, read where the system says it."""

import gc
from pathlib import Path

import pytest

_STATUS = Path("/proc/self/status")

MIB = 1024 * 1024

#: For scripts that run in a process of their own.
RSS = """
import gc
def rss():
    gc.collect()
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))
"""


def rss() -> int:
    """Return the bytes that this process holds in memory."""
    gc.collect()
    with _STATUS.open() as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


needs_proc = pytest.mark.skipif(not _STATUS.exists(), reason="needs /proc to measure memory")
