"""What is measured, with whom, and how often: each part is a table of the report."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .drivers import DRIVERS
from .measurements import (
    Figures,
    callers,
    declared,
    fan,
    fork,
    imports,
    killed,
    leave,
    loaded,
    lone,
    memory,
    outage,
    paced,
    throughput,
)
from .rig import Rig

_FAST = partial(throughput, events=50_000, per_event=8_000)


@dataclass(frozen=True)
class Part:
    """One table of the report.

    Args:
        play: measures a driver once.
        drivers: in a full run.
        rounds: how many at most; faults count events, not time, so once tells as much.
        quick: how many in a quick run; 0 leaves the part out.
        quick_drivers: in a quick run; default: those that a bar needs.
    """

    title: str
    play: Callable[[Rig, str], Figures]
    drivers: tuple[str, ...]
    rounds: int = 99
    quick: int = 99
    quick_drivers: tuple[str, ...] = ()


_OURS = ("unitrack",)
_BATCHING = (
    "snowplow",
    "mixpanel",
    "segment",
    "segment-4-threads",
    "hightouch",
    "suprsend",
    "rudder",
    "posthog",
    "amplitude",
)
_QUEUED = tuple(name for name in (*_BATCHING, "interakt") if not DRIVERS[name].sync)
_PER_EVENT = ("floor-per-event-1", "floor-per-event-16", "unitrack-per-event", "interakt")
_SENDERS = ("unitrack-per-event-1", "unitrack-per-event-16")
_SLOW_LAST = {"slow": {"latency": 0.2}, "failing": {"status": 503}, "silent": {"hang": True}}

#: By the name that the command line knows.
PARTS: dict[str, Part] = {
    "import": Part("Import, in a fresh process", imports, (*_OURS, *_BATCHING, "interakt")),
    "import-declared": Part("Import of all that unitrack depends on, alone", declared, _OURS),
    "import-loaded": Part("Import of what its import loads of that, alone", loaded, _OURS),
    "instant": Part(
        "Tight loop, a sink that answers at once", _FAST,
        ("floor-1-sender", "floor-4-senders", "unitrack", "unitrack-gzip", "unitrack-session", "unitrack-sqlite",
         "unitrack-redis", *_PER_EVENT, *_BATCHING),
        quick_drivers=(
            "floor-1-sender", "unitrack", "unitrack-gzip", "unitrack-sqlite",
            "floor-per-event-1", "unitrack-per-event", "interakt", "snowplow", "mixpanel", "segment",
        ),
    ),
    "20ms": Part(
        "Tight loop, a sink that takes 20 ms", partial(throughput, events=50_000, per_event=3_200, latency=0.02),
        ("floor-1-sender", "floor-4-senders", "unitrack", *_SENDERS, *_PER_EVENT, *_BATCHING),
    ),
    "100ms": Part(
        "One request for each event, a sink that takes 100 ms",
        partial(throughput, events=50_000, per_event=1_600, latency=0.1), _SENDERS,
    ),
    "paced": Part("A thousand events a second, a sink that takes 20 ms", paced, ("floor-1-sender", *_OURS, *_BATCHING)),
    "callers": Part(
        "Eight threads that track, a sink that answers at once", callers, ("floor-1-sender", *_OURS, *_BATCHING)
    ),
    "memory": Part("100,000 events wait, the sink is silent", memory, ("floor-1-sender", *_OURS, *_QUEUED), rounds=3),
    "memory-fan": Part(
        "100,000 events wait for four destinations", partial(memory, destinations=4), _OURS, rounds=3
    ),
    "fan-1": Part("One destination", partial(fan, destinations=1, events=20_000), ("floor-1-sender", *_OURS)),
    "fan-4": Part("Four destinations", partial(fan, destinations=4, events=20_000), ("floor-1-sender", *_OURS)),
    "fan-16": Part("Sixteen destinations", partial(fan, destinations=16, events=10_000), _OURS),
    "fan-20ms": Part(
        "Four destinations that take 20 ms", partial(fan, destinations=4, events=20_000, latency=0.02), _OURS
    ),
    **{
        f"fan-{what}": Part(
            f"Four destinations that take 20 ms, one of them {what}",
            partial(fan, destinations=4, events=20_000, latency=0.02, last=last), _OURS,
        )
        for what, last in _SLOW_LAST.items()
    },
    "lone": Part("One event when nothing else happens", lone, (*_OURS, *_QUEUED), rounds=3),
    "burst": Part(
        "50,000 events at once, defaults, a sink that takes 20 ms",
        partial(throughput, events=50_000, per_event=0, latency=0.02, defaults=True), (*_OURS, *_BATCHING),
        rounds=1, quick=1,
    ),
    "exit": Part("1,037 events, then the script ends", leave, (*_OURS, *_BATCHING, "interakt"), rounds=3),
    "fork": Part("A fork with 100 events waiting", fork, (*_OURS, *_BATCHING, "interakt"), rounds=2, quick=1),
    "outage": Part("The sink is away for 5 s", outage, (*_OURS, *_BATCHING, "interakt"), rounds=2, quick=1),
    "killed": Part("SIGKILL with 5,000 events waiting on disk", killed, ("unitrack-sqlite",), rounds=3, quick=1),
    "tls": Part(
        "Tight loop over TLS", partial(_FAST, safe=True),
        ("floor-1-sender", "unitrack", "unitrack-per-event", "segment", "snowplow", "amplitude", "interakt"), quick=0,
    ),
    "nested": Part(
        "Tight loop with nested events of 2 kB in another script",
        partial(throughput, events=20_000, per_event=2_000, event="nested"),
        ("floor-1-sender", "unitrack", "segment", "snowplow", "mixpanel", "posthog"), quick=0,
    ),
    "10k": Part("10,000 events", partial(throughput, events=10_000, per_event=0), _OURS, quick=0),
    "1m": Part("1,000,000 events", partial(throughput, events=1_000_000, per_event=0), _OURS, quick=0),
    "1-user": Part(
        "100,000 events of one user", partial(throughput, events=100_000, per_event=0, users=1), _OURS, quick=0
    ),
    "100k-users": Part(
        "100,000 events of as many users", partial(throughput, events=100_000, per_event=0, users=100_000), _OURS,
        quick=0,
    ),
}  # fmt: skip
