"""Fault rows P: signals that end a process, interrupt it, or freeze it."""

import signal
import threading
import time
from pathlib import Path

import pytest

from tests.faults.processes import Process, run
from tests.faults.world import CANARIES, FaultServer, assert_conserved, store, stored
from tests.patience import SLACK
from tests.sockets import answer, close, mark, play, send, stall
from unitrack import Client, ConfigError
from unitrack.ledger import Book
from unitrack.providers import Hightouch
from unitrack.signals import drain_on_sigterm

# P4

TERMINATED = """
from unitrack.signals import drain_on_sigterm
client = make()
drain_on_sigterm(client, timeout=10)
for i in range(1000):
    assert client.track(f"u{i % 100}", "E", {"i": i // 100})
say("ready")
"""


@pytest.mark.parametrize(
    "waits",
    [
        "time.sleep(20)",
        "threading.Event().wait(20)",
        "while True: client.flush(5)",
        "threading.Thread(target=time.sleep, args=(20,)).start()",
    ],
)
def test_P4_sigterm_with_the_helper(waits: str) -> None:
    """With ``drain_on_sigterm`` a terminated process sends what waits first, and its exit status stays -15."""
    with FaultServer() as server:
        with Process(f"{TERMINATED}\n{waits}", server.url) as process:
            process.wait_for("ready")
            process.send(signal.SIGTERM)
            ended = process.end(code=-signal.SIGTERM)
        assert len(server.oracle.delivered) == 1000
        assert server.oracle.duplicates == 0
        assert server.oracle.order_violations() == 0
    assert ended.seconds < 10
    assert ended.stderr == ""


def test_P4_sigterm_in_the_middle_of_a_call() -> None:
    """What is tracked while a terminated process drains is either sent or refused with a falsy receipt."""
    with FaultServer() as server:
        script = """
            taken = 1000
            while receipt := client.track("v", "E", {"i": taken}):
                taken += 1
            say(f"taken {taken}")
            say(f"reason {receipt.reason}")
            time.sleep(20)
        """
        for _ in range(3):
            before = len(server.oracle.delivered)
            with Process(TERMINATED + script.replace("\n            ", "\n"), server.url) as process:
                process.wait_for("ready")
                process.send(signal.SIGTERM)
                ended = process.end(code=-signal.SIGTERM)
            [taken] = ended.said("taken")
            assert ended.said("reason") == ["closed"]
            assert len(server.oracle.delivered) - before == int(taken)
            assert server.oracle.duplicates == 0


def test_P4_the_handler_that_was_there_before_is_called() -> None:
    """A handler that was there before is called after the client is drained, and may go on tracking."""
    with FaultServer() as server:
        ended = run(
            """
            from unitrack.signals import drain_on_sigterm
            client = make()
            stopped = threading.Event()
            def stop(number, frame):
                assert client.stats()["cdp"].delivered == 100
                stopped.set()
            signal.signal(signal.SIGTERM, stop)
            drain_on_sigterm(client)
            for i in range(100):
                assert client.track("u", "E", {"i": i})
            os.kill(os.getpid(), signal.SIGTERM)
            while not stopped.is_set():
                time.sleep(0.005)
            assert client.track("u", "the last", {"i": 100})
            sys.exit(5)
            """,
            server.url,
            code=5,
        )
        assert assert_conserved(ended.client, server.oracle, accepted=101)["cdp"].delivered == 101
    assert ended.stderr == ""


def test_P4_two_clients_and_a_fork() -> None:
    """Each of several clients is drained, in each forked process, before the signal ends it."""
    with FaultServer() as server:
        ended = run(
            """
            from unitrack.signals import drain_on_sigterm
            clients = [make(), make()]
            for client in clients:
                drain_on_sigterm(client)
            def work(event):
                for client in clients:
                    for i in range(50):
                        assert client.track("u", event)
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(15)
            child = in_child(lambda: work("child"))
            assert ended(child) == -signal.SIGTERM
            work("parent")
            """,
            server.url,
            code=-signal.SIGTERM,
        )
        assert len(server.oracle.delivered) == 200
        assert server.oracle.duplicates == 0
    assert ended.stderr == ""


def test_P4_a_hanging_server_bounds_the_drain() -> None:
    """With a server that hangs a terminated process ends within the helper's timeout, and says what was not sent."""
    with FaultServer(play(stall())) as server:
        with Process(f"{TERMINATED.replace('timeout=10', 'timeout=0.5')}\ntime.sleep(20)", server.url) as process:
            process.wait_for("ready")
            began = time.monotonic()
            process.send(signal.SIGTERM)
            process.send(signal.SIGTERM)  # impatience changes nothing
            ended = process.end(code=-signal.SIGTERM)
            assert 0.4 < time.monotonic() - began < 0.5 + SLACK
        assert server.oracle.delivered == set()
    assert ended.stderr == "unitrack: not sent before the client was closed: 1000 to cdp; they are lost\n"


