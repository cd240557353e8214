"""Fault rows H: what becomes of messages when the server says yes, no, not you, or not now."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest
from attrs import frozen

from tests.faults.conftest import assert_clean
from tests.faults.vendors import enqueue_all, hightouch, interakt, suprsend, thrivestack, tracks, webhook
from tests.faults.world import CANARIES, FaultServer, assert_conserved, store, stored, until
from tests.sockets import Received, Script, play, reply, reset
from unitrack import Client, Destination, Drop, Hold
from unitrack.providers import Webhook
from unitrack.wire import Delivered, Outcome, Part, Response, Retry

FOUR = pytest.mark.parametrize("provider", [hightouch, interakt, suprsend, thrivestack])

JSON = {"Content-Type": "application/json"}


def assert_kept_until_well(provider: Any, script: Script, count: int, log: pytest.LogCaptureFixture) -> str:
    """Messages are kept while a server answers so, each bulk hears of it at once, and all arrive when it is well.

    Returns the reason that the ledger named meanwhile.
    """
    with FaultServer(script) as server:
        with Client({"it": provider(server)}, probe_interval=0.1) as client:
            report = client.send(tracks(count), timeout=10)
            assert len(report.verdicts) == count
            assert {type(outcome) for outcome in report.verdicts.values()} == {Hold}
            server.wait_for(2)  # the first probe
            ledger = assert_conserved(client, server.oracle, accepted=count, settled=False)["it"]
            assert (ledger.pending, ledger.delivered, ledger.dead, ledger.retried) == (count, 0, {}, 0)
            assert ledger.held is not None
            assert len(server.requests) < count  # not one for each of them
            server.switch_to(stored(202))
            assert client.flush(10)
            assert assert_conserved(client, server.oracle, accepted=count)["it"].delivered == count
            assert client.stats()["it"].held is None
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0
    assert sum("is on hold" in line for line in log.messages) == 1
    assert sum("takes messages again" in line for line in log.messages) == 1
    return ledger.held


# Yes.


PAGES = {
    "a page": reply(200, b"<!DOCTYPE html><html><body>Please log in</body></html>", {"Content-Type": "text/html"}),
    "a page that says it is JSON": reply(200, b"\n  <html><body>Please log in</body></html>", JSON),
    "a page with 202": reply(202, b"<HTML><body>Guest network</body></HTML>", {"Content-Type": "text/html"}),
}


@FOUR
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_H2_html_page(provider: Any, page: Script, caplog: pytest.LogCaptureFixture) -> None:
    """A 200 with a page for people is no success: everything is kept until the API itself answers."""
    assert "HTML page" in assert_kept_until_well(provider, page, 20, caplog)


QUIET = {
    "empty": stored(200, b""),
    "202": stored(202, b""),
    "202 with JSON": stored(202, b'{"status":"success","message_id":"x"}', JSON),
    "204": stored(204, b""),
    "201 with text": stored(201, b"OK"),
    "other JSON": stored(200, b'[{"anything":1}]', JSON),
    "cut JSON": stored(200, b'{"succ', JSON),
    "bytes": stored(200, bytes(range(256))),
}


@FOUR
@pytest.mark.parametrize("script", QUIET.values(), ids=QUIET.keys())
def test_H3_success_of_any_form(provider: Any, script: Script) -> None:
    """A 2xx without a body, with plain text or with JSON that says nothing is a success, and nothing is sent twice."""
    with FaultServer(script) as server:
        with Client({"it": provider(server)}) as client:
            report = client.send(tracks(50), timeout=10)
            ledger = assert_conserved(client, server.oracle, accepted=50)["it"]
    assert (report.success, ledger.delivered, ledger.retried) == (50, 50, 0)
    assert server.oracle.duplicates == 0


# No.


@pytest.mark.parametrize("status", [400, 422])
@FOUR
def test_H4_refused_message(provider: Any, status: int) -> None:
    """A message that is refused by itself is a dead letter after one attempt, with the beginning of the answer."""
    drops: list[Drop] = []
    with FaultServer(reply(status, b'{"message":"no such plan"}' + b" and so on" * 1_000)) as server:
        with Client({"it": provider(server)}, on_drop=drops.extend) as client:
            report = client.send(tracks(1), timeout=10)
            ledger = assert_conserved(client, server.oracle, accepted=1)["it"]
            (letter,) = client.dead_letters()
        assert len(server.requests) == 1
    assert ledger.dead == {"rejected": 1}
    assert letter.attempts == 1
    assert letter.detail.startswith(f'{status}: {{"message":"no such plan"}}')
    assert len(letter.detail) <= 505
    assert report.failed_records[0].error == letter.detail
    assert [(drop.reason, drop.detail) for drop in drops] == [("rejected", letter.detail)]


def echo(request: Received, pad: int) -> bytes:
    """Say back whatever a request holds of credentials, as careless servers do, at a given place of the body."""
    held = [request.header(name) or "" for name in ("authorization", "x-api-key")]
    held += [word for word in CANARIES.values() if word.encode() in request.body]
    words = [piece for text in held for piece in text.split()]
    return b"x" * pad + " ".join(words).encode()


@pytest.mark.parametrize("pad", [0, 440, 470, 480, 485, 490, 495])
@pytest.mark.parametrize("provider", [hightouch, interakt, suprsend, thrivestack, webhook])
def test_H4_answer_that_echoes_credentials(provider: Any, pad: int) -> None:
    """Credentials that a server says back are in no dead letter, report or callback, not even in part."""
    drops: list[Drop] = []

    class Echoing(FaultServer):
        def script_for(self, request: Received) -> Script:
            super().script_for(request)
            return reply(400, echo(request, pad))

    with Echoing() as server:
        with Client({"it": provider(server)}, on_drop=drops.extend) as client:
            report = client.send(tracks(1), timeout=10)
            assert assert_conserved(client, server.oracle, accepted=1)["it"].dead == {"rejected": 1}
            told = repr((client.dead_letters(), report, drops, client.stats()))
    assert_clean(told)
    for name in ("write_key", "api_key", "token", "workspace_secret"):
        for beginning in (CANARIES[name][:8], b64encode(CANARIES[name][:9].encode()).decode()):
            assert beginning not in told


# Not you.


@pytest.mark.parametrize("provider", [hightouch, interakt])
@pytest.mark.parametrize("status", [401, 403])
def test_H7_refused_key(provider: Any, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """A 401 or 403 is not the messages' fault: all are kept, the log says it once, and all go out once it is mended."""
    held = assert_kept_until_well(provider, reply(status, b'{"message":"bad key"}'), 150, caplog)
    assert held == f'{status}: {{"message":"bad key"}}'


