"""Fault rows N: TLS that does not hold what it should, and redirects that lead elsewhere."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme

from tests.faults.vendors import hightouch, interakt, suprsend, tracks
from tests.faults.world import CANARIES, FaultServer, assert_conserved, stored, until
from tests.sockets import Server, answer, close, play, reply, send, stall
from unitrack import Client, Hold
from unitrack.providers import Hightouch
from unitrack.transport import Urllib3Transport


class Authority:
    """Signs certificates of servers, and is trusted by one transport."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        trusting = ssl.create_default_context()
        self._authority.configure_trust(trusting)
        self.transport = Urllib3Transport(ssl_context=trusting)

    def server(self, *names: str, expires: datetime | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*(names or ("127.0.0.1",)), not_after=expires).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    made = Authority()
    yield made
    made.transport.close()


def over_tls(server: Server) -> Hightouch:
    return Hightouch(write_key=CANARIES["write_key"], base_url=f"https://{server.address}")


WRONG: dict[str, tuple[Any, str]] = {
    "unknown authority": (lambda authority: Authority().server(), "certificate: unable to get local issuer"),
    "expired": (
        lambda authority: authority.server("127.0.0.1", expires=datetime.now(UTC) - timedelta(days=1)),
        "certificate: certificate has expired",
    ),
    "wrong host": (lambda authority: authority.server("shop.example"), "certificate: IP address mismatch"),
    "plain HTTP": (lambda authority: None, "the server does not speak TLS here; correct the host or port in base_url"),
}


@pytest.mark.parametrize(("context", "says"), WRONG.values(), ids=WRONG.keys())
def test_N5_certificate_or_no_tls(
    authority: Authority, context: Any, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where TLS is wrong no byte of a request leaves, the messages are kept, and the log names the cause once."""
    # What comes is no HTTP request to a server without TLS, which says so after the first bytes.
    refuse = play(send(answer(400)), close(), read=5)
    tls = context(authority)
    with FaultServer(stored() if tls else refuse, tls=tls) as server:
        client = Client({"cdp": over_tls(server)}, transport=authority.transport, probe_interval=0.1)
        report = client.send(tracks(300), timeout=10)
        assert {type(outcome) for outcome in report.verdicts.values()} == {Hold}
        ledger = assert_conserved(client, server.oracle, accepted=300, settled=False)["cdp"]
        assert (ledger.pending, ledger.dead) == (300, {})
        assert ledger.held is not None
        assert says in ledger.held
        assert not any(CANARIES["write_key"].encode() in request.raw for request in server.requests)
        assert [line for line in caplog.messages if "on hold" in line and says in line] == [
            line for line in caplog.messages if "on hold" in line
        ]
        server.switch_to(stored())
        server.tls = authority.server()
        assert client.flush(10)
        assert assert_conserved(client, server.oracle, accepted=300)["cdp"].delivered == 300
        client.close()
    assert sum("on hold" in line for line in caplog.messages) == 1
    assert server.oracle.duplicates == 0


def test_N6_handshake_stalls(authority: Authority) -> None:
    """A TLS handshake that stalls ends at ``connect_timeout``, and is tried again."""

    def first_stalls(peer: Any) -> None:
        if peer.number == 1:
            stall()(peer)

    with FaultServer(tls=authority.server(), on_accept=first_stalls) as server:
        settings = {"connect_timeout": 0.3, "dice": lambda: 0.1}
        with Client({"cdp": over_tls(server)}, transport=authority.transport, **settings) as client:
            report = client.send(tracks(100), timeout=10)
            ledger = assert_conserved(client, server.oracle, accepted=100)["cdp"]
    assert report.success == 100
    assert ledger.retried > 0
    assert server.oracle.duplicates == 0


CODES = [301, 302, 303, 307, 308]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("provider", [hightouch, interakt, suprsend])
def test_N22_redirect_to_another_host(code: int, provider: Any) -> None:
    """A redirect is never followed: the other host gets no connection, and the messages are kept until it is gone."""
    with Server(host="127.0.0.2") as elsewhere:
        with FaultServer(reply(code, b"moved", {"Location": elsewhere.url + "/v1/batch"})) as server:
            client = Client({"it": provider(server)}, probe_interval=0.05)
            report = client.send(tracks(30), timeout=10)
            assert {type(outcome) for outcome in report.verdicts.values()} == {Hold}
            ledger = assert_conserved(client, server.oracle, accepted=30, settled=False)["it"]
            assert (ledger.pending, ledger.delivered, ledger.dead) == (30, 0, {})
            assert ledger.held == f"{code}: a redirect is never followed; correct base_url"
            server.switch_to(stored(202))
            assert client.flush(10)
            assert assert_conserved(client, server.oracle, accepted=30)["it"].delivered == 30
            client.close()
            assert server.oracle.duplicates == 0
        assert elsewhere.connections == 0


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("target", ["/v1/batch", "/elsewhere", "", "//127.0.0.2:1/v1/batch"])
def test_N22_redirect_to_itself(code: int, target: str) -> None:
    """A redirect in a circle, or to another path of the same host, is not followed either."""
    with FaultServer(reply(code, b"", {"Location": target})) as server:
        with Client({"cdp": hightouch(server)}, probe_interval=0.05) as client:
            client.send(tracks(3), timeout=10)
            assert {request.target for request in server.requests} == {"/v1/batch"}
            until(lambda: len(server.requests) >= 2)  # the next probe
            assert client.stats()["cdp"].pending == 3
            server.switch_to(stored())
            assert client.flush(10)
            assert assert_conserved(client, server.oracle, accepted=3)["cdp"].delivered == 3
        assert {request.target for request in server.requests} == {"/v1/batch"}
        assert {request.request_line for request in server.requests} == {"POST /v1/batch HTTP/1.1"}


@pytest.mark.parametrize("code", CODES)
def test_N22_redirect_from_https_to_http(authority: Authority, code: int) -> None:
    """A redirect from https to plain http is not followed."""
    with Server() as plain, FaultServer(reply(code, b"", {"Location": plain.url}), tls=authority.server()) as server:
        client = Client({"cdp": over_tls(server)}, transport=authority.transport, probe_interval=0.05)
        client.send(tracks(3), timeout=10)
        assert client.stats()["cdp"].pending == 3
        server.switch_to(stored())
        assert client.flush(10)
        assert assert_conserved(client, server.oracle, accepted=3)["cdp"].delivered == 3
        client.close()
        assert plain.connections == 0
