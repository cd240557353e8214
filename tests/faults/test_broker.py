"""Fault rows Q: the broker is away, unsafe, full or out of reach, and what it holds is not what was put."""

import logging
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme

from tests.broker import BrokerServer, open_at
from tests.cutting import Cutting
from tests.faults.figures import figure
from tests.faults.vendors import enqueue_all, hightouch, tracks
from tests.faults.world import FaultServer, assert_conserved, until
from unitrack import Client, ConfigError
from unitrack.queues.redis import RedisQueue, spool_directory

PASSWORD = "canary-broker-password-91c3"


class Stage:
    """A broker, a vendor, and clients that are closed at the end."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.vendor = stack.enter_context(FaultServer())

    def broker(self, *options: str, keep: bool = True) -> BrokerServer:
        return self._stack.enter_context(BrokerServer(self.folder / "broker", options, keep=keep))

    def cutting(self, broker: BrokerServer, tls: ssl.SSLContext | None = None) -> Cutting:
        return self._stack.enter_context(Cutting(broker.port, tls))

    def queue(self, url: str, **settings: Any) -> RedisQueue:
        ttl = settings.pop("ttl", 15.0)
        return open_at(url, self.folder / "spool", ttl=ttl, **settings)

    def client(self, queue: RedisQueue, **settings: Any) -> Client:
        client = Client({"cdp": hightouch(self.vendor)}, queue=queue, linger=0.02, **settings)
        self._stack.callback(client.close, 1.0)
        return client


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(tmp_path, stack)


def test_Q1_the_broker_is_away_when_messages_are_put(stage: Stage) -> None:
    """While the broker is away, messages wait in the local spool; no call waits for it, and nothing is lost."""
    broker = stage.broker()
    broker.kill()
    client = stage.client(stage.queue(broker.url))
    took = sorted(enqueue_all(client, tracks(500)))
    figure(f"Q1: put p99 {took[-5] * 1000:.2f} ms, longest {took[-1] * 1000:.2f} ms")
    assert took[-5] <= 1.0, "a call waits for the disk, and never for the broker"
    assert not client.flush(0.2)
    broker.start()
    assert client.flush(20)
    assert assert_conserved(client, stage.vendor.oracle, accepted=500)["cdp"].delivered == 500
    assert stage.vendor.oracle.duplicates == 0
    assert stage.vendor.oracle.order_violations() == 0


def test_Q1_a_process_ends_while_the_broker_is_away(stage: Stage) -> None:
    """What waits in the spool when a process ends is brought to the broker by the next one."""
    broker = stage.broker()
    broker.kill()
    client = stage.client(stage.queue(broker.url))
    enqueue_all(client, tracks(50))
    client.close(0.1)
    broker.start()
    after = stage.client(stage.queue(broker.url))
    until(lambda: after.stats()["cdp"].delivered == 50)
    assert_conserved(after, stage.vendor.oracle, accepted=50)
    assert stage.vendor.oracle.duplicates == 0


def test_Q2_the_broker_is_killed_and_comes_back(stage: Stage) -> None:
    """A broker that is killed and started again goes on where it was; nothing is lost."""
    broker = stage.broker("--appendfsync", "always")
    client = stage.client(stage.queue(broker.url))
    messages = tracks(2_000)
    for round_ in range(4):
        enqueue_all(client, messages[500 * round_ : 500 * round_ + 500])
        until(lambda: len(stage.vendor.oracle.delivered) >= 500 * round_ + 100)  # noqa: B023
        broker.kill()
        broker.start()
    assert client.flush(30)
    assert assert_conserved(client, stage.vendor.oracle, accepted=2_000)["cdp"].delivered == 2_000
    figure(
        f"Q2: 4 kills of the broker: 2,000 accepted, {len(stage.vendor.oracle.delivered):,} arrived, "
        f"{stage.vendor.oracle.duplicates} twice, {stage.vendor.oracle.order_violations()} out of order"
    )
    assert stage.vendor.oracle.order_violations() == 0


def test_Q2_the_broker_is_emptied(stage: Stage) -> None:
    """Somebody who empties the broker destroys what is in it; what is put afterwards goes on."""
    broker = stage.broker()
    client = stage.client(stage.queue(broker.url))
    enqueue_all(client, tracks(20))
    assert client.flush(10)
    with broker.client() as seen:
        seen.flushall()
    enqueue_all(client, tracks(40)[20:])
    assert client.flush(20)
    assert_conserved(client, stage.vendor.oracle, accepted=40)


@pytest.mark.parametrize(
    ("options", "keep", "setting"),
    [([], False, "appendonly yes"), (["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"], True, "noeviction")],
)
def test_Q3_an_unsafe_broker(stage: Stage, options: list[str], keep: bool, setting: str) -> None:
    """A broker that may lose messages is refused, unless ``allow_unsafe_broker`` says that this is all right."""
    broker = stage.broker(*options, keep=keep)
    with pytest.raises(ConfigError, match=setting) as raised:
        stage.queue(broker.url)
    assert "allow_unsafe_broker" in str(raised.value)
    with broker.client() as seen:
        assert len(seen.client_list()) == 1, "a connection was left open"
    client = stage.client(stage.queue(broker.url, allow_unsafe_broker=True))
    enqueue_all(client, tracks(10))
    assert client.flush(10)


def test_Q3_a_broker_that_turns_out_to_be_unsafe(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A broker that was away at the start and then proves unsafe gets nothing; messages wait in the spool."""
    broker = stage.broker(keep=False)
    broker.kill()
    client = stage.client(stage.queue(broker.url))
    enqueue_all(client, tracks(10))
    broker.start()
    until(lambda: "appendonly" in caplog.text)
    with broker.client() as seen:
        assert seen.keys("*") == []
    assert client.stats()["cdp"].pending == 10