def test_H6_probes() -> None:
    """While a key is refused, one request at a time asks whether it is mended, ever more rarely."""
    with FaultServer(reply(401)) as server:
        with Client({"cdp": Destination(hightouch(server), concurrency=1)}, probe_interval=0.15) as client:
            enqueue_all(client, tracks(1_000))
            requests = server.wait_for(3)
            server.switch_to(stored())
            assert client.flush(10)
            assert assert_conserved(client, server.oracle, accepted=1_000)["cdp"].delivered == 1_000
    first, second, third = (request.at for request in requests[:3])
    assert second - first >= 0.14
    assert third - second >= 0.28
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0


def test_H6_calls_during_a_hold() -> None:
    """Who sends while a destination is on hold is told at once, and in sync mode no call waits for the next probe."""
    with FaultServer(reply(401)) as server:
        settings = {"mode": "sync", "probe_interval": 0.3}
        with Client({"cdp": hightouch(server)}, **settings) as now, Client({"cdp": hightouch(server)}) as later:
            assert later.send(tracks(1), timeout=10).status == "fail"
            (held,) = later.send(tracks(2)[1:], timeout=10).verdicts.values()
            assert isinstance(held, Hold)
            receipts = [now.track("u", "E", {"i": i, "id": i}) for i in range(3)]
            assert [(receipt.accepted, (receipt.reason or "")[:3]) for receipt in receipts] == [(False, "401")] * 3
            assert len(server.requests) == 2
            server.switch_to(stored())
            until(lambda: now.track("u", "E", {"i": 9}))
            assert now.flush(10)
            ledger = assert_conserved(now, server.oracle)["cdp"]
            assert ledger.delivered == ledger.accepted
            assert_conserved(later, server.oracle, accepted=2, settled=False)
            later.close(0)


