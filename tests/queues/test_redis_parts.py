"""What is special about the queue in a broker: its address, its spool, its shares, and what it leaves in the broker."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.broker import BrokerServer, open_at
from tests.faults.world import until
from unitrack import ConfigError
from unitrack.ledger import Book
from unitrack.position import Position
from unitrack.queue import Entry, News
from unitrack.queues._redis_address import parse
from unitrack.queues._redis_envelope import Envelope, Newer, Unreadable, pack, unpack
from unitrack.queues._redis_origin import Origin
from unitrack.queues.memory import MemoryQueue
from unitrack.queues.redis import RedisQueue, spool_directory
from unitrack.settings import Settings

NAME = "cdp"


class Process:
    """A queue as one process has it, with its own books."""

    def __init__(self, broker: BrokerServer, *names: str, ttl: float = 15.0, workers: str = "internal") -> None:
        spool = MemoryQueue()
        url = f"{broker.url}?spool=/nowhere"
        self.queue = RedisQueue(url, Settings(workers=workers), spool=spool, ttl=ttl)  # type: ignore[arg-type]
        self.arrived = 0
        self.settled: list[tuple[int, str | None]] = []
        for name in names or (NAME,):
            self.queue.open(name, max_events=10_000, max_bytes=1 << 30)
        self.queue.look_around(time.time(), self.tell)

    def tell(self, name: str, news: News) -> None:
        self.arrived += news.arrived
        self.settled += [(one.seq, one.reason) for one in news.settled]

    def put(self, *seqs: int, lane: int | None = None, name: str = NAME) -> None:
        for seq in seqs:
            where = seq if lane is None else lane
            assert self.queue.put(seq, f"m{seq}", where, b"{}", time.time(), [name]) == {}

    def take(self, count: int, name: str = NAME) -> list[int]:
        found: list[int] = []
        until(lambda: bool(found.extend(self._done(name)) or len(found) >= count))
        return found

    def _done(self, name: str) -> list[int]:
        return [int(e.message_id[1:]) for e in self.queue.done(name, self.queue.take(name, 100, None, time.time()))]

    @property
    def share(self) -> int:
        return len(self.queue._consumers[NAME].leases.held)


# The address.


def test_our_parameters_are_not_shown_to_redis_py() -> None:
    address = parse("rediss://me:pw@broker/3?spool=/var/x&prefix=shop&partitions=4&ssl_ca_certs=/ca.pem")
    assert str(address.url) == "rediss://me:pw@broker/3?ssl_ca_certs=%2Fca.pem"
    assert (address.shown, address.prefix, address.partitions) == ("rediss://broker:6379/3", "shop", 4)
    assert "pw" not in repr(address)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("redis://host/0?prefx=a", "did you mean 'prefix'"),
        ("redis://host/0?retry_on_timeout=1", "is no parameter"),
        ("redis://host/0?decode_responses=1", "is no parameter"),
        ("redis://host/0?partitions=0", "from 1 to 256"),
        ("redis://host/0?partitions=many", "from 1 to 256"),
        ("redis://host/0?prefix={a}", "prefix must be"),
        ("redis://host/0?prefix=a&prefix=b", "twice"),
        ("redis://host/0?spool=here", "absolute"),
        ("redis://host/zero", "number of a database"),
        ("redis://host/0?db=x", "db must be a number"),
        ("redis://host:99999/0", "port 99999 is not between 1 and 65535"),
        ("redis://u:p@[::1]:0", "port 0 is not between 1 and 65535"),
        ("redis://host:port/0", "no address"),
        ("redis:host", "must be redis://host:port/db"),
        ("unix:/run/redis.sock", "must be unix:///run/redis.sock"),
        ("rediss", "must be rediss://host:port/db"),
        ("redis://", "name the host"),
        ("redis:///0", "name the host"),
        ("redis://:p@/0", "name the host"),
        ("unix://", "needs the path"),
        ("redis+sentinel://a,b/0", "not supported"),
        ("rediss+cluster://a", "not supported"),
        ("http://host", "no broker"),
    ],
)
def test_a_wrong_address_is_named(url: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        spool_directory(url)


@pytest.mark.parametrize("rest", ["/x@host:1/0", "?x@host:1/0", "#x@host", "@y/x@host:1/0", "/@host", "@99998/x@h"])
@pytest.mark.parametrize("user", ["", "user", "user:x"])
def test_a_password_that_looks_like_a_port_is_not_shown(user: str, rest: str) -> None:
    for number in ("99999", "00000", "12345"):
        with pytest.raises(ConfigError) as raised:
            spool_directory(f"redis://{user}:{number}{rest}")
        assert number not in str(raised.value)


def test_an_address_makes_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert tmp_path / "state" in spool_directory("redis://host/0").parents
    assert not (tmp_path / "state").exists()


def test_the_spool_of_a_broker_does_not_depend_on_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, other = spool_directory("redis://:a@host/0"), spool_directory("redis://u:b@host:6379/0")
    assert one == other
    assert one.parent == tmp_path / "unitrack"
    assert spool_directory("redis://host/1") != one
    assert spool_directory("redis://host/0?prefix=x") != one
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert "unitrack-" in str(spool_directory("redis://host/0"))
    assert caplog.text.count("say spool= for another") == 1


def test_a_socket_of_this_machine(broker: BrokerServer, tmp_path: Path) -> None:
    address = parse(f"unix://{quote(str(tmp_path))}/redis.sock?db=2&spool=/x")
    assert address.shown == f"unix://{tmp_path}/redis.sock?db=2"


def test_sync_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="sync"):
        RedisQueue("redis://127.0.0.1:1/0?spool=/x", Settings(mode="sync"), spool=MemoryQueue())


def test_redis_py_is_asked_for_when_it_is_missing() -> None:
    code = """