def test_Q4_the_broker_is_out_of_memory(stage: Stage) -> None:
    """What a full broker does not take stays in the spool, and goes on as soon as workers have made room."""
    broker = stage.broker("--maxmemory", "4mb", "--maxmemory-policy", "noeviction")
    producer = stage.client(stage.queue(broker.url, workers="external"), workers="external")
    enqueue_all(producer, tracks(1_500, filler="x" * 4_000))
    with broker.client() as seen:
        until(lambda: seen.info("stats").get("total_error_replies", 0) > 0)
        assert sum(seen.xlen(key) for key in seen.keys("*:p:*")) < 1_500
    worker = Client({"cdp": hightouch(stage.vendor)}, queue=open_at(broker.url, stage.folder / "other"), linger=0.02)
    try:
        worker.stats()
        worker.flush(0.01)
        assert producer.flush(60), producer.stats()
    finally:
        worker.close(1)
    assert assert_conserved(producer, stage.vendor.oracle, accepted=1_500)["cdp"].delivered == 1_500
    assert stage.vendor.oracle.duplicates == 0
    assert stage.vendor.oracle.order_violations() == 0


def test_Q5_the_answer_to_a_write_is_lost(stage: Stage) -> None:
    """When the answer to a write is lost, the write is repeated and the broker stores nothing twice."""
    broker = stage.broker()
    cutting = stage.cutting(broker)
    queue = stage.queue(cutting.url, workers="external")
    client = stage.client(queue, workers="external")
    with broker.client() as seen:
        for round_ in range(5):
            cutting.cut(b'"number":', 2)
            enqueue_all(client, tracks(200)[40 * round_ : 40 * round_ + 40])
            assert queue.hand_over(10)
        there = [entry for key in seen.keys("*:p:*") for _, entry in seen.xrange(key)]
    assert cutting.cuts >= 5
    assert len(there) == 200
    assert len({orjson.loads(entry[b"e"])["id"] for entry in there}) == 200


def test_Q5_any_answer_may_be_lost(stage: Stage) -> None:
    """Whichever answers of the broker are lost, nothing is lost, and each message goes out once."""
    broker = stage.broker()
    cutting = stage.cutting(broker)
    client = stage.client(stage.queue(cutting.url))
    client.flush(0)
    for n, message in enumerate(tracks(600)):
        if n % 100 == 0:
            seen = cutting.cuts
            cutting.cut(b"EVALSHA", 1)
            until(lambda: cutting.cuts > seen)  # noqa: B023
        enqueue_all(client, [message])
    assert client.flush(30)
    assert cutting.cuts == 6
    assert assert_conserved(client, stage.vendor.oracle, accepted=600)["cdp"].delivered == 600
    figure(f"Q5: {cutting.cuts} answers cut, {stage.vendor.oracle.duplicates} duplicates of 600")
    assert stage.vendor.oracle.order_violations() == 0


