"""How a worker is, on a port of this machine, for whoever restarts it."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ..errors import ConfigError
from ..results import Ledger
from .output import line

#: Seconds without a sign of life after which a worker counts as stuck; it gives several a second.
STUCK = 15.0


class Health:
    """What a worker said last, and when. Asking never waits for the worker: it may be what is stuck."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._noted = clock()
        self._ledgers: Mapping[str, Ledger] = {}
        self._trouble: str | None = None

    def note(self, ledgers: Mapping[str, Ledger], trouble: str | None) -> None:
        """Give a sign of life."""
        self._ledgers = ledgers
        self._trouble = trouble
        self._noted = self._clock()

    def answer(self) -> tuple[int, bytes]:
        """Return an HTTP status, 200 or 503, and a body in JSON."""
        silent = self._clock() - self._noted
        body = {
            "status": "stuck" if silent > STUCK else "ok",
            "seconds_since_round": round(silent, 1),
            "trouble": self._trouble,
            "destinations": {name: _counts(ledger) for name, ledger in self._ledgers.items()},
        }
        return (503 if silent > STUCK else 200), json.dumps(body).encode()


def _counts(ledger: Ledger) -> dict[str, object]:
    return {
        "delivered": ledger.delivered, "pending": ledger.pending, "retried": ledger.retried, "dead": dict(ledger.dead),
        "held": ledger.held,
    }  # fmt: skip


@contextmanager
def answering(health: Health, port: int) -> Iterator[None]:
    """Answer every GET on 127.0.0.1.

    Raises:
        ConfigError: the port cannot be had.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0  # for whoever connects and says nothing

        def do_GET(self) -> None:
            status, body = health.answer()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise ConfigError(f"--health-port {port}: {error.strerror}") from None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="unitrack-health", daemon=True).start()
    line(f"health: http://127.0.0.1:{server.server_address[1]}/", err=True)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