import sys
sys.modules["redis"] = None
from unitrack import ConfigError
from unitrack.queues.memory import MemoryQueue
from unitrack.queues.redis import RedisQueue
from unitrack.settings import Settings
try:
    RedisQueue("redis://h/0?spool=/x", Settings(), spool=MemoryQueue())
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'unitrack-sdk[redis]'" in done.stdout


def test_another_number_of_partitions_is_refused(broker: BrokerServer, tmp_path: Path) -> None:
    open_at(broker.url, tmp_path).close()
    with pytest.raises(ConfigError, match="say partitions=16"):
        open_at(f"{broker.url}?partitions=8", tmp_path)


# Before the first use, and after the last.


def test_nothing_exists_before_the_first_use_nor_after_the_last(broker: BrokerServer, tmp_path: Path) -> None:
    with broker.client() as seen:
        queue = open_at(broker.url, tmp_path)
        queue.open(NAME, max_events=10, max_bytes=1_000)
        assert len(seen.client_list()) == 1
        assert not [t for t in threading.enumerate() if t.name == "unitrack-redis"]
        queue.close()
        assert len(seen.client_list()) == 1
        used = Process(broker)
        used.put(1)
        assert used.take(1) == [1]
        used.queue.close()
        until(lambda: len(seen.client_list()) == 1)
        assert not [t for t in threading.enumerate() if t.name == "unitrack-redis"]
        assert seen.keys("*:lease:*") == seen.keys("*:workers:*") == seen.keys("*:alive:*") == []


# Several processes.


def test_a_message_is_seen_within_a_quarter_of_a_second(broker: BrokerServer) -> None:
    worker, producer = Process(broker), Process(broker, workers="external")
    assert worker.queue.settle_down(10)
    took = []
    for n in range(1, 6):
        time.sleep(0.5)  # until it idles
        began = time.monotonic()
        producer.put(n)
        assert worker.take(1) == [n]
        took.append(time.monotonic() - began)
    assert min(took) < 0.25
    producer.queue.close()
    worker.queue.close()


def test_an_idle_process_burns_no_time(broker: BrokerServer) -> None:
    worker = Process(broker)
    assert worker.queue.settle_down(10)
    time.sleep(0.3)
    began = time.process_time()
    time.sleep(1.0)
    assert time.process_time() - began < 0.3
    worker.queue.close()


