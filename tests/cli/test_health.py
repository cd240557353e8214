"""What a worker answers on its port."""

import json
import socket
from contextlib import closing

import pytest

from unitrack import ConfigError, Ledger
from unitrack.cli.health import STUCK, Health, answering


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_worker_that_gives_no_sign_of_life_is_stuck() -> None:
    time = Time()
    health = Health(time)
    health.note({"cdp": Ledger(accepted=3, delivered=1, dead={"rejected": 1}, pending=1, held="HTTP 401")}, "no broker")
    time.now += STUCK
    status, body = health.answer()
    assert status == 200
    assert json.loads(body)["trouble"] == "no broker"
    assert json.loads(body)["destinations"] == {
        "cdp": {"delivered": 1, "pending": 1, "retried": 0, "dead": {"rejected": 1}, "held": "HTTP 401"}
    }
    time.now += 0.1
    status, body = health.answer()
    assert status == 503
    assert json.loads(body)["status"] == "stuck"
    health.note({}, None)
    assert health.answer()[0] == 200


def test_a_port_that_is_taken_is_a_clear_error() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=f"--health-port {port}: Address already in use"),
            answering(Health(), port),
        ):
            pass