@pytest.mark.parametrize("status", [404, 405, 406, 407, 410, 415, 501, 505])
def test_H8_wrong_address(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that means a wrong address or form keeps all messages until it is corrected."""
    assert assert_kept_until_well(hightouch, reply(status, b"no such thing"), 300, caplog).startswith(str(status))


def test_H8_until_the_deadline() -> None:
    """What is still held at its ``delivery_deadline`` is a dead letter then, with the last answer, and not before."""
    with FaultServer(reply(404, b"no such path")) as server:
        with Client({"cdp": hightouch(server)}, delivery_deadline=0.6) as client:
            enqueue_all(client, tracks(300))
            server.wait_for(1)
            until(lambda: client.stats()["cdp"].held)
            assert client.stats()["cdp"].pending == 300
            assert client.flush(10)
            ledger = assert_conserved(client, server.oracle, accepted=300)["cdp"]
            letters = client.dead_letters()
    assert ledger.dead == {"expired": 300}
    assert len(letters) == 300
    assert {letter.detail for letter in letters} == {"not delivered within 0.6 s; 404: no such path"}
    assert min(letter.buried_at - letter.accepted_at for letter in letters) >= 0.6


# Already.


@frozen(kw_only=True)
class Careful(Webhook):
    """An endpoint that keeps the keys of what it has, and says so."""

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        if response.status == 409:
            return [Delivered() if b"duplicate" in response.body else Retry("still running", code=409)] * len(parts)
        return super().outcomes(response, parts)


def test_H10_conflict() -> None:
    """A provider decides what 409 means: "still running" is sent again under the same key, "duplicate" is delivered."""
    scripts = [play(store(), reset()), reply(409, b"running"), reply(409, b"running"), reply(409, b"duplicate")]
    with FaultServer(*scripts) as server:
        provider = Careful(url=server.url, token=CANARIES["token"])
        with Client({"hook": provider}, dice=lambda: 0.1) as client:
            report = client.send(tracks(1), timeout=10)
            ledger = assert_conserved(client, server.oracle, accepted=1)["hook"]
        assert [request.header("idempotency-key") for request in server.requests] == ["key-0"] * 4
    assert (report.success, ledger.delivered, ledger.retried) == (1, 1, 3)
    assert server.oracle.duplicates == 0


def test_H10_conflict_without_a_meaning() -> None:
    """Where a provider knows nothing of 409 the message is a dead letter with the answer, and is not sent again."""
    with FaultServer(reply(409, b"conflict")) as server:
        with Client({"wa": interakt(server)}) as client:
            report = client.send(tracks(1), timeout=10)
            assert assert_conserved(client, server.oracle, accepted=1)["wa"].dead == {"rejected": 1}
        assert len(server.requests) == 1
    assert report.failed_records[0].error == "409: conflict"


# By provider.


def poisoned(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any of the messages of a request is one that the server says no to."""
    return any((message.get("properties") or message.get("traits"))["i"] % 10 == 3 for message in messages)


NO: Mapping[str, tuple[Any, bytes]] = {
    "interakt": (interakt, b'{"result":false,"message":"no such template"}'),
    "thrivestack": (thrivestack, b'{"success":false,"message":"no such template"}'),
    "suprsend": (suprsend, b'{"status":"error","error":{"type":"x","message":"no such template"}}'),
}


@pytest.mark.parametrize(("provider", "body"), NO.values(), ids=NO.keys())
def test_H1_success_that_says_no(provider: Any, body: bytes) -> None:
    """A 200 whose body says that it failed is never counted as delivered; it costs the messages at fault alone."""
    with FaultServer(by_message=lambda found: reply(200, body) if poisoned(found) else stored()) as server:
        with Client({"it": provider(server)}) as client:
            report = client.send(tracks(200, users=10), timeout=20)
            ledger = assert_conserved(client, server.oracle, accepted=200)["it"]
        sent = list(server.oracle.messages.values())
    assert (ledger.delivered, ledger.dead) == (180, {"rejected": 20})
    assert not poisoned(sent)
    assert len(sent) == 180
    assert server.oracle.duplicates == 0
    assert server.oracle.order_violations() == 0
    assert all("no such template" in failed.error for failed in report.failed_records)


def test_H1_records_of_a_bulk() -> None:
    """A bulk answer with a record that failed delivers all others."""

    def records(found: Sequence[Mapping[str, Any]]) -> Script:
        bad = [poisoned([message]) for message in found]
        good = [message for message, is_bad in zip(found, bad, strict=True) if not is_bad]
        body = [{"status": "error", "status_code": 400} if b else {"status": "success"} for b in bad]
        return play(lambda _: server.oracle.store(good), *reply(207, orjson.dumps({"records": body})).actions)

    with FaultServer(by_message=records) as server:
        with Client({"msg": suprsend(server)}) as client:
            report = client.send(tracks(200, users=10), timeout=20)
            ledger = assert_conserved(client, server.oracle, accepted=200)["msg"]
    assert set(server.oracle.attempts.values()) == {1}
    assert (report.success, ledger.delivered, ledger.dead) == (180, 180, {"rejected": 20})
    assert server.oracle.duplicates == 0
