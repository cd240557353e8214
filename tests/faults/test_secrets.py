"""Fault rows S: secrets in what is shown, tampered records, forged log lines."""

import ast
import copy
import http.client
import logging
import marshal
import pickle
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests

import unitrack
from tests.cli.running import unitrack as command
from tests.faults.conftest import assert_clean, forms
from tests.faults.vendors import hightouch, interakt, suprsend, thrivestack, tracks, webhook
from tests.faults.world import CANARIES, FaultServer, assert_conserved, store, stored
from tests.sockets import Peer, Server, answer, close, play, send, stall
from unitrack import Client, Destination, InvalidMessage, QueueFull
from unitrack.codec import UnreadableRecord, unpack
from unitrack.config import load
from unitrack.errors import TransportError
from unitrack.providers import SuprSend, Thrivestack, Webhook
from unitrack.queues.memory import MemoryQueue
from unitrack.transport import Urllib3Transport
from unitrack.wire import Provider

#: All but the checks for other people's tests, which pickle and unpickle a provider of their own.
SOURCES = [path for path in Path(unitrack.__file__).parent.rglob("*.py") if path.parent.name != "testing"]


def by_bearer(server: Server) -> SuprSend:
    return SuprSend(workspace_uid=CANARIES["workspace_key"], api_key=CANARIES["api_key"], base_url=server.url)


def by_token(server: Server) -> Thrivestack:
    return Thrivestack(token=CANARIES["token"], base_url=server.url)


def by_address(server: Server) -> Webhook:
    return Webhook(url=f"{server.url}/hooks/{CANARIES['api_key']}/in?key={CANARIES['token']}")


def by_header(server: Server) -> Webhook:
    return Webhook(url=server.url, headers={"X-Key": CANARIES["api_key"], "Authorization": f"Key {CANARIES['token']}"})


#: Every form of credential that there is.
CREDENTIALS: dict[str, Callable[[Server], Provider]] = {
    "hightouch": hightouch,
    "hightouch basic": lambda server: hightouch(server, auth="basic"),
    "interakt": interakt,
    "suprsend signed": suprsend,
    "suprsend bearer": by_bearer,
    "thrivestack token": by_token,
    "thrivestack key": thrivestack,
    "webhook token": webhook,
    "webhook address": by_address,
    "webhook headers": by_header,
}

each_credential = pytest.mark.parametrize("make", CREDENTIALS.values(), ids=CREDENTIALS.keys())


def echo(status: int) -> Any:
    """Answer with the request itself, as servers under development do."""

    def act(peer: Peer) -> None:
        assert peer.request is not None
        peer.send(answer(status, peer.request.raw.replace(b"\r\n\r\n", b"\r\n")))

    return play(act)


@each_credential
def test_S1_secrets_in_what_is_shown(make: Callable[[Server], Provider]) -> None:
    """No credential is in a repr, a log line at DEBUG, a dead letter, a callback or a ledger, even if it is echoed."""
    told: list[Any] = []
    with FaultServer(echo(503), echo(400), echo(401), stored()) as server:
        provider = make(server)
        client = Client(
            {"it": provider}, on_delivery=told.extend, on_drop=told.extend, debug=True,
            dice=lambda: 0.0, probe_interval=0.02,
        )  # fmt: skip
        told += [client.send([message], timeout=0.3) for message in tracks(2)]
        assert client.flush(10)
        ledger = assert_conserved(client, server.oracle, accepted=2)["it"]
        told += [ledger, client, client.destinations, client.settings, *client.dead_letters(), client.close()]
        assert ledger.dead == {"rejected": 1}
        sent = server.requests
    if provider.name != "suprsend" or (isinstance(provider, SuprSend) and provider.api_key):
        known = [form for name, one in CANARIES.items() if name != "workspace_key" for form in forms(one)]
        assert any(form.encode() in one.raw for one in sent for form in known), "this form sends no canary at all"
    for one in [provider, Destination(provider), copy.deepcopy(provider), *told]:
        assert_clean(repr(one), str(one), f"{one!s:.99999}", [one], {"one": one})
    with pytest.raises(TypeError, match="never pickled") as caught:
        pickle.dumps(provider)
    assert_clean(caught.getrepr(style="short"))


