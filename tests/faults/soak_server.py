"""The other side of a soak, in a process of its own: vendors that fail at random until they are told to heal.

``python -m tests.faults.soak_server SEED FAULTS`` prints its addresses as one line of JSON, then obeys the lines on its
standard input: ``heal``, ``report``. When that closes, it ends.
"""

# ruff: noqa: T201  it talks to the soak through its standard output

import base64
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from tests.faults.world import messages_in
from tests.sockets import Action, Peer, Received, Script, Server, answer, close, play, reset, send

#: Destinations of the soak, with the largest body that each takes; what is larger gets 413.
LIMITS = {"cdp": 6_000, "whatsapp": None, "notify": None, "growth": 5_000}
#: Every so many messages one is bad; each vendor refuses it for ever.
POISON_EVERY = 211

Message = Mapping[str, Any]


def is_poison(number: int) -> bool:
    return number % POISON_EVERY == 0


def facts(message: Message) -> Mapping[str, Any]:
    found = message.get("properties") or message.get("traits")
    assert isinstance(found, Mapping)
    return found


def user_of(message: Message) -> str:
    return str(message.get("userId") or message.get("user_id") or message.get("distinct_id"))


class Books:
    """What arrived, in one byte a message, so that hours of it fit into memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts = bytearray()
        self.order_violations = 0
        self._highest: dict[str, int] = {}

    def store(self, messages: Sequence[Message]) -> None:
        with self._lock:
            for message in messages:
                number, place = facts(message)["n"], facts(message)["i"]
                if number >= len(self.counts):
                    self.counts.extend(bytes(number + 100_000 - len(self.counts)))
                if self.counts[number] == 0:
                    highest = self._highest.get(user_of(message), -1)
                    self.order_violations += place < highest
                    self._highest[user_of(message)] = max(highest, place)
                self.counts[number] = min(255, self.counts[number] + 1)


class Vendor(Server):
    """One destination. Draws for each request whether it fails, and how.

    Args:
        faults: share of requests that fail, 0 to 1.
        elsewhere: where its redirects lead.
    """

    max_connections = 10_000_000  # over an hour of resets; the client holds few at a time

    def __init__(self, name: str, seed: int, faults: float, elsewhere: str) -> None:
        self.name = name
        self.books = Books()
        self.healed = False
        self.played: dict[str, int] = {}
        self._dice = random.Random(f"{name} {seed}")
        self._faults = faults
        self._elsewhere = elsewhere
        # Now and then everything is refused, or sent elsewhere, for less than a second.
        self._windows = {"401": 0.0, "redirect": 0.0}
        self._next_window = time.monotonic() + 1.0
        self._choosing = threading.Lock()
        super().__init__()

    def _note(self, request: Received) -> None:
        pass  # the soak goes by the books

    def _start(self, work: Callable[[], None]) -> None:
        super()._start(work)
        if len(self._threads) > 500:
            self._threads = [thread for thread in self._threads if thread.is_alive()]

    def script_for(self, request: Received) -> Script:
        messages = messages_in(request)
        limit = LIMITS[self.name]
        if limit is not None and len(request.body) > limit and len(messages) > 1:
            return self._noted("413", play(send(answer(413))))
        bad = [m for m in messages if is_poison(facts(m)["n"])]
        in_bulk = self.name == "notify" and len(messages) > 1
        with self._choosing:
            fault = None if self.healed else self._shut() or self._fault(messages)
        if fault is not None:
            return fault
        if bad and not in_bulk:
            return self._noted("400", play(send(answer(400, b'{"message":"bad"}'))))
        return self._good(messages) if not in_bulk else self._records(messages)

    def _good(self, messages: Sequence[Message]) -> Script:
        return play(self._store(messages), send(answer(200, b'{"success":true,"result":true}')))

    def _records(self, messages: Sequence[Message]) -> Script:
        """Answer a bulk with one verdict for each."""
        good = [m for m in messages if not is_poison(facts(m)["n"])]
        verdicts = [
            {"status": "error", "status_code": 400, "error": {"message": "bad"}}
            if is_poison(facts(m)["n"])
            else {"status": "success", "status_code": 202}
            for m in messages
        ]
        return play(self._store(good), send(answer(207, orjson.dumps({"records": verdicts}))))

    def _store(self, messages: Sequence[Message]) -> Action:
        return lambda peer: self.books.store(messages)

    def _shut(self) -> Script | None:
        now, dice = time.monotonic(), self._dice
        if now > self._next_window:
            self._windows[dice.choice(list(self._windows))] = now + dice.uniform(0.2, 0.8)
            self._next_window = now + dice.uniform(2.0, 8.0)
        if now < self._windows["401"]:
            return self._noted("401", play(send(answer(401))))
        if now < self._windows["redirect"]:
            return self._noted("redirect", play(send(answer(302, headers={"Location": self._elsewhere}))))
        return None

    def _fault(self, messages: Sequence[Message]) -> Script | None:
        dice = self._dice
        if dice.random() >= self._faults:
            return None
        store: Action = self._store([m for m in messages if not is_poison(facts(m)["n"])])
        good = answer(200, b'{"success":true,"result":true}')
        any_bad = any(is_poison(facts(m)["n"]) for m in messages)
        if any_bad:  # these may only fail in ways after which nothing counts as taken
            name = dice.choice(["500", "503", "429", "reset before"])
        else:
            name = dice.choice(["500", "503", "429", "reset before", "reset after", "stall", "cut off", "hang"])
        match name:
            case "500" | "503":
                script = play(send(answer(int(name))))
            case "429":
                script = play(send(answer(429, headers={"Retry-After": f"{dice.uniform(0.05, 0.3):.2f}"})))
            case "reset before":
                script = play(reset())
            case "reset after":
                script = play(store, reset())
            case "stall":
                script = play(pause(dice.uniform(0.05, 0.4)), store, send(good))
            case "cut off":
                script = play(store, send(good[:-7]), close())
            case _:
                script = play(store, pause(1.5))
        return self._noted(name, script)

    def _noted(self, name: str, script: Script) -> Script:
        self.played[name] = self.played.get(name, 0) + 1
        return script


def pause(seconds: float) -> Action:
    def act(peer: Peer) -> None:
        peer.server.over.wait(seconds)

    return act


def main(seed: int, faults: float) -> None:
    with Server() as elsewhere:
        vendors = {name: Vendor(name, seed, faults, elsewhere.url) for name in LIMITS}
        print(json.dumps({name: vendor.url for name, vendor in vendors.items()}), flush=True)
        for line in sys.stdin:
            if line == "heal\n":
                for vendor in vendors.values():
                    vendor.healed = True
                print("{}", flush=True)
            if line == "report\n":
                print(json.dumps(_report(vendors) | {"elsewhere": elsewhere.connections}), flush=True)
        for vendor in vendors.values():
            vendor.close()


def _report(vendors: Mapping[str, Vendor]) -> dict[str, Any]:
    return {
        name: {
            "counts": base64.b64encode(vendor.books.counts).decode(),
            "order_violations": vendor.books.order_violations,
            "connections": vendor.connections,
            "played": vendor.played,
        }
        for name, vendor in vendors.items()
    }


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
