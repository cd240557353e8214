"""The scripted server makes the faults that it says it makes: a plain http.client meets each of them."""

import http.client
import socket
import threading
import time

import pytest

from tests.patience import SLACK

from .sockets import Server, answer, close, drip, endless, half_close, mark, play, reply, reset, send, stall


def ask(server: Server, body: bytes = b"{}", timeout: float = 5) -> tuple[int, bytes]:
    line = http.client.HTTPConnection(server.host, server.port, timeout=timeout)
    try:
        line.request("POST", "/x", body, {"X-Id": "1"})
        response = line.getresponse()
        return response.status, response.read()
    finally:
        line.close()


def test_a_request_is_kept_as_it_arrived() -> None:
    with Server() as server:
        assert ask(server, b"body") == (200, b"{}")
        (received,) = server.requests
    assert received.request_line == "POST /x HTTP/1.1"
    assert received.header("X-ID") == "1"
    assert received.header("absent") is None
    assert received.body == b"body"


def test_scripts_are_played_in_order_and_the_last_one_stays() -> None:
    with Server(reply(500), reply(404, b"no")) as server:
        assert [ask(server) for _ in range(3)] == [(500, b"{}"), (404, b"no"), (404, b"no")]


def test_scripts_can_be_replaced() -> None:
    with Server(reply(500)) as server:
        assert ask(server)[0] == 500
        server.switch_to(reply(404), reply(201))
        assert [ask(server)[0] for _ in range(3)] == [404, 201, 201]


def test_a_server_can_follow_another_on_its_port() -> None:
    with Server() as first:
        assert ask(first)[0] == 200
    with Server(reply(201), port=first.port) as second:
        assert ask(second)[0] == 201


def test_a_connection_is_kept_after_a_reply() -> None:
    with Server() as server:
        line = http.client.HTTPConnection(server.host, server.port, timeout=5)
        for _ in range(3):
            line.request("POST", "/x", b"{}")
            assert line.getresponse().read() == b"{}"
        line.close()
        assert server.connections == 1


def test_close_ends_without_an_answer() -> None:
    with Server(play(close())) as server, pytest.raises(http.client.RemoteDisconnected):
        ask(server)


def test_half_close_ends_what_is_sent_and_goes_on_reading() -> None:
    with Server(play(send(b"HTTP/1.1 200 OK\r\n\r\nall"), half_close())) as server:
        assert ask(server) == (200, b"all")


@pytest.mark.parametrize("read", [None, 10])
def test_reset_is_a_reset(read: int | None) -> None:
    with Server(play(reset(), read=read)) as server, pytest.raises(ConnectionResetError):
        ask(server)


def test_reset_on_accept_comes_before_anything_is_read() -> None:
    with Server(on_accept=reset()) as server:
        with pytest.raises(ConnectionError):
            ask(server)
        assert server.requests == []


def test_stall_lasts_until_the_client_gives_up() -> None:
    with Server(play(stall())) as server, pytest.raises(TimeoutError):
        ask(server, timeout=0.1)


def test_stall_can_be_let_go() -> None:
    arrived, go_on = threading.Event(), threading.Event()
    with Server(play(mark(arrived), stall(go_on), send(answer(201)))) as server:
        answers: list[tuple[int, bytes]] = []
        thread = threading.Thread(target=lambda: answers.append(ask(server)))
        thread.start()
        assert arrived.wait(5)
        assert answers == []
        go_on.set()
        thread.join(5)
        assert answers == [(201, b"{}")]


def test_a_drip_is_slow_but_complete() -> None:
    began = time.monotonic()
    data = answer()
    with Server(play(drip(data, every=0.002))) as server:
        assert ask(server) == (200, b"{}")
    assert time.monotonic() - began >= 0.002 * (len(data) - 1)


def test_a_wrong_length_cuts_the_answer_off() -> None:
    with (
        Server(play(send(answer(200, b"{}", {"Content-Length": "9"})), close())) as server,
        pytest.raises(http.client.IncompleteRead),
    ):
        ask(server)


def test_an_endless_body_is_endless_enough() -> None:
    with Server(play(send(b"HTTP/1.1 200 OK\r\n\r\n"), endless(b"x" * 1000, 50_000), close())) as server:
        assert ask(server) == (200, b"x" * 50_000)


def test_closing_the_server_wakes_everybody() -> None:
    began = time.monotonic()
    with Server(play(stall())) as server, socket.create_connection((server.host, server.port)) as idle:
        waiting = socket.create_connection((server.host, server.port))
        waiting.sendall(b"POST / HTTP/1.1\r\n\r\n")
        server.wait_for(1)
    assert time.monotonic() - began < SLACK
    assert idle.fileno() == -1
    waiting.close()
