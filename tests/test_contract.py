"""What vendors ask of the contract beyond one path and one verdict: heads, verdicts of one's own, attempts, scopes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import orjson
import pytest
from attrs import field, frozen

from unitrack import Client, Destination, Track
from unitrack.answers import json_body, outcome_of
from unitrack.errors import ConfigError
from unitrack.forms import repeat_key, scoped
from unitrack.message import Message
from unitrack.providers import Hightouch
from unitrack.testing import recording, reply
from unitrack.values import dumps
from unitrack.wire import Capabilities, Delivered, Outcome, Part, Rejected, Request, Response, Retry


@frozen(kw_only=True)
class Odd:
    """A vendor with every oddity: one user per request, verdicts by place, and ids that are known everywhere."""

    name: ClassVar[str] = "odd"
    base_url: str = "https://odd.example"
    id_scope: str = ""
    shared_ids: bool = True
    one_user: bool = True
    max_batch_bytes: int | None = field(default=None)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(max_batch=10, max_batch_bytes=self.max_batch_bytes, shared_ids=self.shared_ids)

    def encode(self, message: Message) -> Part:
        head = dumps(message.user_id) if self.one_user else b""
        return Part(path="/in", head=head, body=dumps({"id": scoped(repeat_key(message), self.id_scope)}))

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
    with recording({"a": Odd(), "b": own, "c": Odd(base_url="https://c.odd.example")}) as client:
        client.send([track("u", 1)])
        (a,), (b,), (c,) = (events(client.recorder.bodies(name)) for name in "abc")
        assert len({a[1][0], b[1][0], c[1][0], "m-1"}) == 4
        assert b[1] == [scoped("m-1", "mine")]


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
