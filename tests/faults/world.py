"""The stage of every fault test: a server that keeps its own books, and the two checks at the end.

The oracle knows what really arrived: each message id that a script *stored*, how often, in which order, when, and
with which headers. Every test of a row ends with :func:`assert_conserved`; the canary fixture in ``conftest`` looks
through all output for the secrets below.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import orjson

from tests.sockets import Action, Peer, Received, Script, Server, answer, play, send
from unitrack import Client, Ledger

#: One secret for each form of credential; none may ever be seen outside a request.
CANARIES = {
    "write_key": "canary-write-key-5f1c2e",
    "api_key": "canary-api-key-a90b77de",
    "token": "canary.bearer.token.13c4",
    "workspace_key": "wk_canary_0123456789abcdef",
    "workspace_secret": "canary-workspace-secret-77",
}

OK = play(send(answer(200, b'{"success":true,"result":true}')))


class Oracle:
    """What arrived, as the receiving side wrote it down."""

    def __init__(self) -> None:
        self._lock = Lock()
        #: Message ids in the order in which they were stored, repeats included.
        self.stored: list[str] = []
        self.stored_at: dict[str, float] = {}
        self.messages: dict[str, Mapping[str, Any]] = {}
        self.attempts: Counter[str] = Counter()

    def store(self, messages: Sequence[Mapping[str, Any]]) -> None:
        with self._lock:
            for message in messages:
                key = id_of(message)
                self.stored.append(key)
                self.stored_at.setdefault(key, time.monotonic())
                self.messages[key] = message

    def saw(self, messages: Sequence[Mapping[str, Any]]) -> None:
        with self._lock:
            self.attempts.update(id_of(message) for message in messages)

    @property
    def delivered(self) -> set[str]:
        """D: distinct ids that were stored."""
        with self._lock:
            return set(self.stored)

    @property
    def duplicates(self) -> int:
        """U: stores beyond the first of each id."""
        with self._lock:
            return len(self.stored) - len(set(self.stored))

    def order_violations(self, user_member: str = "userId", number: str = "i") -> int:
        """Count messages of a user that were first stored after a later one of the same user."""
        highest: dict[str, int] = {}
        bad = 0
        for key in dict.fromkeys(self.stored):
            message = self.messages[key]
            facts = facts_of(message)
            user = str(message.get(user_member) or user_of(message))
            bad += facts[number] < highest.get(user, -1)
            highest[user] = max(highest.get(user, -1), facts[number])
        return bad


def id_of(message: Mapping[str, Any]) -> str:
    """Name a message as its vendor's body does; where a vendor has no id, tests put one into the properties."""
    for name in ("messageId", "$insert_id", "message_id"):
        if name in message:
            return str(message[name])
    return str(facts_of(message)["id"])


def facts_of(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message's properties, wherever its vendor has them."""
    if "ue_pr" in message:  # Snowplow's, as JSON in a text
        found: Mapping[str, Any] = orjson.loads(message["ue_pr"])["data"]["data"]
        return found
    places = ("properties", "traits", "event_properties", "attributes", "params")
    return next((message[place] for place in places if message.get(place)), {})


def user_of(message: Mapping[str, Any]) -> object:
    """Return whom a message is about, wherever its vendor says so."""
    known = {**facts_of(message), **message.get("identifiers", {}), **message}
    return next((known[name] for name in ("user_id", "distinct_id", "uid", "id") if name in known), None)


def messages_in(request: Received) -> list[Mapping[str, Any]]:
    """Return the messages of a request: the array in an envelope, an array, or one object; none if it came cut off.

    What the envelope says of all of them, such as GA4 the user, is in each.
    """
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return []
    if isinstance(body, list):
        return body
    for name in ("batch", "events", "data"):
        if isinstance(body.get(name), list):
            head = {member: value for member, value in body.items() if member == "user_id"}
            return [{**head, **message} for message in body[name]]
    return [body]


class FaultServer(Server):
    """A socket-level server with an oracle.

    Args:
        scripts: as of :class:`tests.sockets.Server`; ``store()`` among the actions is what makes a message count as
            delivered. Default: everything is stored and answered with 200.
        by_message: chooses the script of a request from its messages instead (``None``: the next of ``scripts``).
    """

    def __init__(
        self,
        *scripts: Script,
        by_message: Callable[[list[Mapping[str, Any]]], Script | None] | None = None,
        **settings: Any,
    ) -> None:
        self.oracle = Oracle()
        self._by_message = by_message
        super().__init__(*(scripts or [stored()]), **settings)

    def script_for(self, request: Received) -> Script | None:
        found = messages_in(request)
        self.oracle.saw(found)
        return self._by_message(found) if self._by_message else None


def store() -> Action:
    """Write the messages of the request that is being played into the oracle."""

    def act(peer: Peer) -> None:
        assert isinstance(peer.server, FaultServer)
        assert peer.request is not None
        peer.server.oracle.store(messages_in(peer.request))

    return act


def stored(
    status: int = 200, body: bytes = b'{"success":true,"result":true}', headers: Mapping[str, str] | None = None
) -> Script:
    """Store everything, then answer well."""
    return play(store(), send(answer(status, body, headers)))


def assert_conserved(
    client: Client, oracle: Oracle | Mapping[str, Oracle], *, accepted: int | None = None, settled: bool = True
) -> Mapping[str, Ledger]:
    """Hold the client's ledgers against what the oracles know: nothing is lost in silence, nothing is made up.

    Args:
        oracle: of the only destination, or by destination name.
        accepted: how many messages the test handed in for each destination, if it knows.
        settled: nothing may be pending any more.
    """
    ledgers = client.stats()
    oracles = oracle if isinstance(oracle, Mapping) else dict.fromkeys(ledgers, oracle)
    for name, ledger in ledgers.items():
        assert ledger.balanced, f"{name}: the ledger does not balance: {ledger}"
        if accepted is not None:
            assert ledger.accepted == accepted, f"{name}: {ledger}"
        if settled:
            assert ledger.pending == 0, f"{name}: {ledger}"
        arrived = len(oracles[name].delivered)
        assert arrived >= ledger.delivered, f"{name}: {ledger.delivered} said to be delivered, {arrived} arrived"
        lost = ledger.accepted - arrived - ledger.filtered - sum(ledger.dropped.values()) - sum(ledger.dead.values())
        assert lost - ledger.pending <= 0, f"{name}: silent loss of {lost - ledger.pending}: {ledger}"
    return ledgers


def until(condition: Callable[[], object], within: float = 30.0, why: str = "it did not happen in time") -> None:
    """Poll until a condition holds; the bound is for the case that it never does."""
    ends = time.monotonic() + within
    while not condition():
        assert time.monotonic() < ends, why
        time.sleep(0.005)