def test_P4_sigterm_while_the_interpreter_ends() -> None:
    """A signal that comes while the process is ending anyway neither hangs it nor costs a message."""
    with FaultServer() as server:
        ended = run(
            """
            from unitrack.signals import drain_on_sigterm
            atexit.register(time.sleep, 15)  # runs last
            client = make()
            drain_on_sigterm(client)
            atexit.register(os.kill, os.getpid(), signal.SIGTERM)
            for i in range(100):
                assert client.track("u", "E", {"i": i})
            """,
            server.url,
            code=-signal.SIGTERM,
        )
        assert len(server.oracle.delivered) == 100
        assert server.oracle.duplicates == 0
    assert ended.stderr == ""


def test_P4_the_helper_is_taken_back_and_refuses_what_cannot_work() -> None:
    """The helper can be taken back, and refuses to be called where Python can set no handler."""
    client = Client({"cdp": Hightouch(write_key=CANARIES["write_key"])})
    before = signal.getsignal(signal.SIGTERM)
    undo = drain_on_sigterm(client)
    assert signal.getsignal(signal.SIGTERM) is not before
    undo()
    assert signal.getsignal(signal.SIGTERM) is before
    errors: list[Exception] = []

    def elsewhere() -> None:
        try:
            drain_on_sigterm(client)
        except ConfigError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])
    assert client.close().status == "success"


# P5


# Python forgets that it was interrupted when it compiles something while it ends (its flag is reset by every
# ``exec`` of text), as named tuples do when a library is imported. So the HTTP library is loaded before.
LOADED = "client.track('u', 'first'); assert client.flush(5)"


def test_P5_keyboard_interrupt(tmp_path: Path) -> None:
    """Ctrl-C stays a KeyboardInterrupt with its traceback and exit status, and what waits is sent."""
    script = f"""
        client = make()
        {LOADED}
        for i in range(1000):
            assert client.track(f"u{{i % 100}}", "E", {{"i": i // 100}})
        say("ready")
        time.sleep(20)
    """
    with FaultServer() as server:
        with Process(script, server.url, file=tmp_path / "script.py") as process:
            process.wait_for("ready")
            process.send(signal.SIGINT)
            ended = process.end(code=-signal.SIGINT)
        assert assert_conserved(ended.client, server.oracle, accepted=1001)["cdp"].delivered == 1001
    assert ended.stderr.rstrip().endswith("KeyboardInterrupt")
    assert ended.stderr.count("Traceback") == 1


def test_P5_the_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    """A second Ctrl-C, while the process still tries to send, leaves at once and says what was not sent."""
    arrived = threading.Event()
    script = f"""
        client = make(shutdown_timeout=20)
        {LOADED}
        for i in range(300):
            client.track(f"u{{i % 10}}", "E", {{"i": i}})
        def watch():
            main = threading.main_thread().ident
            frame = None
            while frame is None:
                time.sleep(0.005)
                frame = sys._current_frames().get(main)
                while frame is not None and "unitrack" not in frame.f_code.co_filename:
                    frame = frame.f_back
            say("leaving")
        threading.Thread(target=watch, daemon=True).start()
        say("ready")
        time.sleep(20)
    """
    with FaultServer(stored(), play(mark(arrived), stall())) as server:
        with Process(script, server.url, file=tmp_path / "script.py") as process:
            process.wait_for("ready")
            process.send(signal.SIGINT)
            process.wait_for("leaving")
            assert arrived.wait(5)
            began = time.monotonic()
            process.send(signal.SIGINT)
            ended = process.end(code=-signal.SIGINT)
            assert time.monotonic() - began < SLACK
        assert_conserved(ended.client, server.oracle, accepted=301, settled=False)
    assert "unitrack: not sent before the process ended: 300 to cdp; they are lost" in ended.stderr


