"""The stage itself: each fault must really reach a plain client, and the checks must bite."""

import http.client

import pytest

from tests.faults.conftest import assert_clean
from tests.faults.world import CANARIES, FaultServer, Oracle, assert_conserved, store, stored
from tests.sockets import play, reply, reset
from unitrack import Client
from unitrack.providers import Hightouch


def post(server: FaultServer, body: bytes) -> int:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=5)
    try:
        connection.request("POST", "/v1/batch", body)
        return connection.getresponse().status
    finally:
        connection.close()


BODY = (
    b'{"batch":[{"messageId":"a","userId":"u","properties":{"i":1}},'
    b'{"messageId":"b","userId":"u","properties":{"i":0}}]}'
)


def test_what_a_script_stores_is_in_the_oracle() -> None:
    with FaultServer(stored()) as server:
        assert post(server, BODY) == 200
        assert post(server, BODY) == 200
        assert server.oracle.delivered == {"a", "b"}
        assert server.oracle.duplicates == 2
        assert server.oracle.order_violations() == 1


def test_store_then_reset_reaches_a_plain_client_as_a_reset() -> None:
    with FaultServer(play(store(), reset())) as server:
        with pytest.raises(ConnectionResetError):
            post(server, BODY)
        assert server.oracle.delivered == {"a", "b"}


def test_a_script_can_be_chosen_by_message() -> None:
    def choose(messages):  # type: ignore[no-untyped-def]
        return reply(400) if any(m["messageId"] == "b" for m in messages) else None

    with FaultServer(by_message=choose) as server:
        assert post(server, BODY) == 400
        assert post(server, BODY.replace(b'"b"', b'"c"')) == 200
        assert server.oracle.attempts == {"a": 2, "b": 1, "c": 1}


def test_silent_loss_is_noticed() -> None:
    with FaultServer(reply(200)) as server:  # answers well and stores nothing
        with Client({"cdp": Hightouch(write_key=CANARIES["write_key"], base_url=server.url)}) as client:
            client.track("u", "E")
            assert client.flush(5)
            with pytest.raises(AssertionError, match="said to be delivered"):
                assert_conserved(client, server.oracle)
            with pytest.raises(AssertionError):
                assert_conserved(client, Oracle(), accepted=2)


def test_a_canary_is_noticed_in_each_form() -> None:
    import base64

    key = CANARIES["api_key"]
    for text in (key, f"x{key}y", base64.b64encode(f"{key}:".encode()).decode()):
        with pytest.raises(AssertionError, match="leaked"):
            assert_clean(text)
