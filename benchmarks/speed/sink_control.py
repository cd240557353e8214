"""Starts a sink and tells it what to do."""

# ruff: noqa: S603  it starts the sink

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAM = Path(__file__).parent / "sink.py"
HOST = "127.0.0.1"

#: Above every mark.
ALL = 100_000_000


class Sink:
    """A sink in a process of its own, ended with the ``with`` block.

    Args:
        python: its interpreter; faster if uvloop is installed there.
        tls: speak https; ``authority`` is then the file by which clients can trust it.
    """

    def __init__(self, python: str | Path = sys.executable, *, tls: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="unitrack-sink-")
        self.authority = Path(self._folder.name) / "authority.pem" if tls else None
        self._process = subprocess.Popen(
            [str(python), str(PROGRAM), *(["--tls", self._folder.name] if tls else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        told = self._hear()
        self.loop = str(told["loop"])
        self.url = f"{'https' if tls else 'http'}://{HOST}:{told['port']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()

    def rule(self, rules: Mapping[str, Mapping[str, Any]] | None = None, /, **default: Any) -> None:
        """Forget what came, and answer from now on by these rules, of which the longest prefix of a path counts."""
        self._do("rule", rules={"": default, **(rules or {})})
        self._do("reset")

    def stats(self) -> dict[str, int]:
        """Return requests, bytes and connections since the last rule."""
        return self._do("stats")

    def count(self, low: int = 0, high: int = ALL) -> dict[str, Any]:
        """Decode what came, and count the marks in it: in all, and for each prefix that has a rule."""
        return self._do("count", low=low, high=high)

    def down(self) -> None:
        """Cut all connections and refuse new ones."""
        self._do("down")

    def up(self) -> None:
        self._do("up")

    def cut(self) -> None:
        """Let nobody wait for an answer any more."""
        self.down()
        self.up()

    def settle(self, quiet: float = 0.2, limit: float = 30.0) -> None:
        """Wait until no request has come for a while."""
        ends = time.monotonic() + limit
        seen, since = -1, 0.0
        while (now := time.monotonic()) < ends:
            requests = self.stats()["requests"]
            if requests != seen:
                seen, since = requests, now
            elif now - since >= quiet:
                return
            time.sleep(0.05)

    def _do(self, what: str, **more: Any) -> dict[str, Any]:
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self._process.stdin.flush()
        told = self._hear()
        if "error" in told:
            raise ValueError(told["error"])
        return told

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the sink has ended")
        told: dict[str, Any] = json.loads(line)
        return told
