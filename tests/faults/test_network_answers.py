"""Fault rows N: answers that are no sound HTTP, have no end, or are larger than anyone asked for."""

import gzip
import sys
import zlib
from typing import Any

import pytest

from tests.faults.processes import run
from tests.faults.vendors import enqueue_all, hightouch, thrivestack, tracks
from tests.faults.world import FaultServer, assert_conserved, store, stored
from tests.sockets import Script, answer, close, endless, play, send
from unitrack import Client, Hold

MIB = 1024 * 1024
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of a process is read from /proc")

#: Sends 100 messages as often as it is told, and says by how much the most memory it ever had grew meanwhile.
GROWTH = """
    def peak():
        with open("/proc/self/status") as file:
            return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

    client = make(dice=lambda: 0.0)
    client.track("u", "Warm-up", {"i": -1})
    assert client.flush(10)
    before = peak()
    for turn in range(TURNS):
        for number in range(100):
            client.track("u", "E", {"i": 100 * turn + number})
        assert client.flush(20)
    say(f"grown {peak() - before}")
    client.close()
"""


def assert_small(server: FaultServer, most: int, *, turns: int = 1) -> None:
    """Run the script above against a server: everything must arrive once, in little memory."""
    ended = run(GROWTH.replace("TURNS", str(turns)), server.url)
    ledger = assert_conserved(ended.client, server.oracle, accepted=100 * turns + 1)["cdp"]
    assert ledger.delivered == 100 * turns + 1
    assert server.oracle.duplicates == 0
    (grown,) = ended.said("grown")
    assert int(grown) <= most


def then_closed(raw: bytes) -> Script:
    return play(send(raw), close())


NOT_HTTP = [
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"200 OK\r\n\r\n",
    b"<html>hello</html>",  # as HTTP/0.9 was
    b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 fine OK\r\n\r\n",
    b"HTTP/1.1 42 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1 -200 OK\r\n\r\n",
    b"\x15\x03\x03",
    bytes(100),
    b"HTTP/1.1 200 " + b"x" * 100_000,
    b"HTTP/1.1 20",
    b"",
]


def test_N16_not_http() -> None:
    """Whatever comes back that is not HTTP is no answer: its connection is closed, and the messages go out again."""
    scripts = [then_closed(raw) for raw in NOT_HTTP if raw[:1] != b"\x15"]
    with FaultServer(*scripts, stored()) as server:
        with Client({"cdp": hightouch(server)}, dice=lambda: 0.0) as client:
            enqueue_all(client, tracks(100, users=1))
            assert client.flush(20)
            ledger = assert_conserved(client, server.oracle, accepted=100)["cdp"]
        assert server.connections == len(scripts) + 1
    assert (ledger.delivered, ledger.requests) == (100, len(scripts) + 1)
    assert server.oracle.duplicates == 0


