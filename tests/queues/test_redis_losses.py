"""Nothing that was accepted is lost silently on its way through a broker, whoever is killed, emptied or interrupted."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.broker import BrokerServer, open_at
from tests.faults.world import until
from unitrack import ConfigError
from unitrack.queue import DeadLetter, Entry, News, Queue, Refusal
from unitrack.queues import open_queue
from unitrack.queues.redis import RedisQueue
from unitrack.settings import Settings

A, B = "a", "b"
PASSWORD = "canary-broker-password-91c3"


def begun(queue: RedisQueue, *names: str) -> RedisQueue:
    for name in names:
        queue.open(name, max_events=1_000, max_bytes=1 << 30)
    queue.look_around(time.time(), ignore)
    return queue


def ignore(name: str, news: News) -> None:
    pass


def put(queue: Queue, *numbers: int, to: Sequence[str] = (A,), lane: int = 7) -> None:
    for n in numbers:
        assert queue.put(n, f"m{n}", lane, b"{}", time.time(), to) == {}


def done(queue: RedisQueue, name: str, count: int) -> list[str]:
    """Take and settle so many messages of a destination."""
    found: list[str] = []

    def all_of_them() -> bool:
        entries = queue.done(name, queue.take(name, 100, None, time.time()))
        found.extend(entry.message_id for entry in entries)
        return len(found) >= count

    until(all_of_them)
    return found


def take_one(queue: RedisQueue) -> Entry:
    put(queue, 1)
    until(lambda: queue.ready(A, time.time()).count)
    [entry] = queue.take(A, 1, None, time.time())
    return entry


def pending(broker: BrokerServer, name: str = A) -> int:
    with broker.client() as seen:
        return sum(seen.xpending(key, name)["pending"] for key in seen.keys("*:p:*"))


def trim(queue: RedisQueue) -> None:
    for partition in range(16):
        queue._broker.trim(partition)


# The other destinations' groups.


def test_a_worker_for_one_destination_keeps_what_it_brings_there_for_another(
    broker: BrokerServer, tmp_path: Path
) -> None:
    broker.kill()
    producer = begun(open_at(broker.url, tmp_path / "shared", workers="external"), A, B)
    put(producer, *range(10), to=[A, B])
    producer.abandon()
    broker.start()
    worker = begun(open_at(broker.url, tmp_path / "shared"), A)
    assert len(done(worker, A, 10)) == 10
    trim(worker)
    worker.close()
    other = begun(open_at(broker.url, tmp_path / "other"), B)
    assert done(other, B, 10) == [f"m{n}" for n in range(10)]
    other.close()


def test_a_program_that_goes_on_after_the_broker_was_emptied_loses_nothing(
    broker: BrokerServer, tmp_path: Path
) -> None:
    producer = begun(open_at(broker.url, tmp_path / "producer", workers="external"), A, B)
    put(producer, 1, to=[A, B])
    assert producer.hand_over(10)
    worker = begun(open_at(broker.url, tmp_path / "worker"), A)
    assert done(worker, A, 1) == ["m1"]
    with broker.client() as seen:
        seen.flushall()
    put(producer, *range(2, 12), to=[A, B])
    assert len(done(worker, A, 10)) == 10
    trim(worker)
    worker.close()
    other = begun(open_at(broker.url, tmp_path / "other"), B)
    assert done(other, B, 10) == [f"m{n}" for n in range(2, 12)]
    other.close()
    producer.close()


def test_a_batch_that_the_broker_refuses_leaves_nothing_there(broker: BrokerServer, tmp_path: Path) -> None:
    with broker.client() as seen:
        seen.set("{unitrack}:p:9", "planted")
        producer = begun(open_at(broker.url, tmp_path, workers="external"), A)
        producer._runner.stop(5)  # what goes to the broker goes at once, and by this thread
        for n in range(10):
            put(producer, n, lane=n)
        assert not producer._try("forward", producer._forward)
        assert sum(seen.xlen(f"{{unitrack}}:p:{n}") for n in range(9)) == 0
        seen.delete("{unitrack}:p:9")
        assert producer._forward()
        assert sum(seen.xlen(key) for key in seen.keys("*:p:*")) == 10
    producer.close()


# Ctrl-C.


@pytest.mark.parametrize("stored", [False, True], ids=["before the spool has it", "when the spool has it"])
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, GeneratorExit])
def test_whoever_is_interrupted_in_a_put_may_put_it_again(
    broker: BrokerServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: bool, interrupt: type[BaseException]
) -> None:
    queue = begun(open_at(broker.url, tmp_path), A)
    real = queue._spool.put

    def interrupted(*message: object) -> Mapping[str, Refusal]:
        if stored:
            real(*message)  # type: ignore[arg-type]
        raise interrupt

    with monkeypatch.context() as patch:
        patch.setattr(queue._spool, "put", interrupted)
        with pytest.raises(interrupt):
            queue.put(1, "order", 1, b"{}", time.time(), [A])
    again = queue.put(2, "order", 1, b"{}", time.time(), [A])
    assert again == {} or (stored and again == {A: "duplicate"}), "only what is there is a duplicate"
    assert set(done(queue, A, 1)) == {"order"}
    until(lambda: queue._room.count == 0)
    assert queue.put(3, "order", 1, b"{}", time.time(), [A]) == {}
    assert done(queue, A, 1) == ["order"]
    until(lambda: queue._room.count == 0)
    assert queue._room._bytes == 0
    queue.close()


# Dead letters.


def letter(detail: str, buried_at: float) -> DeadLetter:
    return DeadLetter(A, "m1", "rejected", detail, 1, 1.0, buried_at, b"{}")


@pytest.mark.parametrize("new_is_there", [True, False])
def test_whoever_discards_a_letter_that_was_replaced_leaves_the_new_one(
    broker: BrokerServer, tmp_path: Path, new_is_there: bool
) -> None:
    queue = begun(open_at(broker.url, tmp_path), A)
    queue._runner.stop(5)
    old, new = letter("old", 1_700_000_000.123456), letter("new", 1_700_000_000.1234562)
    queue._letters.keep(old)
    queue._letters.hand_in()
    queue._letters.keep(new)
    if new_is_there:
        queue._letters.hand_in()
    assert queue.discard_dead(old) is not new_is_there, "it was in the broker until the new one came there"
    assert list(queue.dead_letters()) == [new]
    queue._letters.hand_in()
    assert list(queue.dead_letters()) == [new]
    assert queue.discard_dead(new)
    assert not queue.discard_dead(new)
    assert list(queue.dead_letters()) == []
    queue.close()


@pytest.fixture
def tight(tmp_path: Path) -> Iterator[BrokerServer]:
    """A broker of its own, which is out of memory once it was started anew."""
    with BrokerServer(tmp_path / "tight", ["--appendfsync", "always", "--maxmemory-policy", "noeviction"]) as one:
        yield one


def buried_while_away(broker: BrokerServer, folder: Path) -> RedisQueue:
    queue = begun(open_at(broker.url, folder), A)
    entry = take_one(queue)
    broker.kill()
    assert queue.bury(A, entry, "rejected", "400", time.time())
    assert [one.message_id for one in queue.dead_letters()] == ["m1"], "it is seen before the broker has it"
    return queue


def test_a_message_that_is_given_up_while_the_broker_is_away_is_either_there_or_a_letter(
    tight: BrokerServer, tmp_path: Path
) -> None:
    queue = buried_while_away(tight, tmp_path / "spool")
    tight._options += ["--maxmemory", "1mb"]
    tight.start()
    until(lambda: pending(tight) == 0)
    queue.abandon()  # killed at once
    with tight.client() as seen:
        assert seen.hkeys("{unitrack}:dead") == [b"a|m1"]


def test_a_letter_that_is_discarded_while_the_broker_is_away_does_not_come_back(
    tight: BrokerServer, tmp_path: Path
) -> None:
    queue = buried_while_away(tight, tmp_path / "spool")
    [buried] = queue.dead_letters()
    assert queue.discard_dead(buried)
    tight.start()
    until(lambda: pending(tight) == 0)
    assert list(queue.dead_letters()) == []
    with tight.client() as seen:
        assert seen.hkeys("{unitrack}:dead") == []
    queue.close()


def test_a_letter_whose_entry_somebody_else_has_by_now_is_no_letter(tight: BrokerServer, tmp_path: Path) -> None:
    queue = begun(open_at(tight.url, tmp_path / "spool"), A)
    entry = take_one(queue)
    queue._runner.stop(5)
    tight.kill()
    assert queue.bury(A, entry, "rejected", "400", time.time())
    tight.start()
    with tight.client() as seen:
        seen.set("{unitrack}:lease:a:7", "another")  # as if the lease had run out
    until(lambda: not queue._line.pause())
    queue._consumers[A]._verdicts.pay(queue._consumers[A].leases.held)
    assert list(queue.dead_letters()) == []
    assert pending(tight) == 1
    queue.close()


def test_junk_from_the_spool_is_a_letter_before_the_spool_forgets_it(
    tight: BrokerServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = begun(open_at(tight.url, tmp_path / "spool", workers="external"), A)
    queue._runner.stop(5)
    assert queue._spool.put(1, "junk", 1, b"junk", time.time(), ["broker"]) == {}
    with tight.client() as seen:
        seen.config_set("maxmemory", "1mb")
        assert not queue._try("forward", queue._forward)
        assert queue._forwarder._batch, "it is kept in the spool"
        seen.config_set("maxmemory", "0")
        assert queue._forward()
        assert seen.hkeys("{unitrack}:dead") == [b"broker|junk"]
    queue.close()


# The spool.


def test_two_programs_with_one_spool_and_two_prefixes_do_not_meet(broker: BrokerServer, tmp_path: Path) -> None:
    def program(prefix: str) -> RedisQueue:
        queue = open_queue(Settings(queue=f"{broker.url}?prefix={prefix}&spool={tmp_path}/spool"))
        assert isinstance(queue, RedisQueue)
        return begun(queue, A)

    broker.kill()
    first = program("shop")
    put(first, 1)
    first.abandon()
    broker.start()
    second = program("blog")
    assert second.settle_down(10)
    assert list(second.take(A, 9, None, time.time())) == []
    second.close()
    third = program("shop")
    assert done(third, A, 1) == ["m1"]
    third.close()


def test_what_is_put_after_the_end_is_brought_to_the_broker_by_another_process(
    broker: BrokerServer, tmp_path: Path
) -> None:
    late = begun(open_at(broker.url, tmp_path), A)
    put(late, 1)
    assert done(late, A, 1) == ["m1"]
    late.close()
    put(late, 2, 3)
    other = begun(open_at(broker.url, tmp_path), A)
    assert done(other, A, 2) == ["m2", "m3"]
    other.close()


# The line.


def test_a_database_that_does_not_exist_is_refused(broker: BrokerServer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no database with this number") as raised:
        open_at(f"redis://127.0.0.1:{broker.port}/99", tmp_path)
    assert "/99" in str(raised.value)
    with broker.client() as seen:
        until(lambda: len(seen.client_list()) == 1)


def test_a_queue_says_what_is_wrong_with_its_broker_until_it_works_again(tight: BrokerServer, tmp_path: Path) -> None:
    with tight.client() as seen:
        seen.acl_setuser("default", enabled=True, nopass=False, passwords=[f"+{PASSWORD}"], reset_passwords=True)
        seen.execute_command("AUTH", PASSWORD)
        queue = begun(open_at(f"redis://:{PASSWORD}@127.0.0.1:{tight.port}/0", tmp_path / "spool"), A)
        assert queue.settle_down(10)
        assert queue.trouble() is None
        seen.acl_setuser("default", enabled=True, passwords=["+new"], reset_passwords=True)
        seen.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes")
        until(lambda: "does not accept" in (queue.trouble() or ""))
        assert PASSWORD not in (queue.trouble() or "")
        seen.acl_setuser("default", enabled=True, passwords=[f"+{PASSWORD}"], reset_passwords=True)
        until(lambda: queue.trouble() is None)
    tight.kill()
    until(lambda: "refused" in (queue.trouble() or "").lower())
    queue.close()
