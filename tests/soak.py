"""Hours of random faults in minutes: ``python tests/soak.py --minutes 2 --seed 7``.

Several threads track for four destinations whose servers fail, stall, reset, refuse, redirect and cut off at random,
with a bounded queue, callbacks that raise, flushes, bulks and forks. Then everything heals, and the books are held
against each other. Ends with 1 if anything was lost, out of order, or grew.
"""

# ruff: noqa: T201  a command that prints

import argparse
import base64
import gc
import logging
import os
import random
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any
from uuid import UUID

from tests.faults.soak_books import Calls, Ears, Marks, Vendors, descriptors, rss
from tests.faults.soak_server import is_poison
from tests.faults.world import CANARIES
from unitrack import Client, Destination, Drop, Track, Verdict
from unitrack.providers import Hightouch, Interakt, SuprSend, Thrivestack

NAMES = ("cdp", "whatsapp", "notify", "growth")
CALLERS = 4
USERS_EACH = 8
#: So few that the bound is reached whenever a destination is away.
MAX_EVENTS = 200
CHILD_MESSAGES = 10
CHILD_LIMIT = 60.0
#: After everything healed; the longest waits between attempts come to an end well before.
HEALING = 120.0
MAX_GROWTH = 32 * 1024 * 1024


class Soak:
    """One run. The numbers of messages are those of their ids, so nothing has to be remembered for each."""

    def __init__(self, *, minutes: float, seed: int, rate: float, faults: float) -> None:
        self._seed = seed
        self._seconds = minutes * 60
        self._rate = rate
        self._capacity = int(rate * self._seconds * 2) + 20_000
        self._numbers = count(1)
        self._issued = Marks(self._capacity)
        self._by_children = Marks(self._capacity)
        self._delivered = {name: Marks(self._capacity) for name in NAMES}
        self._gone = {name: Marks(self._capacity) for name in NAMES}
        self._calls = [Calls() for _ in range(CALLERS)]
        self._stop = threading.Event()
        self._children: dict[int, tuple[list[int], float]] = {}
        self._forked = 0
        self.problems: Counter[str] = Counter()
        self._vendors = Vendors(seed, faults)

    # -- what the program does

    def _client(self) -> Client:
        urls, dice = self._vendors.urls, random.Random(self._seed)
        canary = CANARIES
        return Client(
            {
                "cdp": Hightouch(write_key=canary["write_key"], base_url=urls["cdp"]),
                "whatsapp": Destination(
                    Interakt(api_key=canary["api_key"], base_url=urls["whatsapp"], rate_per_minute=1_000_000),
                    on_full="drop_oldest",
                ),
                "notify": SuprSend(
                    workspace_key=canary["workspace_key"],
                    workspace_secret=canary["workspace_secret"],
                    base_url=urls["notify"],
                ),
                "growth": Destination(
                    Thrivestack(token=canary["token"], base_url=urls["growth"], body="array"), on_full="drop_oldest"
                ),
            },
            max_events=MAX_EVENTS,
            linger=0.02,
            timeout=1.0,
            probe_interval=0.1,
            dice=lambda: 0.2 * dice.random(),  # five times the pace
            on_delivery=self._on_delivery,
            on_drop=self._on_drop,
        )

    def _track(self, number: int, user: str, place: int, pad: int) -> Track:
        return Track(
            user_id=user,
            event="Soaked",
            properties={"n": number, "i": place, "pad": "x" * pad},
            message_id=str(UUID(int=number)),
        )

    def _on_delivery(self, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            if type(verdict.outcome).__name__ == "Delivered":
                self._delivered[verdict.destination].add(UUID(verdict.message_id).int)
        if len(verdicts) % 3 == 0:
            raise RuntimeError("a callback may do that")

    def _on_drop(self, drops: Sequence[Drop]) -> None:
        for drop in drops:
            number = UUID(drop.message_id).int
            self._gone[drop.destination].add(number)
            if drop.reason not in ("rejected", "queue_full") or (drop.reason == "rejected" and not is_poison(number)):
                self.problems[f"{drop.destination}: wrongly {drop.reason}"] += 1
        if len(drops) % 3 == 0:
            raise RuntimeError("a callback may do that")

    def _call(self, client: Client, caller: int) -> None:
        """Track at the wanted rate, each thread for users of its own, so that their order is known."""
        dice = random.Random(f"{self._seed} caller {caller}")
        calls = self._calls[caller]
        places = dict.fromkeys((f"u{caller}-{k}" for k in range(USERS_EACH)), 0)
        pause = CALLERS / self._rate
        behind = 0.0
        while not self._stop.is_set():
            user = dice.choice(list(places))
            many = dice.randrange(2, 40) if dice.random() < 0.02 else 1
            messages = []
            for _ in range(many):
                places[user] += 1
                messages.append(self._track(self._number(), user, places[user], dice.randrange(300)))
            if many > 1:
                client.send(messages, timeout=dice.uniform(0, 0.5))
            else:
                began = time.perf_counter()
                client.enqueue(messages[0])
                calls.add(time.perf_counter() - began)
            if dice.random() < 0.002:
                client.flush(dice.uniform(0, 0.3))
            behind += many * pause
            if behind > 0.02:  # in small rushes; a wait of less would be no wait
                self._stop.wait(behind)
                behind = 0.0

    def _number(self) -> int:
        number = next(self._numbers)
        if number >= self._capacity:
            self._stop.set()  # faster than it was meant to be
            number = self._capacity - 1
        self._issued.add(number)
        return number

    # -- forks

    def _fork(self, client: Client) -> None:
        numbers = [n for n in (next(self._numbers) for _ in range(CHILD_MESSAGES + 1)) if not is_poison(n)]
        self._forked += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # yes, there are threads; that is the point
            pid = os.fork()
        if pid:
            self._children[pid] = (numbers, time.monotonic())
            return
        code = 3
        try:
            for place, number in enumerate(numbers):
                client.enqueue(self._track(number, f"fork-{self._forked}", place, 0))
            done = client.flush(CHILD_LIMIT / 2)
            ledgers = client.stats()
            whole = all(ledger.delivered == ledger.accepted == len(numbers) for ledger in ledgers.values())
            code = 0 if done and whole else 2
            if code:
                print(f"child {self._forked}: flushed: {done}: {ledgers}", file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _reap(self, *, wait: bool = False) -> None:
        for pid, (numbers, began) in list(self._children.items()):
            while True:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done or not wait or time.monotonic() - began > CHILD_LIMIT:
                    break
                time.sleep(0.01)
            if not done and time.monotonic() - began > CHILD_LIMIT:
                os.kill(pid, 9)
                done, status = os.waitpid(pid, 0)
            if done:
                del self._children[pid]
                if code := os.waitstatus_to_exitcode(status):
                    self.problems[f"forked children that ended with {code}"] += 1
                for number in numbers if not code else ():
                    self._by_children.add(number)

    # -- the run

    def run(self) -> dict[str, Any]:
        """Run, heal, compare; return what was counted."""
        gc.collect()
        threads_before, descriptors_before = threading.active_count(), descriptors()
        client = self._client()
        callers = [threading.Thread(target=self._call, args=(client, n)) for n in range(CALLERS)]
        began = time.monotonic()
        for caller in callers:
            caller.start()
        rss_before, most_threads, next_fork = 0, 0, 0.5
        while (passed := time.monotonic() - began) < self._seconds and not self._stop.wait(0.05):
            for name, ledger in client.stats().items():
                self.problems[f"{name}: unbalanced ledger"] += not ledger.balanced
                self.problems[f"{name}: more pending than allowed"] += ledger.pending > MAX_EVENTS + CALLERS * 40
            most_threads = max(most_threads, threading.active_count())
            if passed > next_fork:
                self._fork(client)
                next_fork = passed + 2.0
            self._reap()
            if not rss_before and passed > self._seconds / 4:
                rss_before = rss()
        self._stop.set()
        for caller in callers:
            caller.join()
        self._vendors.ask("heal")
        flushed = client.flush(HEALING)
        self._reap(wait=True)
        rss_after = rss()
        ledgers = client.stats()
        client.close(10)
        gc.collect()
        report = self._vendors.ask("report")
        left = {
            "descriptors left": descriptors() - descriptors_before,
            "threads left": threading.active_count() - threads_before,
        }
        self._vendors.close()
        result = self._compare(ledgers, report)
        if not flushed:
            self.problems["the flush after healing came to no end"] += 1
        worst = max(calls.worst for calls in self._calls)
        return (
            result
            | {
                "forks": self._forked,
                "worst call, ms": round(worst * 1e3, 2),
                "p99 call, ms": round(max(calls.share(0.99) for calls in self._calls) * 1e3, 3),
                "RSS growth, MiB": round((rss_after - rss_before) / 2**20, 1),
                "most threads": most_threads,
            }
            | left
        )

    def _compare(self, ledgers: Any, report: dict[str, Any]) -> dict[str, Any]:
        self.problems["requests that followed a redirect"] += report.pop("elsewhere")
        table: dict[str, dict[str, int]] = {}
        for name, books in report.items():
            ledger = ledgers[name]
            counts = base64.b64decode(books["counts"])
            arrived = {n for n, times in enumerate(counts) if times}
            issued = self._issued.all()
            mine = self._delivered[name].all()
            gone = self._gone[name].all()
            children = self._by_children.all()
            self.problems[f"{name}: delivered, it was said, but not there"] += len(mine - arrived)
            self.problems[f"{name}: both delivered and dropped"] += len(mine & gone)
            self.problems[f"{name}: the ledger and on_delivery differ"] += abs(ledger.delivered - len(mine))
            given_up = sum(ledger.dropped.values()) + sum(ledger.dead.values())
            self.problems[f"{name}: the ledger and on_drop differ"] += abs(given_up - len(gone))
            self.problems[f"{name}: the ledger and the calls differ"] += abs(ledger.accepted - len(issued))
            table[name] = {
                "accepted": ledger.accepted,
                "delivered": ledger.delivered,
                "by children": len(children & arrived),
                "duplicates": sum(counts) - len(arrived),
                "retried": ledger.retried,
                "dead": sum(ledger.dead.values()),
                "dropped": sum(ledger.dropped.values()),
                "pending": ledger.pending,
                "lost": len(issued - arrived - gone) - ledger.pending + len(children - arrived),
                "order violations": books["order_violations"],
                "connections": books["connections"],
            }
            table[name] |= {f"({fault})": times for fault, times in sorted(books["played"].items())}
        return {"table": table}


def verdict(result: dict[str, Any], problems: Counter[str]) -> list[str]:
    """Say what must not be."""
    found = [f"{what}: {times}" for what, times in sorted(problems.items()) if times]
    for name, counts in result["table"].items():
        found += [f"{name}: {what}: {counts[what]}" for what in ("lost", "order violations", "pending") if counts[what]]
    if result["RSS growth, MiB"] > MAX_GROWTH / 2**20:
        found.append(f"memory grew by {result['RSS growth, MiB']} MiB")
    found += [f"{what}: {result[what]}" for what in ("descriptors left", "threads left") if result[what] > 0]
    return found


def show(result: dict[str, Any], found: Sequence[str]) -> None:
    table = result.pop("table")
    rows = list(dict.fromkeys(row for column in table.values() for row in column))
    print(f"{'':18}" + "".join(f"{name:>12}" for name in table))
    for row in rows:
        print(f"{row:18}" + "".join(f"{column.get(row, 0):>12,}" for column in table.values()))
    for name, value in result.items():
        print(f"{name:18}{value:>12,}")
    print("\n".join(["", *found]) if found else "\nnothing lost, nothing out of order, nothing grew")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=400.0, help="messages per second, all threads together")
    parser.add_argument("--faults", type=float, default=0.25, help="share of requests that fail")
    given = parser.parse_args(words)
    soak = Soak(minutes=given.minutes, seed=given.seed, rate=given.rate, faults=given.faults)
    logger = logging.getLogger("unitrack")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(Ears(soak.problems))
    logger.propagate = False
    result = soak.run()
    found = verdict(result, soak.problems)
    print(f"seed {given.seed}, {given.minutes * 60:g} s of faults, {given.rate:g} messages per second")
    show(result, found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
