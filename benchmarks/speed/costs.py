"""Where the time of one event goes: ``python -m benchmarks.speed.costs`` prints each piece beside the floor's call.

Nothing runs beside it: nobody sends while calls are timed, and what is sent goes to a transport that answers at once.
So the pieces add up to less than a run shows, in which threads stand in each other's way.
"""

# ruff: noqa: T201  it prints

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any

from unitrack import Client
from unitrack.batching import runs
from unitrack.codec import unpack, unpack_plain
from unitrack.engine import Engine
from unitrack.express import express
from unitrack.message import Track
from unitrack.providers import Hightouch
from unitrack.settlement import Take
from unitrack.snapshot import snapshot
from unitrack.values import encode_object
from unitrack.wire import Request, Response

from . import event
from .event import plain, user_id
from .floor import Floor

EVENTS, ROUNDS = 5_000, 7


class AtOnce:
    """Answers without a network."""

    def send(self, request: Request, timeout: float, connect_timeout: float) -> Response:
        return Response(status=200, body=b"{}")

    def close(self) -> None:
        pass


def clients() -> tuple[Client, Engine]:
    """Make a client that sends nothing by itself, and its engine."""
    client = Client(
        {"cdp": Hightouch(write_key="k")}, transport=AtOnce(), max_events=EVENTS * (ROUNDS + 1), max_bytes=1 << 30
    )
    engine = client._process.engine()
    engine._threaded = False
    return client, engine


def pieces() -> dict[str, Callable[[], object]]:
    """Return what is timed, by its name; each call of it stands for one event."""
    client, engine = clients()
    intake, delivery = engine.intake, engine._deliveries["cdp"]
    provider, clock = Hightouch(write_key="k"), engine._clock
    made = [plain(number) for number in range(EVENTS)]
    numbers = count()
    floor = Floor("http://127.0.0.1:1", senders=0)

    def track() -> None:
        number = next(numbers) % EVENTS
        client.track(user_id(number), event.NAME, made[number])

    def floors() -> None:
        number = next(numbers) % EVENTS
        floor.put(floor.encode(user_id(number), event.NAME, made[number]))

    plainly = express("user-1", event.NAME, made[1], intake._ids, clock.utc)
    assert plainly is not None  # noqa: S101
    record = plainly[2]
    message, plain_track = unpack(record), unpack_plain(record)
    assert plain_track is not None  # noqa: S101
    seqs = count(1 << 40)
    book = engine.branches["cdp"].book

    def put() -> None:
        seq = next(seqs)
        engine.queue.put(seq, f"m{seq}", 1, record, clock.steady(), ["cdp"])

    return {
        "the floor's call": floors,
        "track(), all of it": track,
        "… check, copy, pack (express)": lambda: express("user-1", event.NAME, made[1], intake._ids, clock.utc),
        "… … properties to JSON": lambda: encode_object(made[1], "$", []),
        "… … id": intake._ids,
        "… count it (book)": lambda: book.accept(1),
        "… queue it": put,
        "the long way's check and copy": lambda: snapshot(
            Track(user_id="user-1", event=event.NAME, properties=made[1]), intake._ids, clock.utc
        ),
        "… record to plain track": lambda: unpack_plain(record, trusted=True),
        "… plain track to part": lambda: provider.encode_plain(plain_track),
        "the long way out, record to message": lambda: unpack(record, trusted=True),
        "the long way out, message to part": lambda: provider.encode(message),
        "a step, all of it": lambda: delivery.step(),
    }


def phases() -> dict[str, float]:
    """Return what the phases of a step take, in µs for each event of it."""
    client, engine = clients()
    delivery = engine._deliveries["cdp"]
    for number in range(EVENTS):
        client.track(user_id(number), event.NAME, plain(number))
    spent: dict[str, float] = {}

    def phase(name: str, call: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = call()
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - began
        return result

    while entries := phase("… take", lambda: engine.queue.take("cdp", delivery.limit, None, 0.0)):
        take = Take({entry.seq: entry for entry in entries})
        ready = phase("… encode, both and what stands around them", partial(delivery._encode_all, entries, take))
        parts, lanes = [part for _, part in ready], [entry.lane for entry, _ in ready]
        phase("… cut into requests", partial(runs, parts, delivery._capabilities, lanes=lanes))
        verdicts = phase("… request and verdicts", partial(delivery._exchange, parts, 1.0))
        phase("… settle", partial(delivery._settle, ready, verdicts, take, spare=True))
    return {name: seconds / EVENTS * 1e6 for name, seconds in spent.items()}


def timed(call: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - began) / times * 1e6


def rounds() -> Sequence[dict[str, float]]:
    """Time every piece once and then all again; each round has a client of its own."""
    found = []
    for _ in range(ROUNDS):
        each = pieces()
        step = each.pop("a step, all of it")
        took = {name: timed(call, EVENTS) for name, call in each.items() if name != "… queue it"}
        took["a step, all of it"] = timed(step, EVENTS // 100) / 100  # a step takes a hundred
        took["… queue it"] = timed(each["… queue it"], EVENTS)
        found.append(took | phases())
    return found


def main() -> None:
    found = rounds()
    print(f"| piece | µs | × the floor's call |\n| --- | --: | --: |\n{table(found)}")


def table(found: Sequence[dict[str, float]]) -> str:
    lines = []
    for name in found[0]:
        micros = statistics.median(took[name] for took in found)
        ratio = statistics.median(took[name] / took["the floor's call"] for took in found)
        lines.append(f"| {name} | {micros:.1f} | {ratio:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
