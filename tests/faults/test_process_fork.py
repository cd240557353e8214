"""Fault rows P: forks, by hand and by the libraries that fork."""

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.figures import figure
from tests.faults.processes import Ended, run
from tests.faults.world import FaultServer, assert_conserved, store
from tests.sockets import Action, answer, play, send


def wait(seconds: float) -> Action:
    """Take so long over a request."""

    def act(peer) -> None:  # type: ignore[no-untyped-def]
        peer.server.over.wait(seconds)

    return act


def slowly(seconds: float):  # type: ignore[no-untyped-def]
    return play(wait(seconds), store(), send(answer(200)))


def events(server: FaultServer) -> Counter[str]:
    return Counter(message["event"] for message in server.oracle.messages.values())


def assert_each_told_the_truth(ended: Ended, server: FaultServer, expected: dict[str, int]) -> None:
    """Each process delivered what it took, once; all of them together are what the server has."""
    assert set(ended.told) == set(expected)
    for name, count in expected.items():
        ledger = ended.told[name].stats()["cdp"]
        assert ledger.balanced
        assert (ledger.accepted, ledger.delivered) == (count, count), name
    assert len(server.oracle.delivered) == sum(expected.values())
    assert server.oracle.duplicates == 0


def test_P8_fork_before_the_first_message() -> None:
    """A client that was made before a fork and first used after it works in the child and in the parent."""
    with FaultServer() as server:
        ended = run(
            """
            client = make()
            def work():
                for i in range(200):
                    assert client.track(f"u{i % 20}", "child", {"i": i // 20})
                assert client.flush(10)
                tell(client)
            child = in_child(work)
            for i in range(200):
                assert client.track(f"v{i % 20}", "parent", {"i": i // 20})
            assert ended(child) == 0
            """,
            server.url,
        )
        assert_each_told_the_truth(ended, server, {"child": 200, "main": 200})
        assert server.oracle.order_violations() == 0


def test_P9_fork_with_pending() -> None:
    """After a fork the parent sends what waited, the child sends only its own; nothing is lost or sent twice."""
    with FaultServer(slowly(0.3)) as server:
        ended = run(
            """
            client = make()
            client.track("u", "warm up")
            client.flush(5)
            for i in range(50):
                client.track(f"u{i % 5}", "parent", {"i": i})
            def work():
                assert client.stats()["cdp"].accepted == 0
                for i in range(50):
                    client.track(f"u{i % 5}", "child", {"i": i})
                assert client.flush(10)
                tell(client)
            child = in_child(work)
            assert ended(child) == 0
            assert client.flush(10)
            """,
            server.url,
        )
        assert_each_told_the_truth(ended, server, {"main": 51, "child": 50})
        assert events(server) == {"warm up": 1, "parent": 50, "child": 50}


def test_P9_child_of_a_child_and_a_child_that_ends_by_itself() -> None:
    """A child may fork again, and one that ends as a script does sends what waits, like its parent."""
    with FaultServer() as server:
        ended = run(
            """
            client = make()
            client.track("u", "parent")
            child = os.fork()
            if child == 0:
                ME = "child"
                client.track("u", "child")
                grandchild = os.fork()
                if grandchild == 0:
                    ME = "grandchild"
                    client.track("u", "grandchild")
                    sys.exit(3)
                assert ended(grandchild) == 3
                sys.exit(4)
            assert ended(child) == 4
            """,
            server.url,
        )
        assert_each_told_the_truth(ended, server, {"main": 1, "child": 1, "grandchild": 1})
    assert ended.stderr == ""


def test_P9_child_whose_threads_begin_at_once() -> None:
    """The first messages of a child may come from many threads at the same moment; each of them is sent and counted."""
    with FaultServer() as server:
        ended = run(
            """
            sys.setswitchinterval(1e-6)
            client = make()
            client.track("u", "parent")
            client.flush(5)
            def work():
                start = threading.Barrier(16)
                def one():
                    start.wait()
                    assert client.track("u", "child")
                threads = [threading.Thread(target=one) for _ in range(16)]
                for thread in threads: thread.start()
                for thread in threads: thread.join()
                ledger = client.stats()["cdp"]
                assert ledger.accepted == 16, ledger
                assert client.flush(10)
            for _ in range(20):
                assert ended(in_child(work)) == 0
            """,
            server.url,
        )
        assert events(server) == {"parent": 1, "child": 320}
        assert server.oracle.duplicates == 0
    assert ended.client.stats()["cdp"].delivered == 1


UNDER_LOAD = """
    client = make()
    stop = threading.Event()
    def load(user):
        while not stop.is_set():
            assert client.track(user, "load")
            client.flush(0.005)
            time.sleep(0.001)
    threads = [threading.Thread(target=load, args=(f"u{n}",)) for n in range(4)]
    for thread in threads: thread.start()
    while client.stats()["cdp"].delivered < 10:
        time.sleep(0.001)
    def work():
        assert client.track("u", "child")
        assert client.flush(15)
    codes = [ended(in_child(work)) for _ in range(200)]
    stop.set()
    for thread in threads: thread.join()
    assert codes == [0] * 200, codes
    report = client.close(10)
    assert report.status == "success", report
"""


