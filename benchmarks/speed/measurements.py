"""Each takes the figures of one driver once: starts a trial, plays the sink to it, and counts what arrived."""

import statistics
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from .driver import Driver
from .drivers import DRIVERS
from .process import Process, TrialFailed
from .rig import Rig
from .sink_control import Sink
from .trial import CHILD_MARKS

Figures = dict[str, Any]

START_LIMIT, CALL_LIMIT = 30.0, 180.0
#: Seconds after which a program that should have left is said never to leave.
LEAVE_LIMIT = 30.0
#: And after which a lone event is said never to arrive.
LONE_LIMIT = 15.0
IMPORTS = 5
#: They send one event and wait for its answer; of a slow sink they get a sixteenth of the events.
ONE_SENDER = ("unitrack-per-event-1", "floor-per-event-1", "interakt")
DEPENDENCIES = ("attrs", "cattrs", "certifi", "orjson", "requests", "urllib3")


def imports(rig: Rig, name: str) -> Figures:
    return _imports(rig, name)[0]


def loaded(rig: Rig, name: str) -> Figures:
    """Import alone what the client's import loads of others."""
    return _imports(rig, name, modules=_imports(rig, name)[1])[0]


def declared(rig: Rig, name: str) -> Figures:
    """Import alone all that unitrack depends on, as a client would that loads everything at once."""
    return _imports(rig, name, modules=DEPENDENCIES)[0]


def _imports(rig: Rig, name: str, **options: Any) -> tuple[Figures, list[str]]:
    """Import in a few fresh processes; a single one says little."""
    found: list[Figures] = []
    for _ in range(IMPORTS):
        with rig.trial("imports", name, **options) as trial:
            found.append(trial.hear(START_LIMIT))
    foreign = found[0]["foreign"]
    packages = sorted({module.partition(".")[0] for module in foreign})
    figures = {figure: statistics.median(one[figure] for one in found) for figure in ("ms", "memory", "modules")}
    http_clients = sum(package in ("requests", "urllib3") for package in packages)
    return {**figures, "http_clients": http_clients, "packages": ", ".join(packages)}, foreign