def shown(error: BaseException) -> str:
    """Print an error as error trackers do, with the values of all variables on its way."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


@each_credential
def test_S1_secrets_in_exceptions(make: Callable[[Server], Provider]) -> None:
    """What a call of a client raises shows no credential, not even with the local variables of every frame."""
    release = threading.Event()  # so that the queue stays full
    with FaultServer(play(stall(release), store(), send(answer()))) as server:
        client = Client({"it": make(server)}, strict=True, on_full="raise", max_events=1, linger=60.0)
        errors: list[BaseException] = []
        for message in tracks(2):
            with suppress(QueueFull):
                assert client.enqueue(message)
        wrong: list[Callable[[], object]] = [
            lambda: client.track("u", "E", {"bad": object()}),
            lambda: client.track("u", "E"),
            lambda: client.dead_letters("nobody"),
            lambda: pickle.dumps(client),
            lambda: pickle.dumps(client.destinations["it"]),
            lambda: Client(client.destinations, nonsense=1),
            lambda: Client(client.destinations, transport=7),
        ]
        for call in wrong:
            with pytest.raises((InvalidMessage, QueueFull, ValueError, TypeError)) as caught:
                call()
            errors.append(caught.value)
        assert {type(error).__name__ for error in errors} == {
            "InvalidMessage", "QueueFull", "ConfigError", "TypeError",
        }  # fmt: skip
        release.set()
        client.close(5)
        assert_conserved(client, server.oracle)
    assert_clean(*map(shown, errors))


def test_S1_secrets_in_the_command(tmp_path: Path) -> None:
    """``unitrack check`` shows which secrets are set, and none of them."""
    file = tmp_path / "unitrack.toml"
    file.write_text(
        '[destinations.a]\nprovider = "hightouch"\nwrite_key = { env = "A" }\nauth = "basic"\n'
        '[destinations.b]\nprovider = "interakt"\napi_key = { env = "B" }\n'
        '[destinations.c]\nprovider = "thrivestack"\ntoken = { env = "C" }\n'
        '[destinations.d]\nprovider = "suprsend"\nworkspace_key = { env = "D" }\nworkspace_secret = { env = "E" }\n'
        '[destinations.e]\nprovider = "webhook"\nurl = { env = "F" }\ntoken = { env = "C" }\n'
    )
    values = dict(zip("ABCDE", CANARIES.values(), strict=True), F=f"https://hooks.example/{CANARIES['api_key']}")
    for form in ("text", "json"):
        said = command("check", "--config", str(file), "--format", form, stdin=None, **values)
        assert said.exit_code == 0, said.output
        assert "(set)" in said.output
        assert_clean(said.output, said.stderr)
    found = load(file, environ=values)
    assert_clean(repr(found), found.describe(), *found.destinations.values())
    with pytest.raises(unitrack.ConfigError) as caught:
        load(file, environ={**values, "UNITRACK_DESTINATIONS__A__AUTH": CANARIES["write_key"]})
    assert_clean(caught.value)


@each_credential
def test_S1_secrets_in_errors_of_the_network(make: Callable[[Server], Provider]) -> None:
    """What went wrong on the wire is told without the address' path, headers or body, its causes included."""
    with FaultServer(play(close())) as server:
        provider = make(server)
        with Client({"it": provider}, mode="sync", max_retries=1, dice=lambda: 0.0) as client:
            receipt = client.track("u", "Paid", {"id": "1"})
            assert not receipt
            assert "closed" in str(receipt.reason)
            assert assert_conserved(client, server.oracle, accepted=1)["it"].dead == {"exhausted": 1}
            part = provider.encode(unpack(client.dead_letters()[0].record))
        request = provider.request([part], datetime.now(UTC))
        transport = Urllib3Transport()
        with pytest.raises(TransportError) as caught:
            transport.send(request, 5)
        transport.close()
    told = traceback.format_exception(caught.value)
    assert_clean(receipt, request, part, repr(caught.value), *told)


# -- what is read back


class Run:
    """Would run code when it is unpickled."""

    ran = 0

    def __reduce__(self) -> Any:
        return (run, ())


def run() -> None:
    Run.ran += 1


def record(_body: bytes = b"{}", **members: Any) -> bytes:
    plain = {"v": 1, "kind": "track", "timestamp": "2026-01-15T12:00:00Z", "user_id": "u", "event": "E"}
    return orjson.dumps(plain | members) + b"\n" + _body


PLANTED = {
    "empty": b"",
    "pickle": pickle.dumps(Run()),
    "pickle in a record": record(pickle.dumps(Run())),
    "marshal": marshal.dumps({"v": 1}),
    "yaml": b"!!python/object/apply:tests.faults.test_secrets.run []\n{}",
    "deep": b"[" * 100_000,
    "deep in a record": record(context=None)[:-4] + b"[" * 50_000,
    "another address": record(base_url="https://evil.example"),
    "another key": record(write_key="theirs"),
    "headers": record(headers={"x-evil": "1"}),
    "another class": record(kind="Client"),
    "another version": record(v=2),
    "wrong type": record(user_id=["u"]),
    "local file": record(attachments=[["file:///etc/passwd", None, False, None, None]]),
    "attribute": record(__class__="x"),
    "cut off": record(b'{"a":'),
    "not UTF-8": b"\xff\xfe" + record(),
}


