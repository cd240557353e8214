"""Where trials run: the interpreters, the sinks, the broker, and how much is sent."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .drivers import DRIVERS
from .process import Process, TrialFailed
from .sink_control import Sink


@dataclass
class Rig:
    """Where trials run.

    Args:
        pythons: the interpreter of each environment.
        sink: speaks http; ``safe_sink`` speaks https.
        broker: address of a Redis server.
        share: of the events that a full run sends, for a quick run.
    """

    pythons: Mapping[str, Path | str]
    sink: Sink
    safe_sink: Sink | None = None
    broker: str = ""
    share: float = 1.0
    scratch: str = field(default_factory=lambda: tempfile.mkdtemp(prefix="unitrack-speed-"))

    def close(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)

    def events(self, count: int) -> int:
        return max(10, int(count * self.share))

    @contextmanager
    def trial(
        self, part: str, name: str, *, kept: str = "", sink: Sink | None = None, **options: Any
    ) -> Iterator[Process]:
        """Start a trial, in a directory of its own unless one is named by ``kept``."""
        environment = DRIVERS[name].environment
        if environment not in self.pythons:
            raise TrialFailed(f"there is no environment of {environment}")
        sink = sink or self.sink
        folder = kept or tempfile.mkdtemp(dir=self.scratch)
        authority = str(sink.authority or "")
        variables = {"SSL_CERT_FILE": authority, "REQUESTS_CA_BUNDLE": authority} if authority else {}
        try:
            with Process(
                self.pythons[environment], part, name, variables=variables,
                url=sink.url, scratch=folder, broker=self.broker, **options,
            ) as process:  # fmt: skip
                yield process
        finally:
            if not kept:
                shutil.rmtree(folder, ignore_errors=True)
