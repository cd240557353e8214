"""Local vendors and one client that knows them: everything that the demo needs, on 127.0.0.1 alone."""

import logging
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from attrs import Factory, define, field

from ..client import Client
from ..importing import Failures
from ..receivers import Receiver
from .stands import Stand, stands


class LogLines(logging.Handler):
    """Keeps what the client logs, so that it is shown where it does not tear the picture apart."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@define
class Stage:
    """A context manager; what was counted can be read after it."""

    _stands: dict[str, Stand] = Factory(stands)
    failures: Failures = Factory(Failures)
    log: LogLines = Factory(LogLines)
    client: Client = field(init=False)
    _cleanup: ExitStack = field(factory=ExitStack, init=False)

    def __enter__(self) -> Self:
        with ExitStack() as started:
            logger = logging.getLogger("unitrack")
            logger.addHandler(self.log)
            started.callback(logger.removeHandler, self.log)
            for receiver in self.receivers.values():
                started.enter_context(receiver)
            providers = {name: stand.provider(stand.receiver.url) for name, stand in self._stands.items()}
            self.client = Client(providers, on_drop=self.failures)
            self._cleanup = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whoever interrupts the demo does not want to wait for what is still queued.
        self.client.close(timeout=0.2 if error else 10.0)
        self._cleanup.close()

    @property
    def receivers(self) -> dict[str, Receiver]:
        """The vendors by the name of their destination."""
        return {name: stand.receiver for name, stand in self._stands.items()}

    def stumble(self) -> None:
        """Let Thrivestack be down for two seconds, and SuprSend ask three times for a pause."""
        self.receivers["thrivestack"].fail_for(2.0, status=503)
        self.receivers["suprsend"].answer_next(3, status=429, retry_after=1)
