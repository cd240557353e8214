"""What an error tracker sees: exceptions with the values of all variables on their way, and what the linter knows."""

import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.faults.conftest import assert_clean
from tests.faults.test_secrets import CREDENTIALS, Tampered, record
from tests.faults.vendors import hightouch, tracks
from tests.faults.world import CANARIES, FaultServer, assert_conserved
from tests.pages import ROOT
from tests.sockets import Script, Server, close, play, reset, send, stall
from unitrack import Client, ConfigError, Track
from unitrack.config import load
from unitrack.errors import InvalidMessage, TransportError
from unitrack.providers import Hightouch, Interakt, SuprSend, Thrivestack, Webhook
from unitrack.snapshot import MessageIds, snapshot
from unitrack.transport import RequestsTransport, Transport, Urllib3Transport
from unitrack.wire import Request


def seen_by_a_tracker(error: BaseException) -> str:
    """Print an exception as error trackers do."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def raised(call: Callable[[], object], kind: type[BaseException]) -> BaseException:
    with pytest.raises(kind) as caught:
        call()
    return caught.value


@contextmanager
def each_transport() -> Iterator[list[Transport]]:
    own = Urllib3Transport()
    with requests.Session() as session:
        yield [own, RequestsTransport(session)]
    own.close()


def request_of(kind: str, server: Server) -> Request:
    """Make the request that a provider makes, credentials and all."""
    provider = CREDENTIALS[kind](server)
    message, _ = snapshot(Track(user_id="u", event="Paid"), MessageIds(), lambda: datetime.now(UTC))
    return provider.request([provider.encode(message)], datetime.now(UTC))


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_S1_variables_on_the_way_of_a_network_error(kind: str) -> None:
    """When a request fails on the wire, no variable on the way of its error shows a credential."""
    scripts: list[Script] = [
        play(reset()),
        play(close()),
        play(send(b"nonsense\r\n\r\n"), close()),
        play(send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"), close()),
        play(stall()),
    ]
    with each_transport() as transports:
        for transport in transports:
            for script in scripts:
                with Server(script) as server:
                    request = request_of(kind, server)
                    error = raised(lambda: transport.send(request, 0.1), TransportError)  # noqa: B023
                assert_clean(seen_by_a_tracker(error))
            error = raised(lambda: transport.send(request, 0.5), TransportError)  # noqa: B023  nobody listens there
            assert_clean(seen_by_a_tracker(error))
            spoilt = Request(url=request.url, headers={**request.headers, "X-Bad": "a\r\nb"}, body=request.body)
            error = raised(lambda: transport.send(spoilt, 0.5), InvalidMessage)  # noqa: B023
            assert_clean(seen_by_a_tracker(error))


#: Credentials beside a setting that is wrong, or that is missing.
WRONG: dict[str, Callable[[], object]] = {
    "hightouch": lambda: Hightouch(write_key=CANARIES["write_key"], auth="nonsense"),  # type: ignore[arg-type]
    "interakt": lambda: Interakt(api_key=CANARIES["api_key"], default_country_code="none"),
    "suprsend": lambda: SuprSend(workspace_secret=CANARIES["workspace_secret"]),
    "suprsend, too long": lambda: SuprSend(
        workspace_uid="w" * 20, api_key=CANARIES["api_key"], max_event_bytes=1 << 30
    ),
    "thrivestack": lambda: Thrivestack(token=CANARIES["token"], api_key=CANARIES["api_key"]),
    "webhook": lambda: Webhook(url="https://x.example/" + CANARIES["token"], headers={"a b": CANARIES["api_key"]}),
    "a line break": lambda: Webhook(url="https://x.example", token=f"{CANARIES['token']}\nx"),
    "a wrong name": lambda: Hightouch(write_kye=CANARIES["write_key"]),  # type: ignore[call-arg]
}


@pytest.mark.parametrize("what", WRONG)
def test_S1_variables_on_the_way_of_a_wrong_setting(what: str) -> None:
    """When a provider cannot be made, no variable on the way of the error shows the credential beside the mistake."""
    error = raised(WRONG[what], (ConfigError, TypeError))  # type: ignore[arg-type]
    assert_clean(seen_by_a_tracker(error))


TOML = """
[destinations.a]
provider = "hightouch"
write_key = "{write_key}"
[destinations.b]
provider = "interakt"
api_key = {{ env = "KEY_B" }}
[destinations.c]
provider = "thrivestack"
token = {{ file = "token" }}
{mistake}
"""


@pytest.mark.parametrize(
    "mistake", ["nonsense = 1", "source = 7", '[delivery]\nlinger = "x"', "[destinations.d]", "][", "token = 1"]
)
def test_S1_variables_on_the_way_of_a_wrong_configuration(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a configuration is wrong, no variable on the way of the error shows a secret of its file or environment."""
    monkeypatch.setenv("KEY_B", CANARIES["api_key"])
    (tmp_path / "token").write_text(CANARIES["token"])
    file = tmp_path / "unitrack.toml"
    file.write_text(TOML.format(write_key=CANARIES["write_key"], mistake=mistake))
    mapping = {"destinations": {"a": {"provider": "hightouch", "write_key": CANARIES["write_key"], "nonsense": 1}}}
    calls: list[Callable[[], Any]] = [lambda: load(file), lambda: Client.from_config(file)]
    calls.append(lambda given=mapping.copy: Client.from_config(given()))  # type: ignore[misc]
    del mapping  # it is the test's own variable
    for call in calls:
        assert_clean(seen_by_a_tracker(raised(call, ConfigError)))


class Stored(Tampered):
    """Says that its records come from where others can write."""

    durability = "process"


#: Bodies that look like an object from both ends. Spliced into a batch they would spoil it, or add members to it.
BODIES = {
    "no JSON": b"{no}",
    "half of it": b'{"a":}',
    "two objects": b'{"a":1},{"b":2}',
    "out of its message": b'{"a":1},"userId":"somebody else","x":{"b":2}',
    "out of the batch": b'{"a":1}}],"writeKey":"theirs","batch":[{"properties":{"b":2}',
    "not UTF-8": b'{"a":"\xff"}',
}


def test_S13_bodies_that_were_tampered_with() -> None:
    """A stored body that is not one JSON object is never spliced into a request; only its own message is given up."""
    with FaultServer() as server:
        planted = [record(body) for body in BODIES.values()]
        client = Client({"cdp": hightouch(server)}, queue=Stored(planted))
        for message in tracks(len(planted) + 3):
            assert client.enqueue(message)
        assert client.flush(10)
        ledger = assert_conserved(client, server.oracle, accepted=len(planted) + 3)["cdp"]
        client.close()
        assert not any(b"theirs" in request.raw or b"somebody" in request.raw for request in server.requests)
    assert (ledger.delivered, ledger.dead) == (3, {"unreadable": len(planted)})


def test_S20_the_linter_finds_no_hole() -> None:
    """The rules of bandit, as ruff knows them, find nothing in the package."""
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select", "S", "--no-cache", str(ROOT / "unitrack")],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "NO_COLOR": "1"}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