def test_N17_too_many_informational_answers() -> None:
    """Up to 20 informational answers are skipped; a thousand of them are no answer, and it is sent again."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"
    few = play(store(), send(hints * 10 + b"HTTP/1.1 100 Continue\r\n\r\n" * 10 + answer()))
    with FaultServer(then_closed(hints * 1_000 + answer()), few) as server:
        with Client({"cdp": hightouch(server)}, dice=lambda: 0.1) as client:
            enqueue_all(client, tracks(100, users=1))
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=100)["cdp"]
    assert (ledger.delivered, ledger.retried) == (100, 100)
    assert server.oracle.duplicates == 0


def test_N17_switching_protocols() -> None:
    """A server that wants another protocol is at fault itself: the messages are kept until it speaks HTTP again."""
    upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"
    with FaultServer(play(send(upgrade))) as server:
        with Client({"cdp": hightouch(server)}, probe_interval=0.05) as client:
            report = client.send(tracks(100), timeout=10)
            assert {type(outcome) for outcome in report.verdicts.values()} == {Hold}
            server.switch_to(stored())
            assert client.flush(10)
            assert assert_conserved(client, server.oracle, accepted=100)["cdp"].delivered == 100
    assert server.oracle.duplicates == 0


GARBAGE = [
    b"\r\nabc\r\n0\r\n\r\n",  # no size
    b"zz\r\nabc\r\n0\r\n\r\n",
    b"-1\r\nabc\r\n0\r\n\r\n",
    b"-5\r\nabc\r\n0\r\n\r\n",
    b"8000000000000000\r\nabc\r\n0\r\n\r\n",  # 2 to the 63
    b"f" * 100 + b"\r\nabc\r\n0\r\n\r\n",
    b"1" * 100_000,  # a size without end
    b"3\r\nabc\r\n",  # no last chunk
    b"3\r\nab",
    b"3",
    b"",
]


@linux
def test_N18_chunked_garbage() -> None:
    """Garbage in the chunked encoding is no answer, needs no memory, and the messages go out again."""
    with FaultServer(stored(), *(then_closed(CHUNKED + raw) for raw in GARBAGE), stored()) as server:
        assert_small(server, 8 * MIB)
        assert len(server.requests) == len(GARBAGE) + 2


@linux
def test_N18_huge_trailers() -> None:
    """Megabytes of trailers after a chunked answer are read past."""
    trailers = play(store(), send(CHUNKED + b"2\r\n{}\r\n0\r\n"), endless(b"Trailer: x\r\n" * 5_000, 4 * MIB), close())
    with FaultServer(stored(), trailers, stored()) as server:
        assert_small(server, 8 * MIB)


def test_N18_split_line_ends() -> None:
    """Line ends that arrive in two pieces are line ends."""
    pieces = [CHUNKED[:-3], CHUNKED[-3:] + b"2\r", b"\n{", b"}\r", b"\n0\r", b"\n\r", b"\n"]
    with FaultServer(play(store(), *map(send, pieces))) as server:
        with Client({"cdp": hightouch(server)}) as client:
            enqueue_all(client, tracks(250))
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=250)["cdp"]
        assert server.connections < len(server.requests)
    assert (ledger.delivered, ledger.retried) == (250, 0)
    assert server.oracle.duplicates == 0


@linux
def test_N19_huge_headers() -> None:
    """A header line of a megabyte, or ten thousand headers, is no answer, and the messages go out again."""
    line = b"HTTP/1.1 200 OK\r\nX: " + b"x" * MIB + b"\r\nContent-Length: 2\r\n\r\n{}"
    many = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"Content-Length: 2\r\n\r\n{}"
    with FaultServer(stored(), then_closed(line), then_closed(many), stored()) as server:
        assert_small(server, 8 * MIB)
        assert len(server.requests) == 4


def without_end(status: int, framing: str) -> Script:
    """Store, and answer with a gigabyte, or as much of it as the other side takes."""
    head = f"HTTP/1.1 {status} Some Reason\r\n{framing}\r\n\r\n".encode()
    piece = b"x" * 65536
    if "chunked" in framing:
        piece = b"%x\r\n%b\r\n" % (len(piece), piece)
    return play(store(), send(head), endless(piece, 1 << 30), close())


FRAMINGS = ["Content-Length: 1073741824", "Transfer-Encoding: chunked", "Connection: close"]


@linux
def test_N20_body_without_end() -> None:
    """Of a body without end a megabyte is read, in little memory, and the status decides."""
    with FaultServer(stored(), *(without_end(200, framing) for framing in FRAMINGS)) as server:
        assert_small(server, 8 * MIB, turns=3)
        assert len(server.requests) == 4


@pytest.mark.parametrize("framing", FRAMINGS)
def test_N20_failure_without_end(framing: str) -> None:
    """A failure whose body has no end is told by its status and the beginning of its body."""
    with FaultServer(without_end(400, framing)) as server:
        with Client({"cdp": hightouch(server)}) as client:
            report = client.send(tracks(1), timeout=10)
            assert_conserved(client, server.oracle, accepted=1)
    (failed,) = report.failed_records
    assert failed.code == 400
    assert failed.error == "400: " + "x" * 500


def bomb(window: int, size: int = 64 * MIB) -> bytes:
    packing = zlib.compressobj(1, wbits=window)
    return b"".join(packing.compress(bytes(MIB)) for _ in range(size // MIB)) + packing.flush()


@linux
def test_N21_bomb() -> None:
    """An answer that unpacks to a hundred times its size needs little memory; plain answers are asked for."""
    packed = bomb(31)
    answers = [
        answer(200, packed, {"Content-Encoding": "gzip"}),
        answer(200, bomb(15), {"Content-Encoding": "deflate"}),
        answer(200, bomb(-15), {"Content-Encoding": "deflate"}),
        answer(200, gzip.compress(packed), {"Content-Encoding": "gzip, gzip"}),
        answer(200, gzip.compress(packed), {"Content-Encoding": "gzip"}),
    ]
    with FaultServer(stored(), *(play(store(), send(raw)) for raw in answers)) as server:
        assert_small(server, 16 * MIB, turns=len(answers))
        assert {request.header("accept-encoding") for request in server.requests} == {"identity"}


SAYS_NO = b'{"success":false,"message":"no such plan"}'
ENCODED = {
    "gzip": (gzip.compress(SAYS_NO), "gzip"),
    "deflate": (zlib.compress(SAYS_NO), "deflate"),
    "a lie": (SAYS_NO, "gzip"),
    "unknown": (SAYS_NO, "x-secret-sauce"),
}


@pytest.mark.parametrize(("body", "encoding"), ENCODED.values(), ids=ENCODED.keys())
def test_N21_encoded_verdict(body: bytes, encoding: str) -> None:
    """What an encoded answer says is read, also where it lies about its encoding."""
    with FaultServer(play(send(answer(200, body, {"Content-Encoding": encoding})))) as server:
        with Client({"ts": thrivestack(server)}) as client:
            report = client.send(tracks(1), timeout=10)
            ledger = assert_conserved(client, server.oracle, accepted=1)["ts"]
    assert ledger.dead == {"rejected": 1}
    assert "no such plan" in report.failed_records[0].error


DOUBTFUL: dict[str, Any] = {
    "a second answer behind the first": answer(200) + answer(200),
    "two lengths": answer(200, b"{}", {"Content-Length": "2\r\nContent-Length: 2"}) + answer(200),
    "a length and chunks": CHUNKED[:-2] + b"Content-Length: 3\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + answer(200),
    "bytes behind no body": b"HTTP/1.1 204 No Content\r\n\r\n" + answer(200),
}


@pytest.mark.parametrize("raw", DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_N24_answer_behind_the_answer(raw: bytes) -> None:
    """Bytes behind an answer are never taken for the answer to the next batch: that goes out until it has its own."""
    first, second = tracks(100), tracks(200)[100:]
    with FaultServer(play(store(), send(raw)), play(close()), stored()) as server:
        with Client({"cdp": hightouch(server)}, dice=lambda: 0.0) as client:
            for batch in (first, second):
                enqueue_all(client, batch)
                assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=200)["cdp"]
        assert len(server.requests) == 3
    assert ledger.delivered == 200
    assert server.oracle.duplicates == 0


def test_N24_two_different_lengths() -> None:
    """An answer with two different lengths is none, and it is sent again."""
    raw = answer(200, b"{}", {"Content-Length": "2\r\nContent-Length: 5"})
    with FaultServer(play(send(raw)), stored()) as server:
        with Client({"cdp": hightouch(server)}, dice=lambda: 0.0) as client:
            enqueue_all(client, tracks(100))
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=100)["cdp"]
        assert server.connections == 2
    assert ledger.retried == 100
    assert server.oracle.duplicates == 0


OLD = {
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.0 without a length": b"HTTP/1.0 200 OK\r\n\r\n{}",
    "Connection: close": answer(200, b"{}", {"Connection": "close"}),
}


@pytest.mark.parametrize("raw", OLD.values(), ids=OLD.keys())
def test_N25_connection_for_each_request(raw: bytes) -> None:
    """A server that speaks HTTP/1.0, or closes after every answer, gets everything once."""
    with FaultServer(play(store(), send(raw), close())) as server:
        with Client({"cdp": hightouch(server)}) as client:
            enqueue_all(client, tracks(1_000))
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=1_000)["cdp"]
        assert server.connections == len(server.requests)
    assert (ledger.delivered, ledger.retried) == (1_000, 0)
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0