def test_whoever_put_a_message_hears_of_its_end(broker: BrokerServer) -> None:
    producer, worker = Process(broker, workers="external"), Process(broker)
    producer.put(1, 2, 3)
    assert producer.queue.hand_over(10)
    assert worker.queue.settle_down(10)
    taken = {entry.message_id: entry for entry in worker.queue.take(NAME, 9, None, time.time())}
    assert worker.arrived == 3
    assert all(entry.seq < 0 for entry in taken.values())
    assert worker.queue.done(NAME, [taken["m1"]])
    assert worker.queue.bury(NAME, taken["m2"], "rejected", "no", time.time())
    until(lambda: len(producer.settled) == 2)
    assert producer.settled == [(1, None), (2, "rejected")]
    assert [letter.message_id for letter in producer.queue.dead_letters()] == ["m2"]
    assert producer.arrived == 0
    worker.queue.close()
    assert worker.arrived == 2, "the third is given back"
    producer.queue.close()


def test_nobody_tells_an_origin_that_is_gone(broker: BrokerServer) -> None:
    producer, worker = Process(broker, workers="external"), Process(broker)
    producer.put(1)
    assert producer.queue.hand_over(10)
    producer.queue.close()
    assert worker.take(1) == [1]
    with broker.client() as seen:
        assert seen.keys("*:origin:*") == []
    worker.queue.close()


def test_partitions_are_shared_and_shared_anew(broker: BrokerServer) -> None:
    first = Process(broker, ttl=0.9)
    until(lambda: first.share == 16)
    others = [Process(broker, ttl=0.9) for _ in range(2)]
    until(lambda: sorted([first.share, *(p.share for p in others)]) in ([4, 6, 6], [5, 5, 6]))
    for one in others:
        one.queue.close()
    until(lambda: first.share == 16)
    first.queue.close()


def test_a_former_holder_changes_nothing(broker: BrokerServer) -> None:
    first = Process(broker)
    first.put(1, 2, lane=7)
    assert first.queue.settle_down(10)
    entries = first.queue.take(NAME, 9, None, time.time())
    with broker.client() as seen:  # as if its lease had run out and another had it by now
        seen.set("{unitrack}:lease:cdp:7", "another")
        assert list(first.queue.done(NAME, entries[:1])) == []
        assert not first.queue.bury(NAME, entries[1], "rejected", "", time.time())
        assert seen.xpending("{unitrack}:p:7", NAME)["pending"] == 2
    assert list(first.queue.dead_letters()) == []
    assert first.queue.take(NAME, 9, None, time.time()) == []
    first.queue.close()


def test_what_was_handed_out_while_its_taker_vanished_is_counted(broker: BrokerServer) -> None:
    for deaths in range(3):
        one = Process(broker)
        if not deaths:
            one.put(1, 2, lane=3)
        assert one.queue.settle_down(10)
        [entry] = one.queue.take(NAME, 1, None, time.time())
        assert (entry.message_id, entry.attempts, entry.abandoned) == ("m1", deaths + 1, deaths)
        one.queue.abandon()
        with broker.client() as seen:
            seen.delete(*seen.keys("*:lease:*"), *seen.keys("*:workers:*"))


def test_what_all_are_done_with_is_cut_off_and_nothing_else(broker: BrokerServer) -> None:
    one = Process(broker, "a", "b")
    for seq in range(1, 21):
        assert one.queue.put(seq, f"m{seq}", 5, b"{}", time.time(), ["a", "b"] if seq % 2 else ["a"]) == {}
    assert len(one.take(20, "a")) == 20
    with broker.client() as seen:
        time.sleep(1.2)  # a cut, which must not be made
        assert seen.xlen("{unitrack}:p:5") >= 10
        assert len(one.take(10, "b")) == 10
        until(lambda: seen.xlen("{unitrack}:p:5") <= 1)
    one.queue.close()


