"""Any sequence of calls, answers, clock jumps, forks and restarts that Hypothesis can think of keeps the books."""

import json
import os
import random
import select
import signal
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.faults.world import CANARIES, FaultServer, Oracle, assert_conserved, store, stored
from tests.sockets import Script, answer, close, play, reply, reset, send, stall
from unitrack import Client, Drop, Track, Verdict
from unitrack.clock import Clock, utc_now
from unitrack.providers import Hightouch, Interakt
from unitrack.wire import Delivered

NAMES = ("cdp", "whatsapp")
HTML = {"Content-Type": "text/html"}
CHILD_LIMIT = 20.0

Answers = Callable[[Sequence[Mapping[str, Any]]], Script]


def always(script: Script) -> Answers:
    return lambda messages: script


#: How a server may answer from now on; all of them are over when it heals.
ANSWERS: Mapping[str, Answers] = {
    "fine": always(stored()),
    "500": always(reply(500)),
    "503, try again soon": always(reply(503, headers={"Retry-After": "0.03"})),
    "429": always(reply(429, headers={"Retry-After": "0.05"})),
    "401": always(reply(401)),
    "302": always(reply(302, headers={"Location": "http://127.0.0.2:9/"})),
    "a login page": always(reply(200, b"<!DOCTYPE html><html></html>", HTML)),
    "400": always(reply(400)),
    "400 for some": lambda found: reply(400) if any(m["userId"].startswith("u1") for m in found) else stored(),
    "413": lambda found: reply(413) if len(found) > 2 else stored(),
    "reset": always(play(reset())),
    "reset after storing": always(play(store(), reset())),
    "cut off": always(play(store(), send(answer(200, b'{"success":true}')[:-4]), close())),
}


class Sent(Oracle):
    """The part of an oracle's books that is about one client."""

    def __init__(self, oracle: Oracle, ids: set[str]) -> None:
        self._oracle, self._ids = oracle, ids

    @property
    def delivered(self) -> set[str]:
        return self._oracle.delivered & self._ids


