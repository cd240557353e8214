"""Four local vendors and one client that knows them: everything that the demo needs, on 127.0.0.1 alone."""

import logging
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from attrs import Factory, define, field

from ..client import Client
from ..importing import Failures
from ..providers import Hightouch, Interakt, SuprSend, Thrivestack
from ..receivers import HightouchReceiver, InteraktReceiver, Receiver, SuprSendReceiver, ThrivestackReceiver
from ..wire import Provider

#: Interakt allows 300 requests a minute, at which 9,277 would take half an hour.
DEMO_RATE_PER_MINUTE = 1_000_000

WORKSPACE = "wk_demo_0123456789abcdef"
#: Credentials of nobody: the local vendors let them in, and the samples at the end show them masked.
HIGHTOUCH_KEY, INTERAKT_KEY, THRIVESTACK_KEY = "demo-write-key", "demo-api-key", "demo-x-api-key"
SUPRSEND_SECRET = "demo-workspace-secret"  # noqa: S105


class LogLines(logging.Handler):
    """Keeps what the client logs, so that it is shown where it does not tear the picture apart."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _receivers() -> dict[str, Receiver]:
    return {
        "hightouch": HightouchReceiver(write_key=HIGHTOUCH_KEY),
        "interakt": InteraktReceiver(api_key=INTERAKT_KEY),
        "suprsend": SuprSendReceiver(workspace_key=WORKSPACE, workspace_secret=SUPRSEND_SECRET),
        "thrivestack": ThrivestackReceiver(api_key=THRIVESTACK_KEY),
    }


@define
class Stage:
    """A context manager; what was counted can be read after it."""

    receivers: dict[str, Receiver] = Factory(_receivers)
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
            self.client = Client(self._providers(), on_drop=self.failures)
            self._cleanup = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whoever interrupts the demo does not want to wait for what is still queued.
        self.client.close(timeout=0.2 if error else 10.0)
        self._cleanup.close()

    def _providers(self) -> dict[str, Provider]:
        url = {name: receiver.url for name, receiver in self.receivers.items()}
        return {
            "hightouch": Hightouch(write_key=HIGHTOUCH_KEY, base_url=url["hightouch"]),
            "interakt": Interakt(api_key=INTERAKT_KEY, base_url=url["interakt"], rate_per_minute=DEMO_RATE_PER_MINUTE),
            "suprsend": SuprSend(workspace_key=WORKSPACE, workspace_secret=SUPRSEND_SECRET, base_url=url["suprsend"]),
            "thrivestack": Thrivestack(api_key=THRIVESTACK_KEY, base_url=url["thrivestack"]),
        }

    def stumble(self) -> None:
        """Let Thrivestack be down for two seconds, and SuprSend ask three times for a pause."""
        self.receivers["thrivestack"].fail_for(2.0, status=503)
        self.receivers["suprsend"].answer_next(3, status=429, retry_after=1)