def test_Q11_entries_are_deleted_while_pending(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Entries that somebody deletes by hand while they are pending are counted as lost, and a line says so."""
    broker = stage.broker()
    first = open_at(broker.url, stage.folder / "first")
    first.open("cdp", max_events=100, max_bytes=100_000)
    first.look_around(time.time(), lambda *_: None)
    for n in range(4):
        first.put(n, f"m{n}", 5, b"{}", time.time(), ["cdp"])
    assert first.settle_down(10)
    first.abandon()
    with broker.client() as seen:
        [[key, ids]] = [(key, [id_ for id_, _ in seen.xrange(key)]) for key in seen.keys("*:p:*") if seen.xlen(key)]
        seen.xdel(key, *ids[:3])
        seen.delete(*seen.keys("*:lease:*"), *seen.keys("*:workers:*"))  # as if they had run out
    client = stage.client(stage.queue(broker.url))
    client.flush(0.01)
    until(lambda: client.stats()["cdp"].dead.get("lost") == 3)
    assert client.stats()["cdp"].balanced
    assert "deleted from the stream" in caplog.text


@pytest.mark.parametrize("user", ["", "writer"])
def test_Q12_a_wrong_password(stage: Stage, user: str) -> None:
    """A broker that does not accept the password is a clear error at the start, without the password in it."""
    broker = stage.broker()
    with broker.client() as seen:
        seen.config_set("requirepass", "another")
        seen.acl_setuser("writer", enabled=True, passwords=["+another"], keys=["*"], commands=["+@all"])
    url = f"redis://{user}:{PASSWORD}@127.0.0.1:{broker.port}/0"
    with pytest.raises(ConfigError, match="does not accept the user or the password") as raised:
        stage.queue(url)
    assert raised.value.__cause__ is None
    assert PASSWORD not in repr(raised.value)


def test_Q12_a_line_under_tls(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Over ``rediss://`` everything goes through, if the certificate is one that is trusted; else the password is not
    even sent, the log says why, and messages wait in the spool."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(stage.folder / "authority.pem")
    broker = stage.broker()
    with broker.client() as seen:
        seen.acl_setuser("default", enabled=True, nopass=False, passwords=[f"+{PASSWORD}"], reset_passwords=True)
    line = stage.cutting(broker, tls)
    url = line.url.replace("//", f"//:{PASSWORD}@")
    doubtful = stage.client(stage.queue(url))
    enqueue_all(doubtful, tracks(10))
    until(lambda: "certificate verify failed" in caplog.text.lower())
    assert doubtful.stats()["cdp"].pending == 10
    doubtful.close(0.1)
    client = stage.client(stage.queue(f"{url}?ssl_ca_certs={stage.folder / 'authority.pem'}"))
    enqueue_all(client, tracks(30)[10:])
    assert client.flush(10)
    until(lambda: len(stage.vendor.oracle.delivered) == 30)
    assert stage.vendor.oracle.order_violations() == 0
    assert PASSWORD not in caplog.text


def test_Q12_a_password_that_is_changed(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A password that is changed while a client works is said once, without it, and messages wait in the spool."""
    broker = stage.broker()
    with broker.client() as seen:
        seen.acl_setuser("default", enabled=True, nopass=False, passwords=[f"+{PASSWORD}"], reset_passwords=True)
        seen.execute_command("AUTH", PASSWORD)
        queue = stage.queue(f"redis://:{PASSWORD}@127.0.0.1:{broker.port}/0")
        client = stage.client(queue)
        enqueue_all(client, tracks(10))
        assert client.flush(10)
        seen.acl_setuser("default", enabled=True, passwords=["+new"], reset_passwords=True)
        seen.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes")
        enqueue_all(client, tracks(20)[10:])
        until(lambda: "does not accept the user or the password" in caplog.text)
        seen.acl_setuser("default", enabled=True, passwords=[f"+{PASSWORD}"], reset_passwords=True)
        assert client.flush(20)
    assert PASSWORD not in caplog.text
    assert PASSWORD not in repr(queue) + repr(vars(queue)) + repr(client)
    assert_conserved(client, stage.vendor.oracle, accepted=20)


def test_Q12_an_acl_that_is_too_narrow(stage: Stage) -> None:
    """A user that may not do what is needed is a clear error at the start."""
    broker = stage.broker()
    with broker.client() as seen:
        seen.acl_setuser("narrow", enabled=True, passwords=[f"+{PASSWORD}"], keys=["other*"], commands=["+@all"])
    with pytest.raises(ConfigError, match="allow them in the ACL") as raised:
        stage.queue(f"redis://narrow:{PASSWORD}@127.0.0.1:{broker.port}/0")
    assert PASSWORD not in repr(raised.value)


def test_Q14_an_envelope_of_a_later_version(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A message of a later version is kept in the broker for a worker that knows it; the others go on."""
    broker = stage.broker()
    with broker.client() as seen:
        later = orjson.dumps({"v": 2, "what": "ever"})
        for partition in range(16):
            seen.xadd(f"{{unitrack}}:p:{partition}", {"e": later, "r": b"?"})
        client = stage.client(stage.queue(broker.url))
        enqueue_all(client, tracks(100))
        assert client.flush(10)
        assert_conserved(client, stage.vendor.oracle, accepted=100)
        client.close(5)
        kept = [entry for key in seen.keys("*:p:*") for _, entry in seen.xrange(key) if entry[b"e"] == later]
        pending = sum(seen.xpending(f"{{unitrack}}:p:{partition}", "cdp")["pending"] for partition in range(16))
    assert len(kept) == 16
    assert pending == 16
    assert "later version" in caplog.text


def test_Q14_junk_in_the_stream(stage: Stage) -> None:
    """What is no message of ours at all becomes a dead letter that is counted; it stops nobody."""
    broker = stage.broker()
    with broker.client() as seen:
        for fields in (
            {"e": b"\x80\x04junk", "r": b"r"},
            {"other": "fields"},
            {"e": b'{"v":1}', "r": b""},
            {"e": b"[]", "r": b""},
        ):
            seen.xadd("{unitrack}:p:3", fields)
    client = stage.client(stage.queue(broker.url))
    enqueue_all(client, tracks(100))
    assert client.flush(10)
    until(lambda: client.stats()["cdp"].dead.get("unreadable") == 4)
    assert assert_conserved(client, stage.vendor.oracle, accepted=104)["cdp"].delivered == 100
    assert [letter.reason for letter in client.dead_letters("cdp")] == ["unreadable"] * 4


def test_Q15_the_network_is_cut_during_a_read(stage: Stage) -> None:
    """An answer that is cut in the middle loses nothing: what the broker handed out with it is looked for again."""
    broker = stage.broker()
    cutting = stage.cutting(broker)
    client = stage.client(stage.queue(cutting.url))
    enqueue_all(client, tracks(10))
    assert client.flush(10)
    queue = open_at(broker.url, stage.folder / "producer", workers="external")
    producer = stage.client(queue, workers="external")
    for round_ in range(5):
        cutting.cut(b"EVALSHA", 4, keep=20)
        enqueue_all(producer, tracks(60)[10 * round_ + 10 : 10 * round_ + 20])
        assert queue.hand_over(10)
        assert producer.flush(10)
    assert_conserved(producer, stage.vendor.oracle, accepted=50)
    assert len(stage.vendor.oracle.delivered) == 60
    assert stage.vendor.oracle.order_violations() == 0


@pytest.mark.slow
def test_Q15_a_line_that_is_dead_but_open(stage: Stage) -> None:
    """A line on which nothing passes any more is given up after its timeout, and work goes on within 10 s."""
    broker = stage.broker()
    cutting = stage.cutting(broker)
    client = stage.client(stage.queue(cutting.url))
    enqueue_all(client, tracks(10))
    assert client.flush(10)
    cutting.silent = True
    enqueue_all(client, tracks(20)[10:])
    assert not client.flush(6)
    cutting.silent = False
    began = time.monotonic()
    assert client.flush(15)
    took = time.monotonic() - began
    figure(f"Q15: went on after {took:.1f} s")
    assert took < 10
    assert_conserved(client, stage.vendor.oracle, accepted=20)


def test_S1_the_address_is_nowhere_shown(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """The password of a broker is in no repr, no error and no log line, however wrong its address is."""
    caplog.set_level(logging.DEBUG)
    for url in (
        f"redis://:{PASSWORD}/x@host:1/0", f"redis://:{PASSWORD}@host:port/0", f"redis://:{PASSWORD}@host/0?what=1",
        f"redis://:{PASSWORD}@host/0#{PASSWORD}", f"redis://:{PASSWORD}@[::1/0", f"redis+sentinel://:{PASSWORD}@h/0",
        f"redis://:{PASSWORD}@host/name", f"unix://{PASSWORD}", f"redis://:{PASSWORD}@host/0?db={PASSWORD}",
    ):  # fmt: skip
        with pytest.raises(ConfigError) as raised:
            spool_directory(url)
        shown = "".join(map(repr, (raised.value, raised.value.__cause__)))
        assert PASSWORD not in shown + str(raised.value)
    assert PASSWORD not in caplog.text