def test_all_that_is_here_is_bounded(broker: BrokerServer) -> None:
    producer = Process(broker, workers="external")
    producer.put(*range(1, 3_001))
    assert producer.queue.hand_over(20)
    worker = Process(broker)
    until(lambda: worker.queue.ready(NAME, time.time()).count >= 1_000)
    time.sleep(0.2)
    assert worker.queue.ready(NAME, time.time()).count < 1_000 + 16
    assert sorted(worker.take(3_000)) == list(range(1, 3_001))
    until(lambda: len(producer.settled) == 3_000)
    producer.queue.close()
    worker.queue.close()


# Parts.


def test_junk_in_the_spool_stops_nobody(broker: BrokerServer) -> None:
    one = Process(broker)
    spool = one.queue._spool
    one.queue._forwarder.open()
    for n, junk in enumerate([b"junk", b'{"v":9}\nrecord', b"[]\n", b'{"v":1,"id":3}\n']):
        assert spool.put(1_000 + n, f"junk{n}", n, junk, time.time(), ["broker"]) == {}
    one.put(1)
    assert one.take(1) == [1]
    until(lambda: len(one.queue.dead_letters("broker")) == 4)
    one.queue.close()


def test_what_is_between_the_spool_and_the_broker_is_not_there_yet(broker: BrokerServer) -> None:
    one = Process(broker, workers="external")
    forwarder = one.queue._forwarder
    forwarder.open()
    real, looks = forwarder._spool.take, []

    def take(*wanted: Any) -> Sequence[Entry]:
        entries = real(*wanted)
        if entries:
            looks.append(forwarder.empty(time.time()))
        return entries

    forwarder._spool.take = take  # type: ignore[method-assign]
    one.put(1)
    assert one.queue.hand_over(10)
    assert looks == [False]
    one.queue.close()


def test_an_envelope_comes_back_as_it_was() -> None:
    envelope = Envelope("abc", 1, 2, "m\u00e9", 3, 1.5, ("a", "b"), b"\x00\n{}")
    assert unpack(pack(envelope)) == envelope
    with pytest.raises(Newer):
        unpack(b'{"v":2}\n')
    for junk in (b"", b"{}\n", b'{"v":"2"}\n', b'{"v":0}\n', b"\xff\n", b'{"v":1,"to":"a"}\n', b"null\n"):
        with pytest.raises(Unreadable):
            unpack(junk)


def test_an_origin_counts_every_end_once() -> None:
    origin = Origin()
    origin.open(NAME)
    for seq in range(20_000):
        origin.expect(seq, f"m{seq}", [NAME])
    assert all(origin.settle(NAME, seq, f"m{seq}") for seq in range(20_000))
    assert not any(origin.settle(NAME, seq, f"m{seq}") for seq in range(20_000))
    assert not origin.waits
    assert not origin.knows(NAME, "m5")
    assert len(origin._pending[NAME]._pages) <= 3


def test_what_is_evicted_is_gone_and_the_rest_is_as_it_was() -> None:
    position = Position(100, 10_000)
    for seq in range(1, 13):
        assert position.put((seq, f"m{seq}", seq % 3, b"12345", 0.0, 0, 0)) is None
    out = position.take(4, None, 0.0)
    position.put_back([entry for entry in out if entry.seq == 1], 50.0, counted=True)
    gone = position.evict({1, 2, 7, 8}, out=False)
    assert sorted(entry.seq for entry in gone) == [1, 7, 8]
    assert [entry.seq for entry in position.evict({2}, out=True)] == [2]
    assert [entry.seq for entry in position.forget(out)] == [3, 4]
    left = position.take(99, None, 0.0)
    assert sorted(entry.seq for entry in left) == [5, 6, 9, 10, 11, 12]
    assert len(position.forget(left)) == 6
    assert position.holds_less_than(1, 1)
    assert position.ready(0.0).count == position.ready(0.0).size == 0


def test_nobody_waits_for_what_went_to_another_process() -> None:
    book = Book()
    book.adopt(3)
    cleared: list[bool] = []
    book.barrier(0, lambda: cleared.append(True))
    book.deliver([-5])
    assert not cleared
    book.adopt(-2)
    assert cleared
    assert book.ledger().balanced