def assert_no_child_of_200_hangs() -> None:
    with FaultServer() as server:
        ended = run(UNDER_LOAD, server.url)
        found = events(server)
        assert found["child"] == 200
        ledger = ended.client.stats()["cdp"]
        assert ledger.balanced
        assert ledger.accepted == ledger.delivered == found["load"]
        assert server.oracle.duplicates == 0


def test_P10_forks_under_load() -> None:
    """Of 200 children that were forked while four threads track and flush none hangs, and none costs the parent."""
    assert_no_child_of_200_hangs()


@pytest.mark.slow
def test_P10_a_thousand_forks_under_load() -> None:
    """Of 1,000 children that were forked while four threads track and flush none hangs, either."""
    for _ in range(5):
        assert_no_child_of_200_hangs()
    figure("P10: 1,000 forks while four threads track and flush: 0 hangs, 0 lost, 0 twice")


def test_P10_forks_while_the_first_request_is_made() -> None:
    """A fork may fall into the moment in which the first request loads the HTTP library: neither side hangs."""
    with FaultServer() as server:
        for rounds in range(1, 5):
            run(
                """
                client = make(linger=0)
                children = []
                client.track("u", "parent")
                def work():
                    assert client.track("u", "child")
                    assert client.flush(15)
                for n in range(15):
                    children.append(in_child(work))
                assert client.flush(15)
                codes = [ended(child) for child in children]
                assert codes == [0] * 15, codes
                """,
                server.url,
            )
            assert events(server) == {"parent": rounds, "child": 15 * rounds}
            assert server.oracle.duplicates == 0


def test_P10_forks_while_the_first_configuration_is_read() -> None:
    """A fork may fall into the moment in which the first configuration is read: no child finds half a module."""
    for _ in range(4):
        run(
            """
            plain = {"destinations": {"cdp": {"provider": "webhook", "url": "https://shop.example/hook"}}}
            assert "unitrack.config.configuration" not in sys.modules
            reading = threading.Thread(target=Client.from_config, args=(plain,))
            reading.start()
            children = []
            for n in range(15):
                children.append(in_child(lambda: Client.from_config(plain)))
            codes = [ended(child) for child in children]
            reading.join()
            assert codes == [0] * 15, codes
            """,
            "http://127.0.0.1:1",
        )


def test_P11_child_that_leaves_or_becomes_another_program_at_once() -> None:
    """A child that calls ``os._exit`` or ``exec`` at once sends nothing, and takes nothing from its parent."""
    with FaultServer(slowly(0.2)) as server:
        ended = run(
            """
            client = make()
            client.track("u", "warm up")
            client.flush(5)
            for i in range(50):
                client.track(f"u{i % 5}", "parent", {"i": i})
            children = []
            for n in range(10):
                children.append(in_child(lambda: None))
                children.append(in_child(lambda: os.execv(sys.executable, [sys.executable, "-c", "pass"])))
            assert [ended(child) for child in children] == [0] * 20
            for i in range(50, 100):
                client.track(f"u{i % 5}", "parent", {"i": i})
            assert client.flush(10)
            """,
            server.url,
        )
        assert_conserved(ended.client, server.oracle, accepted=101)
        assert events(server) == {"warm up": 1, "parent": 100}
        assert server.oracle.duplicates == 0
    assert ended.stderr == ""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_P12_multiprocessing(tmp_path: Path, method: str) -> None:
    """Processes of multiprocessing, its pools and those of concurrent.futures send what they tracked, unasked."""
    with FaultServer() as server:
        ended = run(
            f"""
            import concurrent.futures, multiprocessing

            client = Client({{"cdp": hightouch()}})

            def work(n):
                for i in range(10):
                    assert client.track(f"u{{n}}", "child", {{"i": i}})
                return n

            if __name__ == "__main__":
                context = multiprocessing.get_context({method!r})
                client.track("u", "parent")
                process = context.Process(target=work, args=(0,))
                process.start()
                process.join(20)
                assert process.exitcode == 0, process.exitcode
                with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
                    assert sorted(executor.map(work, range(1, 5))) == [1, 2, 3, 4]
                pool = context.Pool(1)
                assert pool.map(work, [5, 6]) == [5, 6]
                pool.close()
                pool.join()
                assert client.flush(10)
                tell(client)
            """,
            server.url,
            file=tmp_path / "script.py",
        )
        assert events(server) == {"parent": 1, "child": 70}
        assert server.oracle.duplicates == 0
    assert ended.client.stats()["cdp"].delivered == 1
    assert ended.stderr == ""