class Machine(RuleBasedStateMachine):
    """Two destinations, one client at a time. After each step the ledgers balance and the servers agree."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Answers] = dict.fromkeys(NAMES, ANSWERS["fine"])
        self.hanging: dict[str, tuple[threading.Event, bool]] = {}
        self.servers = {name: FaultServer(by_message=partial(self.script, name)) for name in NAMES}
        self.wall = timedelta()
        self.count = self.clients = 0
        self.open()

    def script(self, name: str, messages: Sequence[Mapping[str, Any]]) -> Script:
        if name in self.hanging:
            until, stores = self.hanging[name]
            return play(store(), stall(until), close()) if stores else play(stall(until), close())
        return self.answers[name](messages)

    def open(self) -> None:
        dice = random.Random(0)
        self.clients += 1
        # Of this client alone: what one before it left behind may still arrive, and be told, later.
        ids: set[str] = set()
        delivered: dict[str, set[str]] = {name: set() for name in NAMES}
        gone: dict[str, set[str]] = {name: set() for name in NAMES}

        def on_delivery(verdicts: Sequence[Verdict]) -> None:
            for verdict in verdicts:
                if isinstance(verdict.outcome, Delivered):
                    delivered[verdict.destination].add(verdict.message_id)

        def on_drop(drops: Sequence[Drop]) -> None:
            for drop in drops:
                gone[drop.destination].add(drop.message_id)

        self.ids, self.delivered, self.gone = ids, delivered, gone
        self.client = Client(
            {
                "cdp": Hightouch(write_key=CANARIES["write_key"], base_url=self.servers["cdp"].url),
                "whatsapp": Interakt(
                    api_key=CANARIES["api_key"], base_url=self.servers["whatsapp"].url, rate_per_minute=1_000_000
                ),
            },
            clock=Clock(utc=lambda: utc_now() + self.wall),
            dice=lambda: 0.02 * dice.random(),
            max_events=40,
            linger=0.005,
            timeout=0.2,
            probe_interval=0.02,
            on_delivery=on_delivery,
            on_drop=on_drop,
        )

    def messages(self, users: Sequence[int], of: str = "") -> list[Track]:
        """Make one for each of these users; those of another client or of a child are others."""
        found = []
        for user in users:
            self.count += 1
            name, user_id = f"m{self.count}", f"u{user} of {of or self.clients}"
            # The id among the properties is for the vendor that has no member for it.
            found.append(Track(user_id=user_id, event="E", properties={"id": name, "i": self.count}, message_id=name))
        return found

    def oracles(self, ids: set[str]) -> dict[str, Oracle]:
        return {name: Sent(server.oracle, ids) for name, server in self.servers.items()}

    # -- what may happen

    @rule(users=st.lists(st.integers(0, 3), min_size=1, max_size=8))
    def track(self, users: Sequence[int]) -> None:
        for message in self.messages(users):
            self.ids.add(str(message.message_id))
            receipt = self.client.enqueue(message)
            assert set(receipt.destinations) <= set(NAMES)

    @rule(users=st.lists(st.integers(0, 3), min_size=1, max_size=20), timeout=st.sampled_from([0, 0.05]))
    def send(self, users: Sequence[int], timeout: float) -> None:
        messages = self.messages(users)
        self.ids.update(str(message.message_id) for message in messages)
        report = self.client.send(messages, timeout=timeout)
        assert report.total == len(messages) * len(NAMES)

    @rule(timeout=st.sampled_from([0, 0.05]))
    def flush(self, timeout: float) -> None:
        if self.client.flush(timeout):
            assert all(ledger.pending == 0 for ledger in self.client.stats().values())

    @rule(name=st.sampled_from(NAMES), kind=st.sampled_from(sorted(ANSWERS)))
    def answer_so(self, name: str, kind: str) -> None:
        self.answers[name] = ANSWERS[kind]

    @rule(name=st.sampled_from(NAMES), stores=st.booleans())
    def hang_or_go_on(self, name: str, stores: bool) -> None:
        if name in self.hanging:
            self.hanging.pop(name)[0].set()
        else:
            self.hanging[name] = threading.Event(), stores

    @rule(hours=st.integers(-48, 48))
    def wall_clock_jumps(self, hours: int) -> None:
        self.wall += timedelta(hours=hours)

    @rule(timeout=st.sampled_from([0, 0.05]))
    def close_and_reopen(self, timeout: float) -> None:
        report = self.client.close(timeout)
        assert report.total == sum(ledger.accepted for ledger in self.client.stats().values())
        assert not self.client.track("u0", "too late")
        assert_conserved(self.client, self.oracles(self.ids), accepted=len(self.ids) + 1, settled=False)
        self.open()

    @precondition(lambda self: hasattr(os, "fork"))
    @rule(users=st.lists(st.integers(0, 3), min_size=1, max_size=5))
    def fork_and_track_in_the_child(self, users: Sequence[int]) -> None:
        before = {name: ledger.accepted for name, ledger in self.client.stats().items()}
        messages = self.messages(users, of=f"child {self.count}")
        told = in_a_child(lambda: self.told_by_child(messages))
        oracles = self.oracles({str(message.message_id) for message in messages})
        for name, (accepted, delivered, pending, balanced) in told.items():
            assert balanced
            assert accepted == len(messages)
            assert delivered <= len(oracles[name].delivered)
            assert delivered + pending <= accepted
        assert {name: ledger.accepted for name, ledger in self.client.stats().items()} == before

    def told_by_child(self, messages: Sequence[Track]) -> dict[str, Any]:
        for message in messages:
            self.client.enqueue(message)
        self.client.flush(0.2)
        return {
            name: (ledger.accepted, ledger.delivered, ledger.pending, ledger.balanced)
            for name, ledger in self.client.stats().items()
        }

    # -- what must hold

    @invariant()
    def the_books_agree(self) -> None:
        assert_conserved(self.client, self.oracles(self.ids), accepted=len(self.ids), settled=False)
        for name, server in self.servers.items():
            assert server.oracle.order_violations() == 0, f"{name}: a message overtook another of its user"

    def teardown(self) -> None:
        try:
            for name in NAMES:
                self.answers[name] = ANSWERS["fine"]
            for until, _ in self.hanging.values():
                until.set()
            self.hanging.clear()
            assert self.client.flush(15), self.client.stats()
            oracles = self.oracles(self.ids)
            for name, ledger in assert_conserved(self.client, oracles, accepted=len(self.ids)).items():
                assert len(self.delivered[name]) == ledger.delivered
                assert self.delivered[name] <= oracles[name].delivered
                assert self.delivered[name] | self.gone[name] == self.ids
                assert not self.delivered[name] & self.gone[name]
        finally:
            self.client.close(0)
            for server in self.servers.values():
                server.close()


def in_a_child(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Fork, work there, and return what it came to; a child that hangs is killed and fails the test."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads run at this moment, as in many programs
        pid = os.fork()
    if not pid:
        try:
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    try:
        ready = select.select([reader], [], [], CHILD_LIMIT)[0]
        if not ready:
            os.kill(pid, signal.SIGKILL)
        told = os.read(reader, 65536)
    finally:
        os.close(reader)
        os.waitpid(pid, 0)
    assert ready, "the child hangs"
    assert told, "the child failed"
    found: dict[str, Any] = json.loads(told)
    return found


def test_no_sequence_of_calls_and_faults_loses_a_message_in_silence() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(max_examples=30, stateful_step_count=20, deadline=None),
    )
