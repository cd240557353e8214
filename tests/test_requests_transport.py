"""A user's own session: what of it applies, and what must not touch our request."""

import logging
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from requests.adapters import HTTPAdapter

from unitrack.errors import ConfigError, DestinationFault, TransportError
from unitrack.transport import RequestsTransport
from unitrack.wire import Request

from .sockets import Server, answer, close, drip, play, reply, reset, send, tunnel


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[requests.Session]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with requests.Session() as made:
        yield made


def message(server: Server, **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(url=server.url + "/v1/track", headers={"Authorization": "Bearer ours"} | named, body=b"{}")


def test_the_session_s_headers_are_kept_unless_the_provider_has_them(session: requests.Session) -> None:
    session.headers.update({"X-Trace": "t-1", "Content-Type": "text/theirs", "Cookie": "asked=for"})
    session.headers["Accept"] = None  # type: ignore[assignment]  # requests' way to leave one out
    with Server() as server:
        RequestsTransport(session).send(message(server, content_type="application/json"), 5)
        (received,) = server.requests
    assert received.header("x-trace") == "t-1"
    assert received.header("content-type") == "application/json"
    assert received.header("cookie") == "asked=for"
    assert received.header("accept") is None
    assert received.header("user-agent") == session.headers["User-Agent"]


def test_netrc_does_not_replace_our_credentials(
    session: requests.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login ada password theirs\n")
    monkeypatch.setenv("NETRC", str(file))
    with Server() as server:
        RequestsTransport(session).send(message(server), 5)
        session.post(server.url, headers={"Authorization": "Bearer ours"})
        ours, plain = server.requests
    assert ours.header("authorization") == "Bearer ours"
    assert str(plain.header("authorization")).startswith("Basic "), "the file is one that requests reads"


def test_the_session_s_auth_and_params_stay_out(session: requests.Session) -> None:
    session.auth = ("ada", "theirs")
    session.params = {"theirs": "1"}
    with Server() as server:
        RequestsTransport(session).send(message(server), 5)
        (received,) = server.requests
    assert received.header("authorization") == "Bearer ours"
    assert received.target == "/v1/track"


def test_the_session_s_cookies_are_neither_sent_nor_added_to(session: requests.Session) -> None:
    session.cookies.set("theirs", "1", domain="127.0.0.1", path="/")
    with Server(reply(200, b"{}", {"Set-Cookie": "vendor=1; Path=/"})) as server:
        RequestsTransport(session).send(message(server), 5)
        session.get(server.url)
        ours, plain = server.requests
    assert ours.header("cookie") is None
    assert plain.header("cookie") == "theirs=1"


def test_an_answer_s_cookie_stays_out_of_the_jar(session: requests.Session) -> None:
    with Server(reply(200, b"{}", {"Set-Cookie": "vendor=1; Path=/"})) as server:
        RequestsTransport(session).send(message(server), 5)
    assert list(session.cookies) == []


def test_a_connection_is_used_again(session: requests.Session) -> None:
    with Server() as server:
        transport = RequestsTransport(session)
        for _ in range(3):
            transport.send(message(server), 5)
        assert server.connections == 1


def test_closing_the_transport_leaves_the_session_open(session: requests.Session) -> None:
    with Server() as server:
        transport = RequestsTransport(session)
        transport.send(message(server), 5)
        transport.close()
        assert session.get(server.url).status_code == 200
        assert server.connections == 1


def test_hooks_see_the_answer_and_cannot_hide_it(session: requests.Session) -> None:
    seen = []

    def watch(response: requests.Response, **_: Any) -> None:
        seen.append(response.status_code)
        response.raise_for_status()

    session.hooks["response"].append(watch)
    with Server(reply(400, b"bad event")) as server:
        response = RequestsTransport(session).send(message(server), 5)
    assert (response.status, response.body) == (400, b"bad event")
    assert seen == [400]


def test_a_hook_that_breaks_hides_nothing(session: requests.Session) -> None:
    session.hooks["response"].append(lambda response, **_: response.nonsense)
    with Server(reply(202)) as server:
        assert RequestsTransport(session).send(message(server), 5).status == 202


class CountingAdapter(HTTPAdapter):
    sent = 0

    def send(self, *args: Any, **named: Any) -> requests.Response:
        self.sent += 1
        return super().send(*args, **named)


def test_the_session_s_adapters_do_the_sending(session: requests.Session) -> None:
    adapter = CountingAdapter()
    session.mount("http://127.0.0.1", adapter)
    with Server() as server:
        RequestsTransport(session).send(message(server), 5)
    assert adapter.sent == 1


class ForgetfulSession(requests.Session):
    """Leaves out the hooks, as a stand-in for tests may."""

    def send(self, request: requests.PreparedRequest, **named: Any) -> requests.Response:
        request.hooks = {"response": []}
        return super().send(request, **named)


def test_a_session_without_hooks_works() -> None:
    with Server(reply(201, b"made")) as server, ForgetfulSession() as session:
        response = RequestsTransport(session).send(message(server), 5)
    assert (response.status, response.body) == (201, b"made")


def test_a_session_that_does_not_verify_is_refused(session: requests.Session) -> None:
    session.verify = False
    with pytest.raises(ConfigError, match="verify=False"):
        RequestsTransport(session)


def test_verification_that_was_switched_off_later_is_refused_too(session: requests.Session) -> None:
    transport = RequestsTransport(session)
    session.verify = False
    with Server() as server:
        with pytest.raises(DestinationFault, match="verify=False") as caught:
            transport.send(message(server), 5)
        assert server.connections == 0
    assert not caught.value.sent


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_the_session_s_authority_is_trusted(
    session: requests.Session, authority: trustme.CA, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    session.verify = str(file)
    with Server(tls=tls) as server:
        assert RequestsTransport(session).send(message(server), 5).status == 200


def test_the_session_s_proxies_are_used(
    session: requests.Session, authority: trustme.CA, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    session.verify = str(file)
    with Server(tls=tls) as server, Server(reply(407), play(tunnel())) as proxy:
        session.proxies = {"https": proxy.url}
        transport = RequestsTransport(session)
        with pytest.raises(TransportError, match=r"the proxy refused the connection \(407\)") as caught:
            transport.send(message(server), 5)
        assert not caught.value.sent
        assert transport.send(message(server), 5).status == 200
        assert [connect.header("authorization") for connect in proxy.requests] == [None, None]
        session.close()


def test_an_unknown_authority_is_the_destination_s_fault(session: requests.Session, tls: ssl.SSLContext) -> None:
    with Server(tls=tls) as server:
        with pytest.raises(DestinationFault, match="certificate: ") as caught:
            RequestsTransport(session).send(message(server), 5)
        assert server.requests == []
    assert not caught.value.sent


def test_plain_text_on_a_tls_port_is_the_destination_s_fault(session: requests.Session) -> None:
    with (
        Server(on_accept=send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server,
        pytest.raises(DestinationFault, match="does not speak TLS") as caught,
    ):
        RequestsTransport(session).send(Request(url=f"https://{server.address}/", headers={}, body=b""), 5)
    assert not caught.value.sent


def test_an_adapter_that_repeats_may_have_sent_it_before(session: requests.Session) -> None:
    session.mount("http://", HTTPAdapter(max_retries=2))
    with Server() as server:
        request = message(server)
    with pytest.raises(TransportError, match="connection refused") as caught:
        RequestsTransport(session).send(request, 5)
    assert caught.value.sent


def test_a_dead_idle_connection_is_replaced(session: requests.Session) -> None:
    with Server(play(send(answer()), close())) as server:
        transport = RequestsTransport(session)
        for count in (1, 2):
            assert transport.send(message(server), 5).status == 200
            server.wait_until_ended(count)


def test_nothing_is_repeated(session: requests.Session) -> None:
    with Server(reply(), play(reset()), reply()) as server:
        transport = RequestsTransport(session)
        transport.send(message(server), 5)
        with pytest.raises(TransportError):
            transport.send(message(server), 5)
        assert len(server.requests) == 2


def test_headers_that_drip_may_outlive_the_deadline_but_not_for_ever(session: requests.Session) -> None:
    # The gap that the class admits to: each byte is in time, so requests goes on reading.
    with Server(play(drip(answer(201), every=0.01))) as server, pytest.raises(TransportError, match="no answer within"):
        RequestsTransport(session).send(message(server), 0.2)


def test_nothing_of_ours_is_logged(session: requests.Session, caplog: pytest.LogCaptureFixture) -> None:
    with Server() as server, caplog.at_level(logging.INFO):
        RequestsTransport(session).send(message(server), 5)
    assert caplog.records == []
