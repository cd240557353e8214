"""A broker for the tests of a module, empty at the beginning of each."""

from collections.abc import Iterator

import pytest

from tests.broker import BrokerServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    with BrokerServer(tmp_path_factory.mktemp("broker"), ["--appendfsync", "always"]) as one:
        yield one


@pytest.fixture
def broker(server: BrokerServer) -> BrokerServer:
    if not server.runs:  # the test before killed it
        server.start()
    with server.client() as client:
        client.flushall()
    return server
