"""System calls that fail, wait, kill or are written down: strace around a script, for the rows about disks."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.faults.disk import DISK, Disk
from tests.faults.processes import LIMIT, ROOT


@cache
def _can_trace() -> bool:
    strace = shutil.which("strace")
    return strace is not None and not subprocess.run([strace, "-qq", "true"], capture_output=True).returncode


needs_strace = pytest.mark.skipif(not _can_trace(), reason="needs strace, and the right to trace")


def traced(
    script: str,
    url: str,
    disk: Disk,
    *options: str,
    code: int = 0,
    out: Path | None = None,
) -> list[str]:
    """Run a script that begins with :data:`DISK` under strace, and return the lines that it printed.

    Args:
        options: of strace, such as ``-e inject=fdatasync:error=EIO``; SQLite alone calls that, and ``pwrite64``.
        code: the exit code that it must have.
        out: where strace writes the calls down.
    """
    what = [sys.executable, "-X", "faulthandler", "-c", DISK + textwrap.dedent(script), url]
    process = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", str(out or os.devnull), *options, *what],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True,
        env={**os.environ, **disk.env},
    )  # fmt: skip
    try:
        said, err = process.communicate(timeout=LIMIT * 2)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"it hung: {process.communicate()[1]}") from None
    assert process.returncode == code, f"exit code {process.returncode}, not {code}: {err}"
    return said.splitlines()


#: For a script: run work in a fork that is killed at the n-th call of a name, by whichever thread.
KILLED_AT = """
import subprocess

def killed_at(number, call, work):
    pid = os.fork()
    if not pid:
        os.kill(os.getpid(), signal.SIGSTOP)
        work()
        os._exit(0)
    os.waitpid(pid, os.WUNTRACED)
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    what = ["-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject, "-p", str(pid)]
    tracer = subprocess.Popen(["strace", *what])
    while "TracerPid:\\t0" in open(f"/proc/{pid}/status").read():
        time.sleep(0.001)
    os.kill(pid, signal.SIGCONT)
    code = ended(pid)
    tracer.wait()
    return code

"""


def said(lines: Sequence[str], word: str) -> list[str]:
    """Return what followed a word at the beginning of a line, each time."""
    return [line.removeprefix(f"{word} ") for line in lines if line.startswith(f"{word} ")]