def throughput(
    rig: Rig, name: str, *, events: int, per_event: int, latency: float = 0.0, defaults: bool = False,
    safe: bool = False, users: int = 5_000, event: str = "plain",
) -> Figures:  # fmt: skip
    """Track in a tight loop; the time ends when the flush has returned and the last event is there."""
    driver, sink = DRIVERS[name], rig.safe_sink if safe else rig.sink
    if sink is None:
        raise TrialFailed("there is no sink that speaks https")
    count = per_event if driver.per_event else events
    count = count if defaults else rig.events(count)  # a bound is only met by as many as it takes
    if latency and name in ONE_SENDER:
        count = max(10, count // 16)
    capacity = None if defaults else count + 1_000
    sink.rule(shape=driver.shape, latency=latency)
    with rig.trial("throughput", name, sink=sink, events=count, capacity=capacity, users=users, event=event) as trial:
        _warm(sink, driver, trial, latency=latency)
        trial.go_on()
        facts = trial.hear(CALL_LIMIT)
        sink.settle()
        trial.go_on()
        facts |= trial.hear(START_LIMIT)
    counts, stats = sink.count(), sink.stats()
    late = counts["last"] > facts["flushed_at"]
    seconds = (max(counts["last"], facts["flushed_at"]) - facts["began"]) / 1e9
    arrived = max(1, counts["distinct"])
    return {
        **_calls(facts, count),
        **_arrived(counts, count),
        "events_per_s": counts["distinct"] / seconds,
        "processor_100k": facts["processor_in_all" if late else "processor"] / arrived * 1e5,
        "peak_mb": facts["peak"] / 1e6,
        "bytes_per_event": stats["bytes"] / arrived,
        "events_per_request": arrived / max(1, stats["requests"]),
        "connections": stats["connections"],
        "untold": count - counts["distinct"] - facts["reported"],
        "reported": facts["reported"],
    }


def paced(rig: Rig, name: str) -> Figures:
    """Track a thousand a second, as a busy web application does, to a sink that takes 20 ms."""
    driver, count = DRIVERS[name], 3_000
    rig.sink.rule(shape=driver.shape, latency=0.02)
    with rig.trial("paced", name, events=count, rate=1_000.0, capacity=200_000, limit=10.0) as trial:
        _warm(rig.sink, driver, trial, latency=0.02)
        trial.go_on()
        facts = trial.hear(CALL_LIMIT)
    rig.sink.settle()
    counts = rig.sink.count()
    requests = max(1, rig.sink.stats()["requests"])
    return {**_calls(facts, count), **_arrived(counts, count), "requests_per_event": requests / count}


def callers(rig: Rig, name: str) -> Figures:
    """Track from eight threads in tight loops."""
    driver = DRIVERS[name]
    count = rig.events(2_000 if driver.per_event else 20_000)
    rig.sink.rule(shape=driver.shape)
    with rig.trial("callers", name, events=count, capacity=count + 1_000) as trial:
        _warm(rig.sink, driver, trial)
        trial.go_on()
        facts = trial.hear(CALL_LIMIT)
    rig.sink.settle()
    sent = facts["events"]
    return {**_calls(facts, sent), **_arrived(rig.sink.count(), sent), "calls_per_s": sent / facts["seconds"]}


def memory(rig: Rig, name: str, *, destinations: int = 1, events: int = 100_000) -> Figures:
    """Track while nobody answers: what a waiting event takes, and the call alone."""
    rig.sink.rule(shape=DRIVERS[name].shape, hang=True, keep=False)
    with rig.trial("memory", name, events=events, capacity=events + 1_000, destinations=destinations) as trial:
        facts = trial.hear(CALL_LIMIT)
    rig.sink.cut()
    return {**_calls(facts, events), "bytes_per_waiting": facts["memory"] / max(1, facts["taken"])}


def fan(
    rig: Rig, name: str, *, destinations: int, events: int, latency: float = 0.0, last: Mapping[str, Any] | None = None
) -> Figures:
    """Track to several destinations at once, of which the last may be another sort."""
    count = rig.events(events)
    rules: dict[str, dict[str, Any]] = {f"/d{at}": {"latency": latency} for at in range(1, destinations + 1)}
    if last is not None:
        rules[f"/d{destinations}"] |= last
    rig.sink.rule(rules)
    with rig.trial(
        "fan", name, events=count, capacity=count + 1_000, destinations=destinations, limit=5.0 if last else 60.0
    ) as trial:
        trial.hear(START_LIMIT)
        rig.sink.rule(rules)
        trial.go_on()
        facts = trial.hear(CALL_LIMIT)
    paths = rig.sink.count()["paths"]
    rig.sink.cut()
    healthy = [f"/d{at}" for at in range(1, destinations + (last is None))]
    nothing = {"distinct": 0, "events": 0, "last": 0}
    speeds = [_speed(paths.get(path, nothing), facts["began"]) for path in healthy]
    return {
        **_calls(facts, count),
        "lost": sum(count - paths.get(path, nothing)["distinct"] for path in healthy),
        "processor_100k": facts["processor"] / count * 1e5,
        "slowest_per_s": min(speeds),
        "speeds": [round(speed) for speed in speeds],
    }


def _speed(counts: Mapping[str, int], began: int) -> float:
    return counts["distinct"] / ((counts["last"] - began) / 1e9) if counts["distinct"] else 0.0


def lone(rig: Rig, name: str, *, times: int = 3) -> Figures:
    """Track one event when nothing else happens, and see how long it takes to arrive."""
    rig.sink.rule(shape=DRIVERS[name].shape)
    delays = []
    with rig.trial("lone", name, events=times) as trial:
        rig.sink.settle(quiet=1.0, limit=5.0)
        for number in range(times):
            trial.go_on()
            called = trial.hear(START_LIMIT)["called"]
            ends = time.monotonic() + LONE_LIMIT
            while not rig.sink.count(number, number + 1)["distinct"] and time.monotonic() < ends:
                time.sleep(0.02)
            counts = rig.sink.count(number, number + 1)
            if not counts["distinct"]:
                delays = [LONE_LIMIT]  # it waits for company, for ever
                break
            delays.append((counts["last"] - called) / 1e9)
            time.sleep(0.2)
    return {"seconds": sorted(delays)[len(delays) // 2], "longest": max(delays)}


def leave(rig: Rig, name: str) -> Figures:
    """Track 1,037 events, a number that fills no batch, and end without a flush."""
    rig.sink.rule(shape=DRIVERS[name].shape, latency=0.02)
    with rig.trial("leave", name, events=1_037) as trial:
        facts = trial.hear(CALL_LIMIT)
        began = time.monotonic()
        ended = trial.end(LEAVE_LIMIT)
        took = time.monotonic() - began
    rig.sink.settle()
    return {"seconds": took, "ended": ended, **_arrived(rig.sink.count(), facts["taken"]), "of": 1_037}


def fork(rig: Rig, name: str) -> Figures:
    """Fork with 100 events waiting; the child tracks 100 more and flushes."""
    rig.sink.rule(shape=DRIVERS[name].shape, latency=0.02)
    with rig.trial("fork", name, events=100, limit=20.0) as trial:
        facts = trial.hear(CALL_LIMIT)
        rig.sink.settle()
        trial.go_on()
    parent, child = rig.sink.count(0, CHILD_MARKS), rig.sink.count(CHILD_MARKS)
    return {
        "parent": parent["distinct"],
        "child": child["distinct"],
        "duplicates": sum(counts["events"] - counts["distinct"] for counts in (parent, child)),
        "hangs": facts["child"] == 3 or not facts["flushed"],
        "missing": 200 - parent["distinct"] - child["distinct"],
    }


def outage(rig: Rig, name: str, *, seconds: float = 5.0) -> Figures:
    """Track 200 events a second while the sink is away for some seconds."""
    driver = DRIVERS[name]
    rate = 20.0 if driver.per_event else 200.0
    count = int(rate * (seconds + 4))
    rig.sink.rule(shape=driver.shape, latency=0.005)
    with rig.trial("outage", name, events=count, rate=rate, capacity=200_000) as trial:
        trial.hear(START_LIMIT)
        trial.go_on()
        time.sleep(2)
        rig.sink.down()
        time.sleep(seconds)
        rig.sink.up()
        facts = trial.hear(CALL_LIMIT)
        facts |= trial.hear(CALL_LIMIT)
        rig.sink.settle(quiet=2.0)
        trial.go_on()
    return {**_calls(facts, count), **_arrived(rig.sink.count(), count), "flushed": facts["flushed"]}


def killed(rig: Rig, name: str) -> Figures:
    """Track 5,000 events while nobody answers, kill the program, and let the next one send what it left."""
    count = 5_000
    folder = tempfile.mkdtemp(dir=rig.scratch)
    rig.sink.rule(shape=DRIVERS[name].shape, hang=True)
    with rig.trial("killed", name, kept=folder, events=count, capacity=count + 1_000) as trial:
        facts = trial.hear(CALL_LIMIT)
        trial.end(START_LIMIT)
    rig.sink.cut()
    rig.sink.rule(shape=DRIVERS[name].shape)
    with rig.trial("recover", name, kept=folder, events=0, capacity=count + 1_000) as trial:
        trial.hear(CALL_LIMIT)
        rig.sink.settle(quiet=1.0)
        trial.go_on()
    return _arrived(rig.sink.count(), facts["taken"])


def _warm(sink: Sink, driver: Driver, trial: Process, latency: float = 0.0) -> None:
    """Let a trial warm up, and forget what came of that."""
    trial.hear(START_LIMIT)
    sink.rule(shape=driver.shape, latency=latency)


def _calls(facts: Mapping[str, Any], count: int) -> Figures:
    return {"of": count, **{name: facts[name] for name in ("p50", "p99", "worst")}}


def _arrived(counts: Mapping[str, Any], count: int) -> Figures:
    distinct = counts["distinct"]
    return {"arrived": distinct, "lost": count - distinct, "duplicates": counts["events"] - distinct}
