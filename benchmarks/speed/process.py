"""Starts a trial, and listens to it for as long as there is patience."""

# ruff: noqa: S603  it starts the trial

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..pins import TREE

#: Not from the current directory: what is installed is measured, and the rig comes last on the path.
_CODE = "import sys; sys.path.append(sys.argv.pop(1)); from benchmarks.speed.trial import main; main()"


class TrialFailed(Exception):
    """It did not say what it was to say; with the end of its standard error."""


class Process:
    """One trial; what it started is killed with the end of the ``with`` block.

    Args:
        python: the interpreter of the client's environment.
        variables: of the environment, beside ours.
    """

    def __init__(
        self, python: Path | str, part: str, driver: str, *, variables: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the trial
        self._process = subprocess.Popen(
            [str(python), "-P", "-c", _CODE, str(TREE), part, driver, json.dumps(options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, cwd=tempfile.gettempdir(),
            env={**kept, "NO_PROXY": "*", **(variables or {})},
            start_new_session=True,  # so that it can be ended together with its forks
        )  # fmt: skip
        self._heard = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.end(0.0)

    def hear(self, limit: float) -> dict[str, Any]:
        """Return the next facts.

        Raises:
            TrialFailed: none came in time.
        """
        assert self._process.stdout is not None  # noqa: S101
        ends = time.monotonic() + limit
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, ends - time.monotonic()))
            data = os.read(self._process.stdout.fileno(), 65_536) if ready else b""
            if not data:
                raise TrialFailed(f"says nothing for {limit:g} s" if not ready else self._last_words())
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        facts: dict[str, Any] = json.loads(line)
        return facts

    def go_on(self) -> None:
        """Let it do what it waits to do."""
        assert self._process.stdin is not None  # noqa: S101
        try:
            self._process.stdin.write(b"go on\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; whoever listens next finds out

    def end(self, patience: float) -> bool:
        """Wait for its end; False if it had to be killed."""
        if self._process.returncode is not None:
            return True
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        try:
            self._process.wait(patience)
            ended = True
        except subprocess.TimeoutExpired:
            ended = False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()
        return ended

    def _last_words(self) -> str:
        self._errors.seek(0)
        return f"ended: {self._errors.read()[-600:].strip() or 'without a word'}"
