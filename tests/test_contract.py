"""What vendors ask of the contract beyond one path and one verdict: heads, verdicts of one's own, attempts, scopes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import orjson
import pytest
from attrs import evolve, field, frozen

from unitrack import Client, Destination, Track
from unitrack.answers import json_body, outcome_of
from unitrack.clock import Clock
from unitrack.config import load
from unitrack.delivery import MOST_SPARED
from unitrack.errors import ConfigError
from unitrack.forms import basic, repeat_key, scoped
from unitrack.message import Message
from unitrack.providers import GA4, Amplitude, CustomerIO, Hightouch, Mixpanel, Segment
from unitrack.testing import FakeTransport, recording, reply
from unitrack.values import dumps
from unitrack.wire import Capabilities, Delivered, Outcome, Part, Rejected, Request, Response, Retry


@frozen(kw_only=True)
class Odd:
    """A vendor with every oddity: one user per request, verdicts by place, and ids that are known everywhere."""

    name: ClassVar[str] = "odd"
    base_url: str = "https://odd.example"
    id_scope: str | None = ""
    shared_ids: bool = True
    one_user: bool = True
    max_batch_bytes: int | None = field(default=None)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(max_batch=10, max_batch_bytes=self.max_batch_bytes, shared_ids=self.shared_ids)

    def encode(self, message: Message) -> Part:
        head = dumps(message.user_id) if self.one_user else b""
        return Part(path="/in", head=head, body=dumps({"id": scoped(repeat_key(message), self.id_scope or "")}))

    def request(self, parts: Sequence[Part], now: datetime) -> Request:
        head = orjson.loads(parts[0].head or b"null")
        attempts = [part.attempt for part in parts]
        body = dumps({"user": head, "attempts": attempts, "events": [orjson.loads(part.body) for part in parts]})
        return Request(url=self.base_url + parts[0].path, headers={"Content-Type": "application/json"}, body=body)

    def outcomes(self, response: Response, parts: Sequence[Part]) -> Sequence[Outcome]:
        answer = json_body(response)
        if not isinstance(answer, list):
            return [outcome_of(response)] * len(parts)
        verdicts: dict[str, Outcome] = {
            "ok": Delivered(),
            "bad": Rejected("bad", 400, own=True),
            "company": Retry("in bad company", 0.0, own=True),
            "slow": Retry("too much of this user", 60.0, own=True),
        }
        return [verdicts[word] for word in answer][: len(parts)]


class Odder(Odd):
    """The same vendor."""


def events(bodies: Sequence[Any]) -> list[tuple[Any, list[str]]]:
    return [(body["user"], [event["id"] for event in body["events"]]) for body in bodies]


def track(user: str, number: int) -> Track:
    return Track(user_id=user, event="E", message_id=f"m-{number}")


def test_a_request_holds_one_head_and_each_users_messages_in_order() -> None:
    with recording({"odd": Odd()}) as client:
        client.send([track(user, number) for number, user in enumerate("abcab")])
        assert events(client.recorder.bodies("odd")) == [("a", ["m-0", "m-3"]), ("b", ["m-1", "m-4"]), ("c", ["m-2"])]


def test_one_bad_message_is_rejected_and_the_others_go_again_at_once() -> None:
    answers = [reply(400, ["company", "bad", "company"]), reply(200, ["ok", "ok"])]
    with recording({"odd": Odd(one_user=False)}, answer=answers) as client:
        report = client.send([track("a", number) for number in range(3)])
        assert [record["error"] for record in map(vars_of, report.failed_records)] == ["bad"]
        assert events(client.recorder.bodies("odd")) == [(None, ["m-0", "m-1", "m-2"]), (None, ["m-0", "m-2"])]
        ledger = client.stats()["odd"]
        assert (ledger.delivered, ledger.dead, ledger.retried) == (2, {"rejected": 1}, 0)


def test_a_batch_in_which_every_message_is_named_is_not_halved() -> None:
    with recording({"odd": Odd(one_user=False)}, answer=[reply(400, ["bad"] * 4)]) as client:
        report = client.send([track("a", number) for number in range(4)])
        assert report.failure == 4
        assert len(client.recorder.bodies("odd")) == 1


def test_a_user_who_is_too_loud_waits_and_stops_nobody_else() -> None:
    answers = [reply(429, ["slow", "slow"]), reply(200, ["ok", "ok"])]
    with recording({"odd": Odd()}, answer=answers) as client:
        assert client.send([track("loud", 1), track("loud", 2), track("quiet", 3)]).status == "success"
        sent = events(client.recorder.bodies("odd"))
        assert sent[0][0] == "loud"
        assert sent[1] == ("quiet", ["m-3"])


def test_what_was_in_bad_company_goes_before_a_later_message_of_its_user_that_has_to_wait() -> None:
    answers = [
        reply(429, ["company", "company", "slow", "company"]),
        reply(200, ["ok", "ok"]),
        reply(200, ["ok", "ok"]),
    ]
    with recording({"odd": Odd(one_user=False)}, answer=answers) as client:
        assert client.send([track("u", number) for number in range(4)]).status == "success"
        sent = [ids for _, ids in events(client.recorder.bodies("odd"))]
    assert sent == [["m-0", "m-1", "m-2", "m-3"], ["m-0", "m-1"], ["m-2", "m-3"]]


def test_bad_company_again_and_again_is_a_reason_to_wait() -> None:
    answers = [reply(400, ["bad", *["company"] * (9 - number)]) for number in range(MOST_SPARED + 1)]
    with recording({"odd": Odd(one_user=False)}, answer=[*answers, reply(200, ["ok"] * 10)]) as client:
        client.send([track("u", number) for number in range(10)])
        ledger = client.stats()["odd"]
    assert (ledger.dead, ledger.delivered) == ({"rejected": MOST_SPARED + 1}, 4)
    assert ledger.retried == 4


def test_all_in_bad_company_is_no_endless_loop() -> None:
    with recording({"odd": Odd(one_user=False)}, answer=[reply(400, ["company"]), reply(200, ["ok"])]) as client:
        assert client.send([track("a", 1)]).status == "success"
        assert client.stats()["odd"].retried == 1


def test_a_part_knows_which_attempt_it_is() -> None:
    with recording({"odd": Odd()}, answer=[503, 200]) as client:
        client.send([track("a", 1)])
        assert [body["attempts"] for body in client.recorder.bodies("odd")] == [[1], [2]]


def test_a_head_counts_as_bytes_of_the_request() -> None:
    with recording({"odd": Odd(max_batch_bytes=30)}) as client:
        client.send([track("a-user-with-a-long-id", number) for number in range(2)])
        assert len(client.recorder.bodies("odd")) == 2


def test_two_destinations_of_a_vendor_that_knows_ids_everywhere_have_ids_of_their_own() -> None:
    own = Destination(Odd(base_url="https://b.odd.example", id_scope="mine"), events=["E*"])
    with recording({"a": Odd(), "b": own, "c": Odder(base_url="https://c.odd.example")}) as client:
        client.send([track("u", 1)])
        (a,), (b,), (c,) = (events(client.recorder.bodies(name)) for name in "abc")
        assert len({a[1][0], b[1][0], c[1][0], "m-1"}) == 4
        assert b[1] == [scoped("m-1", "mine")]


def test_a_program_that_runs_some_of_the_destinations_sends_the_same_ids() -> None:
    tables = {name: {"provider": "segment", "write_key": f"key-of-{name}"} for name in ("shop", "warehouse")}
    found = load({"destinations": tables})
    some = evolve(found, destinations={"shop": found.destinations["shop"]})
    assert [one.provider.id_scope for one in some.destinations.values()] == ["shop"]
    with Client.from_config(some, transport=FakeTransport()) as client:
        assert "shop" in repr(client)
        assert client._plan.destinations["shop"].provider.id_scope == "shop"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("destinations", "complaint"),
    [
        ({"a": Odd(id_scope="b"), "b": Odd()}, r"destinations\.b: id_scope is that of 'a'"),
        ({"a": Odd(id_scope="x"), "b": Odd(id_scope="x")}, r"destinations\.b: id_scope is that of 'a'"),
        (
            {"a": Odd(id_scope=None), "b": Odd()},
            r"destinations\.a: the provider 'odd' has shared_ids and no setting id_scope",
        ),
    ],
)
def test_ids_that_would_not_be_apart_are_a_mistake(destinations: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Client(destinations)


@pytest.mark.parametrize("part", [{"head": bytearray(b"x")}, {"path": b"/in"}])
def test_a_part_that_nothing_can_be_made_of_costs_its_own_message_only(part: dict[str, Any]) -> None:
    class Broken(Odd):
        def encode(self, message: Message) -> Part:
            return Part(**{"path": "/in", "body": b"{}", **part})

    with recording({"odd": Broken()}) as client:
        report = client.send([track("u", 1)])
        assert client.stats()["odd"].dead == {"provider_error": 1}
    assert "Part" in str(report.failed_records[0].error)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_step_that_nobody_waits_for_any_more_ends_after_its_request(stopped: bool) -> None:
    now, sent = [100.0], []

    class Slow:
        def send(self, request: Request, timeout: float, connect_timeout: float) -> Response:
            sent.append(request)
            now[0] += 1.0
            return Response(status=200)

        def close(self) -> None:
            pass

    client = Client({"odd": Odd()}, transport=Slow(), clock=Clock(monotonic=lambda: now[0]))
    engine = client._process.engine()
    engine._threaded = False  # nobody sends but this test
    for user in "abcde":
        client.track(user, "E")
    delivery = engine._deliveries["odd"]
    delivery.stopped = stopped
    delivery.step(None if stopped else 0.5)
    assert len(sent) == 1
    assert client.stats()["odd"].pending == 4
    delivery.stopped = False
    delivery.step()
    assert len(sent) == 5


REGIONAL: list[Any] = [
    Segment(write_key="write-key-1"),
    Amplitude(api_key="api-key-1234"),
    Mixpanel(token="token-12345"),
    CustomerIO(site_id="site", api_key="api-key-1234"),
    GA4(measurement_id="G-1", api_secret="secret-12345"),
]


@pytest.mark.parametrize("provider", REGIONAL, ids=lambda provider: provider.name)
def test_a_host_that_the_user_names_is_the_one_that_is_asked(provider: Any) -> None:
    there = evolve(provider, region="eu", base_url=None).base_url
    assert there != provider.base_url
    # Also a host of the vendor's own: with the region left at its default, data for the EU would go to the US.
    assert evolve(provider, base_url=there).base_url == there
    assert evolve(provider, base_url="https://proxy.example").base_url == "https://proxy.example"


def test_an_address_shows_no_query() -> None:
    request = Request(url="https://vendor.example/collect?api_secret=s3cr3t", headers={}, body=b"")
    assert "s3cr3t" not in repr(request)


def test_a_name_and_a_secret_in_one_word_are_not_said_back() -> None:
    provider = CustomerIO(site_id="site-12345", api_key="key-of-the-workspace", base_url="https://track.example")
    word = basic("site-12345", "key-of-the-workspace")
    with recording({"crm": provider}, answer=[reply(400, {"meta": {"error": f"bad header {word}"}})]) as client:
        report = client.send([Track(user_id="u", event="E")])
    assert word.split()[1] not in str(report.failed_records[0].error)
    assert "bad header" in str(report.failed_records[0].error)


@pytest.mark.parametrize("others", [{}, {"h": Hightouch(write_key="k")}])
def test_alone_a_destination_sends_ids_as_they_are(others: dict[str, Any]) -> None:
    with recording({"a": Odd(), **others}) as client:
        client.send([track("u", 1)])
        assert events(client.recorder.bodies("a")) == [("u", ["m-1"])]


def test_a_destination_keeps_its_rules_when_it_gets_a_scope() -> None:
    destinations = {name: Destination(Odd(), events=["Order *"], linger=0.0) for name in "ab"}
    with recording(destinations) as client:
        client.send([track("u", 1)])
        assert client.stats()["a"].filtered == 1


def test_a_wrong_destination_is_still_named() -> None:
    with pytest.raises(ConfigError, match=r"destinations\.a"):
        Client({"a": "odd"})  # type: ignore[dict-item]


def vars_of(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in ("record", "destination", "error", "code")}