def test_P5_ctrl_c_in_the_middle_of_a_call() -> None:
    """Ctrl-C may hit any line of ``track``: no message that was taken is lost, and none is waited for in vain."""
    with FaultServer() as server:
        ended = run(
            """
            import random
            client = make()
            taken = hits = 0
            def interrupt(number, frame):
                raise KeyboardInterrupt
            signal.signal(signal.SIGALRM, interrupt)
            dice = random.Random(7)
            end = time.monotonic() + 1
            while time.monotonic() < end:
                try:
                    signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.0002, 0.002))
                    while True:
                        taken += bool(client.track("u", "E"))
                except KeyboardInterrupt:
                    hits += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert hits > 50
            assert client.flush(20), client.stats()
            say(f"taken {taken}")
            """,
            server.url,
        )
        ledger = assert_conserved(ended.client, server.oracle)["cdp"]
        [taken] = ended.said("taken")
        assert ledger.delivered >= int(taken)
        assert server.oracle.duplicates == 0
    assert set(ledger.dropped) <= {"interrupted"}
    assert ended.stderr == ""


def test_P5_an_interrupted_message_is_counted_once_and_waited_for_by_nobody() -> None:
    """A message whose call was interrupted counts as dropped, until it turns out that the queue holds it after all."""
    book = Book()
    cleared: list[int] = []
    for seq in (1, 2, 3):
        book.accept(seq)
    book.coming.discard(1)  # it has arrived
    book.barrier(3, lambda: cleared.append(1))
    for seq in (1, 2, 3):
        book.interrupt(seq)
    assert (book.ledger().pending, book.ledger().dropped) == (1, {"interrupted": 2})
    book.barrier(3, lambda: cleared.append(2))
    book.deliver([2])
    assert (book.ledger().pending, book.ledger().delivered, book.ledger().dropped) == (1, 1, {"interrupted": 1})
    assert cleared == []
    book.deliver([1])
    assert cleared == [1, 2]
    book.interrupt(1)
    ledger = book.ledger()
    assert (ledger.accepted, ledger.delivered, ledger.pending, ledger.dropped) == (3, 2, 0, {"interrupted": 1})


# P22, P23


def test_P22_frozen_and_thawed() -> None:
    """A process that was frozen goes on: dead connections are replaced, nothing is sent twice, there is no burst."""
    script = """
        client = make()
        client.track("u", "before", {"i": 0})
        assert client.flush(5)
        os.kill(os.getpid(), signal.SIGSTOP)
        for i in range(1, 201):
            assert client.track("u", "after", {"i": i})
        assert client.flush(5)
    """
    with FaultServer(play(store(), send(answer(200)), close()), stored()) as server:
        with Process(script, server.url) as process:
            process.wait_until_frozen()
            server.wait_until_ended(1)
            process.send(signal.SIGCONT)
            ended = process.end()
        assert assert_conserved(ended.client, server.oracle, accepted=201)["cdp"].delivered == 201
        assert server.oracle.duplicates == 0
        assert server.oracle.order_violations() == 0
        assert len(server.requests) <= 5
        assert server.connections == 2
    assert ended.stderr == ""


def test_P22_frozen_while_a_request_is_on_its_way() -> None:
    """A request during which the process was frozen past its deadline is repeated: at most that batch comes twice."""
    arrived, answered = threading.Event(), threading.Event()
    script = """
        client = make(timeout=0.3)
        for i in range(50):
            assert client.track("u", "E", {"i": i})
        say("ready")
        assert client.flush(15)
    """
    slow = play(store(), mark(arrived), stall(answered), send(answer(200)))
    with FaultServer(slow, stored()) as server:
        with Process(script, server.url) as process:
            process.wait_for("ready")
            assert arrived.wait(5)
            process.send(signal.SIGSTOP)
            process.wait_until_frozen()
            time.sleep(0.4)  # the fault itself: longer than the deadline
            answered.set()
            process.send(signal.SIGCONT)
            ended = process.end()
        assert assert_conserved(ended.client, server.oracle, accepted=50)["cdp"].delivered == 50
        assert server.oracle.duplicates <= 50
        assert len(server.requests) <= 3
    assert ended.stderr == ""


def test_P23_frozen_after_each_call() -> None:
    """Where the system freezes the process after each call, as AWS Lambda does, a flush in each call loses nothing."""
    script = """
        client = make()
        for call in range(10):
            for i in range(10):
                assert client.track("u", "E", {"i": 10 * call + i})
            assert client.flush(5)
            os.kill(os.getpid(), signal.SIGSTOP)
    """
    with FaultServer(stored(), play(store(), send(answer(200)), close()), stored()) as server:
        with Process(script, server.url) as process:
            for call in range(10):
                process.wait_until_frozen()
                assert len(server.oracle.delivered) == 10 * (call + 1)
                process.send(signal.SIGCONT)
            ended = process.end()
        assert assert_conserved(ended.client, server.oracle, accepted=100)["cdp"].delivered == 100
        assert server.oracle.duplicates == 0
        assert server.oracle.order_violations() == 0
    assert ended.stderr == ""
