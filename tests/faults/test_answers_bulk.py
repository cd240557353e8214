"""Fault rows H: answers to many messages at once, the order of those that fail, and signatures."""

import base64
import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest

from tests.faults.vendors import enqueue_all, hightouch, interakt, message_id, renderings, suprsend, thrivestack, tracks
from tests.faults.world import CANARIES, FaultServer, assert_conserved, id_of, store, stored
from tests.sockets import Received, Script, answer, play, reply, reset, send
from unitrack import Client, Destination, Group, Identify, Track
from unitrack.clock import Clock

Found = Sequence[Mapping[str, Any]]


def test_H5_one_bad_message_in_a_batch() -> None:
    """One bad message in a batch costs itself alone, and the others of its user stay in order."""
    poison = message_id(37)

    def refuse(found: Found) -> Script:
        return reply(400, b'{"message":"bad"}') if poison in map(id_of, found) else stored()

    with FaultServer(by_message=refuse) as server:
        with Client({"cdp": hightouch(server)}) as client:
            enqueue_all(client, tracks(100, users=10))
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=100)["cdp"]
            (letter,) = client.dead_letters()
        assert len(server.requests) <= 15
    assert (ledger.delivered, ledger.dead) == (99, {"rejected": 1})
    assert letter.message_id == poison
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0


def test_H11_batch_is_too_large() -> None:
    """A batch that is too large is halved and the limit remembered; only what is too large by itself is dead."""
    large = {message_id(n) for n in (150, 151, 300)}

    def limit(found: Found) -> Script:
        size = len(orjson.dumps(list(found)))
        return reply(413) if size > 10_000 else stored()

    messages = [
        *tracks(150),
        *tracks(152, pad="x" * 12_000)[150:],
        *tracks(300)[152:],
        *tracks(301, pad="x" * 12_000)[300:],
        *tracks(600)[301:],
    ]
    with FaultServer(by_message=limit) as server:
        with Client({"cdp": hightouch(server)}) as client:
            enqueue_all(client, messages)
            assert client.flush(10)
            first = [request for request in server.requests if len(request.body) > 11_000]
            enqueue_all(client, tracks(900)[600:])
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=900)["cdp"]
            dead = {letter.message_id for letter in client.dead_letters()}
        later = [request for request in server.requests if len(request.body) > 11_000]
    assert (ledger.delivered, ledger.dead) == (897, {"rejected": 3})
    assert dead == large
    assert len(first) < 30
    assert len(later) == len(first)
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0


def bulk(server: FaultServer, verdict: Callable[[str, int], int]) -> Callable[[Found], Script]:
    """Answer a bulk as SuprSend does, with a status for each message by its id and the number of the attempt."""

    def act(found: Found) -> Script:
        codes = [verdict(id_of(message), server.oracle.attempts[id_of(message)]) for message in found]
        taken = [message for message, code in zip(found, codes, strict=True) if code < 300]
        records = [{"status": "success" if code < 300 else "error", "status_code": code} for code in codes]
        status = 202 if len(taken) == len(found) else 207
        if len(found) == 1:  # goes to the endpoint for single events
            return play(lambda _: server.oracle.store(taken), send(answer(codes[0])))
        body = orjson.dumps({"status": "partial", "records": records})
        return play(lambda _: server.oracle.store(taken), send(answer(status, body)))

    return act


def test_H20_mixed_bulk() -> None:
    """Of a bulk that is answered record by record, only what was put off goes out again."""
    numbers = {message_id(n): n for n in range(1_000)}

    def verdict(key: str, attempt: int) -> int:
        match numbers[key] % 5:
            case 1:
                return 503 if attempt <= 2 else 202
            case 2:
                return 429 if attempt == 1 else 200
            case 3:
                return 400
            case _:
                return 202

    server = FaultServer(by_message=lambda found: act(found))
    act = bulk(server, verdict)
    with server:
        with Client({"msg": suprsend(server)}, dice=lambda: 0.02) as client:
            enqueue_all(client, tracks(1_000))
            assert client.flush(20)
            ledger = assert_conserved(client, server.oracle, accepted=1_000)["msg"]
            dead = {letter.message_id for letter in client.dead_letters()}
    assert (ledger.delivered, ledger.dead) == (800, {"rejected": 200})
    assert dead == {key for key, n in numbers.items() if n % 5 == 3}
    assert Counter(server.oracle.attempts.values()) == {1: 600, 2: 200, 3: 200}
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0