class Tampered(MemoryQueue):
    """A queue whose store somebody else can write to."""

    def __init__(self, records: Sequence[bytes]) -> None:
        super().__init__()
        self._planted = list(records)

    def put(self, seq: int, message_id: str, lane: int, record: bytes, *rest: Any) -> Sequence[str]:
        planted = self._planted.pop() if self._planted else record
        return super().put(seq, message_id, lane, planted, *rest)


def test_S13_records_that_were_tampered_with() -> None:
    """What somebody planted in a queue is never run nor sent; it becomes a dead letter, and the rest goes on."""
    with FaultServer() as server:
        client = Client({"cdp": hightouch(server)}, queue=Tampered(list(PLANTED.values())))
        for message in tracks(len(PLANTED) + 3):
            assert client.enqueue(message)
        assert client.flush(10)
        ledger = assert_conserved(client, server.oracle, accepted=len(PLANTED) + 3)["cdp"]
        assert ledger.dead == {"unreadable": len(PLANTED)}
        letters = client.dead_letters("cdp")
        client.close()
        assert len(server.oracle.delivered) == 3
        assert not any(b"evil" in request.raw for request in server.requests)
    # They cannot be read by whoever looks at the dead letters either.
    for letter in letters:
        assert letter.record in PLANTED.values()
        with pytest.raises(UnreadableRecord):
            unpack(letter.record)
    assert Run.ran == 0


def test_S13_nothing_can_run_what_it_reads() -> None:
    """No code of the package unpickles, unmarshals, evaluates or imports what it reads."""
    forbidden = {"pickle", "marshal", "shelve", "dill", "yaml", "eval", "exec", "compile", "__import__"}
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            match node:
                case ast.Import():
                    names = [alias.name for alias in node.names]
                case ast.ImportFrom():
                    names = [node.module or ""]
                case ast.Call(func=ast.Name(id=name)):
                    names = [name]
                case _:
                    continue
            found += [f"{path.name}:{node.lineno}" for name in names if name.partition(".")[0] in forbidden]
    assert len(SOURCES) > 50
    assert found == []


# -- logs


def test_S17_forged_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Each log line of ours is one short line without control characters, whatever ids and answers hold."""
    forged = "x\r\n2026-01-01 CRITICAL root: paid\x1b[2J\x1b[31m\u2028\x85\x00" + "y" * 1_000_000
    with FaultServer(play(send(answer(400, forged.encode())))) as server:
        with Client({"it": webhook(server)}, debug=True, dice=lambda: 0.0) as client:
            for number in range(50):
                client.track(f"u\n{number}", "E\nCRITICAL", {}, message_id=f"{number}\nCRITICAL root: forged\x1b[2J")
            client.track("u", forged)
            client.track(forged, "E", message_id=forged)
            client.track("u", "E", {forged: object()})
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle)["it"]
            assert ledger.dead["rejected"] >= 50
    lines = [one.getMessage() for one in caplog.records if one.name.startswith("unitrack")]
    assert any("dead letter" in line for line in lines)
    assert [line[:200] for line in lines if not line.isprintable() or len(line) > 700] == []
    # They are all of one kind, so the log says it once and not fifty times.
    assert sum("is a dead letter (rejected" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("make", "session"),
    # Not a webhook's address through a session: its urllib3 logs it, as the docstring of RequestsTransport says.
    [
        (make, session)
        for make in CREDENTIALS.values()
        for session in (False, True)
        if not (session and make is by_address)
    ],
)
def test_S22_debug_logs_of_the_http_library(
    make: Callable[[Server], Provider], session: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The HTTP library's own lines at DEBUG hold neither headers nor bodies, nor the address of a webhook."""
    with FaultServer(play(close()), stored()) as server, requests.Session() as own:
        transport = own if session else None
        with Client({"it": make(server)}, transport=transport, debug=True, dice=lambda: 0.0) as client:
            assert client.send(tracks(2), timeout=10).success == 2
            assert_conserved(client, server.oracle, accepted=2)
    assert http.client.HTTPConnection.debuglevel == 0
    assert "urllib3.connectionpool" in {one.name for one in caplog.records}
    assert_clean(*(one.getMessage() for one in caplog.records))
    assert "user-agent" not in caplog.text.lower()
    assert logging.getLogger("urllib3").level == logging.NOTSET