SUCCESS = {"status": "success", "status_code": 202}
CONFUSED: dict[str, tuple[Any, int]] = {
    "fewer": ([SUCCESS] * 30, 70),
    "one": ([SUCCESS], 99),
    "none": ([], 100),
    "more": ([SUCCESS] * 130, 0),
    "no records at all": ({"a": SUCCESS}, 100),
    "records that are none": ([SUCCESS] * 40 + [None, 1, "x", [], {}, True] * 10, 60),
    "records without a verdict": ([{"status": "queued?", "status_code": "202"}] * 100, 100),
    "the same id in all": ([{**SUCCESS, "message_id": "same"}] * 100, 0),
    "unknown ids": ([{**SUCCESS, "message_id": f"never sent {n}"} for n in range(100)], 0),
}


@pytest.mark.parametrize(("records", "unmatched"), CONFUSED.values(), ids=CONFUSED.keys())
def test_H21_wrong_number_of_verdicts(records: Any, unmatched: int) -> None:
    """A message without a verdict of its own in a bulk answer is sent again, never taken for delivered."""
    body = orjson.dumps({"status": "partial", "records": records})
    with FaultServer(play(store(), send(answer(207, body))), stored(202)) as server:
        with Client({"msg": suprsend(server)}, dice=lambda: 0.1) as client:
            enqueue_all(client, tracks(100, users=100))
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=100)["msg"]
        looks = renderings(server, "$insert_id")
    assert (ledger.delivered, ledger.retried) == (100, unmatched)
    assert server.oracle.duplicates == unmatched
    assert all(len(look) == 1 for look in looks.values())


def test_H21_unmatched_is_not_assumed() -> None:
    """What a server did not store and did not mention arrives all the same."""

    def half(found: Found) -> Script:
        kept = found[: (len(found) + 1) // 2]
        body = orjson.dumps({"status": "partial", "records": [SUCCESS] * len(kept)})
        return play(lambda _: server.oracle.store(kept), send(answer(207 if len(found) > 1 else 202, body)))

    with FaultServer(by_message=half) as server:
        with Client({"msg": suprsend(server)}, dice=lambda: 0.002) as client:
            enqueue_all(client, tracks(1_000))
            assert client.flush(20)
            ledger = assert_conserved(client, server.oracle, accepted=1_000)["msg"]
    assert ledger.delivered == 1_000
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0


#: What the server answers to a message at its first, second, third attempt.
ANSWERS = ([200], [500, 500, 200], [400], [503, 400], [200], [429, 200], [200])


def scripted(message: Mapping[str, Any]) -> Sequence[int]:
    facts = message["traits"]
    return ANSWERS[(facts["i"] * 3 + int(message["userId"][1:])) % len(ANSWERS)]


@pytest.mark.parametrize("concurrency", [None, 8])
def test_H22_order_of_each_user(concurrency: int | None) -> None:
    """Whatever is answered to which event, the events of a user arrive in the order of the calls, each of them once."""
    users, each = 50, 16

    def act(found: Found) -> Script:
        (message,) = found
        answers = scripted(message)
        code = answers[min(server.oracle.attempts[id_of(message)], len(answers)) - 1]
        return stored() if code == 200 else reply(code)

    messages = tracks(users * each, users=users)
    with FaultServer(by_message=act) as server:
        destination = Destination(interakt(server), concurrency=concurrency)
        with Client({"wa": destination}, dice=lambda: 0.005) as client:
            enqueue_all(client, messages)
            assert client.flush(60)
            ledger = assert_conserved(client, server.oracle, accepted=users * each)["wa"]
            dead = {letter.message_id for letter in client.dead_letters()}
    sound = {key for key, look in server.oracle.messages.items() if scripted(look)[-1] == 200}
    assert server.oracle.delivered == sound
    assert ledger.dead == {"rejected": len(dead)}
    assert server.oracle.delivered | dead == {message.message_id for message in messages}
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0


def test_H22_order_over_several_requests() -> None:
    """Where kinds of message need requests of their own and one of those fails, the later ones of its users wait."""
    kinds = {"/api/group": Group, "/api/track": Track, "/api/identify": Identify}
    failures = Counter({"/api/group": 3, "/api/track": 5, "/api/identify": 4})
    messages = []
    for i, path in enumerate(["/api/group", "/api/track", "/api/identify", "/api/track"] * 5):
        member = "properties" if path == "/api/track" else "traits"
        more = {"event": "E"} if path == "/api/track" else {"group_id": "g"} if path == "/api/group" else {}
        for user in range(10):
            facts = {"i": i, "id": f"{user}-{i}"}
            messages.append(kinds[path](user_id=f"u{user}", **{member: facts}, **more))

    class Stumbling(FaultServer):
        def script_for(self, request: Received) -> Script:
            super().script_for(request)
            failures[request.target] -= 1
            return reply(500) if failures[request.target] >= 0 else stored()

    with Stumbling() as server:
        with Client({"ts": thrivestack(server)}, dice=lambda: 0.01) as client:
            enqueue_all(client, messages)
            assert client.flush(20)
            ledger = assert_conserved(client, server.oracle, accepted=200)["ts"]
    assert ledger.delivered == 200
    assert max(failures.values()) < 0
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0


class Verifying(FaultServer):
    """Checks signatures over the bytes that arrived, as SuprSend says that they are made."""

    def __init__(self, *scripts: Script) -> None:
        self.bad = 0
        self.dates: list[str] = []
        super().__init__(*scripts)

    def script_for(self, request: Received) -> Script | None:
        key, _, signed = (request.header("authorization") or "").partition(":")
        date = request.header("date") or ""
        body = hashlib.md5(request.body).hexdigest()
        text = "\n".join(("POST", body, request.header("content-type") or "", date, request.target))
        good = hmac.digest(CANARIES["workspace_secret"].encode(), text.encode(), "sha256")
        self.bad += key != CANARIES["workspace_key"] or base64.b64decode(signed) != good
        self.dates.append(date)
        return super().script_for(request)


def test_H25_signature_of_each_attempt() -> None:
    """Each attempt is signed anew, over the exact bytes that go out and with the time of that attempt."""
    now = [datetime(2026, 3, 1, 12, tzinfo=UTC)]

    def tick() -> datetime:
        now[0] += timedelta(seconds=7)
        return now[0]

    scripts = [reply(503), play(reset()), reply(207, b'{"records":[]}'), reply(429)]
    with Verifying(*scripts, stored(202)) as server:
        with Client({"msg": suprsend(server)}, clock=Clock(utc=tick), dice=lambda: 0.02) as client:
            enqueue_all(client, tracks(250, name='Zoë ☃ \U0001f600 "quoted" \\ </script>'))
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=250)["msg"]
        looks = renderings(server, "$insert_id")
    assert server.bad == 0
    # One attempt was repeated as it was on another connection, with the time of that attempt.
    assert len(set(server.dates)) >= len(server.dates) - 1 >= 6
    assert ledger.delivered == 250
    assert all(len(look) == 1 for look in looks.values())
    assert server.oracle.duplicates == 0


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("hours", [2, -2])
def test_H25_clock_is_wrong(hours: int, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Where a signature is refused and the server's clock shows another time, the reason names both times."""
    there = datetime.now(UTC) + timedelta(hours=hours)
    refused = reply(status, b'{"error":{"message":"signature expired"}}', {"Date": format_datetime(there, usegmt=True)})
    with FaultServer(refused) as server:
        with Client({"msg": suprsend(server)}, probe_interval=0.1) as client:
            client.send(tracks(30), timeout=10)
            held = client.stats()["msg"].held or ""
            server.switch_to(stored(202))
            assert client.flush(10)
            assert assert_conserved(client, server.oracle, accepted=30)["msg"].delivered == 30
    assert "signature expired" in held
    assert f"the server's clock says {there:%Y-%m-%d %H:%M}" in held
    assert f"this machine's {datetime.now(UTC):%Y-%m-%d %H:}" in held
    assert any(held in line for line in caplog.messages)


def test_H25_clock_is_right() -> None:
    """Where the clocks agree, a refused signature says nothing about them."""
    refused = reply(
        401, b'{"error":{"message":"wrong key"}}', {"Date": format_datetime(datetime.now(UTC), usegmt=True)}
    )
    with FaultServer(refused) as server:
        with Client({"msg": suprsend(server)}, probe_interval=0.1) as client:
            client.send(tracks(30), timeout=10)
            assert client.stats()["msg"].held == "401: wrong key"
            server.switch_to(stored(202))
            assert client.flush(10)
            assert_conserved(client, server.oracle, accepted=30)
